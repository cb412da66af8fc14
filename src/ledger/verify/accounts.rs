//! Accounts and keys: their running figures against the rows they sum up.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{Invariant, VerifyReport};

/// What the journal and the open meters say of one account.
#[derive(Debug, Clone, Copy, Default)]
struct Explained {
    balance: i64,
    credited: i64,
}

/// Recomputes every account's balance and credits from journal and open meters.
pub(super) fn check(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let explained = explained(conn)?;
    let mut statement =
        conn.prepare("SELECT id,kind='team',balance,credited FROM account ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let place = format!("account {id}");
        let team: bool = row.get(1)?;
        let (balance, credited): (i64, i64) = (row.get(2)?, row.get(3)?);
        let explained = explained.get(&id).copied().unwrap_or_default();
        report.accounts += 1;
        if balance != explained.balance {
            let what =
                format!("balance is {balance}, journal less open meters is {}", explained.balance);
            report.found(Invariant::Balance, &place, what);
        }
        if team && balance < 0 {
            report.found(Invariant::Balance, &place, format!("balance is {balance}, below zero"));
        }
        if team && credited != explained.credited {
            let brought = explained.credited;
            let what = format!("had {credited} credits and the journal brought {brought}");
            report.found(Invariant::Balance, &place, what);
        }
    }
    Ok(())
}

/// One pass over the journal, and memory for the accounts alone: SQLite would sort the journal.
fn explained(conn: &Connection) -> rusqlite::Result<HashMap<i64, Explained>> {
    let mut accounts: HashMap<i64, Explained> = HashMap::new();
    // Damaged amounts may overflow; wrapped around, the sums are wrong and are told as such.
    let mut moved = |account, balance: i64, credited: i64| {
        let explained = accounts.entry(account).or_default();
        explained.balance = explained.balance.wrapping_add(balance);
        explained.credited = explained.credited.wrapping_add(credited);
    };
    let mut statement = conn.prepare(
        "SELECT t.from_id,t.to_id,t.amount,
           t.kind IN('refund','correction'),
           t.kind IN('topup','voucher','grant','correction') OR coalesce(r.kind='refund',0)
         FROM transfer t LEFT JOIN transfer r ON r.seq=t.reverses",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let amount: i64 = row.get(2)?;
        let (takes, brings): (bool, bool) = (row.get(3)?, row.get(4)?);
        let taken = amount.wrapping_neg();
        moved(row.get(0)?, taken, if takes { taken } else { 0 });
        moved(row.get(1)?, amount, if brings { amount } else { 0 });
    }
    let mut statement = conn.prepare("SELECT account_id,used FROM meter WHERE state='open'")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        moved(row.get(0)?, row.get::<_, i64>(1)?.wrapping_neg(), 0);
    }
    Ok(accounts)
}

/// Nothing is made and nothing is lost, neither credits nor money.
pub(super) fn check_sum(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let (credits, fils): (i64, i64) = conn.query_row(
        "SELECT coalesce(sum(iif(kind IN('revenue','cash'),0,balance)),0)
             +(SELECT coalesce(sum(used),0) FROM meter WHERE state='open'),
           coalesce(sum(iif(kind IN('revenue','cash'),balance,0)),0) FROM account",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if credits != 0 {
        let what = format!("balances and open meters sum to {credits} instead of 0");
        report.found(Invariant::Sum, "books", what);
    }
    if fils != 0 {
        let what = format!("revenue and cash sum to {fils} fils instead of 0");
        report.found(Invariant::Sum, "books", what);
    }
    Ok(())
}

/// Recomputes what each key used, ever and in its period.
pub(super) fn check_keys(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT k.id,k.used,k.period_used,coalesce(sum(m.used),0),
           coalesce(sum(iif(m.period_start_ms=k.period_start_ms,m.period_used,0)),0),
           k.total_limit_credits,k.limit_credits,
           k.user_id IS NULL OR EXISTS(SELECT 1 FROM user u
             WHERE u.id=k.user_id AND u.account_id=k.account_id)
         FROM api_key k LEFT JOIN meter m ON m.key_id=k.id AND m.state<>'reversed'
         GROUP BY k.id ORDER BY k.id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("key {}", row.get::<_, i64>(0)?);
        let (used, period_used): (i64, i64) = (row.get(1)?, row.get(2)?);
        let (meters, meters_in_period): (i64, i64) = (row.get(3)?, row.get(4)?);
        report.keys += 1;
        if used != meters {
            let what = format!("used {used} and its meters used {meters}");
            report.found(Invariant::KeyUsage, &place, what);
        }
        if period_used != meters_in_period {
            let what = format!("used {period_used} in its period, its meters {meters_in_period}");
            report.found(Invariant::KeyUsage, &place, what);
        }
        // Both limits are fixed when a key is made, each charge stays below them, and a reversal
        // only lowers what was used.
        let limits: [Option<i64>; 2] = [row.get(5)?, row.get(6)?];
        for (used, limit) in [used, period_used].into_iter().zip(limits) {
            if let Some(limit) = limit.filter(|limit| used > *limit) {
                let what = format!("used {used} and its limit is {limit}");
                report.found(Invariant::KeyUsage, &place, what);
            }
        }
        if !row.get::<_, bool>(7)? {
            report.found(Invariant::KeyUsage, &place, "its maker belongs to another account");
        }
    }
    Ok(())
}
