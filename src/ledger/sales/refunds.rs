//! Refunds: the credits are taken first, then the provider pays.

use super::TopupId;
use crate::ledger::types::Credits;
use crate::money::Fils;

super::id! {
    /// Money given back for an order. Its provider knows it by the same name.
    RefundId
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefundState {
    /// The credits are taken, the money is not known to be back.
    Pending,
    /// The money is back.
    Done,
    /// It is not; the credits are given back.
    Failed,
}

impl RefundState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Done, Self::Failed];

    /// The word used in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What became of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The provider paid.
    Done {
        /// What it calls that; 1 to 200 characters.
        provider_refund_id: Option<String>,
    },
    /// It did not and will not.
    Failed {
        /// For people; cut to 200 characters.
        why: String,
    },
}

/// A refund, and whether this command began it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunRefund {
    /// As it stands now.
    pub refund: RefundInfo,
    /// False: an earlier command with the same idempotency key did.
    pub is_new: bool,
}

/// A refund as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundInfo {
    /// Names it.
    pub id: RefundId,
    /// The order it gives back.
    pub topup: TopupId,
    /// What the provider calls that order's payment.
    pub payment_id: Option<String>,
    /// Money given back.
    pub fils: Fils,
    /// Credits taken for it.
    pub credits: Credits,
    /// Where it stands.
    pub state: RefundState,
    /// What the provider calls it.
    pub provider_refund_id: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds; `None` while pending.
    pub ended_ms: Option<i64>,
}
