//! Ordering a pack: first the books, then the provider.

use super::error::OrderError;
use super::{Billing, EXPIRY_MINUTES, MANUAL};
use crate::ledger::{AccountId, CheckedTopup, Credits, NewTopup, TopupInfo, TopupState};
use crate::payments::{Customer, Next, PaymentProvider};

/// A bank transfer takes days.
const TRANSFER_MS: i64 = 14 * 86_400_000;

/// What a customer asks for.
#[derive(Debug, Clone)]
pub struct OrderRequest {
    /// Who gets the credits.
    pub account: AccountId,
    /// Whom the provider's page and receipt name.
    pub customer: Customer,
    /// A pack's id.
    pub pack: String,
    /// A provider's name; `None`: the first that is enabled.
    pub provider: Option<String>,
    /// The same key again is the same order.
    pub idempotency_key: Option<String>,
    /// Who asked, for the books.
    pub actor: String,
}

/// An order, and what the customer does next; nothing once it is decided.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// As the books have it.
    pub topup: TopupInfo,
    /// Where or how to pay.
    pub next: Option<Next>,
}

impl Billing {
    /// Orders a pack. If the provider does not open a payment the order is `failed`, and a new one
    /// may be made at once: a payment that it opened all the same is found by the poller.
    pub fn order(&self, request: OrderRequest) -> Result<Ordered, OrderError> {
        let pack = self.packs().iter().find(|pack| pack.id == request.pack);
        let Some(pack) = pack else {
            let known = self.packs().iter().map(|pack| pack.id.clone()).collect();
            return Err(OrderError::UnknownPack { pack: request.pack, known });
        };
        let provider = self.provider_for(request.provider.as_deref())?;
        let new = NewTopup {
            account: request.account,
            pack: pack.id.clone(),
            fils: pack.price,
            credits: Credits(pack.credits),
            provider: provider.name().to_owned(),
            idempotency_key: request.idempotency_key,
            expires_after_ms: match provider.name() {
                MANUAL => TRANSFER_MS,
                _ => i64::from(EXPIRY_MINUTES) * 60_000,
            },
            actor: request.actor,
        };
        let created = self.ledger.create_topup(new).wait()?;
        if created.is_new {
            return self.open(provider, created.topup, request.customer);
        }
        match created.topup.state {
            // Another request is at it, or was cut off: asking the provider again could open a
            // second payment.
            TopupState::Created => Err(OrderError::StillRunning),
            _ => Ok(self.with_next(created.topup)),
        }
    }

    fn provider_for(&self, name: Option<&str>) -> Result<&dyn PaymentProvider, OrderError> {
        let Some(first) = self.providers().first() else { return Err(OrderError::NothingEnabled) };
        let Some(name) = name else { return Ok(first.as_ref()) };
        self.provider(name).ok_or_else(|| {
            let known = self.providers().iter().map(|provider| provider.name().to_owned());
            OrderError::UnknownProvider { provider: name.to_owned(), known: known.collect() }
        })
    }

    fn open(
        &self,
        provider: &dyn PaymentProvider,
        topup: TopupInfo,
        customer: Customer,
    ) -> Result<Ordered, OrderError> {
        match provider.create(&self.order_of(&topup, customer)) {
            Ok(created) => {
                let (redirect_url, instructions) = match &created.next {
                    Next::Redirect(url) => (Some(url.clone()), None),
                    Next::Instructions(text) => (None, Some(text.clone())),
                };
                let started = self.ledger.topup_started(
                    topup.id,
                    &created.order_id,
                    redirect_url,
                    instructions,
                );
                let topup = started.wait()?;
                tracing::info!(topup = %topup.id, provider = provider.name(), "ordered");
                // A callback may have been quicker: what is paid has no next step.
                Ok(self.with_next(topup))
            }
            Err(error) => {
                tracing::warn!(topup = %topup.id, %error, "no payment was opened");
                self.ledger.topup_checked(topup.id, CheckedTopup::Failed).wait()?;
                Err(OrderError::Provider(error))
            }
        }
    }

    /// What the customer of a stored order does next.
    pub fn with_next(&self, topup: TopupInfo) -> Ordered {
        let next = match (topup.state, &topup.redirect_url, &topup.instructions) {
            (TopupState::Pending, Some(url), _) => Some(Next::Redirect(url.clone())),
            (TopupState::Pending, None, Some(text)) => Some(Next::Instructions(text.clone())),
            _ => None,
        };
        Ordered { topup, next }
    }
}
