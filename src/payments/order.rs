//! What is said to a provider and what it answers, in our words.
//!
//! Never knows: how any one provider spells it.

use std::fmt;
use std::str::FromStr;

use crate::money::Fils;

/// Our name for an order: the id of its top-up. Prints as 32 hexadecimal digits.
///
/// It also is the idempotency key where a provider has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(pub [u8; 16]);

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, ParseReferenceError> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(ParseReferenceError);
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| ParseReferenceError)?;
        Ok(Reference(value.to_be_bytes()))
    }
}

/// A text that is no [`Reference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reference is 32 hexadecimal digits in lower case")]
pub struct ParseReferenceError;

/// A payment to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Ours.
    pub reference: Reference,
    /// What is to be paid, in KWD.
    pub amount: Fils,
    /// What the customer reads, such as "5,000 credits".
    pub description: String,
    /// Who pays.
    pub customer: Customer,
    /// Where the customer's browser goes afterwards, whatever came of it.
    pub return_url: String,
    /// Where the provider sends callbacks.
    pub webhook_url: String,
    /// How long it can be paid. Tap takes 5 to 60 and is given the nearest of these.
    pub expiry_minutes: u32,
}

/// Who pays, as far as it is known. Providers that insist on more are given placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Customer {
    /// A name of a person or a team.
    pub name: Option<String>,
    /// An address for the provider's receipt.
    pub email: Option<String>,
}

impl Customer {
    /// The name, or a neutral word.
    pub fn name_or_placeholder(&self) -> &str {
        self.name.as_deref().unwrap_or("Customer")
    }

    /// The address, or one that nobody reads (RFC 2606).
    pub fn email_or_placeholder(&self) -> &str {
        self.email.as_deref().unwrap_or("customer@example.com")
    }
}

/// A payment that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The provider's name for the order; ours where it has none of its own.
    pub order_id: String,
    /// What the customer does next.
    pub next: Next,
}

/// What the customer does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Pay at this address.
    Redirect(String),
    /// Pay as this text says.
    Instructions(String),
}

/// Which payment is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentKey {
    /// The provider's id, from [`Created::order_id`] or [`Claim::order_id`](super::Claim).
    Order(String),
    /// Ours, for when the answer to `create` was lost. Tap can not look that up and answers
    /// [`NotFound`](super::ProviderError::NotFound): create the same order again.
    Reference(Reference),
}

/// How a payment stands, as the provider answered when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The provider's name for the order.
    pub order_id: String,
    /// Ours, as it was given to the provider; `None` if what it has is none of ours.
    pub reference: Option<Reference>,
    /// What it means.
    pub state: PaymentState,
    /// The provider's own word for it.
    pub status: String,
}

/// What a payment's state means. Words that a provider may add mean `Pending`: ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentState {
    /// Not decided.
    Pending,
    /// The money was taken; `amount` and `currency` must still be compared with the order.
    Paid(Captured),
    /// The bank or the provider refused.
    Failed,
    /// The customer or the merchant ended it.
    Cancelled,
    /// Nobody paid in time. A late capture is still possible.
    Expired,
}

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The provider's name for this taking of money: never the same for two.
    pub payment_id: String,
    /// How much. Fils only if `currency` is KWD.
    pub amount: Fils,
    /// ISO 4217, such as KWD.
    pub currency: String,
}

/// Money to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundOrder {
    /// Our name for the refund.
    pub reference: Reference,
    /// The provider's name for the order.
    pub order_id: String,
    /// The provider's name for what was taken.
    pub payment_id: String,
    /// How much, in KWD.
    pub amount: Fils,
    /// Why, for the provider's own books.
    pub reason: String,
    /// Where the provider sends callbacks about it; left out if `None`.
    pub webhook_url: Option<String>,
}

/// What came of a refund that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunded {
    /// The provider has it.
    Accepted {
        /// Its name for the refund.
        refund_id: String,
        /// Its own word for how far it is.
        status: String,
    },
    /// The operator pays it back.
    ByHand,
}
