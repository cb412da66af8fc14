//! How an order stands: the provider is asked, and what it answers is entered in the books.
//!
//! Promises: paid means that amount, currency, reference and order are this order's; anything else
//! that was captured is recorded and left for the operator, never credited.

use super::error::{CheckError, ConfirmError};
use super::{Billing, MANUAL};
use crate::ledger::{
    CheckedTopup, PaidProof, PayTopupError, PaymentEvent, TopupId, TopupInfo, TopupState,
};
use crate::money::Fils;
use crate::payments::{Captured, Payment, PaymentKey, PaymentState, Reference};

/// The only currency that packs are priced in (ISO 4217).
const CURRENCY: &str = "KWD";

/// Who is named in the journal when a provider's answer moved money.
const ACTOR: &str = "payments";

impl Billing {
    /// Asks the provider how an order stands, and credits it if it was paid. Again and at the same
    /// time from elsewhere: credited once.
    pub fn check(&self, id: TopupId) -> Result<TopupInfo, CheckError> {
        let topup = self.ledger.topup(id)?.ok_or(CheckError::UnknownTopup)?;
        if topup.state == TopupState::Paid {
            return Ok(topup);
        }
        let provider = self
            .provider(&topup.provider)
            .ok_or_else(|| CheckError::NotEnabled(topup.provider.clone()))?;
        let payment = provider.fetch(&key_of(&topup)).map_err(CheckError::from);
        let checked = payment.and_then(|payment| self.settle(&topup, &payment, None));
        if checked.is_err() {
            // Else whoever asks would come back to it first, before orders that can be told.
            self.ledger.topup_checked(topup.id, CheckedTopup::Unknown).wait()?;
        }
        checked
    }

    /// The same, unless the provider was asked after `since_ms`.
    pub fn check_again(&self, id: TopupId, since_ms: i64) -> Result<TopupInfo, CheckError> {
        match self.ledger.topup(id)? {
            Some(topup) if topup.checked_ms.is_some_and(|at_ms| at_ms > since_ms) => Ok(topup),
            Some(_) | None => self.check(id),
        }
    }

    /// Enters in the books what a provider answered about `topup`.
    pub(super) fn settle(
        &self,
        topup: &TopupInfo,
        payment: &Payment,
        event: Option<PaymentEvent>,
    ) -> Result<TopupInfo, CheckError> {
        let checked = match &payment.state {
            PaymentState::Paid(captured) => {
                if let Some(why) = mismatch(topup, payment, captured) {
                    tracing::error!(topup = %topup.id, %why, "a payment does not fit its order");
                    if let Some(event) = event {
                        let event = PaymentEvent { verdict: why.clone(), ..event };
                        let provider = &topup.provider;
                        self.ledger.record_event(provider, Some(topup.id), event).wait()?;
                    }
                    self.set_aside(topup, captured, &why)?;
                    return Err(CheckError::Mismatch(why));
                }
                let proof = PaidProof {
                    provider: topup.provider.clone(),
                    provider_order_id: Some(payment.order_id.clone()),
                    provider_payment_id: captured.payment_id.clone(),
                    fils: captured.amount,
                    event,
                    actor: ACTOR.to_owned(),
                    reason: None,
                };
                let paid = match self.ledger.pay_topup(topup.id, proof).wait() {
                    Ok(paid) => paid,
                    Err(error @ PayTopupError::Unavailable(_)) => return Err(error.into()),
                    Err(refused) => {
                        self.set_aside(topup, captured, &refused.to_string())?;
                        return Err(refused.into());
                    }
                };
                tracing::info!(topup = %topup.id, fils = %topup.fils, "paid");
                return Ok(paid);
            }
            // Given up here, though the provider still waits.
            PaymentState::Pending if topup.state == TopupState::Expired => CheckedTopup::Expired,
            PaymentState::Pending => CheckedTopup::Pending,
            PaymentState::Failed => CheckedTopup::Failed,
            PaymentState::Cancelled => CheckedTopup::Cancelled,
            PaymentState::Expired => CheckedTopup::Expired,
        };
        if let Some(event) = event {
            let event = PaymentEvent { verdict: payment.status.clone(), ..event };
            self.ledger.record_event(&topup.provider, Some(topup.id), event).wait()?;
        }
        Ok(self.ledger.topup_checked(topup.id, checked).wait()?)
    }

    /// Money that was taken and not credited waits for the operator.
    fn set_aside(
        &self,
        topup: &TopupInfo,
        captured: &Captured,
        why: &str,
    ) -> Result<(), CheckError> {
        let (provider, payment) = (&topup.provider, &captured.payment_id);
        Ok(self.ledger.set_aside(provider, topup.id, payment, why).wait()?)
    }

    /// The operator saw the money of a bank transfer arrive. `bank_reference` is the bank's name
    /// for it, which pays one order only.
    pub fn confirm(
        &self,
        id: TopupId,
        fils: Fils,
        bank_reference: &str,
        actor: &str,
    ) -> Result<TopupInfo, ConfirmError> {
        let topup = self.ledger.topup(id)?.ok_or(ConfirmError::UnknownTopup)?;
        if topup.provider != MANUAL {
            return Err(ConfirmError::NotByHand(topup.provider));
        }
        let proof = PaidProof {
            provider: MANUAL.to_owned(),
            provider_order_id: topup.provider_order_id,
            provider_payment_id: bank_reference.to_owned(),
            fils,
            event: None,
            actor: actor.to_owned(),
            reason: Some(format!("bank transfer {bank_reference}")),
        };
        Ok(self.ledger.pay_topup(id, proof).wait()?)
    }
}

/// How the provider knows an order; by our own name while its answer to `create` is not known.
pub(super) fn key_of(topup: &TopupInfo) -> PaymentKey {
    match &topup.provider_order_id {
        Some(order_id) => PaymentKey::Order(order_id.clone()),
        None => PaymentKey::Reference(Reference(topup.id.0)),
    }
}

/// Why a capture is not the payment of this order.
fn mismatch(topup: &TopupInfo, payment: &Payment, captured: &Captured) -> Option<String> {
    if payment.reference != Some(Reference(topup.id.0)) {
        let found = payment.reference.map_or("none".to_owned(), |found| found.to_string());
        return Some(format!("reference {found}"));
    }
    if topup.provider_order_id.as_ref().is_some_and(|ours| *ours != payment.order_id) {
        return Some(format!("order {}", payment.order_id));
    }
    if captured.currency != CURRENCY {
        return Some(format!("currency {}", captured.currency));
    }
    if captured.amount != topup.fils {
        return Some(format!("amount {} instead of {}", captured.amount, topup.fils));
    }
    None
}
