//! Refunds: the credits are taken before the provider is asked, and given back if it refuses.
//!
//! Promises: only credits that were bought and are still there are refunded; all refunds of an
//! order together are worth what its credits cost, to the fil, and never more.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::accounts::{cash_account, revenue_account, team};
use super::journal::{HOUSE_PAID, Movement, Reversed, append};
use super::topups::{MAX_PROVIDER_ID_CHARS, topup};
use super::{
    Context, MAX_AMOUNT, MAX_REASON_CHARS, Outcome, TransferKind, audit, check_actor, check_amount,
    check_text, exactly_one, refuse, shortened,
};
use crate::ledger::errors::Invalid;
use crate::ledger::sales::{
    BeginRefundError, BegunRefund, FinishRefundError, RefundId, RefundInfo, RefundOutcome,
    RefundState, TopupId, TopupInfo, TopupState,
};
use crate::ledger::types::Credits;

/// A refund that is asked for.
#[derive(Debug)]
pub(crate) struct NewRefund {
    pub(crate) id: RefundId,
    pub(crate) topup: TopupId,
    /// `None`: all that is left.
    pub(crate) credits: Option<Credits>,
    pub(crate) reason: String,
    pub(crate) actor: String,
}

/// [`begin_refund`], unless a refund of this id was begun before: that one is then the answer.
pub(crate) fn begin_refund_once(
    context: &Context<'_>,
    new: &NewRefund,
) -> Outcome<BegunRefund, BeginRefundError> {
    let Some(before) = refund(context.conn, new.id)? else {
        return begin_refund(context, new).map(|refund| BegunRefund { refund, is_new: true });
    };
    let is_same = before.topup == new.topup
        && before.reason == new.reason
        && new.credits.is_none_or(|credits| credits == before.credits);
    if is_same {
        return Ok(BegunRefund { refund: before, is_new: false });
    }
    refuse(BeginRefundError::Conflict)
}

/// Takes the credits and writes down what is to be paid back.
pub(crate) fn begin_refund(
    context: &Context<'_>,
    new: &NewRefund,
) -> Outcome<RefundInfo, BeginRefundError> {
    if let Err(invalid) = check_new(new) {
        return refuse(invalid.into());
    }
    let Some(topup) = topup(context.conn, new.topup)? else {
        return refuse(BeginRefundError::UnknownTopup);
    };
    if topup.state != TopupState::Paid {
        return refuse(BeginRefundError::NotPaid);
    }
    let left = left_of(context.conn, &topup)?;
    let credits = new.credits.map_or(left, |Credits(asked)| asked);
    if credits == 0 || credits > left {
        let asked = Credits(credits.max(1));
        return refuse(BeginRefundError::TooMuch { asked, left: Credits(left) });
    }
    let fils = worth(&topup, credits);
    if fils == 0 {
        return refuse(BeginRefundError::WorthNothing { credits: Credits(credits) });
    }
    context
        .conn
        .prepare_cached(
            "INSERT INTO refund(id,topup_id,fils,credits,state,actor,reason,created_ms)
             VALUES(?1,?2,?3,?4,'pending',?5,?6,?7)",
        )?
        .execute(params![new.id, new.topup, fils, credits, new.actor, new.reason, context.now_ms])
        .and_then(exactly_one)?;
    add_refunded(context, new.topup, fils, credits)?;
    append(
        context,
        &Movement {
            kind: TransferKind::Refund,
            from: topup.account,
            to: HOUSE_PAID,
            amount: credits,
            source: &new.id.0,
            reverses: None,
            actor: &new.actor,
            reason: Some(&new.reason),
        },
    )?;
    let detail = format!("{credits} credits of top-up {}: {}", topup.id, new.reason);
    audit(context, &new.actor, "refund", &detail)?;
    Ok(known_refund(context.conn, new.id)?)
}

fn check_new(new: &NewRefund) -> Result<(), Invalid> {
    if let Some(Credits(credits)) = new.credits {
        check_amount("credits", credits, 1, MAX_AMOUNT)?;
    }
    check_text("reason", &new.reason, MAX_REASON_CHARS)?;
    check_actor(&new.actor)
}

/// How many of an order's credits are unspent. Credits that nobody paid for count as spent first,
/// then the oldest orders': so of the balance the newest orders' credits are the last to go.
fn left_of(conn: &Connection, topup: &TopupInfo) -> rusqlite::Result<i64> {
    let balance = team(conn, topup.account)?.map_or(0, |team| team.balance.0);
    let newer: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(p.credits-p.refunded_credits),0)
             FROM topup p JOIN transfer t ON t.kind='topup' AND t.source=p.id
             WHERE p.account_id=?1 AND p.state='paid'
               AND t.seq>(SELECT seq FROM transfer WHERE kind='topup' AND source=?2)",
        )?
        .query_row(params![topup.account, topup.id], |row| row.get(0))?;
    let unrefunded = topup.credits.0 - topup.refunded_credits.0;
    Ok((balance - newer).clamp(0, unrefunded))
}

/// What `credits` more of an order are worth: the price of all that is refunded then, rounded down,
/// less what is refunded already. So refunds of a whole order sum to its price.
fn worth(topup: &TopupInfo, credits: i64) -> i64 {
    let refunded = i128::from(topup.refunded_credits.0) + i128::from(credits);
    let price = refunded * i128::from(topup.fils.0) / i128::from(topup.credits.0);
    // A failed refund may have left a fil more with an earlier one than its own share.
    let more = (price - i128::from(topup.refunded_fils.0)).max(0);
    i64::try_from(more).expect("a part of an order's price is not more than its price")
}

fn add_refunded(
    context: &Context<'_>,
    topup: TopupId,
    fils: i64,
    credits: i64,
) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached(
            "UPDATE topup SET refunded_fils=refunded_fils+?2,refunded_credits=refunded_credits+?3
             WHERE id=?1 AND state='paid'",
        )?
        .execute(params![topup, fils, credits])
        .and_then(exactly_one)
}

/// The provider paid, or it did not: then the credits come back. The same again: no change.
pub(crate) fn finish_refund(
    context: &Context<'_>,
    id: RefundId,
    outcome: &RefundOutcome,
    actor: &str,
) -> Outcome<RefundInfo, FinishRefundError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    if let RefundOutcome::Done { provider_refund_id: Some(name) } = outcome
        && let Err(invalid) = check_text("provider's refund", name, MAX_PROVIDER_ID_CHARS)
    {
        return refuse(invalid.into());
    }
    let Some(refund) = refund(context.conn, id)? else {
        return refuse(FinishRefundError::UnknownRefund);
    };
    match (refund.state, outcome) {
        (RefundState::Pending, RefundOutcome::Done { provider_refund_id }) => {
            pay_out(context, &refund, provider_refund_id.as_deref(), actor)?;
        }
        (RefundState::Pending, RefundOutcome::Failed { why }) => {
            give_back(context, &refund, why, actor)?;
        }
        (RefundState::Done, RefundOutcome::Done { provider_refund_id })
            if provider_refund_id.is_none() || *provider_refund_id == refund.provider_refund_id => {
        }
        (RefundState::Failed, RefundOutcome::Failed { .. }) => {}
        (ended, _) => return refuse(FinishRefundError::Ended(ended)),
    }
    Ok(known_refund(context.conn, id)?)
}

fn pay_out(
    context: &Context<'_>,
    refund: &RefundInfo,
    provider_refund_id: Option<&str>,
    actor: &str,
) -> rusqlite::Result<()> {
    end(context, refund, RefundState::Done, provider_refund_id)?;
    let provider: String = context
        .conn
        .prepare_cached("SELECT provider FROM topup WHERE id=?1")?
        .query_row([refund.topup], |row| row.get(0))?;
    append(
        context,
        &Movement {
            kind: TransferKind::Payout,
            from: cash_account(context, &provider)?,
            to: revenue_account(context.conn)?,
            amount: refund.fils.0,
            source: &refund.id.0,
            reverses: None,
            actor,
            reason: Some(&refund.reason),
        },
    )?;
    audit(context, actor, "refund.done", &format!("refund {}", refund.id))
}

fn give_back(
    context: &Context<'_>,
    refund: &RefundInfo,
    why: &str,
    actor: &str,
) -> rusqlite::Result<()> {
    end(context, refund, RefundState::Failed, None)?;
    add_refunded(context, refund.topup, -refund.fils.0, -refund.credits.0)?;
    let (seq, account) = context
        .conn
        .prepare_cached("SELECT seq,from_id FROM transfer WHERE kind='refund' AND source=?1")?
        .query_row([refund.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    append(
        context,
        &Movement {
            kind: TransferKind::Reversal,
            from: HOUSE_PAID,
            to: account,
            amount: refund.credits.0,
            source: &refund.id.0,
            reverses: Some(Reversed { seq, kind: TransferKind::Refund }),
            actor,
            reason: Some(shortened(why, 200)),
        },
    )?;
    audit(context, actor, "refund.failed", &format!("refund {}", refund.id))
}

fn end(
    context: &Context<'_>,
    refund: &RefundInfo,
    state: RefundState,
    provider_refund_id: Option<&str>,
) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached(
            "UPDATE refund SET state=?2,provider_refund_id=?3,ended_ms=?4
             WHERE id=?1 AND state='pending'",
        )?
        .execute(params![refund.id, state, provider_refund_id, context.now_ms])
        .and_then(exactly_one)
}

/// Reads a whole refund; see [`refund_info`].
pub(crate) const SELECT: &str = "SELECT r.id,r.topup_id,p.provider_payment_id,r.fils,r.credits,
       r.state,r.provider_refund_id,r.actor,r.reason,r.created_ms,r.ended_ms
     FROM refund r JOIN topup p ON p.id=r.topup_id";

/// A row of [`SELECT`].
pub(crate) fn refund_info(row: &Row<'_>) -> rusqlite::Result<RefundInfo> {
    Ok(RefundInfo {
        id: row.get(0)?,
        topup: row.get(1)?,
        payment_id: row.get(2)?,
        fils: row.get(3)?,
        credits: row.get(4)?,
        state: row.get(5)?,
        provider_refund_id: row.get(6)?,
        actor: row.get(7)?,
        reason: row.get(8)?,
        created_ms: row.get(9)?,
        ended_ms: row.get(10)?,
    })
}

fn refund(conn: &Connection, id: RefundId) -> rusqlite::Result<Option<RefundInfo>> {
    let sql = format!("{SELECT} WHERE r.id=?1");
    conn.prepare_cached(&sql)?.query_row([id], refund_info).optional()
}

fn known_refund(conn: &Connection, id: RefundId) -> rusqlite::Result<RefundInfo> {
    refund(conn, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}
