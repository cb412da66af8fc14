//! Notices: a team is told once each time its balance falls below what it asked to be told of.
//!
//! Promises: a notice is written in the transaction that moves the balance, so a crash can neither
//! lose it nor tell it twice; while no threshold is crossed, a charge costs no statement more.
//! Never knows: how a notice is sent, or what a URL is.

use rusqlite::params;

use super::accounts::team;
use super::{
    Context, MAX_AMOUNT, Outcome, audit, check_actor, check_amount, check_text, exactly_one,
    refuse, shortened,
};
use crate::ledger::errors::{Invalid, NoticeError};
use crate::ledger::types::{AccountId, Credits, NoticeId};

/// The longest URL that is stored, in characters.
pub(crate) const MAX_NOTICE_URL_CHARS: usize = 2_000;

/// What a team asked for, as read with its balance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Threshold {
    pub(super) below: Option<i64>,
    /// Whether it was told of the fall that it is in.
    pub(super) told: bool,
}

impl Threshold {
    /// Whether a change of the balance is none of a notice's: see [`balance_moved`].
    pub(super) fn is_quiet(self, before: i64, after: i64) -> bool {
        let Self { below: Some(below), told } = self else { return true };
        let tells = before >= below && after < below && !told;
        let arms = after >= below && told;
        !tells && !arms
    }
}

/// Every change of a team's balance goes through here, or is quiet: a fall below the threshold is
/// told, and a rise to it or above arms it again.
pub(super) fn balance_moved(
    context: &Context<'_>,
    account: AccountId,
    before: i64,
    after: i64,
    threshold: Threshold,
) -> rusqlite::Result<()> {
    let Threshold { below: Some(below), told } = threshold else { return Ok(()) };
    if before >= below && after < below && !told {
        tell(context, account, below, after)?;
    } else if after >= below && told {
        context
            .conn
            .prepare_cached("UPDATE account SET noticed_ms=NULL WHERE id=?1")?
            .execute([account])
            .and_then(exactly_one)?;
    }
    Ok(())
}

fn tell(
    context: &Context<'_>,
    account: AccountId,
    below: i64,
    balance: i64,
) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached(
            "INSERT INTO notice(account_id,kind,balance,threshold,url,at_ms,next_try_ms)
             SELECT id,'low_balance',?2,?3,notice_url,?4,iif(notice_url IS NULL,NULL,?4)
             FROM account WHERE id=?1",
        )?
        .execute(params![account, balance, below, context.now_ms])
        .and_then(exactly_one)?;
    context
        .conn
        .prepare_cached("UPDATE account SET noticed_ms=?2 WHERE id=?1")?
        .execute(params![account, context.now_ms])
        .and_then(exactly_one)
}

/// Sets what a team is told of, and where; `None` ends it. Notices that wait go to the new URL at
/// once, or nowhere.
pub(crate) fn set_notice(
    context: &Context<'_>,
    account: AccountId,
    below: Option<Credits>,
    url: Option<&str>,
    actor: &str,
) -> Outcome<(), NoticeError> {
    if let Err(invalid) = check_notice(below, url, actor) {
        return refuse(invalid.into());
    }
    if team(context.conn, account)?.is_none() {
        return refuse(NoticeError::UnknownAccount(account));
    }
    // Before the account: what waits is compared with the URL that it was written for.
    context
        .conn
        .prepare_cached(
            "UPDATE notice SET url=?2,tries=0,next_try_ms=iif(?2 IS NULL,NULL,?3)
             WHERE account_id=?1 AND next_try_ms IS NOT NULL AND url IS NOT ?2",
        )?
        .execute(params![account, url, context.now_ms])?;
    context
        .conn
        .prepare_cached(
            "UPDATE account SET notice_below=?2,notice_url=?3,
               noticed_ms=iif(notice_below IS ?2,noticed_ms,NULL) WHERE id=?1",
        )?
        .execute(params![account, below, url])
        .and_then(exactly_one)?;
    let below = below.map_or("off".to_owned(), |below| format!("below {below}"));
    let detail = format!("account {account} {below} url {}", url.unwrap_or("none"));
    audit(context, actor, "account.notice", &detail)?;
    Ok(())
}

fn check_notice(below: Option<Credits>, url: Option<&str>, actor: &str) -> Result<(), Invalid> {
    check_actor(actor)?;
    if let Some(below) = below {
        check_amount("below", below.0, 1, MAX_AMOUNT)?;
    }
    match url {
        Some(_) if below.is_none() => {
            let rule = "needs 'below': credits below which it is called".to_owned();
            Err(Invalid { field: "url", rule })
        }
        Some(url) => check_text("url", url, MAX_NOTICE_URL_CHARS),
        None => Ok(()),
    }
}

/// What became of a try to send a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewTry<'a> {
    Sent,
    /// Why not, and when to try again; `None`: never.
    Failed {
        error: &'a str,
        next_try_ms: Option<i64>,
    },
}

/// Records a try. On a notice that waits for none any more it changes nothing.
pub(crate) fn notice_tried(
    context: &Context<'_>,
    notice: NoticeId,
    tried: NewTry<'_>,
) -> Outcome<(), NoticeError> {
    let (sent_ms, error, next_try_ms) = match tried {
        NewTry::Sent => (Some(context.now_ms), None, None),
        NewTry::Failed { error, next_try_ms } => (None, Some(shortened(error, 200)), next_try_ms),
    };
    let changed = context
        .conn
        .prepare_cached(
            "UPDATE notice SET tries=tries+1,sent_ms=?2,error=?3,next_try_ms=?4
             WHERE id=?1 AND next_try_ms IS NOT NULL",
        )?
        .execute(params![notice, sent_ms, error, next_try_ms])?;
    let is_there = changed > 0
        || context.conn.prepare_cached("SELECT 1 FROM notice WHERE id=?1")?.exists([notice])?;
    if is_there { Ok(()) } else { refuse(NoticeError::UnknownNotice(notice)) }
}
