//! Notices: what a team is told of, and what became of telling it.

use crate::ledger::store::{self, NewTry};
use crate::ledger::writer::Durability;
use crate::ledger::{
    AccountId, Admission, Credits, Ledger, LedgerError, LowBalance, NoticeError, NoticeId,
    NoticeRecord, Reply, reader,
};

impl Ledger {
    /// Has a team told each time its balance falls below `below`: on its dashboard and, if there is
    /// a `url` of at most 2,000 characters, there. `None` ends it. Notices that wait to be sent go
    /// to the new URL, or nowhere.
    pub fn set_notice(
        &self,
        account: AccountId,
        below: Option<Credits>,
        url: Option<&str>,
        actor: &str,
    ) -> Reply<Result<(), NoticeError>> {
        let (url, actor) = (url.map(str::to_owned), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::set_notice(context, account, below, url.as_deref(), &actor)
        })
    }

    /// Records that a notice was taken.
    pub fn notice_sent(&self, notice: NoticeId) -> Reply<Result<(), NoticeError>> {
        self.submit(Durability::Kill, Admission::InFlight, move |context| {
            store::notice_tried(context, notice, NewTry::Sent)
        })
    }

    /// Records that a notice was not taken, and when to try again; `None`: never.
    pub fn notice_failed(
        &self,
        notice: NoticeId,
        error: &str,
        next_try_ms: Option<i64>,
    ) -> Reply<Result<(), NoticeError>> {
        let error = error.to_owned();
        self.submit(Durability::Kill, Admission::InFlight, move |context| {
            store::notice_tried(context, notice, NewTry::Failed { error: &error, next_try_ms })
        })
    }

    /// What a team asked to be told of; `None`: there is no such account.
    pub fn low_balance(&self, account: AccountId) -> Result<Option<LowBalance>, LedgerError> {
        self.inner.readers.read(|conn| reader::low_balance(conn, account))
    }

    /// The latest `limit` notices of a team, the newest first.
    pub fn notices(
        &self,
        account: AccountId,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, LedgerError> {
        self.inner.readers.read(|conn| reader::notices(conn, account, limit))
    }

    /// At most `limit` notices to be tried by `now_ms`.
    pub fn notices_due(&self, now_ms: i64, limit: u32) -> Result<Vec<NoticeRecord>, LedgerError> {
        self.inner.readers.read(|conn| reader::notices_due(conn, now_ms, limit))
    }

    /// How many notices wait to be sent.
    pub fn notices_waiting(&self) -> Result<i64, LedgerError> {
        self.inner.readers.read(reader::notices_waiting)
    }
}
