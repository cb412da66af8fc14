//! Payments that do not fit their order. What providers told is append-only, so both that a payment
//! was set aside and that the operator has settled it are entries of their own.
//! Promises: a payment is set aside once, however often its provider tells of it; one that was
//! settled, or that has paid the order after all, waits no longer.

use rusqlite::{Connection, params};

use super::topups::{keep_event, topup};
use super::{Context, MAX_REASON_CHARS, Outcome, audit, check_actor, check_text, refuse};
use crate::ledger::errors::Unavailable;
use crate::ledger::sales::{Mismatch, PaymentEvent, SettleMismatchError, TopupId};

/// Keeps that a payment does not fit an order, and why.
pub(crate) fn set_aside(
    context: &Context<'_>,
    provider: &str,
    id: TopupId,
    payment_id: &str,
    why: &str,
) -> Outcome<(), Unavailable> {
    let event = PaymentEvent {
        key: format!("mismatch:{payment_id}"),
        raw: Vec::new(),
        verdict: why.to_owned(),
    };
    keep_event(context, provider, Some(id), &event, why)?;
    Ok(())
}

/// The operator has dealt with what did not fit an order, as `note` says.
pub(crate) fn settle_mismatch(
    context: &Context<'_>,
    id: TopupId,
    note: &str,
    actor: &str,
) -> Outcome<(), SettleMismatchError> {
    if let Err(invalid) =
        check_text("note", note, MAX_REASON_CHARS).and_then(|()| check_actor(actor))
    {
        return refuse(invalid.into());
    }
    let Some(order) = topup(context.conn, id)? else {
        return refuse(SettleMismatchError::UnknownTopup);
    };
    let open = mismatches(context.conn)?;
    if !open.iter().any(|mismatch| mismatch.topup.id == id) {
        return refuse(SettleMismatchError::NothingToSettle);
    }
    let key = format!("settled:{id}:{}", context.now_ms);
    let event = PaymentEvent { key, raw: Vec::new(), verdict: note.to_owned() };
    keep_event(context, &order.provider, Some(id), &event, note)?;
    audit(context, actor, "topup.settle", &format!("top-up {id}: {note}"))?;
    Ok(())
}

/// What waits for the operator, the earliest first.
pub(crate) fn mismatches(conn: &Connection) -> rusqlite::Result<Vec<Mismatch>> {
    // Of the keys' index all is read, which has an entry or two for each order.
    let mut select = conn.prepare_cached(
        "SELECT e.topup_id,e.verdict,e.received_ms
         FROM payment_event e JOIN topup t ON t.id=e.topup_id
         WHERE e.event_key>='mismatch:' AND e.event_key<'mismatch;'
           AND e.event_key IS NOT 'mismatch:'||t.provider_payment_id
           AND NOT EXISTS(SELECT 1 FROM payment_event s WHERE s.topup_id=e.topup_id
             AND s.rowid>e.rowid AND s.event_key>='settled:' AND s.event_key<'settled;')
         ORDER BY e.rowid",
    )?;
    let mut rows = select.query(params![])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(topup) = topup(conn, row.get(0)?)? {
            found.push(Mismatch { topup, why: row.get(1)?, seen_ms: row.get(2)? });
        }
    }
    Ok(found)
}
