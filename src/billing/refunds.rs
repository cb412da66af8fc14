//! Money back: the credits first, then the money.
//!
//! Promises: credits that are being refunded can not be spent meanwhile; a refund that the
//! provider refused gives them back; one whose fate is unknown stays pending and is never sent
//! twice: the operator looks it up at the provider and settles it.

use super::Billing;
use super::error::RefundError;
use crate::ledger::{Credits, RefundId, RefundInfo, RefundOutcome, TopupId};
use crate::payments::{Reference, RefundOrder, Refunded};

impl Billing {
    /// Gives back the money of `credits` of an order, or of all that is left of it; once for each
    /// `idempotency_key`: repeated, it answers how that refund stands.
    pub fn refund(
        &self,
        id: TopupId,
        credits: Option<Credits>,
        reason: &str,
        idempotency_key: Option<&str>,
        actor: &str,
    ) -> Result<RefundInfo, RefundError> {
        let topup = self.ledger.topup(id)?.ok_or(RefundError::UnknownTopup)?;
        let provider = self
            .provider(&topup.provider)
            .ok_or_else(|| RefundError::NotEnabled(topup.provider.clone()))?;
        let refund = match idempotency_key {
            Some(key) => {
                let ledger = &self.ledger;
                let begun = ledger.begin_refund_once(key, id, credits, reason, actor).wait()?;
                if !begun.is_new {
                    return Ok(begun.refund);
                }
                begun.refund
            }
            None => self.ledger.begin_refund(id, credits, reason, actor).wait()?,
        };
        let payment_id = refund.payment_id.clone();
        let payment_id =
            payment_id.expect("the books refund what was paid, and a payment is named");
        // Whoever took the money by hand may never have been told of the order.
        let order_id = topup.provider_order_id.unwrap_or_else(|| Reference(id.0).to_string());
        let order = RefundOrder {
            reference: Reference(refund.id.0),
            order_id,
            payment_id,
            amount: refund.fils,
            reason: reason.to_owned(),
            webhook_url: None,
        };
        match provider.refund(&order) {
            Ok(Refunded::Accepted { refund_id, status }) => {
                tracing::info!(refund = %refund.id, %status, "refunded");
                let done = RefundOutcome::Done { provider_refund_id: Some(refund_id) };
                Ok(self.ledger.finish_refund(refund.id, done, actor).wait()?)
            }
            // The operator pays, and says so then.
            Ok(Refunded::ByHand) => Ok(refund),
            Err(error) if error.may_have_happened() => {
                tracing::error!(refund = %refund.id, %error, "it is not known whether it was made");
                Err(RefundError::Unknown { refund: refund.id, error })
            }
            Err(error) => {
                let failed = RefundOutcome::Failed { why: error.to_string() };
                self.ledger.finish_refund(refund.id, failed, actor).wait()?;
                Err(RefundError::Provider(error))
            }
        }
    }

    /// The operator knows what became of a refund that is pending.
    pub fn settle_refund(
        &self,
        id: RefundId,
        outcome: RefundOutcome,
        actor: &str,
    ) -> Result<RefundInfo, RefundError> {
        Ok(self.ledger.finish_refund(id, outcome, actor).wait()?)
    }
}
