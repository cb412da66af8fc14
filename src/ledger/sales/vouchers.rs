//! Vouchers: made in batches; the books know their codes only by a MAC.

use crate::ledger::types::{Balance, Credits};
use crate::ledger::voucher_code::VoucherCode;

/// A batch to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVouchers {
    /// Names the batch; unique, 1 to 64 characters.
    pub name: String,
    /// What each voucher is worth.
    pub credits: Credits,
    /// How many, 1 to 10,000.
    pub count: usize,
    /// Until when they can be redeemed, Unix milliseconds; redeemed credits never expire.
    pub expires_ms: Option<i64>,
}

/// A batch that was just made. The only place its codes exist in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeVouchers {
    /// The batch.
    pub batch: VoucherBatch,
    /// Its codes. Show them once; they can not be read again.
    pub codes: Vec<VoucherCode>,
}

/// A batch as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoucherBatch {
    /// Its name.
    pub name: String,
    /// What each voucher is worth.
    pub credits: Credits,
    /// How many were made.
    pub count: i64,
    /// How many of them were redeemed.
    pub redeemed: i64,
    /// Who made it.
    pub actor: String,
    /// Unix milliseconds, as are the next.
    pub created_ms: i64,
    /// Until when they can be redeemed; `None`: for ever.
    pub expires_ms: Option<i64>,
    /// When what was left of it became worthless.
    pub voided_ms: Option<i64>,
}

/// What a voucher brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redeemed {
    /// Its credits.
    pub credits: Credits,
    /// The account's balance after.
    pub balance: Balance,
}
