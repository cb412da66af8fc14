//! Charges: the guarded debit that is committed before anything is sent, and the ids it paid for.

use rusqlite::{Connection, OptionalExtension, params};

use super::ids::LastIds;
use super::notices::{Threshold, balance_moved};
use super::{Context, Outcome, exactly_one, refuse, spending_of};
use crate::ledger::errors::ChargeError;
use crate::ledger::period::{self, Allowance, Spending};
use crate::ledger::types::{
    AccountId, Charged, Credits, CutBy, KeyId, MeterId, MeterState, Purged,
};

/// A meter about to be charged, with what its account and key can pay.
struct Payer {
    state: MeterState,
    account: AccountId,
    key: KeyId,
    credits_per_token: i64,
    balance: i64,
    threshold: Threshold,
    spending: Spending,
    last: LastIds,
}

/// The longest prefix of groups that can be paid.
struct Affordable {
    groups: usize,
    tokens: u32,
    cost: i64,
    /// Price of the first group that is not in it.
    next_cost: Option<i64>,
}

/// Debits the longest prefix of `groups` that balance and key limit afford, and stores its ids.
///
/// A group is paid whole or not at all. Fails when not even the first one can be paid.
pub(crate) fn charge(
    context: &Context<'_>,
    meter: MeterId,
    choice: u32,
    groups: &[Vec<u32>],
) -> Outcome<Charged, ChargeError> {
    let Some(mut payer) = payer(context.conn, meter)? else {
        return refuse(ChargeError::UnknownMeter);
    };
    if payer.state != MeterState::Open {
        return refuse(ChargeError::MeterClosed);
    }
    let allowance = period::allowance(&payer.spending, context.now_ms);
    let (funds, binding) = match allowance.remaining() {
        Some(remaining) if remaining < payer.balance => (remaining, CutBy::KeyLimit),
        _ => (payer.balance, CutBy::Balance),
    };
    let paid = affordable(groups, payer.credits_per_token, funds);
    if let (0, Some(needed)) = (paid.groups, paid.next_cost) {
        let needed = Credits(needed);
        return refuse(match binding {
            CutBy::Balance => ChargeError::Insufficient { needed, balance: Credits(payer.balance) },
            CutBy::KeyLimit => ChargeError::KeyLimit { needed, remaining: Credits(funds) },
        });
    }
    if paid.tokens > 0 {
        let groups = &groups[..paid.groups];
        let rest = payer.last.add(context.conn, meter, choice, groups)?;
        debit(context, meter, &payer, &allowance, &paid)?;
        payer.last.store_rest(context.conn, meter, &rest)?;
    }
    Ok(Charged {
        groups: paid.groups,
        tokens: paid.tokens,
        credits: Credits(paid.cost),
        balance: Credits(payer.balance - paid.cost),
        cut_by: paid.next_cost.map(|_| binding),
    })
}

fn payer(conn: &Connection, meter: MeterId) -> rusqlite::Result<Option<Payer>> {
    conn.prepare_cached(
        "SELECT m.state,m.account_id,m.key_id,m.credits_per_token,a.balance,
           k.limit_credits,k.limit_reset,k.total_limit_credits,k.period_start_ms,k.period_used,
           k.used,a.notice_below,a.noticed_ms IS NOT NULL,m.last_choice,m.last_ids
         FROM meter m JOIN account a ON a.id=m.account_id JOIN api_key k ON k.id=m.key_id
         WHERE m.id=?1",
    )?
    .query_row([meter], |row| {
        Ok(Payer {
            state: row.get(0)?,
            account: row.get(1)?,
            key: row.get(2)?,
            credits_per_token: row.get(3)?,
            balance: row.get(4)?,
            spending: spending_of(row, 5)?,
            threshold: Threshold { below: row.get(11)?, told: row.get(12)? },
            last: LastIds { choice: row.get(13)?, ids: row.get(14)? },
        })
    })
    .optional()
}

/// A group of no tokens costs nothing and is always paid; one past the integers' range never is.
fn affordable(groups: &[Vec<u32>], credits_per_token: i64, funds: i64) -> Affordable {
    let mut paid = Affordable { groups: 0, tokens: 0, cost: 0, next_cost: None };
    for group in groups {
        let size = u32::try_from(group.len()).ok();
        let price = size.and_then(|size| credits_per_token.checked_mul(i64::from(size)));
        let cost = price.and_then(|price| paid.cost.checked_add(price));
        let tokens = size.and_then(|size| paid.tokens.checked_add(size));
        match (cost, tokens) {
            (Some(cost), Some(tokens)) if cost <= funds => {
                paid = Affordable { groups: paid.groups + 1, tokens, cost, next_cost: None };
            }
            _ => return Affordable { next_cost: Some(price.unwrap_or(i64::MAX)), ..paid },
        }
    }
    paid
}

/// The three guarded updates. Each repeats its condition in SQL and changes exactly one row, so a
/// mistake in the reading above undoes the command instead of overdrawing.
fn debit(
    context: &Context<'_>,
    meter: MeterId,
    payer: &Payer,
    allowance: &Allowance,
    paid: &Affordable,
) -> rusqlite::Result<()> {
    context
        .conn
        .prepare_cached("UPDATE account SET balance=balance-?2 WHERE id=?1 AND balance>=?2")?
        .execute(params![payer.account, paid.cost])
        .and_then(exactly_one)?;
    let balance = payer.balance - paid.cost;
    balance_moved(context, payer.account, payer.balance, balance, payer.threshold)?;
    let period_used = allowance.used + paid.cost;
    context
        .conn
        .prepare_cached(
            "UPDATE api_key SET period_start_ms=?2,period_used=?3,used=used+?4
             WHERE id=?1 AND (limit_credits IS NULL OR ?3<=limit_credits)
               AND (total_limit_credits IS NULL OR used+?4<=total_limit_credits)",
        )?
        .execute(params![payer.key, allowance.start_ms, period_used, paid.cost])
        .and_then(exactly_one)?;
    // What the meter used in an earlier period no longer counts against the key.
    context
        .conn
        .prepare_cached(
            "UPDATE meter SET used=used+?2,output_tokens=output_tokens+?3,
               period_used=iif(period_start_ms=?4,period_used,0)+?2,period_start_ms=?4,
               first_charge_ms=coalesce(first_charge_ms,?5),last_choice=?6,last_ids=?7
             WHERE id=?1 AND state='open'",
        )?
        .execute(params![
            meter,
            paid.cost,
            paid.tokens,
            allowance.start_ms,
            context.now_ms,
            payer.last.choice,
            payer.last.ids
        ])
        .and_then(exactly_one)
}

/// Removes the ids of a meter that closes now, and records that they may be gone.
pub(super) fn forget_ids(context: &Context<'_>, meter: MeterId) -> rusqlite::Result<()> {
    context.conn.prepare_cached("DELETE FROM charge WHERE meter_id=?1")?.execute([meter])?;
    // The last bound is moved on: a row for each request would grow without end.
    let bound = params![context.now_ms + 1, context.now_ms];
    let moved = context
        .conn
        .prepare_cached(
            "UPDATE purge SET before_ms=max(before_ms,?1),at_ms=?2
             WHERE rowid=(SELECT max(rowid) FROM purge)",
        )?
        .execute(bound)?;
    if moved == 0 {
        context
            .conn
            .prepare_cached("INSERT INTO purge(before_ms,at_ms) VALUES(?1,?2)")?
            .execute(bound)
            .and_then(exactly_one)?;
    }
    Ok(())
}

/// Removes the ids of meters closed before `before_ms`, looking at the `max_meters` oldest that
/// have any. Says whether it is worth calling again.
pub(crate) fn purge_ids<E>(
    context: &Context<'_>,
    before_ms: i64,
    max_meters: usize,
) -> Outcome<Purged, E> {
    // Meter ids grow with time, so the oldest come first. Skipping from id to id reads a row each.
    let mut next = context.conn.prepare_cached(
        "SELECT c.meter_id,coalesce(m.closed_ms<?2,0) FROM charge c JOIN meter m ON m.id=c.meter_id
         WHERE c.meter_id>?1 ORDER BY c.meter_id LIMIT 1",
    )?;
    let mut delete = context.conn.prepare_cached("DELETE FROM charge WHERE meter_id=?1")?;
    let mut reached = MeterId([0; 16]);
    let mut meters = 0;
    for _ in 0..max_meters {
        let found = next
            .query_row(params![reached, before_ms], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((meter, old)): Option<(MeterId, bool)> = found else { break };
        if old {
            delete.execute([meter])?;
            meters += 1;
        }
        reached = meter;
    }
    if meters > 0 {
        // `verify` allows ids to be missing up to the latest bound recorded here.
        context
            .conn
            .prepare_cached("INSERT INTO purge(before_ms,at_ms) VALUES(?1,?2)")?
            .execute(params![before_ms, context.now_ms])
            .and_then(exactly_one)?;
    }
    Ok(Purged { meters, more: meters > 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_affordable_prefix() {
        let check = |sizes: &[usize], rate, funds, groups, tokens, cost, next| {
            let groups_of: Vec<Vec<u32>> = sizes.iter().map(|&size| vec![7; size]).collect();
            let paid = affordable(&groups_of, rate, funds);
            assert_eq!((paid.groups, paid.tokens, paid.cost), (groups, tokens, cost), "{sizes:?}");
            assert_eq!(paid.next_cost, next, "{sizes:?}");
        };
        check(&[], 1, 0, 0, 0, 0, None);
        check(&[1, 1, 1], 1, 3, 3, 3, 3, None);
        check(&[1, 1, 1], 1, 2, 2, 2, 2, Some(1));
        check(&[1, 1, 1], 2, 5, 2, 2, 4, Some(2)); // An odd credit stays.
        check(&[1, 3, 1], 1, 3, 1, 1, 1, Some(3)); // A prefix: what is behind is not tried.
        check(&[0, 2], 1, 1, 1, 0, 0, Some(2));
        check(&[3], i64::MAX / 2, i64::MAX, 0, 0, 0, Some(i64::MAX));
        check(&[1, 1], i64::MAX, i64::MAX, 1, 1, i64::MAX, Some(i64::MAX));
    }
}
