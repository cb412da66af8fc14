//! Keys: made, found, revoked.

use crate::ledger::clock::bounded_ms;
use crate::ledger::store::{self, NewKeyRow};
use crate::ledger::writer::Durability;
use crate::ledger::{
    AccountId, Admission, KeyError, KeyId, KeyInfo, KeyUsage, Ledger, LedgerError, NewKey,
    NewKeyRequest, Reply, keys, reader,
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
