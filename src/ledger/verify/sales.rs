//! Orders, refunds and vouchers: each against the transfers that it led to, and back.

use rusqlite::{Connection, Row, params};

use super::{Invariant, VerifyReport};
use crate::ledger::sales::{RefundId, RefundState, TopupId};
use crate::ledger::store::Blob;

/// Whether a transfer is there as often as it should be, and like it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    transfers: i64,
    /// Of these, with the right amount and accounts.
    fitting: i64,
}

impl Found {
    fn is(self, times: i64) -> bool {
        self.transfers == times && self.fitting == times
    }
}

/// Checks every order: paid ones have one `topup` and one `payment`, others none.
pub(super) fn check_topups(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT p.id,p.state='paid',p.refunded_credits,p.refunded_fils,p.credits,p.fils,
           (SELECT count(*) FROM transfer t WHERE t.kind='topup' AND t.source=p.id),
           (SELECT count(*) FROM transfer t WHERE t.kind='topup' AND t.source=p.id
             AND t.amount=p.credits AND t.to_id=p.account_id),
           (SELECT count(*) FROM transfer t WHERE t.kind='payment' AND t.source=p.id),
           (SELECT count(*) FROM transfer t JOIN account a ON a.id=t.to_id
             WHERE t.kind='payment' AND t.source=p.id AND t.amount=p.fils
               AND a.name='house:cash:'||p.provider),
           coalesce(sum(iif(r.state<>'failed',r.credits,0)),0),
           coalesce(sum(iif(r.state<>'failed',r.fils,0)),0)
         FROM topup p LEFT JOIN refund r ON r.topup_id=p.id GROUP BY p.id ORDER BY p.rowid",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("top-up {}", row.get::<_, TopupId>(0)?);
        let paid: bool = row.get(1)?;
        for (first, kind) in [(6, "topup"), (8, "payment")] {
            let found = found(row, first)?;
            if !found.is(i64::from(paid)) {
                report.found(Invariant::Sales, &place, wrong(kind, found, i64::from(paid)));
            }
        }
        for (refunded, bought, what) in [(2, 4, "credits"), (3, 5, "fils")] {
            let (refunded, bought): (i64, i64) = (row.get(refunded)?, row.get(bought)?);
            let refunds: i64 = row.get(if what == "credits" { 10 } else { 11 })?;
            if refunded != refunds {
                let what = format!("refunded {refunded} {what} and its refunds {refunds}");
                report.found(Invariant::Sales, &place, what);
            }
            if refunded > bought {
                let what = format!("refunded {refunded} {what} of {bought}");
                report.found(Invariant::Sales, &place, what);
            }
        }
    }
    Ok(())
}

fn found(row: &Row<'_>, first: usize) -> rusqlite::Result<Found> {
    Ok(Found { transfers: row.get(first)?, fitting: row.get(first + 1)? })
}

fn wrong(kind: &str, found: Found, expected: i64) -> String {
    let Found { transfers, fitting } = found;
    format!("has {transfers} {kind} transfers, {fitting} of them fitting, instead of {expected}")
}

/// Checks every refund: its credits were taken, and either money or credits went back.
pub(super) fn check_refunds(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT r.id,r.state,
           (SELECT count(*) FROM transfer t WHERE t.kind='refund' AND t.source=r.id),
           (SELECT count(*) FROM transfer t WHERE t.kind='refund' AND t.source=r.id
             AND t.amount=r.credits AND t.from_id=p.account_id),
           (SELECT count(*) FROM transfer t WHERE t.kind='payout' AND t.source=r.id),
           (SELECT count(*) FROM transfer t JOIN account a ON a.id=t.from_id
             WHERE t.kind='payout' AND t.source=r.id AND t.amount=r.fils
               AND a.name='house:cash:'||p.provider),
           (SELECT count(*) FROM transfer t WHERE t.kind='reversal' AND t.source=r.id),
           (SELECT count(*) FROM transfer t WHERE t.kind='reversal' AND t.source=r.id
             AND t.amount=r.credits AND t.to_id=p.account_id)
         FROM refund r LEFT JOIN topup p ON p.id=r.topup_id ORDER BY r.rowid",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("refund {}", row.get::<_, RefundId>(0)?);
        let state: RefundState = row.get(1)?;
        let done = i64::from(state == RefundState::Done);
        let failed = i64::from(state == RefundState::Failed);
        for (first, kind, times) in [(2, "refund", 1), (4, "payout", done), (6, "reversal", failed)]
        {
            let found = found(row, first)?;
            if !found.is(times) {
                report.found(Invariant::Sales, &place, wrong(kind, found, times));
            }
        }
    }
    Ok(())
}

/// Checks every voucher: redeemed ones have one transfer of their batch's credits, others none.
pub(super) fn check_vouchers(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut transfers_of = conn.prepare_cached(
        "SELECT count(*),coalesce(sum(amount=?2 AND to_id=?3),0) FROM transfer
         WHERE kind='voucher' AND source=?1",
    )?;
    let mut statement = conn.prepare(
        "SELECT v.code_mac,v.redeemed_by,b.credits
         FROM voucher v LEFT JOIN voucher_batch b ON b.id=v.batch_id ORDER BY v.code_mac",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Blob(mac) = row.get::<_, Blob<32>>(0)?;
        let (by, credits): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
        let found =
            transfers_of.query_row(params![&mac[..16], credits, by], |row| found(row, 0))?;
        let times = i64::from(by.is_some());
        if !found.is(times) {
            report.found(Invariant::Vouchers, voucher(&mac[..16]), wrong("voucher", found, times));
        }
    }
    let mut statement = conn.prepare(
        "SELECT b.name,b.count,(SELECT count(*) FROM voucher v WHERE v.batch_id=b.id)
         FROM voucher_batch b ORDER BY b.id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (made, there): (i64, i64) = (row.get(1)?, row.get(2)?);
        if made != there {
            let place = format!("batch {:?}", row.get::<_, String>(0)?);
            report.found(Invariant::Vouchers, place, format!("has {there} vouchers of {made}"));
        }
    }
    Ok(())
}

/// Half a MAC names a voucher well enough, and is of no use to who reads it.
fn voucher(source: &[u8]) -> String {
    let digits: String = source.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("voucher {digits}")
}

/// Checks that each transfer of a sale belongs to one, and that money lies where it should.
pub(super) fn check_sources(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT t.seq,t.kind FROM transfer t WHERE t.kind IN('topup','payment')
           AND NOT EXISTS(SELECT 1 FROM topup p WHERE p.id=t.source)
         UNION ALL
         SELECT t.seq,t.kind FROM transfer t WHERE t.kind IN('refund','payout')
           AND NOT EXISTS(SELECT 1 FROM refund r WHERE r.id=t.source)
         ORDER BY 1",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("transfer {}", row.get::<_, i64>(0)?);
        let kind: String = row.get(1)?;
        report.found(Invariant::Sales, place, format!("is a {kind} of nothing"));
    }
    let mut voucher_of =
        conn.prepare_cached("SELECT 1 FROM voucher WHERE code_mac BETWEEN ?1 AND ?2")?;
    let mut statement =
        conn.prepare("SELECT seq,source FROM transfer WHERE kind='voucher' ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Blob(source) = row.get::<_, Blob<16>>(1)?;
        // All MACs that begin with the source.
        let (first, last) = ([source, [0; 16]].concat(), [source, [0xff; 16]].concat());
        if !voucher_of.exists(params![first, last])? {
            let place = format!("transfer {}", row.get::<_, i64>(0)?);
            report.found(Invariant::Vouchers, place, "is of no voucher");
        }
    }
    let mut statement = conn.prepare(
        "SELECT id,name FROM account WHERE (kind='cash')<>(name GLOB 'house:cash:?*') ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = format!("account {}", row.get::<_, i64>(0)?);
        let name: String = row.get(1)?;
        report.found(Invariant::Sales, place, format!("is named {name:?}, which does not fit it"));
    }
    Ok(())
}
