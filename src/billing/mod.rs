//! Selling credits: what joins the packs of `models.toml`, the payment providers and the books.
//!
//! ```text
//! 1 order      the order is written to the books, then the provider is asked to open a payment
//! 2 check      the provider is asked how the payment stands; if it was paid, the credits and the
//!              money enter the journal in one commit
//! 3 refund     the credits are taken back, then the provider is asked to pay the money back
//! ```
//!
//! A provider's callback, the customer's return, the operator and the poller all end in the same
//! `check`: whoever comes first, and however often, the credits are given once. `notices` tells a
//! team's own server when its credits run low.
//!
//! Promises: an order exists in the books before a provider hears of it; only what a provider
//! answered when asked makes an order paid. Synchronous: async callers use a blocking thread.
//! Never knows: HTTP routes, how any one provider speaks.

#![deny(clippy::float_arithmetic)]

mod callbacks;
mod checks;
mod error;
pub mod notices;
mod orders;
mod poller;
mod refunds;

pub use callbacks::{Authentic, Verdict};
pub use error::{CallbackError, CheckError, ConfirmError, OrderError, RefundError};
pub use orders::{OrderRequest, Ordered};
pub use poller::{Poller, Round};

use std::sync::Arc;

use crate::catalog::Pack;
use crate::config::Config;
use crate::ledger::{Ledger, TopupInfo};
use crate::payments::{Customer, Order, PaymentProvider, Reference};

/// How long an order can be paid before it is taken for given up.
const EXPIRY_MINUTES: u32 = 30;

/// The provider whose payments the operator confirms.
const MANUAL: &str = "manual";

/// Sells packs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Billing {
    ledger: Ledger,
    config: Arc<Config>,
    /// Where callers reach this server, without a trailing slash.
    public_url: Arc<str>,
}

impl Billing {
    /// Sells the packs of `config` through its providers.
    ///
    /// Providers and customers are sent to `public_url`, or to the configured one.
    pub fn new(config: Arc<Config>, ledger: Ledger, public_url: &str) -> Self {
        let public_url = config.public_url.as_deref().unwrap_or(public_url);
        let public_url = public_url.trim_end_matches('/').into();
        Self { ledger, config, public_url }
    }

    /// Where callers reach this server, without a trailing slash.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The packs for sale, in the catalog's order.
    pub fn packs(&self) -> &[Pack] {
        &self.config.catalog.packs
    }

    /// The enabled providers, in the catalog's order; the first is the default.
    pub fn providers(&self) -> &[Arc<dyn PaymentProvider>] {
        &self.config.payments
    }

    /// Whether it is the operator who sees that an order through this provider was paid.
    pub fn is_confirmed_by_hand(&self, provider: &str) -> bool {
        provider == MANUAL
    }

    fn provider(&self, name: &str) -> Option<&dyn PaymentProvider> {
        self.providers().iter().find(|provider| provider.name() == name).map(AsRef::as_ref)
    }

    /// An order as its provider is told of it.
    fn order_of(&self, topup: &TopupInfo, customer: Customer) -> Order {
        let id = topup.id;
        Order {
            reference: Reference(id.0),
            amount: topup.fils,
            description: format!("{} credits", topup.credits),
            customer,
            return_url: format!("{}/topups/{id}/return", self.public_url),
            webhook_url: self.webhook_url(&topup.provider),
            expiry_minutes: EXPIRY_MINUTES,
        }
    }

    fn webhook_url(&self, provider: &str) -> String {
        format!("{}/api/v1/payments/{provider}/webhook", self.public_url)
    }
}
