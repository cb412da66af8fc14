//! The journal: the one function that moves credits between accounts, and what uses it alone.

use rusqlite::{OptionalExtension, params};

use super::accounts::{fits_house, team};
use super::notices::{Threshold, balance_moved};
use super::{
    Blob, Context, MAX_AMOUNT, MAX_IN_ALL, MAX_REASON_CHARS, Outcome, audit, check_actor,
    check_amount, check_text, exactly_one, refuse,
};
use crate::ledger::errors::{GrantError, Invalid};
use crate::ledger::hash::{self, GENESIS, TransferFields};
use crate::ledger::types::{AccountId, Balance, Credits};

/// Where bought credits come from; the schema inserts it, as it does the next two.
pub(super) const HOUSE_PAID: AccountId = AccountId(1);

/// Where credits that nobody paid for come from.
pub(super) const HOUSE_GRANTED: AccountId = AccountId(2);

/// Where charges go.
pub(super) const HOUSE_SPENT: AccountId = AccountId(3);

/// What a transfer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransferKind {
    /// Credits of a paid order.
    Topup,
    /// The money of a paid order, in fils.
    Payment,
    /// Credits of a voucher.
    Voucher,
    /// Credits from the operator.
    Grant,
    /// Credits that the operator gives or takes because something was wrong.
    Correction,
    /// A closed meter's charges.
    Spend,
    /// A spend given back, or a refund that the provider did not make.
    Reversal,
    /// Credits taken back because their money is given back.
    Refund,
    /// The money given back, in fils.
    Payout,
}

impl TransferKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Topup => "topup",
            Self::Payment => "payment",
            Self::Voucher => "voucher",
            Self::Grant => "grant",
            Self::Correction => "correction",
            Self::Spend => "spend",
            Self::Reversal => "reversal",
            Self::Refund => "refund",
            Self::Payout => "payout",
        }
    }
}

/// The transfer that a reversal takes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reversed {
    pub(super) seq: i64,
    pub(super) kind: TransferKind,
}

/// A transfer to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Movement<'a> {
    pub(super) kind: TransferKind,
    pub(super) from: AccountId,
    pub(super) to: AccountId,
    pub(super) amount: i64,
    pub(super) source: &'a [u8; 16],
    pub(super) reverses: Option<Reversed>,
    pub(super) actor: &'a str,
    pub(super) reason: Option<&'a str>,
}

impl Movement<'_> {
    /// Whether a team's `credited` moves with its balance: what is used, or given back after use,
    /// leaves it as it is.
    fn is_brought(&self) -> bool {
        let kind = self.reverses.map_or(self.kind, |reversed| reversed.kind);
        kind != TransferKind::Spend
    }
}

/// Moves credits or fils: both balances, and one hash-chained row that says so. Its `seq`.
pub(super) fn append(context: &Context<'_>, movement: &Movement<'_>) -> rusqlite::Result<i64> {
    let Movement { kind, from, to, amount, .. } = *movement;
    let brought = if movement.is_brought() { amount } else { 0 };
    // A spend's account was debited charge by charge, while the meter was open.
    if kind != TransferKind::Spend {
        shift(context, from, -amount, -brought)?;
    }
    shift(context, to, amount, brought)?;

    let last = context
        .conn
        .prepare_cached("SELECT seq,hash FROM transfer ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get::<_, Blob<32>>(1)?.0)))
        .optional()?;
    let (last_seq, prev_hash): (i64, _) = last.unwrap_or((0, GENESIS));
    let fields = TransferFields {
        prev_hash: &prev_hash,
        seq: last_seq + 1,
        id: &hash::transfer_id(&prev_hash, kind.as_str(), movement.source),
        kind: kind.as_str(),
        from_id: from.0,
        to_id: to.0,
        amount,
        source: movement.source,
        reverses: movement.reverses.map(|reversed| reversed.seq),
        actor: movement.actor,
        reason: movement.reason,
        at_ms: context.now_ms,
    };
    context
        .conn
        .prepare_cached(
            "INSERT INTO transfer(seq,id,kind,from_id,to_id,amount,source,reverses,actor,reason,
               at_ms,prev_hash,hash) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
        )?
        .execute(params![
            fields.seq,
            fields.id,
            fields.kind,
            fields.from_id,
            fields.to_id,
            fields.amount,
            fields.source,
            fields.reverses,
            fields.actor,
            fields.reason,
            fields.at_ms,
            fields.prev_hash,
            hash::transfer(&fields)
        ])
        .and_then(exactly_one)?;
    Ok(fields.seq)
}

/// Adds to one account's balance, and tells its team if that crosses its threshold.
fn shift(
    context: &Context<'_>,
    account: AccountId,
    amount: i64,
    brought: i64,
) -> rusqlite::Result<()> {
    let (balance, threshold): (i64, _) = context
        .conn
        .prepare_cached(
            "UPDATE account SET balance=balance+?2,credited=credited+iif(kind='team',?3,0)
             WHERE id=?1 RETURNING balance,notice_below,noticed_ms IS NOT NULL",
        )?
        .query_row(params![account, amount, brought], |row| {
            Ok((row.get(0)?, Threshold { below: row.get(1)?, told: row.get(2)? }))
        })?;
    balance_moved(context, account, balance - amount, balance, threshold)
}

/// Credits an operator gives.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) account: AccountId,
    pub(crate) credits: Credits,
    pub(crate) reason: String,
    pub(crate) actor: String,
    /// Names this grant: the same one again is answered, not done again.
    pub(crate) command: [u8; 16],
}

/// Gives credits to a team.
pub(crate) fn grant(context: &Context<'_>, grant: &Grant) -> Outcome<Balance, GrantError> {
    if let Err(invalid) = check_grant(grant) {
        return refuse(invalid.into());
    }
    let Some(team) = team(context.conn, grant.account)? else {
        return refuse(GrantError::UnknownAccount(grant.account));
    };
    let before = context
        .conn
        .prepare_cached(
            "SELECT to_id=?2 AND amount=?3 AND reason=?4 FROM transfer
             WHERE kind='grant' AND source=?1",
        )?
        .query_row(params![grant.command, grant.account, grant.credits, grant.reason], |row| {
            row.get::<_, bool>(0)
        })
        .optional()?;
    match before {
        Some(true) => return Ok(team.balance),
        Some(false) => return refuse(GrantError::Conflict),
        None => {}
    }
    if team.closed {
        return refuse(GrantError::AccountClosed(grant.account));
    }
    if !fits_house(context.conn, HOUSE_GRANTED, grant.credits.0)? {
        return refuse(GrantError::TooMuchInAll { bound: Credits(MAX_IN_ALL) });
    }
    append(
        context,
        &Movement {
            kind: TransferKind::Grant,
            from: HOUSE_GRANTED,
            to: grant.account,
            amount: grant.credits.0,
            source: &grant.command,
            reverses: None,
            actor: &grant.actor,
            reason: Some(&grant.reason),
        },
    )?;
    let detail =
        format!("{} credits to account {}: {}", grant.credits, grant.account, grant.reason);
    audit(context, &grant.actor, "grant", &detail)?;
    Ok(Credits(team.balance.0 + grant.credits.0))
}

fn check_grant(grant: &Grant) -> Result<(), Invalid> {
    check_amount("credits", grant.credits.0, 1, MAX_AMOUNT)?;
    check_text("reason", &grant.reason, MAX_REASON_CHARS)?;
    check_actor(&grant.actor)
}
