//! Vouchers: made in batches, redeemed once, voided together. Codes never come here, only the MACs
//! that stand for them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::accounts::{fits_house, team};
use super::journal::{HOUSE_GRANTED, Movement, append};
use super::{
    Context, MAX_AMOUNT, MAX_IN_ALL, MAX_NAME_CHARS, Outcome, TransferKind, audit, check_actor,
    check_amount, check_text, exactly_one, refuse,
};
use crate::ledger::errors::Invalid;
use crate::ledger::sales::{RedeemError, Redeemed, VoucherBatch, VoucherError};
use crate::ledger::types::{AccountId, Credits};

/// The most vouchers in one batch: they are shown once, in one answer.
pub(crate) const MAX_COUNT: usize = 10_000;

/// A batch to be made.
#[derive(Debug)]
pub(crate) struct NewBatch {
    pub(crate) name: String,
    pub(crate) credits: Credits,
    pub(crate) expires_ms: Option<i64>,
    /// One for each voucher.
    pub(crate) macs: Vec<[u8; 32]>,
    pub(crate) actor: String,
}

/// Makes a batch. No credits move until a voucher is redeemed.
pub(crate) fn create_vouchers(
    context: &Context<'_>,
    new: &NewBatch,
) -> Outcome<VoucherBatch, VoucherError> {
    if let Err(invalid) = check_new(context, new) {
        return refuse(invalid.into());
    }
    if batch(context.conn, &new.name)?.is_some() {
        return refuse(VoucherError::NameTaken(new.name.clone()));
    }
    context
        .conn
        .prepare_cached(
            "INSERT INTO voucher_batch(name,credits,count,expires_ms,actor,created_ms)
             VALUES(?1,?2,?3,?4,?5,?6)",
        )?
        .execute(params![
            new.name,
            new.credits,
            new.macs.len() as i64,
            new.expires_ms,
            new.actor,
            context.now_ms
        ])
        .and_then(exactly_one)?;
    let id = context.conn.last_insert_rowid();
    let mut insert =
        context.conn.prepare_cached("INSERT INTO voucher(code_mac,batch_id) VALUES(?1,?2)")?;
    for mac in &new.macs {
        insert.execute(params![mac, id]).and_then(exactly_one)?;
    }
    let detail = format!("{:?}: {} of {} credits", new.name, new.macs.len(), new.credits);
    audit(context, &new.actor, "voucher.create", &detail)?;
    Ok(known_batch(context.conn, &new.name)?)
}

fn check_new(context: &Context<'_>, new: &NewBatch) -> Result<(), Invalid> {
    check_text("batch name", &new.name, MAX_NAME_CHARS)?;
    check_amount("credits", new.credits.0, 1, MAX_AMOUNT)?;
    check_amount("count", new.macs.len() as i64, 1, MAX_COUNT as i64)?;
    if new.expires_ms.is_some_and(|expires_ms| expires_ms <= context.now_ms) {
        return Err(Invalid { field: "expiry", rule: "is over: give a later time".to_owned() });
    }
    check_actor(&new.actor)
}

/// What decides whether a voucher can be redeemed.
struct Voucher {
    credits: Credits,
    expires_ms: Option<i64>,
    voided: bool,
    redeemed: Option<(AccountId, i64)>,
}

/// Claims a voucher and gives its credits, both or neither.
pub(crate) fn redeem_voucher(
    context: &Context<'_>,
    account: AccountId,
    mac: &[u8; 32],
    actor: &str,
) -> Outcome<Redeemed, RedeemError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let Some(team) = team(context.conn, account)? else {
        return refuse(RedeemError::UnknownAccount(account));
    };
    if team.closed {
        return refuse(RedeemError::AccountClosed(account));
    }
    let Some(voucher) = voucher(context.conn, mac)? else { return refuse(RedeemError::Unknown) };
    if let Some((by, at_ms)) = voucher.redeemed {
        return refuse(RedeemError::Used { at_ms, by_this_account: by == account });
    }
    if voucher.voided {
        return refuse(RedeemError::Voided);
    }
    if let Some(at_ms) = voucher.expires_ms.filter(|expires_ms| *expires_ms <= context.now_ms) {
        return refuse(RedeemError::Expired { at_ms });
    }
    if !fits_house(context.conn, HOUSE_GRANTED, voucher.credits.0)? {
        return refuse(RedeemError::TooMuchInAll { bound: Credits(MAX_IN_ALL) });
    }
    // The conditions once more, so that a mistake above undoes the command.
    context
        .conn
        .prepare_cached(
            "UPDATE voucher SET redeemed_by=?2,redeemed_ms=?3
             WHERE code_mac=?1 AND redeemed_by IS NULL AND EXISTS(SELECT 1 FROM voucher_batch b
               WHERE b.id=batch_id AND b.voided_ms IS NULL
                 AND (b.expires_ms IS NULL OR b.expires_ms>?3))",
        )?
        .execute(params![mac, account, context.now_ms])
        .and_then(exactly_one)?;
    append(
        context,
        &Movement {
            kind: TransferKind::Voucher,
            from: HOUSE_GRANTED,
            to: account,
            amount: voucher.credits.0,
            source: &source(mac),
            reverses: None,
            actor,
            reason: None,
        },
    )?;
    let balance = Credits(team.balance.0 + voucher.credits.0);
    Ok(Redeemed { credits: voucher.credits, balance })
}

/// A voucher's transfer is known by the first half of its MAC.
fn source(mac: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|index| mac[index])
}

fn voucher(conn: &Connection, mac: &[u8; 32]) -> rusqlite::Result<Option<Voucher>> {
    conn.prepare_cached(
        "SELECT b.credits,b.expires_ms,b.voided_ms IS NOT NULL,v.redeemed_by,v.redeemed_ms
         FROM voucher v JOIN voucher_batch b ON b.id=v.batch_id WHERE v.code_mac=?1",
    )?
    .query_row([mac], |row| {
        let (by, at_ms): (Option<AccountId>, Option<i64>) = (row.get(3)?, row.get(4)?);
        Ok(Voucher {
            credits: row.get(0)?,
            expires_ms: row.get(1)?,
            voided: row.get(2)?,
            redeemed: by.zip(at_ms),
        })
    })
    .optional()
}

/// Makes what is left of a batch worthless. Again: no change.
pub(crate) fn void_vouchers(
    context: &Context<'_>,
    name: &str,
    actor: &str,
) -> Outcome<VoucherBatch, VoucherError> {
    if let Err(invalid) = check_actor(actor) {
        return refuse(invalid.into());
    }
    let Some(batch) = batch(context.conn, name)? else {
        return refuse(VoucherError::UnknownBatch(name.to_owned()));
    };
    if batch.voided_ms.is_some() {
        return Ok(batch);
    }
    context
        .conn
        .prepare_cached("UPDATE voucher_batch SET voided_ms=?2 WHERE name=?1")?
        .execute(params![name, context.now_ms])
        .and_then(exactly_one)?;
    let left = batch.count - batch.redeemed;
    audit(context, actor, "voucher.void", &format!("{name:?}: {left} were left"))?;
    Ok(known_batch(context.conn, name)?)
}

/// Reads a whole batch; see [`batch_info`].
pub(crate) const SELECT: &str = "SELECT b.name,b.credits,b.count,
       (SELECT count(*) FROM voucher v WHERE v.batch_id=b.id AND v.redeemed_by IS NOT NULL),
       b.actor,b.created_ms,b.expires_ms,b.voided_ms
     FROM voucher_batch b";

/// A row of [`SELECT`].
pub(crate) fn batch_info(row: &Row<'_>) -> rusqlite::Result<VoucherBatch> {
    Ok(VoucherBatch {
        name: row.get(0)?,
        credits: row.get(1)?,
        count: row.get(2)?,
        redeemed: row.get(3)?,
        actor: row.get(4)?,
        created_ms: row.get(5)?,
        expires_ms: row.get(6)?,
        voided_ms: row.get(7)?,
    })
}

fn batch(conn: &Connection, name: &str) -> rusqlite::Result<Option<VoucherBatch>> {
    let sql = format!("{SELECT} WHERE b.name=?1");
    conn.prepare_cached(&sql)?.query_row([name], batch_info).optional()
}

fn known_batch(conn: &Connection, name: &str) -> rusqlite::Result<VoucherBatch> {
    batch(conn, name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}
