//! How money arrives: one file for each provider, one trait for all of them.
//!
//! An order goes the same way with every provider:
//!
//! ```text
//! 1 create        our order -> the provider's, and where the customer pays
//! 2 authenticate  a callback that carries the provider's signature -> a claim: which order moved
//! 3 fetch         what the provider answers when asked: this alone decides
//! 4 refund        money back, whole or in part
//! ```
//!
//! Promises: a callback is only ever a reason to ask; an amount is whole fils, read from and
//! written as decimal text; every call is bounded in time and size; no error shows a secret.
//! Synchronous: async callers use a blocking thread.
//! Never knows: the ledger, accounts, credits, the server's own HTTP.

#![deny(clippy::float_arithmetic)]

mod callback;
mod error;
mod json;
mod line;
mod manual;
mod my_fatoorah;
mod my_fatoorah_callback;
mod order;
mod secret;
mod tap;

pub use callback::{Claim, Forged, Headers, MAX_CALLBACK_BYTES};
pub use error::ProviderError;
pub use manual::Manual;
pub use my_fatoorah::{MyFatoorah, MyFatoorahSettings};
pub use order::{
    Captured, Created, Customer, Next, Order, ParseReferenceError, Payment, PaymentKey,
    PaymentState, Reference, RefundOrder, Refunded,
};
pub use secret::{Secret, SecretError};
pub use tap::{Tap, TapSettings};

use std::fmt::Debug;

/// A way to pay. Calls block for at most the time that its settings allow.
pub trait PaymentProvider: Send + Sync + Debug {
    /// Its name in settings, addresses and the books, such as `tap`.
    fn name(&self) -> &'static str;

    /// Opens a payment and says where the customer goes next.
    ///
    /// After an error that [may have happened](ProviderError::may_have_happened) the payment may
    /// be open all the same. Tap knows the order again by its reference and gives the same
    /// payment; with MyFatoorah, look it up by [`PaymentKey::Reference`] and never send the same
    /// order again, or there are two that can be paid.
    fn create(&self, order: &Order) -> Result<Created, ProviderError>;

    /// Checks the signature of a callback; it does not tell whether anything was paid.
    fn authenticate(&self, headers: &Headers<'_>, body: &[u8]) -> Result<Claim, Forged>;

    /// Asks how a payment stands.
    fn fetch(&self, key: &PaymentKey) -> Result<Payment, ProviderError>;

    /// Gives money back. After an error that may have happened, the provider's own books say
    /// whether it did: do not send it again under another reference.
    fn refund(&self, refund: &RefundOrder) -> Result<Refunded, ProviderError>;
}
