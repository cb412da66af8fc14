//! Why a command about sales was refused: one closed enum for each operation.
//! Promises: a refused command changed nothing, but for [`PayTopupError`], whose message is kept.

use super::{RefundState, TopupId};
use crate::ledger::errors::{Invalid, Unavailable};
use crate::ledger::types::{AccountId, Balance, Credits};
use crate::money::Fils;

/// Why an order was not made, or not moved on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopupError {
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The account is closed.
    #[error("account {0} is closed: it buys no credits")]
    AccountClosed(AccountId),
    /// The idempotency key was used for another order.
    #[error("this Idempotency-Key was used for another order: use a new key")]
    Conflict,
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// The provider gave the order another name before, or this name to another order.
    #[error("the provider's order {0:?} is another one: see both at the provider")]
    OtherOrder(String),
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a payment was not credited. The message that came with it is kept, with this as verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayTopupError {
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// The order is another provider's.
    #[error("the order is paid through {ordered:?}, not {paid:?}")]
    OtherProvider {
        /// The order's provider.
        ordered: String,
        /// Who took the money.
        paid: String,
    },
    /// The provider took the money for another of its orders.
    #[error("the payment is of the provider's order {0:?}, which is another one")]
    OtherOrder(String),
    /// It is not the price.
    #[error("the order costs {ordered} KWD and {paid} KWD were paid: refund it at the provider")]
    WrongAmount {
        /// The price.
        ordered: Fils,
        /// What was taken.
        paid: Fils,
    },
    /// This payment has paid another order.
    #[error("this payment has paid top-up {0} already: a payment pays one order")]
    PaymentUsed(TopupId),
    /// The customer paid twice.
    #[error("the order was paid by {first:?} already: refund {second:?} at the provider")]
    PaidTwice {
        /// The payment that was credited.
        first: String,
        /// The one that was not.
        second: String,
    },
    /// All sales together would pass the bound below which no sum can overflow.
    #[error("sales would pass {bound} in all: nothing is sold any more")]
    TooMuchInAll {
        /// The most credits, or fils, that may ever be sold on one server.
        bound: i64,
    },
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why no refund was begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginRefundError {
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// The idempotency key was used for another refund.
    #[error("this Idempotency-Key was used for another refund: use a new key")]
    Conflict,
    /// Nothing was paid.
    #[error("the top-up is not paid: there is nothing to refund")]
    NotPaid,
    /// That much of it is spent or refunded.
    #[error("{left} credits of the top-up are left, {asked} can not be refunded")]
    TooMuch {
        /// What was asked for; when all was, at least 1.
        asked: Credits,
        /// What may be refunded.
        left: Credits,
    },
    /// So few credits are worth no whole fil.
    #[error("{credits} credits of the top-up are worth less than 0.001 KWD: refund more")]
    WorthNothing {
        /// What was asked for.
        credits: Credits,
    },
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a refund was not ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinishRefundError {
    /// There is no such refund.
    #[error("there is no such refund")]
    UnknownRefund,
    /// It has ended otherwise.
    #[error("the refund has ended before, as {}", .0.as_str())]
    Ended(RefundState),
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a batch of vouchers was not made or voided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// Another batch has this name.
    #[error("there already is a batch named {0:?}: choose another name")]
    NameTaken(String),
    /// There is no such batch.
    #[error("there is no batch named {0:?}")]
    UnknownBatch(String),
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a voucher was not redeemed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The account is closed.
    #[error("account {0} is closed: it takes no credits")]
    AccountClosed(AccountId),
    /// No voucher has this code.
    #[error("there is no voucher with this code: check each character")]
    Unknown,
    /// It was redeemed.
    #[error("this voucher was redeemed before")]
    Used {
        /// When, Unix milliseconds.
        at_ms: i64,
        /// Whether it was by the account that asks.
        by_this_account: bool,
    },
    /// It was to be redeemed earlier.
    #[error("this voucher has expired")]
    Expired {
        /// When it did, Unix milliseconds.
        at_ms: i64,
    },
    /// The operator made it worthless.
    #[error("this voucher is void: ask who gave it to you")]
    Voided,
    /// All gifts together would pass the bound below which no sum of credits can overflow.
    #[error("gifts would pass {bound} credits in all: no voucher can be redeemed any more")]
    TooMuchInAll {
        /// The most that may ever be given on one server.
        bound: Credits,
    },
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a balance was not corrected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorrectError {
    /// There is no such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The account is closed.
    #[error("account {0} is closed: it takes no credits")]
    AccountClosed(AccountId),
    /// This command id was used for another correction.
    #[error("this idempotency key was used for another correction: use a new one")]
    Conflict,
    /// No balance goes below zero.
    #[error("{asked} credits can not be taken, the balance is {balance}: take less")]
    Insufficient {
        /// What was to be taken.
        asked: Credits,
        /// The account's balance.
        balance: Balance,
    },
    /// All gifts together would pass the bound below which no sum of credits can overflow.
    #[error("gifts would pass {bound} credits in all: give less")]
    TooMuchInAll {
        /// The most that may ever be given on one server.
        bound: Credits,
    },
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
