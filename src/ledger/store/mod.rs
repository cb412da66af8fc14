//! What commands do to the books: synchronous, deterministic functions on one connection.
//!
//! Promises: a command either does all of what it says or changes no byte; balances move only here.
//! Time and randomness are arguments, so the same commands give the same books.
//! Never knows: threads, queues, files.

mod accounts;
mod api_keys;
mod charges;
mod columns;
pub(crate) mod connection;
mod corrections;
mod ids;
mod journal;
mod meters;
mod mismatches;
mod notices;
mod refunds;
mod sessions;
mod together;
mod topups;
mod users;
mod vouchers;

pub(crate) use accounts::{close_account, create_account, set_frozen, set_plan};
pub(crate) use api_keys::{
    NewKeyRow, create_key, create_key_once, limit_of, revoke_key, spending_of,
};
use charges::forget_ids;
pub(crate) use charges::{charge, purge_ids};
pub(crate) use columns::Blob;
pub(crate) use corrections::{Correction, correct};
pub(crate) use ids::ids_by_choice;
pub(crate) use journal::{Grant, TransferKind, grant};
pub(crate) use meters::{close_meter, open_meter, reverse_meter};
pub(crate) use mismatches::{mismatches, set_aside, settle_mismatch};
pub(crate) use notices::{MAX_NOTICE_URL_CHARS, NewTry, notice_tried, set_notice};
pub(crate) use refunds::{
    NewRefund, SELECT as SELECT_REFUND, begin_refund, begin_refund_once, finish_refund, refund_info,
};
pub(crate) use sessions::{accept_invitation, end_session, invite, start_session};
pub(crate) use together::{NewCharge, OneByOne, Remembered, Undo, charge_together};
pub(crate) use topups::{
    MAX_PROVIDER_ID_CHARS, SELECT as SELECT_TOPUP, create_topup, pay_topup, record_event, topup,
    topup_checked, topup_info, topup_of_order, topup_started,
};
pub(crate) use users::{MAX_USER_NAME_CHARS, create_user, disable_user, set_role};
pub(crate) use vouchers::{
    MAX_COUNT as MAX_VOUCHERS, NewBatch, SELECT as SELECT_BATCH, batch_info, create_vouchers,
    redeem_voucher, void_vouchers,
};

use rusqlite::{Connection, ErrorCode, params};

use super::errors::{Invalid, Unavailable};

/// The most one grant may hold, and the most a key's limit may be.
pub(crate) const MAX_AMOUNT: i64 = 1_000_000_000_000;

/// The longest name of an account, plan, pack, key or batch of vouchers.
pub(crate) const MAX_NAME_CHARS: usize = 64;

/// The longest reason of a change of the books.
pub(crate) const MAX_REASON_CHARS: usize = 500;

/// The most that may ever be granted on one server. Every credit comes out of a house account, so
/// no balance, `used` or sum of them is larger than this, and i64 holds nine times as much.
pub(crate) const MAX_IN_ALL: i64 = 1_000_000_000_000_000_000;

/// The most a token may cost.
pub(crate) const MAX_RATE: i64 = 1_000_000;

/// What a command needs beside its arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The write connection, inside a transaction.
    pub(crate) conn: &'a Connection,
    /// Unix milliseconds.
    pub(crate) now_ms: i64,
    /// This start of the server.
    pub(crate) boot: i64,
    /// Whether paid ids outlive their meter.
    pub(crate) keeps_ids: bool,
}

/// A command's result before it is committed.
pub(crate) type Outcome<T, E> = Result<T, Failure<E>>;

/// Why a command did not happen.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// The caller is told why, and nothing is done.
    Refused(E),
    /// The caller is told why, and what was written about it stays.
    Noted(E),
    /// The database would not; see [`command`] for what that means.
    Database(rusqlite::Error),
}

impl<E> From<rusqlite::Error> for Failure<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Ends a command with a refusal.
fn refuse<T, E>(error: E) -> Outcome<T, E> {
    Err(Failure::Refused(error))
}

/// Runs one command in its own SAVEPOINT, so that its refusal does not spoil the batch around it.
///
/// A rule of the database that the command should have checked itself (a CHECK, a trigger, a
/// statement that did not change exactly one row) undoes this command only. Any other error of
/// SQLite is returned: the transaction is lost.
pub(crate) fn command<T, E: From<Unavailable>>(
    context: &Context<'_>,
    run: impl FnOnce(&Context<'_>) -> Outcome<T, E>,
) -> rusqlite::Result<Result<T, E>> {
    let step = |sql| context.conn.prepare_cached(sql)?.execute([]).map(|_| ());
    step("SAVEPOINT command")?;
    let refusal = match run(context) {
        Ok(value) => {
            step("RELEASE command")?;
            return Ok(Ok(value));
        }
        Err(Failure::Noted(refusal)) => {
            step("RELEASE command")?;
            return Ok(Err(refusal));
        }
        Err(Failure::Refused(refusal)) => refusal,
        Err(Failure::Database(error)) if is_broken_rule(&error) => {
            tracing::error!(%error, "a command broke a rule of the database and was undone");
            Unavailable::Broken.into()
        }
        Err(Failure::Database(error)) => return Err(error),
    };
    step("ROLLBACK TO command")?;
    step("RELEASE command")?;
    Ok(Err(refusal))
}

fn is_broken_rule(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch),
        // Not from SQLite: a value that does not convert, or a wrong number of changed rows.
        None => true,
    }
}

/// Writes a row and takes it back, so that the commit around it has a page to write: one that
/// survives a power cut then takes every earlier commit with it. (A row that is written as it is
/// does not do: SQLite sees that nothing changes.)
pub(crate) fn touch<E>(context: &Context<'_>) -> Outcome<(), E> {
    context
        .conn
        .prepare_cached("INSERT INTO purge(before_ms,at_ms) VALUES(0,0)")?
        .execute([])
        .and_then(exactly_one)?;
    context
        .conn
        .prepare_cached("DELETE FROM purge WHERE rowid=?1")?
        .execute([context.conn.last_insert_rowid()])
        .and_then(exactly_one)?;
    Ok(())
}

/// A statement that has to change exactly one row, or the command is undone.
fn exactly_one(changed: usize) -> rusqlite::Result<()> {
    match changed {
        1 => Ok(()),
        rows => Err(rusqlite::Error::StatementChangedRows(rows)),
    }
}

/// Records what an operator did, in the same transaction.
fn audit(context: &Context<'_>, actor: &str, action: &str, detail: &str) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached("INSERT INTO audit(actor,action,detail,at_ms) VALUES(?1,?2,?3,?4)")?
        .execute(params![actor, action, detail, context.now_ms])
        .and_then(exactly_one)
}

/// Records what an operator did outside of the books.
pub(crate) fn note(
    context: &Context<'_>,
    actor: &str,
    action: &str,
    detail: &str,
) -> Outcome<(), Unavailable> {
    audit(context, actor, action, detail)?;
    Ok(())
}

/// A text that people read: not empty, not longer than `max` characters, in one line.
fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    let fits = !text.trim().is_empty() && text.chars().take(max + 1).count() <= max;
    if fits && text.trim() == text && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let rule = format!(
        "is {:?}: give 1 to {max} characters without control characters or outer spaces",
        shortened(text, 40)
    );
    Err(Invalid { field, rule })
}

/// A number between two bounds, both allowed.
fn check_amount(field: &'static str, amount: i64, min: i64, max: i64) -> Result<(), Invalid> {
    if (min..=max).contains(&amount) {
        return Ok(());
    }
    Err(Invalid { field, rule: format!("is {amount}: give {min} to {max}") })
}

/// The first `max` characters.
fn shortened(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(end, _)| &text[..end])
}

fn check_actor(actor: &str) -> Result<(), Invalid> {
    check_text("actor", actor, 100)
}
