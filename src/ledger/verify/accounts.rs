//! Accounts and keys: their running figures against the rows they sum up.

use rusqlite::Connection;

use super::{Invariant, VerifyReport};

/// Recomputes every account's balance and credits from journal and open meters.
pub(super) fn check(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "WITH moved(account,amount,credited) AS (
           SELECT t.to_id,sum(t.amount),sum(iif(t.kind IN('topup','voucher','grant','correction')
               OR r.kind='refund',t.amount,0))
             FROM transfer t LEFT JOIN transfer r ON r.seq=t.reverses GROUP BY t.to_id
           UNION ALL
           SELECT from_id,-sum(amount),-sum(iif(kind IN('refund','correction'),amount,0))
             FROM transfer GROUP BY from_id
           UNION ALL
           SELECT account_id,-sum(used),0 FROM meter WHERE state='open' GROUP BY account_id)
         SELECT a.id,a.kind='team',a.balance,a.credited,
           coalesce(sum(m.amount),0),coalesce(sum(m.credited),0)
         FROM account a LEFT JOIN moved m ON m.account=a.id GROUP BY a.id ORDER BY a.id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("account {}", row.get::<_, i64>(0)?);
        let team: bool = row.get(1)?;
        let (balance, credited): (i64, i64) = (row.get(2)?, row.get(3)?);
        let (explained, brought_in): (i64, i64) = (row.get(4)?, row.get(5)?);
        report.accounts += 1;
        if balance != explained {
            let what = format!("balance is {balance}, journal less open meters is {explained}");
            report.found(Invariant::Balance, &place, what);
        }
        if team && balance < 0 {
            report.found(Invariant::Balance, &place, format!("balance is {balance}, below zero"));
        }
        if team && credited != brought_in {
            let what = format!("had {credited} credits and the journal brought {brought_in}");
            report.found(Invariant::Balance, &place, what);
        }
    }
    Ok(())
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
