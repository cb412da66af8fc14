//! Orders, refunds, vouchers, money and the audit, as they are read.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::ledger::dates;
use crate::ledger::sales::{
    PaidDay, PaymentEventInfo, RefundInfo, TopupFilter, TopupId, TopupInfo, VoucherBatch,
};
use crate::ledger::store::{self, SELECT_BATCH, SELECT_REFUND, SELECT_TOPUP};
use crate::ledger::types::{AuditEntry, Credits};
use crate::money::Fils;

/// Orders that fit `filter`, the latest first.
pub(in crate::ledger) fn all_topups(
    conn: &Connection,
    filter: &TopupFilter,
) -> rusqlite::Result<Vec<TopupInfo>> {
    // An account's orders have an index, which SQLite does not use behind an OR.
    let of_account = if filter.account.is_some() { "t.account_id=?1" } else { "?1 IS NULL" };
    let sql = format!(
        "{SELECT_TOPUP} WHERE {of_account} AND (?2 IS NULL OR t.state=?2)
           AND (?3 IS NULL OR t.provider=?3) ORDER BY t.created_ms DESC,t.rowid DESC LIMIT ?4"
    );
    conn.prepare_cached(&sql)?
        .query_map(
            params![filter.account, filter.state, filter.provider, filter.limit],
            store::topup_info,
        )?
        .collect()
}

/// Orders that may still be paid.
pub(in crate::ledger) fn topups_waiting(
    conn: &Connection,
    since_ms: i64,
) -> rusqlite::Result<Vec<TopupInfo>> {
    // Two sets, each with an index of its own: an OR of both would read every order ever made.
    let sql = format!(
        "{SELECT_TOPUP} WHERE t.id IN(
           SELECT id FROM topup WHERE state IN('created','pending')
           UNION SELECT id FROM topup WHERE state<>'paid' AND created_ms>=?1)
         ORDER BY coalesce(t.checked_ms,t.created_ms),t.rowid"
    );
    conn.prepare_cached(&sql)?.query_map([since_ms], store::topup_info)?.collect()
}

/// What was told about an order.
pub(in crate::ledger) fn payment_events(
    conn: &Connection,
    topup: TopupId,
) -> rusqlite::Result<Vec<PaymentEventInfo>> {
    conn.prepare_cached(
        "SELECT provider,event_key,raw,verdict,received_ms FROM payment_event WHERE topup_id=?1
         ORDER BY rowid",
    )?
    .query_map([topup], |row| {
        Ok(PaymentEventInfo {
            provider: row.get(0)?,
            key: row.get(1)?,
            raw: row.get(2)?,
            verdict: row.get(3)?,
            received_ms: row.get(4)?,
        })
    })?
    .collect()
}

/// An order's refunds.
pub(in crate::ledger) fn refunds(
    conn: &Connection,
    topup: TopupId,
) -> rusqlite::Result<Vec<RefundInfo>> {
    let sql = format!("{SELECT_REFUND} WHERE r.topup_id=?1 ORDER BY r.rowid");
    conn.prepare_cached(&sql)?.query_map([topup], store::refund_info)?.collect()
}

/// Refunds that have not ended.
pub(in crate::ledger) fn refunds_pending(conn: &Connection) -> rusqlite::Result<Vec<RefundInfo>> {
    let sql = format!("{SELECT_REFUND} WHERE r.state='pending' ORDER BY r.rowid");
    conn.prepare_cached(&sql)?.query_map([], store::refund_info)?.collect()
}

/// Batches, the latest first.
pub(in crate::ledger) fn voucher_batches(conn: &Connection) -> rusqlite::Result<Vec<VoucherBatch>> {
    let sql = format!("{SELECT_BATCH} ORDER BY b.id DESC");
    conn.prepare_cached(&sql)?.query_map([], store::batch_info)?.collect()
}

/// Money in and out by day, pack and provider.
pub(in crate::ledger) fn revenue(conn: &Connection) -> rusqlite::Result<Vec<PaidDay>> {
    let mut days: BTreeMap<(i64, String, String), PaidDay> = BTreeMap::new();
    let mut statement = conn.prepare_cached(
        "SELECT paid_ms,pack,provider,1,credits,fils,0 FROM topup WHERE state='paid'
         UNION ALL
         SELECT r.ended_ms,p.pack,p.provider,0,0,0,r.fils
         FROM refund r JOIN topup p ON p.id=r.topup_id WHERE r.state='done'",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let at_ms: i64 = row.get(0)?;
        let (pack, provider): (String, String) = (row.get(1)?, row.get(2)?);
        let key = (dates::day_of(at_ms), pack, provider);
        let day = days.entry(key).or_insert_with_key(|(_, pack, provider)| PaidDay {
            day: dates::Day::of(at_ms).to_string(),
            pack: pack.clone(),
            provider: provider.clone(),
            orders: 0,
            credits: Credits(0),
            paid: Fils(0),
            refunded: Fils(0),
        });
        day.orders += row.get::<_, i64>(3)?;
        day.credits.0 += row.get::<_, i64>(4)?;
        day.paid.0 += row.get::<_, i64>(5)?;
        day.refunded.0 += row.get::<_, i64>(6)?;
    }
    // The latest day first, and within it by name.
    let mut days: Vec<_> = days.into_iter().collect();
    days.sort_by_key(|((day, _, _), _)| std::cmp::Reverse(*day));
    Ok(days.into_iter().map(|(_, day)| day).collect())
}

/// Which entries of the audit are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only those before this one.
    pub before: Option<i64>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only this action, or all that begin with it and a dot: `account` is `account.close` too.
    pub action: Option<String>,
    /// The most there may be.
    pub limit: u32,
}

/// What operators did, the latest first.
pub(in crate::ledger) fn audit(
    conn: &Connection,
    filter: &AuditFilter,
) -> rusqlite::Result<Vec<AuditEntry>> {
    let AuditFilter { before, actor, action, limit } = filter;
    conn.prepare_cached(
        "SELECT id,actor,action,detail,at_ms FROM audit WHERE id<coalesce(?1,9223372036854775807)
           AND (?2 IS NULL OR actor=?2)
           AND (?3 IS NULL OR action=?3 OR substr(action,1,length(?3)+1)=?3||'.')
         ORDER BY id DESC LIMIT ?4",
    )?
    .query_map(params![before, actor, action, limit], |row| {
        Ok(AuditEntry {
            id: row.get(0)?,
            actor: row.get(1)?,
            action: row.get(2)?,
            detail: row.get(3)?,
            at_ms: row.get(4)?,
        })
    })?
    .collect()
}
