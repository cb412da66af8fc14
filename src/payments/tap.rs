//! Tap (api.tap.company, version 2 of its API): KNET and cards on Tap's own page.
//!
//! One secret key both opens the line and signs callbacks. A charge is known by its id, `chg_..`,
//! which also names the money taken. An order that comes again with the same
//! `reference.idempotent` gives the same charge.
//!
//! Never knows: which of the charges are ours; the reference in an answer says.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::callback::readable;
use super::json::{Amount, Scalar, WithAmount, is_plain_id};
use super::line::Line;
use super::secret::{event_name, hex, same_signature};
use super::{
    Captured, Claim, Created, Forged, Headers, Next, Order, Payment, PaymentKey, PaymentProvider,
    PaymentState, ProviderError, RefundOrder, Refunded, Secret,
};

const NAME: &str = "tap";

/// Where the lower-case hexadecimal signature of a callback is.
const SIGNATURE: &str = "hashstring";

/// What Tap takes as `transaction.expiry.period`.
const EXPIRY_MINUTES: (u32, u32) = (5, 60);

/// How Tap is reached and what it is asked for.
#[derive(Debug, Clone)]
pub struct TapSettings {
    /// Scheme and host.
    pub base_url: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// How the customer may pay: `src_all`, `src_kw.knet` or `src_card`.
    pub source: String,
    /// The merchant's number, for accounts that have several.
    pub merchant: Option<String>,
    /// From `MIZAN_TAP_SECRET_KEY`.
    pub secret_key: Secret,
}

impl TapSettings {
    /// Tap's own address.
    pub const BASE_URL: &'static str = "https://api.tap.company";
}

/// Payment through Tap.
#[derive(Debug)]
pub struct Tap {
    line: Line,
    source: String,
    merchant: Option<String>,
    secret_key: Secret,
}

impl Tap {
    /// Nothing is sent yet.
    pub fn new(settings: TapSettings) -> Tap {
        let TapSettings { base_url, timeout, source, merchant, secret_key } = settings;
        let line = Line::new(NAME, base_url, secret_key.clone(), timeout, read_refusal);
        Tap { line, source, merchant, secret_key }
    }
}

impl PaymentProvider for Tap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn create(&self, order: &Order) -> Result<Created, ProviderError> {
        let reference = order.reference.to_string();
        let (shortest, longest) = EXPIRY_MINUTES;
        let mut rest = json!({
            "currency": "KWD",
            "customer_initiated": true,
            "threeDSecure": true,
            "save_card": false,
            "description": order.description,
            "metadata": {"reference": reference},
            "reference": {
                "transaction": reference, "order": reference, "idempotent": reference,
            },
            "receipt": {"email": order.customer.email.is_some(), "sms": false},
            "customer": {
                "first_name": order.customer.name_or_placeholder(),
                "email": order.customer.email_or_placeholder(),
            },
            "source": {"id": self.source},
            "post": {"url": order.webhook_url},
            "redirect": {"url": order.return_url},
            "transaction": {"expiry": {
                "period": order.expiry_minutes.clamp(shortest, longest), "type": "MINUTE",
            }},
        });
        if let Some(merchant) = &self.merchant {
            rest["merchant"] = json!({"id": merchant});
        }
        let charge: Charge =
            self.line.post("/v2/charges", &WithAmount::new("amount", order.amount, rest))?;
        if !is_plain_id(&charge.id) {
            return Err(self.line.malformed("the charge's id is not one"));
        }
        let url = charge.transaction.and_then(|transaction| transaction.url);
        let url = url.ok_or_else(|| self.line.malformed("the charge has no transaction.url"))?;
        Ok(Created { order_id: charge.id, next: Next::Redirect(self.line.redirect(url)?) })
    }

    fn authenticate(&self, headers: &Headers<'_>, body: &[u8]) -> Result<Claim, Forged> {
        let found = headers.only(SIGNATURE).ok_or(Forged::Unsigned { header: SIGNATURE })?;
        let malformed = |error: serde_json::Error| Forged::Malformed(error.to_string());
        let charge: Charge = serde_json::from_str(readable(body)?).map_err(malformed)?;
        // Nothing separates the signed fields: only an id without a point ends where it must.
        if !is_plain_id(&charge.id) {
            return Err(Forged::Malformed("its id is not one".to_owned()));
        }
        let text = signed_text(&charge);
        let expected = hex(&self.secret_key.sign(&text));
        if !same_signature(found, expected.as_bytes()) {
            return Err(Forged::WrongSignature { header: SIGNATURE });
        }
        // Refunds (`re_..`) are signed in the same way.
        let order_id = charge.id.starts_with("chg_").then_some(charge.id);
        Ok(Claim { event: event_name(&text), order_id })
    }

    fn fetch(&self, key: &PaymentKey) -> Result<Payment, ProviderError> {
        let PaymentKey::Order(id) = key else {
            return Err(ProviderError::NotFound { provider: NAME });
        };
        if !is_plain_id(id) {
            return Err(ProviderError::NotFound { provider: NAME });
        }
        let charge: Charge = self.line.get(&format!("/v2/charges/{id}"))?;
        if charge.id != *id {
            return Err(self.line.malformed("it is about another charge than the one asked for"));
        }
        let reference = charge.reference.as_ref().and_then(|reference| reference.order.as_ref());
        let reference = reference.and_then(|Scalar(text)| text.parse().ok());
        let state = state(&charge);
        Ok(Payment { order_id: charge.id, reference, state, status: charge.status })
    }

    fn refund(&self, refund: &RefundOrder) -> Result<Refunded, ProviderError> {
        let reference = refund.reference.to_string();
        let mut rest = json!({
            "charge_id": refund.payment_id,
            "currency": "KWD",
            "reason": refund.reason,
            "metadata": {"reference": reference},
            "reference": {"merchant": reference, "idempotent": reference},
        });
        if let Some(url) = &refund.webhook_url {
            rest["post"] = json!({"url": url});
        }
        let body = WithAmount::new("amount", refund.amount, rest);
        let made: MadeRefund = self.line.post("/v2/refunds", &body)?;
        let is_refused = ["FAILED", "DECLINED", "RESTRICTED", "CANCELLED", "ABANDONED", "VOID"];
        if is_refused.contains(&made.status.as_str()) {
            return Err(self.line.refused(200, &made.status));
        }
        Ok(Refunded::Accepted { refund_id: made.id, status: made.status })
    }
}

/// A charge, as answers and callbacks have it.
#[derive(Debug, Deserialize)]
struct Charge {
    id: String,
    status: String,
    amount: Amount,
    currency: String,
    reference: Option<ChargeReference>,
    transaction: Option<Transaction>,
}

#[derive(Debug, Deserialize)]
struct ChargeReference {
    order: Option<Scalar>,
    gateway: Option<Scalar>,
    payment: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
struct Transaction {
    url: Option<String>,
    created: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
struct MadeRefund {
    id: String,
    status: String,
}

/// What Tap signs: seven fields of the charge, in its documentation's order, the amount with the
/// three decimals of KWD. References that are absent are taken as empty.
fn signed_text(charge: &Charge) -> String {
    let reference = charge.reference.as_ref();
    let text = |scalar: Option<&Scalar>| scalar.map_or(String::new(), |text| text.0.clone());
    format!(
        "x_id{}x_amount{}x_currency{}x_gateway_reference{}x_payment_reference{}x_status{}\
         x_created{}",
        charge.id,
        charge.amount.0,
        charge.currency,
        text(reference.and_then(|reference| reference.gateway.as_ref())),
        text(reference.and_then(|reference| reference.payment.as_ref())),
        charge.status,
        text(charge.transaction.as_ref().and_then(|transaction| transaction.created.as_ref())),
    )
}

fn state(charge: &Charge) -> PaymentState {
    match charge.status.as_str() {
        "CAPTURED" => PaymentState::Paid(Captured {
            payment_id: charge.id.clone(),
            amount: charge.amount.0,
            currency: charge.currency.clone(),
        }),
        "FAILED" | "DECLINED" | "RESTRICTED" => PaymentState::Failed,
        "CANCELLED" | "ABANDONED" | "VOID" => PaymentState::Cancelled,
        "TIMEDOUT" => PaymentState::Expired,
        // INITIATED, IN_PROGRESS, "IN PROGRESS", UNKNOWN, and what may be added.
        _ => PaymentState::Pending,
    }
}

/// `{"errors": [{"code": "1143", "description": ".."}]}`
fn read_refusal(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: Option<Scalar>,
        description: Option<String>,
    }
    let refusal: Refusal = serde_json::from_str(text).ok()?;
    let reason = refusal.errors.into_iter().next()?;
    let code = reason.code.map_or(String::new(), |Scalar(code)| format!("{code} "));
    Some(format!("{code}{}", reason.description.unwrap_or_default()))
}
