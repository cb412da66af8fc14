//! Keys: made, found, revoked.

use crate::ledger::clock::bounded_ms;
use crate::ledger::store::{self, NewKeyRow};
use crate::ledger::writer::Durability;
use crate::ledger::{
    AccountId, Admission, KeyError, KeyId, KeyInfo, KeyUsage, Ledger, LedgerError, NewKey,
    NewKeyRequest, Reply, UserId, keys, reader,
};

impl Ledger {
    /// Makes a key. The answer is the only place its secret is ever seen.
    pub fn create_key(
        &self,
        request: NewKeyRequest,
        actor: &str,
    ) -> Reply<Result<NewKey, KeyError>> {
        let secret = keys::fresh_secret();
        let prefix = keys::prefix(&secret);
        let secret_hash = keys::secret_hash(&secret);
        let row = NewKeyRow { request, prefix: prefix.clone(), secret_hash };
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_key(context, &row, &actor).map(|id| NewKey { id, secret, prefix })
        })
    }

    /// The user's key of this label and with these scopes that is good; made if there is none. Its
    /// secret is nobody's. Of many at once, one makes it.
    pub fn create_key_once(
        &self,
        request: NewKeyRequest,
        actor: &str,
    ) -> Reply<Result<KeyId, KeyError>> {
        let secret = keys::fresh_secret();
        let (prefix, secret_hash) = (keys::prefix(&secret), keys::secret_hash(&secret));
        let row = NewKeyRow { request, prefix, secret_hash };
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_key_once(context, &row, &actor)
        })
    }

    /// Revokes a key: it opens no meters any more. Open ones may finish. Idempotent.
    pub fn revoke_key(&self, key: KeyId, actor: &str) -> Reply<Result<(), KeyError>> {
        self.submit_revoke(key, None, actor)
    }

    /// Revokes a key if it is this account's; another's is as unknown as none.
    pub fn revoke_key_of(
        &self,
        account: AccountId,
        key: KeyId,
        actor: &str,
    ) -> Reply<Result<(), KeyError>> {
        self.submit_revoke(key, Some(account), actor)
    }

    fn submit_revoke(
        &self,
        key: KeyId,
        account: Option<AccountId>,
        actor: &str,
    ) -> Reply<Result<(), KeyError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::revoke_key(context, key, account, &actor)
        })
    }

    /// The key with this secret, valid or not.
    pub fn find_key(&self, secret: &str) -> Result<Option<KeyInfo>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| reader::find_key(conn, secret, now_ms))
    }

    /// One key, valid or not.
    pub fn key(&self, key: KeyId) -> Result<Option<KeyInfo>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| reader::key(conn, key, now_ms))
    }

    /// The keys of this label that this user of the account made, valid or not.
    pub fn keys_named(
        &self,
        account: AccountId,
        user: UserId,
        label: &str,
    ) -> Result<Vec<KeyInfo>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| reader::keys_named(conn, account, user, label, now_ms))
    }

    /// An account's keys, with when each was last used.
    pub fn keys(&self, account: AccountId) -> Result<Vec<KeyInfo>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| reader::keys(conn, account, now_ms))
    }

    /// What a key has spent; `None`: there is no such key.
    pub fn key_usage(&self, key: KeyId) -> Result<Option<KeyUsage>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| reader::key_usage(conn, key, now_ms))
    }
}
