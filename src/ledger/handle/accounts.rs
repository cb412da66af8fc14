//! Accounts and grants.

use crate::ledger::clock::bounded_ms;
use crate::ledger::store::{self, Grant};
use crate::ledger::writer::Durability;
use crate::ledger::{
    AccountError, AccountId, Admission, Balance, Credits, GrantError, Ledger, Reply, Unavailable,
    hash, keys,
};

impl Ledger {
    /// Creates an account without credits.
    pub fn create_account(
        &self,
        name: &str,
        plan: &str,
        actor: &str,
    ) -> Reply<Result<AccountId, AccountError>> {
        let (name, plan, actor) = (name.to_owned(), plan.to_owned(), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_account(context, &name, &plan, &actor)
        })
    }

    /// Closes an account: it opens no meters any more. Open ones may finish. Idempotent.
    pub fn close_account(
        &self,
        account: AccountId,
        actor: &str,
    ) -> Reply<Result<(), AccountError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::close_account(context, account, &actor)
        })
    }

    /// Records in the audit what an operator did outside of the books.
    pub fn note(&self, actor: &str, action: &str, detail: &str) -> Reply<Result<(), Unavailable>> {
        let (actor, action, detail) = (actor.to_owned(), action.to_owned(), detail.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::note(context, &actor, &action, &detail)
        })
    }

    /// Gives credits. Each call is a grant of its own; see [`Ledger::grant_once`].
    pub fn grant(
        &self,
        account: AccountId,
        credits: Credits,
        reason: &str,
        actor: &str,
    ) -> Reply<Result<Balance, GrantError>> {
        let command = keys::fresh_id(bounded_ms(&*self.inner.clock));
        self.submit_grant(account, credits, reason, actor, command)
    }

    /// Gives credits once for each `idempotency_key`: repeated, it answers and gives nothing.
    pub fn grant_once(
        &self,
        idempotency_key: &str,
        account: AccountId,
        credits: Credits,
        reason: &str,
        actor: &str,
    ) -> Reply<Result<Balance, GrantError>> {
        self.submit_grant(account, credits, reason, actor, hash::command_id(idempotency_key))
    }

    fn submit_grant(
        &self,
        account: AccountId,
        credits: Credits,
        reason: &str,
        actor: &str,
        command: [u8; 16],
    ) -> Reply<Result<Balance, GrantError>> {
        let (reason, actor) = (reason.to_owned(), actor.to_owned());
        let grant = Grant { account, credits, reason, actor, command };
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::grant(context, &grant)
        })
    }
}
