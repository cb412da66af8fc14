//! Orders of packs: from `created` to `paid`, or to one of the ends that may still be paid late.

use std::str::FromStr;

use crate::ledger::types::{AccountId, Credits};
use crate::money::Fils;

super::id! {
    /// An order of a pack. Its provider knows it by the same name.
    TopupId
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopupState {
    /// Written; the provider has not answered.
    Created,
    /// The provider waits for the customer.
    Pending,
    /// The money is there and the credits are given. Never left again.
    Paid,
    /// The payment failed. This and what follows may still be paid late.
    Failed,
    /// Nobody paid in time.
    Expired,
    /// The customer gave up.
    Cancelled,
}

impl TopupState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Pending, Self::Paid, Self::Failed, Self::Expired, Self::Cancelled];

    /// The word used in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for TopupState {
    type Err = UnknownTopupState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| UnknownTopupState(text.to_owned()))
    }
}

/// A text that is no [`TopupState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "state is {0:?}: use \"created\", \"pending\", \"paid\", \"failed\", \"expired\" or \
     \"cancelled\""
)]
pub struct UnknownTopupState(pub String);

/// What a customer orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopup {
    /// Who gets the credits.
    pub account: AccountId,
    /// The pack's id; price and credits are kept with the order, so a pack may change later.
    pub pack: String,
    /// What it costs, at least 1.
    pub fils: Fils,
    /// What it brings, at least 1.
    pub credits: Credits,
    /// Who takes the money: 1 to 32 lower-case letters, digits, `-` and `_`.
    pub provider: String,
    /// The same key again from this account is the same order; 1 to 255 characters.
    pub idempotency_key: Option<String>,
    /// How long it is to be paid, from now.
    pub expires_after_ms: i64,
    /// Who ordered.
    pub actor: String,
}

/// An order, and whether this command wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopup {
    /// The order as it stands now.
    pub topup: TopupInfo,
    /// False: an earlier command with the same idempotency key did.
    pub is_new: bool,
}

/// What became of asking a provider about an order that is not paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedTopup {
    /// It waits for the customer.
    Pending,
    /// The payment failed.
    Failed,
    /// The customer gave up.
    Cancelled,
    /// Nobody paid in time.
    Expired,
    /// It did not say, or not what fits. The order stays as it is, unless its provider was never
    /// known to have it and its time is over: then nobody was sent to pay, and it has expired.
    Unknown,
}

/// Something a provider told us, to be kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvent {
    /// The same key from the same provider is the same message. Cut to 500 characters.
    pub key: String,
    /// The message; its first 64 KiB are kept.
    pub raw: Vec<u8>,
    /// What became of it. Cut to 500 characters.
    pub verdict: String,
}

/// A kept message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEventInfo {
    /// Who sent it.
    pub provider: String,
    /// Its key.
    pub key: String,
    /// As it came.
    pub raw: Vec<u8>,
    /// What became of it.
    pub verdict: String,
    /// Unix milliseconds.
    pub received_ms: i64,
}

/// What shows that an order was paid: what the provider answered when it was asked, or what an
/// operator saw on the bank's statement. The caller has made sure that the currency is KWD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidProof {
    /// Who took the money.
    pub provider: String,
    /// What the provider calls the order; `None`: it has no name for it.
    pub provider_order_id: Option<String>,
    /// What the provider or the bank calls the payment; pays one order only.
    pub provider_payment_id: String,
    /// What was taken.
    pub fils: Fils,
    /// The message that led here, kept with the payment.
    pub event: Option<PaymentEvent>,
    /// Who says so.
    pub actor: String,
    /// For people: given when one of them says so, and then also in the audit.
    pub reason: Option<String>,
}

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopupInfo {
    /// Names it.
    pub id: TopupId,
    /// Who gets the credits.
    pub account: AccountId,
    /// That account's name.
    pub account_name: String,
    /// The pack's id.
    pub pack: String,
    /// Its price.
    pub fils: Fils,
    /// Its credits.
    pub credits: Credits,
    /// Given back or being given back, of `fils`.
    pub refunded_fils: Fils,
    /// Taken back, of `credits`.
    pub refunded_credits: Credits,
    /// Where it stands.
    pub state: TopupState,
    /// Who takes the money.
    pub provider: String,
    /// What the provider calls it.
    pub provider_order_id: Option<String>,
    /// What the provider calls its payment.
    pub provider_payment_id: Option<String>,
    /// Where the customer pays.
    pub redirect_url: Option<String>,
    /// Or how.
    pub instructions: Option<String>,
    /// Who ordered.
    pub actor: String,
    /// Unix milliseconds, as are the next.
    pub created_ms: i64,
    /// The customer is to pay before. A later payment counts all the same.
    pub expires_ms: i64,
    /// When the provider was last asked, whatever it answered.
    pub checked_ms: Option<i64>,
    /// When it was credited.
    pub paid_ms: Option<i64>,
}

/// Which orders to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopupFilter {
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Only those that stand so.
    pub state: Option<TopupState>,
    /// Only this provider's.
    pub provider: Option<String>,
    /// How many at most, the latest first.
    pub limit: u32,
}

/// The money of one day, pack and provider: orders paid on that day, and refunds done on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidDay {
    /// In Kuwait, such as `2026-03-01`.
    pub day: String,
    /// The pack's id.
    pub pack: String,
    /// Who took the money.
    pub provider: String,
    /// Orders paid.
    pub orders: i64,
    /// Credits sold.
    pub credits: Credits,
    /// Money taken.
    pub paid: Fils,
    /// Money given back.
    pub refunded: Fils,
}
