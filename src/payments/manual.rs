//! A bank transfer: the customer is told how to pay, and the operator says when the money is there.
//!
//! Promises: nothing that comes over the network makes an order paid.
//! Never knows: who the operator is and what they confirmed.

use super::{
    Claim, Created, Forged, Headers, Next, Order, Payment, PaymentKey, PaymentProvider,
    PaymentState, ProviderError, RefundOrder, Refunded,
};

const NAME: &str = "manual";

/// Payment by bank transfer, confirmed by the operator.
#[derive(Debug)]
pub struct Manual {
    instructions: String,
}

impl Manual {
    /// `instructions` tell the customer how to pay; `{amount}` and `{reference}` in them are
    /// replaced by the order's.
    pub fn new(instructions: impl Into<String>) -> Manual {
        Manual { instructions: instructions.into() }
    }
}

impl PaymentProvider for Manual {
    fn name(&self) -> &'static str {
        NAME
    }

    fn create(&self, order: &Order) -> Result<Created, ProviderError> {
        let reference = order.reference.to_string();
        let text = self.instructions.replace("{amount}", &order.amount.to_string());
        let next = Next::Instructions(text.replace("{reference}", &reference));
        Ok(Created { order_id: reference, next })
    }

    fn authenticate(&self, _: &Headers<'_>, _: &[u8]) -> Result<Claim, Forged> {
        Err(Forged::NoCallbacks { provider: NAME })
    }

    /// Always pending: only the operator knows, and says so in the books.
    fn fetch(&self, key: &PaymentKey) -> Result<Payment, ProviderError> {
        let reference = match key {
            PaymentKey::Order(id) => id.parse().ok(),
            PaymentKey::Reference(reference) => Some(*reference),
        };
        let reference = reference.ok_or(ProviderError::NotFound { provider: NAME })?;
        Ok(Payment {
            order_id: reference.to_string(),
            reference: Some(reference),
            state: PaymentState::Pending,
            status: "waiting for the operator".to_owned(),
        })
    }

    fn refund(&self, _: &RefundOrder) -> Result<Refunded, ProviderError> {
        Ok(Refunded::ByHand)
    }
}
