//! MyFatoorah (version 2 of its API): KNET or cards on the bank's page.
//!
//! An order is an invoice, known by its `InvoiceId`; each attempt to pay it is a transaction with
//! a `PaymentId`. It has no idempotency key: the same order sent twice makes two invoices.
//! Callbacks come in two versions, chosen in MyFatoorah's portal; both are read.
//!
//! Never knows: which of the invoices are ours; the reference in an answer says.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::json::{Amount, Scalar, WithAmount, is_plain_id};
use super::line::Line;
use super::my_fatoorah_callback;
use super::{
    Captured, Claim, Created, Forged, Headers, Next, Order, Payment, PaymentKey, PaymentProvider,
    PaymentState, ProviderError, RefundOrder, Refunded, Secret,
};

const NAME: &str = "myfatoorah";

/// How MyFatoorah is reached and what it is asked for.
#[derive(Debug, Clone)]
pub struct MyFatoorahSettings {
    /// Scheme and host; `https://apitest.myfatoorah.com` takes no real money.
    pub base_url: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// How the customer pays, as `PaymentMethodCode` has it: `kn` for KNET, `vm` for cards.
    pub method: String,
    /// From `MIZAN_MYFATOORAH_TOKEN`.
    pub token: Secret,
    /// From `MIZAN_MYFATOORAH_WEBHOOK_SECRET`.
    pub webhook_secret: Secret,
}

impl MyFatoorahSettings {
    /// MyFatoorah's own address for Kuwait.
    pub const BASE_URL: &'static str = "https://api.myfatoorah.com";
}

/// Payment through MyFatoorah.
#[derive(Debug)]
pub struct MyFatoorah {
    line: Line,
    method: String,
    webhook_secret: Secret,
}

impl MyFatoorah {
    /// Nothing is sent yet.
    pub fn new(settings: MyFatoorahSettings) -> MyFatoorah {
        let MyFatoorahSettings { base_url, timeout, method, token, webhook_secret } = settings;
        let line = Line::new(NAME, base_url, token, timeout, read_refusal);
        MyFatoorah { line, method, webhook_secret }
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ProviderError> {
        let reply: Reply<T> = self.line.post(path, body)?;
        let Reply { is_success, message, validation_errors, data } = reply;
        match data {
            Some(data) if is_success => Ok(data),
            None if is_success => Err(self.line.malformed("an answer without Data")),
            // Said with status 200.
            _ => {
                let refusal = Refusal { message, validation_errors };
                Err(self.line.refused(200, &refusal.to_string()))
            }
        }
    }

    /// MyFatoorah's number for the chosen way to pay; it differs between accounts.
    fn method_id(&self, order: &Order) -> Result<Value, ProviderError> {
        let body = WithAmount::new("InvoiceAmount", order.amount, json!({"CurrencyIso": "KWD"}));
        let methods: Methods = self.post("/v2/InitiatePayment", &body)?;
        let mut methods = methods.payment_methods.into_iter();
        let method = methods.find(|method| method.payment_method_code == self.method);
        method.map(|method| method.payment_method_id).ok_or_else(|| {
            let why = format!("the account has no payment method \"{}\"", self.method);
            self.line.refused(200, &why)
        })
    }
}

impl PaymentProvider for MyFatoorah {
    fn name(&self) -> &'static str {
        NAME
    }

    fn create(&self, order: &Order) -> Result<Created, ProviderError> {
        let mut rest = json!({
            "PaymentMethodId": self.method_id(order)?,
            "CustomerName": order.customer.name_or_placeholder(),
            "DisplayCurrencyIso": "KWD",
            "CallBackUrl": order.return_url,
            "ErrorUrl": order.return_url,
            "CustomerReference": order.reference.to_string(),
        });
        if let Some(email) = &order.customer.email {
            rest["CustomerEmail"] = json!(email);
        }
        let body = WithAmount::new("InvoiceValue", order.amount, rest);
        let invoice: NewInvoice = self.post("/v2/ExecutePayment", &body)?;
        let Scalar(order_id) = invoice.invoice_id;
        if !is_plain_id(&order_id) {
            return Err(self.line.malformed("the invoice's id is not one"));
        }
        Ok(Created { order_id, next: Next::Redirect(self.line.redirect(invoice.payment_url)?) })
    }

    fn authenticate(&self, headers: &Headers<'_>, body: &[u8]) -> Result<Claim, Forged> {
        my_fatoorah_callback::authenticate(&self.webhook_secret, headers, body)
    }

    fn fetch(&self, key: &PaymentKey) -> Result<Payment, ProviderError> {
        let body = match key {
            PaymentKey::Order(id) => json!({"Key": id, "KeyType": "InvoiceId"}),
            PaymentKey::Reference(reference) => {
                json!({"Key": reference.to_string(), "KeyType": "CustomerReference"})
            }
        };
        let invoice: Invoice = self.post("/v2/GetPaymentStatus", &body)?;
        let reference = invoice.customer_reference.as_deref().and_then(|text| text.parse().ok());
        let is_the_one = match key {
            PaymentKey::Order(id) => invoice.invoice_id.0 == *id,
            PaymentKey::Reference(asked) => reference == Some(*asked),
        };
        if !is_the_one {
            return Err(self.line.malformed("it is about another invoice than the one asked for"));
        }
        let state = self.state(&invoice)?;
        let Scalar(order_id) = invoice.invoice_id;
        Ok(Payment { order_id, reference, state, status: invoice.invoice_status })
    }

    fn refund(&self, refund: &RefundOrder) -> Result<Refunded, ProviderError> {
        let rest = json!({
            "Key": refund.payment_id,
            "KeyType": "PaymentId",
            // Nothing else tells two refunds of one payment apart.
            "Comment": format!("{} {}", refund.reference, refund.reason),
        });
        let body = WithAmount::new("Amount", refund.amount, rest);
        let made: MadeRefund = self.post("/v2/MakeRefund", &body)?;
        Ok(Refunded::Accepted { refund_id: made.refund_id.0, status: "Pending".to_owned() })
    }
}

impl MyFatoorah {
    fn state(&self, invoice: &Invoice) -> Result<PaymentState, ProviderError> {
        let transactions = invoice.invoice_transactions.as_deref().unwrap_or_default();
        // Its own spelling; the right one too, for the day that it is mended.
        let is_success = |transaction: &&Transaction| {
            ["Succss", "Success"].contains(&transaction.transaction_status.as_str())
        };
        match (invoice.invoice_status.as_str(), transactions.iter().find(is_success)) {
            ("Paid", Some(transaction)) => {
                let currency = transaction.currency.as_deref();
                let amount = transaction.transation_value;
                let (Some(currency), Some(Amount(amount))) = (currency, amount) else {
                    return Err(self.line.malformed("a payment without its amount or currency"));
                };
                Ok(PaymentState::Paid(Captured {
                    payment_id: transaction.payment_id.0.clone(),
                    amount,
                    currency: if currency == "KD" { "KWD" } else { currency }.to_owned(),
                }))
            }
            ("Canceled" | "Cancelled", _) => Ok(PaymentState::Cancelled),
            ("Expired", _) => Ok(PaymentState::Expired),
            // A failed transaction may be followed by another one.
            _ => Ok(PaymentState::Pending),
        }
    }
}

/// What every answer is wrapped in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply<T> {
    is_success: bool,
    // Not a flattened `Refusal`: that would buffer `data`, and read its numbers as floats.
    message: Option<String>,
    validation_errors: Option<Vec<ValidationError>>,
    data: Option<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Methods {
    payment_methods: Vec<Method>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Method {
    payment_method_id: Value,
    #[serde(default)]
    payment_method_code: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewInvoice {
    invoice_id: Scalar,
    #[serde(rename = "PaymentURL")]
    payment_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Invoice {
    invoice_id: Scalar,
    invoice_status: String,
    customer_reference: Option<String>,
    invoice_transactions: Option<Vec<Transaction>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction {
    payment_id: Scalar,
    transaction_status: String,
    /// Its own spelling.
    transation_value: Option<Amount>,
    currency: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MadeRefund {
    refund_id: Scalar,
}

/// Why it said no.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    message: Option<String>,
    validation_errors: Option<Vec<ValidationError>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ValidationError {
    name: Option<String>,
    error: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or("without a message"))?;
        for wrong in self.validation_errors.iter().flatten() {
            let name = wrong.name.as_deref().unwrap_or_default();
            write!(f, "; {name}: {}", wrong.error.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}

fn read_refusal(text: &str) -> Option<String> {
    serde_json::from_str::<Refusal>(text).ok().map(|refusal| refusal.to_string())
}
