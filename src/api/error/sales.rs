//! What sales refuse, as the caller sees it.

use super::ApiError;
use crate::billing::{CallbackError, CheckError, ConfirmError, OrderError, RefundError};
use crate::ledger::{
    BeginRefundError, CorrectError, FinishRefundError, PayTopupError, RedeemError,
    SettleMismatchError, TopupError, VoucherError,
};
use crate::payments::ProviderError;

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::UnknownPack { .. } => Self::field("pack", error.to_string()),
            OrderError::UnknownProvider { .. } => Self::field("provider", error.to_string()),
            OrderError::NothingEnabled => Self::Conflict(error.to_string()),
            OrderError::StillRunning => Self::IdempotencyRunning,
            OrderError::Provider(error) => error.into(),
            OrderError::Books(error) => error.into(),
        }
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        tracing::warn!(%error, "a payment provider failed");
        if error.is_passing() {
            Self::PaymentUnavailable
        } else {
            Self::PaymentRefused(error.to_string())
        }
    }
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::UnknownTopup => Self::UnknownTopup,
            CheckError::NotEnabled(_) | CheckError::Mismatch(_) => {
                Self::Conflict(error.to_string())
            }
            CheckError::Provider(error) => error.into(),
            CheckError::Pay(error) => error.into(),
            CheckError::Books(error) => error.into(),
            CheckError::Unavailable(why) => Self::unavailable(&why),
            CheckError::Ledger(error) => error.into(),
        }
    }
}

impl From<CallbackError> for ApiError {
    fn from(error: CallbackError) -> Self {
        match error {
            CallbackError::UnknownProvider => Self::UnknownProvider,
            CallbackError::Forged(_) => Self::ForgedCallback,
            // Whatever it is, the provider is to send it again.
            CallbackError::NotChecked(error) => {
                tracing::warn!(%error, "a callback could not be checked");
                Self::PaymentUnavailable
            }
        }
    }
}

impl From<ConfirmError> for ApiError {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::UnknownTopup => Self::UnknownTopup,
            ConfirmError::NotByHand(_) => Self::Conflict(error.to_string()),
            ConfirmError::Pay(error) => error.into(),
            ConfirmError::Ledger(error) => error.into(),
        }
    }
}

impl From<RefundError> for ApiError {
    fn from(error: RefundError) -> Self {
        match error {
            RefundError::UnknownTopup => Self::UnknownTopup,
            RefundError::NotEnabled(_) => Self::Conflict(error.to_string()),
            RefundError::Provider(_) | RefundError::Unknown { .. } => {
                Self::PaymentRefused(error.to_string())
            }
            RefundError::Begin(error) => error.into(),
            RefundError::Finish(error) => error.into(),
            RefundError::Ledger(error) => error.into(),
        }
    }
}

impl From<TopupError> for ApiError {
    fn from(error: TopupError) -> Self {
        match error {
            TopupError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            TopupError::AccountClosed(_) => Self::AccountClosed,
            TopupError::Conflict => Self::IdempotencyMismatch,
            TopupError::UnknownTopup => Self::UnknownTopup,
            TopupError::OtherOrder(_) => Self::Conflict(error.to_string()),
            TopupError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            TopupError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<SettleMismatchError> for ApiError {
    fn from(error: SettleMismatchError) -> Self {
        match error {
            SettleMismatchError::UnknownTopup => Self::UnknownTopup,
            SettleMismatchError::NothingToSettle => Self::Conflict(error.to_string()),
            SettleMismatchError::Invalid(invalid) => {
                Self::field(invalid.field, invalid.to_string())
            }
            SettleMismatchError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<PayTopupError> for ApiError {
    fn from(error: PayTopupError) -> Self {
        match error {
            PayTopupError::UnknownTopup => Self::UnknownTopup,
            PayTopupError::OtherProvider { .. }
            | PayTopupError::OtherOrder(_)
            | PayTopupError::WrongAmount { .. }
            | PayTopupError::PaymentUsed(_)
            | PayTopupError::PaidTwice { .. }
            | PayTopupError::TooMuchInAll { .. } => Self::Conflict(error.to_string()),
            PayTopupError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            PayTopupError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<BeginRefundError> for ApiError {
    fn from(error: BeginRefundError) -> Self {
        match error {
            BeginRefundError::UnknownTopup => Self::UnknownTopup,
            BeginRefundError::Conflict => Self::IdempotencyMismatch,
            BeginRefundError::NotPaid
            | BeginRefundError::TooMuch { .. }
            | BeginRefundError::WorthNothing { .. } => Self::Conflict(error.to_string()),
            BeginRefundError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            BeginRefundError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<FinishRefundError> for ApiError {
    fn from(error: FinishRefundError) -> Self {
        match error {
            FinishRefundError::UnknownRefund => Self::UnknownRefund,
            FinishRefundError::Ended(_) => Self::Conflict(error.to_string()),
            FinishRefundError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            FinishRefundError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<VoucherError> for ApiError {
    fn from(error: VoucherError) -> Self {
        match error {
            VoucherError::NameTaken(_) => Self::Conflict(error.to_string()),
            VoucherError::UnknownBatch(name) => Self::UnknownBatch(name),
            VoucherError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            VoucherError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<RedeemError> for ApiError {
    fn from(error: RedeemError) -> Self {
        let refused = |code| Self::VoucherRefused { code, message: error.to_string() };
        match error {
            RedeemError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            RedeemError::AccountClosed(_) => Self::AccountClosed,
            RedeemError::Unknown => Self::UnknownVoucher,
            RedeemError::Used { .. } => refused("voucher_used"),
            RedeemError::Expired { .. } => refused("voucher_expired"),
            RedeemError::Voided => refused("voucher_void"),
            RedeemError::TooMuchInAll { .. } => Self::Conflict(error.to_string()),
            RedeemError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            RedeemError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<CorrectError> for ApiError {
    fn from(error: CorrectError) -> Self {
        match error {
            CorrectError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            CorrectError::AccountClosed(_)
            | CorrectError::Conflict
            | CorrectError::Insufficient { .. }
            | CorrectError::TooMuchInAll { .. } => Self::Conflict(error.to_string()),
            CorrectError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            CorrectError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}
