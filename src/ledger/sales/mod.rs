//! The words of money-in and money-back: orders of packs, refunds, vouchers, and why each command
//! about them is refused.
//! Never knows: providers' messages, HTTP.

mod errors;
mod mismatches;
mod refunds;
mod topups;
mod vouchers;

pub use errors::{
    BeginRefundError, CorrectError, FinishRefundError, PayTopupError, RedeemError, TopupError,
    VoucherError,
};
pub use mismatches::{Mismatch, SettleMismatchError};
pub use refunds::{BegunRefund, RefundId, RefundInfo, RefundOutcome, RefundState};
pub use topups::{
    CheckedTopup, CreatedTopup, NewTopup, PaidDay, PaidProof, PaymentEvent, PaymentEventInfo,
    TopupFilter, TopupId, TopupInfo, TopupState, UnknownTopupState,
};
pub use vouchers::{MadeVouchers, NewVouchers, Redeemed, VoucherBatch};

/// A text that is no [`TopupId`] or [`RefundId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

/// Sixteen bytes that name something: UUID version 7. They print as 32 hexadecimal digits, and
/// parse from them.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::ledger::sales::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let id: Result<crate::ledger::MeterId, _> = text.parse();
                id.map(|id| Self(id.0)).map_err(|_| crate::ledger::sales::ParseIdError)
            }
        }
    };
}
use id;
