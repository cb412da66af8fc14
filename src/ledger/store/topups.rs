//! Orders of packs, and the one command that turns money into credits.
//!
//! Promises: an order is credited once, whatever is repeated or raced; whoever comes second gets
//! the same answer and changes nothing. Paid late is paid. What does not fit is refused, and the
//! message that said so is kept all the same.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::accounts::{cash_account, fits_house, revenue_account, team};
use super::journal::{HOUSE_PAID, Movement, append};
use super::{
    Context, Failure, MAX_AMOUNT, MAX_IN_ALL, MAX_NAME_CHARS, MAX_REASON_CHARS, Outcome,
    TransferKind, audit, check_actor, check_amount, check_text, exactly_one, refuse, shortened,
};
use crate::ledger::errors::{Invalid, Unavailable};
use crate::ledger::sales::{
    CheckedTopup, CreatedTopup, NewTopup, PaidProof, PayTopupError, PaymentEvent, TopupError,
    TopupId, TopupInfo, TopupState,
};

/// The longest an order may wait for its money: a year.
const MAX_EXPIRY_MS: i64 = 366 * 86_400_000;

/// What is kept of a message.
const MAX_RAW_BYTES: usize = 64 << 10;
const MAX_EVENT_CHARS: usize = 500;

/// Of what providers call orders, payments and refunds.
pub(crate) const MAX_PROVIDER_ID_CHARS: usize = 200;

const MAX_URL_CHARS: usize = 2_048;
const MAX_INSTRUCTIONS_CHARS: usize = 2_000;

/// Writes an order, unless its idempotency key has one already.
pub(crate) fn create_topup(
    context: &Context<'_>,
    topup: TopupId,
    new: &NewTopup,
) -> Outcome<CreatedTopup, TopupError> {
    if let Err(invalid) = check_new(new) {
        return refuse(invalid.into());
    }
    let Some(team) = team(context.conn, new.account)? else {
        return refuse(TopupError::UnknownAccount(new.account));
    };
    if let Some(earlier) = ordered_before(context.conn, new)? {
        if earlier.pack != new.pack || earlier.provider != new.provider {
            return refuse(TopupError::Conflict);
        }
        return Ok(CreatedTopup { topup: earlier, is_new: false });
    }
    if team.closed {
        return refuse(TopupError::AccountClosed(new.account));
    }
    context
        .conn
        .prepare_cached(
            "INSERT INTO topup(id,account_id,pack,fils,credits,state,provider,idempotency_key,
               actor,created_ms,expires_ms) VALUES(?1,?2,?3,?4,?5,'created',?6,?7,?8,?9,?10)",
        )?
        .execute(params![
            topup,
            new.account,
            new.pack,
            new.fils,
            new.credits,
            new.provider,
            new.idempotency_key,
            new.actor,
            context.now_ms,
            context.now_ms + new.expires_after_ms
        ])
        .and_then(exactly_one)?;
    Ok(CreatedTopup { topup: known_topup(context.conn, topup)?, is_new: true })
}

fn check_new(new: &NewTopup) -> Result<(), Invalid> {
    check_text("pack", &new.pack, MAX_NAME_CHARS)?;
    check_amount("price in fils", new.fils.0, 1, MAX_AMOUNT)?;
    check_amount("credits", new.credits.0, 1, MAX_AMOUNT)?;
    check_text("provider", &new.provider, 32)?;
    // Its cash account is named after it.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !new.provider.chars().all(plain) {
        let rule =
            format!("is {:?}: use lower-case letters, digits, '-' and '_' alone", new.provider);
        return Err(Invalid { field: "provider", rule });
    }
    check_amount("time to pay in ms", new.expires_after_ms, 1, MAX_EXPIRY_MS)?;
    check_actor(&new.actor)?;
    match &new.idempotency_key {
        Some(key) => check_text("Idempotency-Key", key, 255),
        None => Ok(()),
    }
}

fn ordered_before(conn: &Connection, new: &NewTopup) -> rusqlite::Result<Option<TopupInfo>> {
    let Some(key) = &new.idempotency_key else { return Ok(None) };
    let sql = format!("{SELECT} WHERE t.account_id=?1 AND t.idempotency_key=?2");
    conn.prepare_cached(&sql)?.query_row(params![new.account, key], topup_info).optional()
}

/// The provider knows the order, and says where or how to pay. Again: no change.
pub(crate) fn topup_started(
    context: &Context<'_>,
    id: TopupId,
    provider_order_id: &str,
    redirect_url: Option<&str>,
    instructions: Option<&str>,
) -> Outcome<TopupInfo, TopupError> {
    if let Err(invalid) = check_started(provider_order_id, redirect_url, instructions) {
        return refuse(invalid.into());
    }
    let Some(topup) = topup(context.conn, id)? else { return refuse(TopupError::UnknownTopup) };
    let other = || refuse(TopupError::OtherOrder(provider_order_id.to_owned()));
    match &topup.provider_order_id {
        Some(known) if known != provider_order_id => return other(),
        // The provider gave this name to another order of ours.
        None if topup_of_order(context.conn, &topup.provider, provider_order_id)?.is_some() => {
            return other();
        }
        _ => {}
    }
    let stored = (topup.redirect_url.as_deref(), topup.instructions.as_deref());
    let is_known = topup.provider_order_id.is_some() && topup.state != TopupState::Created;
    if is_known && stored == (redirect_url, instructions) {
        return Ok(topup);
    }
    // Paid, or decided otherwise, before the answer to `create` came: that stays.
    let sql = match topup.state {
        TopupState::Created => {
            "UPDATE topup SET provider_order_id=?2,redirect_url=?3,instructions=?4,state='pending'
             WHERE id=?1"
        }
        _ => "UPDATE topup SET provider_order_id=?2,redirect_url=?3,instructions=?4 WHERE id=?1",
    };
    context
        .conn
        .prepare_cached(sql)?
        .execute(params![id, provider_order_id, redirect_url, instructions])
        .and_then(exactly_one)?;
    Ok(known_topup(context.conn, id)?)
}

fn check_started(
    provider_order_id: &str,
    redirect_url: Option<&str>,
    instructions: Option<&str>,
) -> Result<(), Invalid> {
    check_text("provider's order", provider_order_id, MAX_PROVIDER_ID_CHARS)?;
    if let Some(url) = redirect_url {
        check_text("redirect url", url, MAX_URL_CHARS)?;
    }
    // Instructions are the operator's own, and may have lines.
    match instructions {
        Some(text) if text.chars().count() > MAX_INSTRUCTIONS_CHARS => {
            let rule = format!("are longer than {MAX_INSTRUCTIONS_CHARS} characters: shorten them");
            Err(Invalid { field: "instructions", rule })
        }
        _ => Ok(()),
    }
}

/// The provider was asked and does not say that the order is paid. A paid one stays paid.
pub(crate) fn topup_checked(
    context: &Context<'_>,
    id: TopupId,
    outcome: CheckedTopup,
) -> Outcome<TopupInfo, TopupError> {
    let Some(topup) = topup(context.conn, id)? else { return refuse(TopupError::UnknownTopup) };
    if topup.state == TopupState::Paid {
        return Ok(topup);
    }
    context
        .conn
        .prepare_cached("UPDATE topup SET state=?2,checked_ms=?3 WHERE id=?1 AND state<>'paid'")?
        .execute(params![id, state_after(&topup, outcome, context.now_ms), context.now_ms])
        .and_then(exactly_one)?;
    Ok(known_topup(context.conn, id)?)
}

fn state_after(topup: &TopupInfo, outcome: CheckedTopup, now_ms: i64) -> TopupState {
    match outcome {
        CheckedTopup::Pending => TopupState::Pending,
        CheckedTopup::Failed => TopupState::Failed,
        CheckedTopup::Cancelled => TopupState::Cancelled,
        CheckedTopup::Expired => TopupState::Expired,
        CheckedTopup::Unknown => match topup.state {
            TopupState::Created if topup.expires_ms <= now_ms => TopupState::Expired,
            state => state,
        },
    }
}

/// Keeps what a provider told, once; `topup` is the order it is about, if that is ours.
pub(crate) fn record_event(
    context: &Context<'_>,
    provider: &str,
    topup: Option<TopupId>,
    event: &PaymentEvent,
) -> Outcome<(), Unavailable> {
    keep_event(context, provider, topup, event, &event.verdict)?;
    Ok(())
}

pub(super) fn keep_event(
    context: &Context<'_>,
    provider: &str,
    topup: Option<TopupId>,
    event: &PaymentEvent,
    verdict: &str,
) -> rusqlite::Result<()> {
    let raw = &event.raw[..event.raw.len().min(MAX_RAW_BYTES)];
    context
        .conn
        .prepare_cached(
            "INSERT INTO payment_event(provider,event_key,topup_id,raw,verdict,received_ms)
             VALUES(?1,?2,(SELECT id FROM topup WHERE id=?3),?4,?5,?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            shortened(provider, MAX_EVENT_CHARS),
            shortened(&event.key, MAX_EVENT_CHARS),
            topup,
            raw,
            shortened(verdict, MAX_EVENT_CHARS),
            context.now_ms
        ])?;
    Ok(())
}

/// Credits a paid order: event, state, credits and money in one transaction. Also when the order
/// had failed or expired, and when its account is frozen or closed: the money is there.
pub(crate) fn pay_topup(
    context: &Context<'_>,
    id: TopupId,
    proof: &PaidProof,
) -> Outcome<TopupInfo, PayTopupError> {
    if let Err(invalid) = check_proof(proof) {
        return refuse(invalid.into());
    }
    let judged = judge(context, id, proof)?;
    let verdict = match &judged {
        Ok(_) => None,
        Err(refusal) => Some(refusal.to_string()),
    };
    if let Some(event) = &proof.event {
        let verdict = verdict.as_deref().unwrap_or(&event.verdict);
        keep_event(context, &proof.provider, Some(id), event, verdict)?;
    }
    match judged {
        Err(refusal) => Err(Failure::Noted(refusal)),
        Ok(Judged::AlreadyPaid(topup)) => Ok(*topup),
        Ok(Judged::Pays(topup)) => {
            credit(context, &topup, proof)?;
            Ok(known_topup(context.conn, id)?)
        }
    }
}

/// What a proof shows.
enum Judged {
    Pays(Box<TopupInfo>),
    /// By this very payment.
    AlreadyPaid(Box<TopupInfo>),
}

fn check_proof(proof: &PaidProof) -> Result<(), Invalid> {
    check_text("payment", &proof.provider_payment_id, MAX_PROVIDER_ID_CHARS)?;
    if let Some(order_id) = &proof.provider_order_id {
        check_text("provider's order", order_id, MAX_PROVIDER_ID_CHARS)?;
    }
    if let Some(reason) = &proof.reason {
        check_text("reason", reason, MAX_REASON_CHARS)?;
    }
    check_actor(&proof.actor)
}

fn judge(
    context: &Context<'_>,
    id: TopupId,
    proof: &PaidProof,
) -> rusqlite::Result<Result<Judged, PayTopupError>> {
    let Some(topup) = topup(context.conn, id)? else {
        return Ok(Err(PayTopupError::UnknownTopup));
    };
    if topup.provider != proof.provider {
        let (ordered, paid) = (topup.provider, proof.provider.clone());
        return Ok(Err(PayTopupError::OtherProvider { ordered, paid }));
    }
    if let Some(order_id) = &proof.provider_order_id {
        let is_other = match &topup.provider_order_id {
            Some(known) => known != order_id,
            None => topup_of_order(context.conn, &topup.provider, order_id)?.is_some(),
        };
        if is_other {
            return Ok(Err(PayTopupError::OtherOrder(order_id.clone())));
        }
    }
    if topup.fils != proof.fils {
        let (ordered, paid) = (topup.fils, proof.fils);
        return Ok(Err(PayTopupError::WrongAmount { ordered, paid }));
    }
    match &topup.provider_payment_id {
        Some(first) if *first == proof.provider_payment_id => {
            return Ok(Ok(Judged::AlreadyPaid(Box::new(topup))));
        }
        Some(first) => {
            let (first, second) = (first.clone(), proof.provider_payment_id.clone());
            return Ok(Err(PayTopupError::PaidTwice { first, second }));
        }
        None => {}
    }
    let used = context
        .conn
        .prepare_cached("SELECT id FROM topup WHERE provider=?1 AND provider_payment_id=?2")?
        .query_row(params![proof.provider, proof.provider_payment_id], |row| row.get(0))
        .optional()?;
    if let Some(other) = used {
        return Ok(Err(PayTopupError::PaymentUsed(other)));
    }
    let fits = fits_house(context.conn, HOUSE_PAID, topup.credits.0)?
        && fits_house(context.conn, revenue_account(context.conn)?, topup.fils.0)?;
    Ok(match fits {
        true => Ok(Judged::Pays(Box::new(topup))),
        false => Err(PayTopupError::TooMuchInAll { bound: MAX_IN_ALL }),
    })
}

fn credit(context: &Context<'_>, topup: &TopupInfo, proof: &PaidProof) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached(
            "UPDATE topup SET state='paid',paid_ms=?2,checked_ms=?2,provider_payment_id=?3,
               provider_order_id=coalesce(provider_order_id,?4) WHERE id=?1 AND state<>'paid'",
        )?
        .execute(params![
            topup.id,
            context.now_ms,
            proof.provider_payment_id,
            proof.provider_order_id
        ])
        .and_then(exactly_one)?;
    let movement = Movement {
        kind: TransferKind::Topup,
        from: HOUSE_PAID,
        to: topup.account,
        amount: topup.credits.0,
        source: &topup.id.0,
        reverses: None,
        actor: &proof.actor,
        reason: proof.reason.as_deref(),
    };
    append(context, &movement)?;
    let cash = cash_account(context, &topup.provider)?;
    append(
        context,
        &Movement {
            kind: TransferKind::Payment,
            from: revenue_account(context.conn)?,
            to: cash,
            amount: topup.fils.0,
            ..movement
        },
    )?;
    if let Some(reason) = &proof.reason {
        let TopupInfo { id, account, fils, .. } = topup;
        let detail = format!("top-up {id} of account {account}, {fils} KWD: {reason}");
        audit(context, &proof.actor, "topup.confirm", &detail)?;
    }
    Ok(())
}

/// Reads a whole order; see [`topup_info`].
pub(crate) const SELECT: &str = "SELECT t.id,t.account_id,a.name,t.pack,t.fils,t.credits,
       t.refunded_fils,t.refunded_credits,t.state,t.provider,t.provider_order_id,
       t.provider_payment_id,t.redirect_url,t.instructions,t.actor,t.created_ms,t.expires_ms,
       t.checked_ms,t.paid_ms
     FROM topup t JOIN account a ON a.id=t.account_id";

/// A row of [`SELECT`].
pub(crate) fn topup_info(row: &Row<'_>) -> rusqlite::Result<TopupInfo> {
    Ok(TopupInfo {
        id: row.get(0)?,
        account: row.get(1)?,
        account_name: row.get(2)?,
        pack: row.get(3)?,
        fils: row.get(4)?,
        credits: row.get(5)?,
        refunded_fils: row.get(6)?,
        refunded_credits: row.get(7)?,
        state: row.get(8)?,
        provider: row.get(9)?,
        provider_order_id: row.get(10)?,
        provider_payment_id: row.get(11)?,
        redirect_url: row.get(12)?,
        instructions: row.get(13)?,
        actor: row.get(14)?,
        created_ms: row.get(15)?,
        expires_ms: row.get(16)?,
        checked_ms: row.get(17)?,
        paid_ms: row.get(18)?,
    })
}

/// One order.
pub(crate) fn topup(conn: &Connection, id: TopupId) -> rusqlite::Result<Option<TopupInfo>> {
    let sql = format!("{SELECT} WHERE t.id=?1");
    conn.prepare_cached(&sql)?.query_row([id], topup_info).optional()
}

/// An order that is known to be there.
fn known_topup(conn: &Connection, id: TopupId) -> rusqlite::Result<TopupInfo> {
    topup(conn, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// The order that its provider calls `provider_order_id`.
pub(crate) fn topup_of_order(
    conn: &Connection,
    provider: &str,
    provider_order_id: &str,
) -> rusqlite::Result<Option<TopupInfo>> {
    let sql = format!("{SELECT} WHERE t.provider=?1 AND t.provider_order_id=?2");
    conn.prepare_cached(&sql)?.query_row([provider, provider_order_id], topup_info).optional()
}
