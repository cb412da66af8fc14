//! Charges that come together. The streams of an engine's step charge at once, many of them on one
//! account and one key: those are written once for all, and what was read for the last charges is
//! remembered for the next.
//!
//! Promises: what is remembered is never believed. Every statement names the value that it expects
//! to find, so that a row which is not as remembered undoes them all instead of overdrawing; then
//! they are run one by one, each reading its rows. Here all are paid in full or none is.
//! Never knows: refusals, cut answers, beginning periods, notices: `charges` does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension, params};

use super::ids::LastIds;
use super::notices::Threshold;
use super::{Context, Failure, Outcome, command, exactly_one, is_broken_rule, refuse, spending_of};
use crate::ledger::errors::Unavailable;
use crate::ledger::period::{self, Spending};
use crate::ledger::types::{AccountId, Charged, Credits, KeyId, MeterId};

/// What a statement says that finds no row.
const NOT_THERE: rusqlite::Error = rusqlite::Error::StatementChangedRows(0);

/// Rows that are remembered at most; past that, all are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// A charge that is asked for.
#[derive(Debug)]
pub(crate) struct NewCharge {
    pub(crate) meter: MeterId,
    pub(crate) choice: u32,
    pub(crate) groups: Vec<Vec<u32>>,
}

/// Rows as the writer left them, of which nobody else changes any.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    accounts: HashMap<AccountId, Account>,
    keys: HashMap<KeyId, Spending>,
    meters: HashMap<MeterId, Meter>,
}

#[derive(Debug)]
struct Account {
    balance: i64,
    threshold: Threshold,
}

/// An open one.
#[derive(Debug)]
struct Meter {
    rowid: i64,
    account: AccountId,
    key: KeyId,
    credits_per_token: i64,
    used: i64,
    period_start_ms: i64,
    last: LastIds,
}

/// What charges come to, before any is written.
#[derive(Debug, Default)]
struct Bill {
    /// Each payer once, with what it has to pay in all.
    accounts: Vec<(AccountId, i64)>,
    keys: Vec<(KeyId, i64)>,
    charged: Vec<Charged>,
}

impl Remembered {
    /// A command has changed the meter, or may have, and no other row that charges change.
    pub(crate) fn forget_meter(&mut self, meter: MeterId) {
        self.meters.remove(&meter);
    }

    pub(crate) fn forget_all(&mut self) {
        self.accounts.clear();
        self.keys.clear();
        self.meters.clear();
    }

    fn len(&self) -> usize {
        self.accounts.len() + self.keys.len() + self.meters.len()
    }

    /// Reads what is not remembered. Whether the meter is open.
    fn recall(&mut self, conn: &Connection, id: MeterId) -> rusqlite::Result<bool> {
        if self.meters.contains_key(&id) {
            return Ok(true);
        }
        let Some(meter) = read_meter(conn, id)? else { return Ok(false) };
        let (account, key) = (meter.account, meter.key);
        if let Entry::Vacant(place) = self.accounts.entry(account) {
            place.insert(read_account(conn, account)?);
        }
        if let Entry::Vacant(place) = self.keys.entry(key) {
            place.insert(read_key(conn, key)?);
        }
        self.meters.insert(id, meter);
        Ok(true)
    }
}

fn read_meter(conn: &Connection, meter: MeterId) -> rusqlite::Result<Option<Meter>> {
    conn.prepare_cached(
        "SELECT rowid,account_id,key_id,credits_per_token,used,period_start_ms,last_choice,last_ids
         FROM meter WHERE id=?1 AND state='open'",
    )?
    .query_row([meter], |row| {
        Ok(Meter {
            rowid: row.get(0)?,
            account: row.get(1)?,
            key: row.get(2)?,
            credits_per_token: row.get(3)?,
            used: row.get(4)?,
            period_start_ms: row.get(5)?,
            last: LastIds { choice: row.get(6)?, ids: row.get(7)? },
        })
    })
    .optional()
}

fn read_account(conn: &Connection, account: AccountId) -> rusqlite::Result<Account> {
    conn.prepare_cached(
        "SELECT balance,notice_below,noticed_ms IS NOT NULL FROM account WHERE id=?1",
    )?
    .query_row([account], |row| {
        let threshold = Threshold { below: row.get(1)?, told: row.get(2)? };
        Ok(Account { balance: row.get(0)?, threshold })
    })
}

fn read_key(conn: &Connection, key: KeyId) -> rusqlite::Result<Spending> {
    conn.prepare_cached(
        "SELECT limit_credits,limit_reset,total_limit_credits,period_start_ms,period_used,used
         FROM api_key WHERE id=?1",
    )?
    .query_row([key], |row| spending_of(row, 0))
}

/// Not all could be paid here. Nothing was changed, and each has to be looked at by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OneByOne;

/// What the database would not take is undone, as any command is.
impl From<Unavailable> for OneByOne {
    fn from(_: Unavailable) -> Self {
        Self
    }
}

/// How what went wrong is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    /// Others are in the transaction too.
    Savepoint,
    /// Nobody is: it is begun again. A savepoint would copy every page that is written.
    Transaction,
}

/// Pays all of `charges` in full, in their order, or none. An error of SQLite that is returned
/// means that the transaction is lost.
pub(crate) fn charge_together<'a>(
    context: &Context<'_>,
    remembered: &mut Remembered,
    undo: Undo,
    charges: impl Iterator<Item = &'a NewCharge> + Clone,
) -> rusqlite::Result<Result<Vec<Charged>, OneByOne>> {
    if remembered.len() > MAX_REMEMBERED {
        remembered.forget_all();
    }
    let run = |context: &Context<'_>| {
        let Some(bill) = bill(context, remembered, charges.clone())? else {
            return refuse(OneByOne);
        };
        write(context, remembered, charges, &bill)?;
        Ok(bill.charged)
    };
    let paid = match undo {
        Undo::Savepoint => command(context, run)?,
        Undo::Transaction => transaction(context, run)?,
    };
    if paid.is_err() {
        // What comes now reads and writes the rows itself.
        remembered.forget_all();
    }
    Ok(paid)
}

/// As [`command`] does, for one that is alone in its transaction.
fn transaction<T>(
    context: &Context<'_>,
    run: impl FnOnce(&Context<'_>) -> Outcome<T, OneByOne>,
) -> rusqlite::Result<Result<T, OneByOne>> {
    let step = |sql| context.conn.prepare_cached(sql)?.execute([]).map(|_| ());
    match run(context) {
        Ok(value) => return Ok(Ok(value)),
        // Decided before anything was written.
        Err(Failure::Refused(refusal) | Failure::Noted(refusal)) => return Ok(Err(refusal)),
        Err(Failure::Database(error)) if is_broken_rule(&error) => {
            tracing::error!(%error, "charges broke a rule of the database and were undone");
        }
        Err(Failure::Database(error)) => return Err(error),
    }
    step("ROLLBACK")?;
    step("BEGIN IMMEDIATE")?;
    Ok(Err(OneByOne))
}

/// What `charges` come to; `None` unless all can be paid and nothing else comes of it.
fn bill<'a>(
    context: &Context<'_>,
    remembered: &mut Remembered,
    charges: impl Iterator<Item = &'a NewCharge>,
) -> rusqlite::Result<Option<Bill>> {
    let mut bill = Bill::default();
    for charge in charges {
        if !remembered.recall(context.conn, charge.meter)? {
            return Ok(None);
        }
        if bill.add(remembered, charge).is_none() {
            return Ok(None);
        }
    }
    let is_plain = bill.accounts.iter().all(|(id, cost)| {
        remembered.accounts.get(id).is_some_and(|account| account.pays_quietly(*cost))
    }) && bill.keys.iter().all(|(id, cost)| {
        let spending = remembered.keys.get(id);
        spending.is_some_and(|spending| allows(spending, *cost, context.now_ms))
    });
    Ok(is_plain.then_some(bill))
}

impl Account {
    /// Whether it can pay `cost`, and nobody is to be told.
    fn pays_quietly(&self, cost: i64) -> bool {
        let after = self.balance.checked_sub(cost).filter(|after| *after >= 0);
        after.is_some_and(|after| self.threshold.is_quiet(self.balance, after))
    }
}

/// Whether a key may spend `cost`, in the period that is stored.
fn allows(spending: &Spending, cost: i64, now_ms: i64) -> bool {
    let allowance = period::allowance(spending, now_ms);
    allowance.start_ms == spending.period_start_ms
        && allowance.remaining().is_none_or(|remaining| cost <= remaining)
}

impl Bill {
    /// `None` if it cannot be paid.
    fn add(&mut self, remembered: &Remembered, charge: &NewCharge) -> Option<()> {
        let meter = remembered.meters.get(&charge.meter)?;
        let spending = remembered.keys.get(&meter.key)?;
        // What it used in an earlier period does not count against the key.
        if meter.period_start_ms != spending.period_start_ms {
            return None;
        }
        let tokens: usize = charge.groups.iter().map(Vec::len).sum();
        let tokens = u32::try_from(tokens).ok().filter(|tokens| *tokens > 0)?;
        let cost = meter.credits_per_token.checked_mul(i64::from(tokens))?;
        add(&mut self.keys, meter.key, cost)?;
        let owed = add(&mut self.accounts, meter.account, cost)?;
        let balance = remembered.accounts.get(&meter.account)?.balance;
        self.charged.push(Charged {
            groups: charge.groups.len(),
            tokens,
            credits: Credits(cost),
            balance: Credits(balance.checked_sub(owed)?),
            cut_by: None,
        });
        Some(())
    }
}

/// Adds `cost` to what `payer` has to pay, and gives that.
fn add<P: PartialEq>(payers: &mut Vec<(P, i64)>, payer: P, cost: i64) -> Option<i64> {
    match payers.iter_mut().find(|(known, _)| *known == payer) {
        Some((_, owed)) => {
            *owed = owed.checked_add(cost)?;
            Some(*owed)
        }
        None => {
            payers.push((payer, cost));
            Some(cost)
        }
    }
}

/// The guarded updates. Each repeats its condition in SQL, beside the value that is remembered.
fn write<'a>(
    context: &Context<'_>,
    remembered: &mut Remembered,
    charges: impl Iterator<Item = &'a NewCharge>,
    bill: &Bill,
) -> rusqlite::Result<()> {
    let mut debit = context.conn.prepare_cached(
        "UPDATE account SET balance=balance-?2 WHERE id=?1 AND balance>=?2 AND balance=?3",
    )?;
    for (id, cost) in &bill.accounts {
        let account = remembered.accounts.get_mut(id).ok_or(NOT_THERE)?;
        debit.execute(params![id, cost, account.balance]).and_then(exactly_one)?;
        account.balance -= cost;
    }
    let mut spend = context.conn.prepare_cached(
        "UPDATE api_key SET period_used=period_used+?2,used=used+?2
         WHERE id=?1 AND period_start_ms=?3 AND period_used=?4 AND used=?5
           AND (limit_credits IS NULL OR period_used+?2<=limit_credits)
           AND (total_limit_credits IS NULL OR used+?2<=total_limit_credits)",
    )?;
    for (id, cost) in &bill.keys {
        let key = remembered.keys.get_mut(id).ok_or(NOT_THERE)?;
        spend
            .execute(params![id, cost, key.period_start_ms, key.period_used, key.used])
            .and_then(exactly_one)?;
        key.period_used += cost;
        key.used += cost;
    }
    let mut meter_update = context.conn.prepare_cached(
        "UPDATE meter SET used=used+?2,output_tokens=output_tokens+?3,period_used=period_used+?2,
           first_charge_ms=coalesce(first_charge_ms,?4),last_choice=?8,last_ids=?9
         WHERE rowid=?1 AND id=?5 AND state='open' AND used=?6 AND period_start_ms=?7",
    )?;
    for (charge, charged) in charges.zip(&bill.charged) {
        let NewCharge { meter: id, choice, groups } = charge;
        let meter = remembered.meters.get_mut(id).ok_or(NOT_THERE)?;
        let rest = meter.last.add(context.conn, *id, *choice, groups)?;
        meter_update
            .execute(params![
                meter.rowid,
                charged.credits,
                charged.tokens,
                context.now_ms,
                id,
                meter.used,
                meter.period_start_ms,
                meter.last.choice,
                meter.last.ids
            ])
            .and_then(exactly_one)?;
        meter.used += charged.credits.0;
        meter.last.store_rest(context.conn, *id, &rest)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::recovery;
    use crate::ledger::store::{self, NewKeyRow, connection};
    use crate::ledger::types::{MeterRequest, NewKeyRequest};

    const NOW_MS: i64 = 1_772_312_400_000;
    const METERS: [MeterId; 2] = [MeterId([1; 16]), MeterId([2; 16])];

    fn done<T, E: std::fmt::Debug>(outcome: Outcome<T, E>) -> T {
        outcome.unwrap()
    }

    /// Runs `test` in a transaction on books with ten credits and two open meters on them.
    fn with_meters(test: impl FnOnce(&Context<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        let mut conn = connection::writer(&folder.path().join("ledger.db")).unwrap();
        let boot = recovery::begin_boot(&mut conn, NOW_MS, true).unwrap().boot;
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let context = Context { conn: &conn, now_ms: NOW_MS, boot, keeps_ids: true };
        let account = done(store::create_account(&context, "alice", "default", "test"));
        let grant = store::Grant {
            account,
            credits: Credits(10),
            reason: "why".to_owned(),
            actor: "test".to_owned(),
            command: [0; 16],
        };
        done(store::grant(&context, &grant));
        let row = NewKeyRow {
            request: NewKeyRequest::new(account, "key"),
            prefix: "key".to_owned(),
            secret_hash: [0; 32],
        };
        let key = done(store::create_key(&context, &row, "test"));
        for (meter, credits_per_token) in METERS.into_iter().zip([1, 2]) {
            let request = MeterRequest {
                account,
                key,
                model: "model".to_owned(),
                model_digest: [0; 32],
                credits_per_token,
                streamed: true,
                input_tokens: 1,
                idempotency_key: None,
                body_hash: [0; 32],
            };
            done(store::open_meter(&context, meter, &request));
        }
        test(&context);
    }

    fn new(meter: MeterId, tokens: usize) -> NewCharge {
        NewCharge { meter, choice: 0, groups: vec![vec![7]; tokens] }
    }

    #[test]
    fn what_is_shared_is_written_once() {
        with_meters(|context| {
            let mut remembered = Remembered::default();
            for (round, balance) in [(0, 10), (1, 5)] {
                let charges = [new(METERS[0], 1), new(METERS[1], 2)];
                let before = context.conn.total_changes();
                let paid =
                    charge_together(context, &mut remembered, Undo::Savepoint, charges.iter());
                let paid = paid.unwrap().unwrap();
                let balances = paid.iter().map(|charged| balance - charged.balance.0);
                assert_eq!(balances.collect::<Vec<_>>(), [1, 5], "{round}");
                // An account, a key; two meters with their ids.
                assert_eq!(context.conn.total_changes() - before, 4, "{round}");
            }
        });
    }

    #[test]
    fn what_is_not_plain_changes_nothing() {
        let check = |charges: &[NewCharge]| {
            with_meters(|context| {
                let before = context.conn.total_changes();
                let mut remembered = Remembered::default();
                let undo = Undo::Transaction;
                let paid = charge_together(context, &mut remembered, undo, charges.iter());
                assert_eq!(paid.unwrap(), Err(OneByOne), "{charges:?}");
                assert_eq!(context.conn.total_changes(), before, "{charges:?}");
            });
        };
        check(&[new(MeterId([3; 16]), 1)]);
        check(&[new(METERS[0], 1), new(METERS[1], 5)]); // 11 of 10.
        check(&[new(METERS[0], 0)]);
    }
}
