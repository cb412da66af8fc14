//! Corrections: credits that an operator gives or takes because something was wrong.

use rusqlite::{OptionalExtension, params};

use super::accounts::{fits_house, team};
use super::journal::{HOUSE_GRANTED, Movement, append};
use super::{
    Context, MAX_AMOUNT, MAX_IN_ALL, MAX_REASON_CHARS, Outcome, TransferKind, audit, check_actor,
    check_amount, check_text, refuse,
};
use crate::ledger::errors::Invalid;
use crate::ledger::sales::CorrectError;
use crate::ledger::types::{AccountId, Balance, Credits};

/// A correction that is asked for.
#[derive(Debug)]
pub(crate) struct Correction {
    pub(crate) account: AccountId,
    /// Given, or taken if negative; not zero.
    pub(crate) credits: i64,
    pub(crate) reason: String,
    pub(crate) actor: String,
    /// Names this correction: the same one again is answered, not done again.
    pub(crate) command: [u8; 16],
}

/// Moves a balance up or down, never below zero.
pub(crate) fn correct(
    context: &Context<'_>,
    correction: &Correction,
) -> Outcome<Balance, CorrectError> {
    if let Err(invalid) = check(correction) {
        return refuse(invalid.into());
    }
    let Correction { account, credits, .. } = *correction;
    let Some(team) = team(context.conn, account)? else {
        return refuse(CorrectError::UnknownAccount(account));
    };
    let (from, to) = match credits > 0 {
        true => (HOUSE_GRANTED, account),
        false => (account, HOUSE_GRANTED),
    };
    let amount = credits.abs();
    match same_before(context, correction, from, to)? {
        Some(true) => return Ok(team.balance),
        Some(false) => return refuse(CorrectError::Conflict),
        None => {}
    }
    if credits > 0 {
        if team.closed {
            return refuse(CorrectError::AccountClosed(account));
        }
        if !fits_house(context.conn, HOUSE_GRANTED, amount)? {
            return refuse(CorrectError::TooMuchInAll { bound: Credits(MAX_IN_ALL) });
        }
    } else if team.balance.0 < amount {
        let balance = team.balance;
        return refuse(CorrectError::Insufficient { asked: Credits(amount), balance });
    }
    append(
        context,
        &Movement {
            kind: TransferKind::Correction,
            from,
            to,
            amount,
            source: &correction.command,
            reverses: None,
            actor: &correction.actor,
            reason: Some(&correction.reason),
        },
    )?;
    let detail = format!("{credits:+} credits to account {account}: {}", correction.reason);
    audit(context, &correction.actor, "correct", &detail)?;
    Ok(Credits(team.balance.0 + credits))
}

fn check(correction: &Correction) -> Result<(), Invalid> {
    check_amount("credits", correction.credits, -MAX_AMOUNT, MAX_AMOUNT)?;
    if correction.credits == 0 {
        let rule = "is 0: give a positive number to add credits, a negative one to take them";
        return Err(Invalid { field: "credits", rule: rule.to_owned() });
    }
    check_text("reason", &correction.reason, MAX_REASON_CHARS)?;
    check_actor(&correction.actor)
}

/// Whether this command was done before, as the same correction or as another.
fn same_before(
    context: &Context<'_>,
    correction: &Correction,
    from: AccountId,
    to: AccountId,
) -> rusqlite::Result<Option<bool>> {
    context
        .conn
        .prepare_cached(
            "SELECT from_id=?2 AND to_id=?3 AND amount=?4 AND reason=?5 FROM transfer
             WHERE kind='correction' AND source=?1",
        )?
        .query_row(
            params![correction.command, from, to, correction.credits.abs(), correction.reason],
            |row| row.get(0),
        )
        .optional()
}
