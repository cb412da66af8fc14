//! Why a sale did not go on: one closed enum for each operation.

use crate::ledger::{
    BeginRefundError, FinishRefundError, LedgerError, PayTopupError, RefundId, TopupError,
    Unavailable,
};
use crate::payments::{Forged, ProviderError};

/// Why a pack was not ordered.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such pack.
    #[error("there is no pack '{pack}'; there are {}", known.join(", "))]
    UnknownPack {
        /// As asked for.
        pack: String,
        /// Ids that would be right.
        known: Vec<String>,
    },
    /// The provider is not enabled here.
    #[error("there is no payment provider '{provider}' here; there are {}", known.join(", "))]
    UnknownProvider {
        /// As asked for.
        provider: String,
        /// Names that would be right.
        known: Vec<String>,
    },
    /// This server sells nothing by itself.
    #[error("this server takes no payments: ask its operator for credits or a voucher")]
    NothingEnabled,
    /// The first request with this idempotency key has not ended.
    #[error("the order with this Idempotency-Key is still being made: try again shortly")]
    StillRunning,
    /// The provider did not open a payment.
    #[error(transparent)]
    Provider(ProviderError),
    /// The books refused.
    #[error(transparent)]
    Books(#[from] TopupError),
}

/// Why it is not known how an order stands.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// Its provider is not enabled any more.
    #[error("the payment provider {0} is not enabled")]
    NotEnabled(String),
    /// Money was taken, but not this order's: for the operator to look at.
    #[error("what was paid does not fit the order: {0}")]
    Mismatch(String),
    /// The provider did not say.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The books refused the payment.
    #[error(transparent)]
    Pay(#[from] PayTopupError),
    /// The books refused the state.
    #[error(transparent)]
    Books(#[from] TopupError),
    /// The books took no event.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The books could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a callback was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// No such provider is enabled.
    #[error("there is no such payment provider here")]
    UnknownProvider,
    /// It is not the provider's.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// The order could not be asked about: to be sent again.
    #[error(transparent)]
    NotChecked(#[from] CheckError),
}

impl From<ProviderError> for CallbackError {
    fn from(error: ProviderError) -> Self {
        Self::NotChecked(error.into())
    }
}

impl From<LedgerError> for CallbackError {
    fn from(error: LedgerError) -> Self {
        Self::NotChecked(error.into())
    }
}

impl From<Unavailable> for CallbackError {
    fn from(error: Unavailable) -> Self {
        Self::NotChecked(error.into())
    }
}

/// Why a bank transfer was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// Its provider says itself what was paid.
    #[error("a payment through {0} is not confirmed by hand: check it instead")]
    NotByHand(String),
    /// The books refused.
    #[error(transparent)]
    Pay(#[from] PayTopupError),
    /// The books could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why no money was given back.
#[derive(Debug, thiserror::Error)]
pub enum RefundError {
    /// There is no such order.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// Its provider is not enabled any more.
    #[error("the payment provider {0} is not enabled")]
    NotEnabled(String),
    /// The provider refused; the credits were given back.
    #[error("the credits were given back, as the provider did not refund: {0}")]
    Provider(ProviderError),
    /// The provider may or may not have done it; the refund is pending.
    #[error(
        "it is not known whether the provider refunded ({error}): look up refund {refund} there, \
         and settle it"
    )]
    Unknown {
        /// The pending refund.
        refund: RefundId,
        /// What the call ended in.
        error: ProviderError,
    },
    /// The books refused to begin.
    #[error(transparent)]
    Begin(#[from] BeginRefundError),
    /// The books refused to end.
    #[error(transparent)]
    Finish(#[from] FinishRefundError),
    /// The books could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
