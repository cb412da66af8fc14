//! The life of a meter: open, closed, reversed. Charges happen in between, in `charges`.

use rusqlite::{Connection, OptionalExtension, params};

use super::accounts::team;
use super::ids::store_last;
use super::journal::{HOUSE_SPENT, Movement, Reversed, append};
use super::{
    Context, MAX_RATE, Outcome, TransferKind, check_amount, check_text, exactly_one, forget_ids,
    ids_by_choice, refuse, shortened, spending_of,
};
use crate::ledger::errors::{CloseError, Invalid, OpenError};
use crate::ledger::hash;
use crate::ledger::period;
use crate::ledger::types::{
    AccountId, Balance, Closed, Credits, KeyId, MeterId, MeterRequest, MeterState,
};

/// Who writes the transfers that no operator asked for.
const SERVER: &str = "server";

/// Opens `meter`, if the request is not a repeat and one token can be paid. Holds no credits.
pub(crate) fn open_meter(
    context: &Context<'_>,
    meter: MeterId,
    request: &MeterRequest,
) -> Outcome<MeterId, OpenError> {
    if let Err(invalid) = check_request(request) {
        return refuse(invalid.into());
    }
    let Some(team) = team(context.conn, request.account)? else {
        return refuse(OpenError::UnknownKey);
    };
    let key = context
        .conn
        .prepare_cached(
            "SELECT revoked_ms IS NOT NULL,expires_ms,limit_credits,limit_reset,
               total_limit_credits,period_start_ms,period_used,used
             FROM api_key WHERE id=?1 AND account_id=?2",
        )?
        .query_row(params![request.key, request.account], |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, Option<i64>>(1)?, spending_of(row, 2)?))
        })
        .optional()?;
    let Some((revoked, expires_ms, spending)) = key else {
        return refuse(OpenError::UnknownKey);
    };
    if revoked {
        return refuse(OpenError::KeyRevoked);
    }
    if expires_ms.is_some_and(|expires_ms| expires_ms <= context.now_ms) {
        return refuse(OpenError::KeyExpired);
    }
    if team.closed {
        return refuse(OpenError::AccountClosed);
    }
    if team.frozen {
        return refuse(OpenError::AccountFrozen);
    }
    // Before the balance: a repeat costs nothing, so an empty account may have its answer again.
    if let Some(earlier) = earlier_request(context.conn, request)? {
        return refuse(earlier);
    }
    let needed = Credits(request.credits_per_token);
    if team.balance < needed {
        return refuse(OpenError::Insufficient { needed, balance: team.balance });
    }
    let allowance = period::allowance(&spending, context.now_ms);
    if let Some(remaining) = allowance.remaining().map(Credits)
        && remaining < needed
    {
        let resets_ms = allowance.resets_ms_for(needed.0);
        return refuse(OpenError::KeyLimit { needed, remaining, resets_ms });
    }
    insert(context, meter, request, allowance.start_ms)?;
    Ok(meter)
}

fn check_request(request: &MeterRequest) -> Result<(), Invalid> {
    check_text("model", &request.model, 200)?;
    check_amount("credits_per_token", request.credits_per_token, 1, MAX_RATE)?;
    match &request.idempotency_key {
        Some(key) => check_text("Idempotency-Key", key, 255),
        None => Ok(()),
    }
}

/// What the same idempotency key has led to before.
fn earlier_request(
    conn: &Connection,
    request: &MeterRequest,
) -> rusqlite::Result<Option<OpenError>> {
    let Some(idempotency_key) = &request.idempotency_key else { return Ok(None) };
    let earlier = conn
        .prepare_cached(
            "SELECT id,state,body_hash=?3 FROM meter
             WHERE key_id=?1 AND idempotency_key=?2 AND state<>'reversed'",
        )?
        .query_row(params![request.key, idempotency_key, request.body_hash], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(earlier.map(|(meter, state, same_body): (MeterId, MeterState, bool)| {
        match (same_body, state) {
            (false, _) => OpenError::Conflict,
            (true, MeterState::Open) => OpenError::StillRunning(meter),
            (true, MeterState::Closed | MeterState::Reversed) => OpenError::Replay(meter),
        }
    }))
}

fn insert(
    context: &Context<'_>,
    meter: MeterId,
    request: &MeterRequest,
    period_start_ms: i64,
) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached(
            "INSERT INTO meter(id,account_id,key_id,model,model_digest,credits_per_token,streamed,
               input_tokens,period_start_ms,state,idempotency_key,body_hash,boot,opened_ms)
             VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,'open',?10,?11,?12,?13)",
        )?
        .execute(params![
            meter,
            request.account,
            request.key,
            request.model,
            request.model_digest,
            request.credits_per_token,
            request.streamed,
            request.input_tokens,
            period_start_ms,
            request.idempotency_key,
            request.body_hash,
            context.boot,
            context.now_ms
        ])
        .and_then(exactly_one)
}

/// A meter about to end.
struct Ending {
    state: MeterState,
    account: AccountId,
    key: KeyId,
    tokens: u32,
    used: i64,
    period_start_ms: i64,
    period_used: i64,
}

/// Closes a meter: one `spend` of what it used, if that is anything. The balance does not move.
/// Closing it again gives the same answer (and the balance of now) and changes nothing.
pub(crate) fn close_meter(
    context: &Context<'_>,
    meter: MeterId,
    finish_reason: &str,
) -> Outcome<Closed, CloseError> {
    let Some(ending) = ending(context.conn, meter)? else {
        return refuse(CloseError::UnknownMeter);
    };
    match ending.state {
        MeterState::Open => close_open(context, meter, &ending, finish_reason)?,
        MeterState::Closed => {}
        MeterState::Reversed => return refuse(CloseError::Reversed),
    }
    closed(context.conn, &ending)
}

/// Gives back what a meter charged, closing it first if it is open, and deletes its ids in the same
/// transaction: else hanging up and asking again with the same idempotency key were free answers.
/// Reversing it again gives the same answer (and the balance of now) and changes nothing.
pub(crate) fn reverse_meter(
    context: &Context<'_>,
    meter: MeterId,
    reason: &str,
) -> Outcome<Closed, CloseError> {
    let Some(ending) = ending(context.conn, meter)? else {
        return refuse(CloseError::UnknownMeter);
    };
    if ending.state == MeterState::Open {
        close_open(context, meter, &ending, "aborted")?;
    }
    if ending.state != MeterState::Reversed {
        reverse_closed(context, meter, &ending, reason)?;
    }
    closed(context.conn, &ending)
}

fn ending(conn: &Connection, meter: MeterId) -> rusqlite::Result<Option<Ending>> {
    conn.prepare_cached(
        "SELECT state,account_id,key_id,output_tokens,used,period_start_ms,period_used
         FROM meter WHERE id=?1",
    )?
    .query_row([meter], |row| {
        Ok(Ending {
            state: row.get(0)?,
            account: row.get(1)?,
            key: row.get(2)?,
            tokens: row.get(3)?,
            used: row.get(4)?,
            period_start_ms: row.get(5)?,
            period_used: row.get(6)?,
        })
    })
    .optional()
}

fn closed(conn: &Connection, ending: &Ending) -> Outcome<Closed, CloseError> {
    let balance: Balance = conn
        .prepare_cached("SELECT balance FROM account WHERE id=?1")?
        .query_row([ending.account], |row| row.get(0))?;
    Ok(Closed { tokens: ending.tokens, credits: Credits(ending.used), balance })
}

fn close_open(
    context: &Context<'_>,
    meter: MeterId,
    ending: &Ending,
    finish_reason: &str,
) -> rusqlite::Result<()> {
    let ids_sha256 = hash::token_ids(&ids_by_choice(context.conn, meter)?);
    store_last(context.conn, meter)?;
    context
        .conn
        .prepare_cached(
            "UPDATE meter SET state='closed',finish_reason=?2,ids_sha256=?3,closed_ms=?4,
               last_choice=0,last_ids=x'' WHERE id=?1 AND state='open'",
        )?
        .execute(params![meter, shortened(finish_reason, 64), ids_sha256, context.now_ms])
        .and_then(exactly_one)?;
    if ending.used == 0 {
        return Ok(());
    }
    if !context.keeps_ids {
        forget_ids(context, meter)?;
    }
    append(
        context,
        &Movement {
            kind: TransferKind::Spend,
            from: ending.account,
            to: HOUSE_SPENT,
            amount: ending.used,
            source: &meter.0,
            reverses: None,
            actor: SERVER,
            reason: None,
        },
    )?;
    Ok(())
}

fn reverse_closed(
    context: &Context<'_>,
    meter: MeterId,
    ending: &Ending,
    reason: &str,
) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached("UPDATE meter SET state='reversed' WHERE id=?1 AND state='closed'")?
        .execute([meter])
        .and_then(exactly_one)?;
    context.conn.prepare_cached("DELETE FROM charge WHERE meter_id=?1")?.execute([meter])?;
    if ending.used == 0 {
        return Ok(());
    }
    // A period that is over keeps what was used in it.
    context
        .conn
        .prepare_cached(
            "UPDATE api_key SET used=used-?2,
               period_used=period_used-iif(period_start_ms=?3,?4,0) WHERE id=?1",
        )?
        .execute(params![ending.key, ending.used, ending.period_start_ms, ending.period_used])
        .and_then(exactly_one)?;
    let seq = context
        .conn
        .prepare_cached("SELECT seq FROM transfer WHERE kind='spend' AND source=?1")?
        .query_row([meter], |row| row.get(0))?;
    append(
        context,
        &Movement {
            kind: TransferKind::Reversal,
            from: HOUSE_SPENT,
            to: ending.account,
            amount: ending.used,
            source: &meter.0,
            reverses: Some(Reversed { seq, kind: TransferKind::Spend }),
            actor: SERVER,
            reason: Some(shortened(reason, 200)),
        },
    )?;
    Ok(())
}
