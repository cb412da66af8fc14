//! Payments that do not fit their order: set aside for the operator, until it says what it did.

use super::TopupInfo;
use crate::ledger::errors::{Invalid, Unavailable};

/// A payment that was not credited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The order, as it stands now.
    pub topup: TopupInfo,
    /// What does not fit.
    pub why: String,
    /// When it was first seen, Unix milliseconds.
    pub seen_ms: i64,
}

/// Why nothing was settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleMismatchError {
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// No payment of the order waits for the operator.
    #[error("no payment of this top-up waits to be settled")]
    NothingToSettle,
    /// An argument is out of bounds.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The ledger is not there.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
