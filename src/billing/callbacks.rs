//! Providers' callbacks: authenticated, then only a reason to ask.
//!
//! Promises: a callback whose order could not be asked about is not recorded as seen, so the
//! provider sends it again; whatever it says, only the answer to our own question counts.

use super::Billing;
use super::error::{CallbackError, CheckError};
use crate::ledger::{PayTopupError, PaymentEvent, TopupId, TopupInfo};
use crate::payments::{Claim, Headers, PaymentKey};

/// A callback that a provider has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentic {
    provider: String,
    claim: Claim,
    body: Vec<u8>,
}

/// What became of a callback that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is about this order, which was asked about.
    Checked(Box<TopupInfo>),
    /// The provider's answer does not fit the order; the operator has to look.
    Mismatch,
    /// It is about no order of ours.
    NotOurs,
}

impl Billing {
    /// Whether a callback to `provider`'s address is the provider's. Only arithmetic: nobody is
    /// asked, so that a flood of forged ones keeps no real one waiting.
    pub fn authenticate(
        &self,
        provider: &str,
        headers: &Headers<'_>,
        body: &[u8],
    ) -> Result<Authentic, CallbackError> {
        let claim = {
            let provider = self.provider(provider).ok_or(CallbackError::UnknownProvider)?;
            provider.authenticate(headers, body)?
        };
        Ok(Authentic { provider: provider.to_owned(), claim, body: body.to_vec() })
    }

    /// Acts on a callback that is the provider's.
    pub fn callback(&self, callback: &Authentic) -> Result<Verdict, CallbackError> {
        let Authentic { provider, claim, body } = callback;
        let provider = self.provider(provider).ok_or(CallbackError::UnknownProvider)?;
        let event = |verdict: &str| PaymentEvent {
            key: claim.event.clone(),
            raw: body.clone(),
            verdict: verdict.to_owned(),
        };
        let not_ours = |verdict: &str| -> Result<Verdict, CallbackError> {
            self.ledger.record_event(provider.name(), None, event(verdict)).wait()?;
            Ok(Verdict::NotOurs)
        };
        let Some(order_id) = claim.order_id.clone() else {
            return not_ours("about no order");
        };
        let payment = provider.fetch(&PaymentKey::Order(order_id.clone()))?;
        // A callback may overtake the answer to `create`: then only the provider knows our name.
        let known = self.ledger.topup_of_order(provider.name(), &order_id)?;
        let topup = match (known, payment.reference) {
            (Some(topup), _) => Some(topup),
            (None, Some(reference)) => self.ledger.topup(TopupId(reference.0))?,
            (None, None) => None,
        };
        let Some(topup) = topup.filter(|topup| topup.provider == provider.name()) else {
            return not_ours("about an order that is not here");
        };
        match self.settle(&topup, &payment, Some(event(&payment.status))) {
            Ok(topup) => Ok(Verdict::Checked(Box::new(topup))),
            Err(CheckError::Mismatch(_)) => Ok(Verdict::Mismatch),
            // Sent again, it would be refused again: the books have kept it for the operator.
            Err(CheckError::Pay(why)) if !matches!(why, PayTopupError::Unavailable(_)) => {
                tracing::error!(topup = %topup.id, %why, "a payment was refused by the books");
                Ok(Verdict::Mismatch)
            }
            Err(error) => Err(error.into()),
        }
    }
}
