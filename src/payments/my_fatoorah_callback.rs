//! MyFatoorah's callbacks, versions 1 and 2: what of them is signed, and what they then claim.
//!
//! Promises: the signed text can be read in one way only, so no other fields give the same text.
//! Never knows: what a callback's status means; the status is asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::callback::readable;
use super::json::{Fields, Scalar, is_plain_id};
use super::secret::{event_name, same_signature};
use super::{Claim, Forged, Headers, Secret};

/// Where the base64 signature of a callback is.
const SIGNATURE: &str = "MyFatoorah-Signature";

/// `EventType` of a change of a refund's status, in version 1.
const REFUND_EVENT: &str = "2";

pub(super) fn authenticate(
    secret: &Secret,
    headers: &Headers<'_>,
    body: &[u8],
) -> Result<Claim, Forged> {
    let found = headers.only(SIGNATURE).ok_or(Forged::Unsigned { header: SIGNATURE })?;
    let (pairs, invoice_id) = read(readable(body)?)?;
    let text = joined(&pairs)?;
    let expected = STANDARD.encode(secret.sign(&text));
    if !same_signature(found, expected.as_bytes()) {
        return Err(Forged::WrongSignature { header: SIGNATURE });
    }
    Ok(Claim { event: event_name(&text), order_id: invoice_id.filter(|id| is_plain_id(id)) })
}

/// The signed fields in their order, and the invoice that they name.
type Signed = (Vec<(String, String)>, Option<String>);

/// Version 1 has a number in `EventType`, version 2 an object in `Event`.
fn read(text: &str) -> Result<Signed, Forged> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Callback {
        event_type: Option<Scalar>,
        data: Box<RawValue>,
    }
    let callback: Callback = serde_json::from_str(text).map_err(malformed)?;
    match callback.event_type {
        Some(Scalar(event_type)) => first_version(&event_type, callback.data.get()),
        None => second_version(callback.data.get()),
    }
}

/// All of `Data`, by name in any case; null is empty.
fn first_version(event_type: &str, data: &str) -> Result<Signed, Forged> {
    let data: Fields = serde_json::from_str(data).map_err(malformed)?;
    let invoice_id = data.get("InvoiceId").map(str::to_owned);
    let mut pairs: Vec<(String, String)> = data
        .0
        .into_iter()
        .filter(|(key, _)| event_type != REFUND_EVENT || key != "GatewayReference")
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect();
    pairs.sort_by_cached_key(|(key, _)| (key.to_ascii_lowercase(), key.clone()));
    Ok((pairs, invoice_id))
}

/// Five fields of `Data`, in the documentation's order.
fn second_version(data: &str) -> Result<Signed, Forged> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Data {
        invoice: Invoice,
        transaction: Transaction,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Invoice {
        id: Option<Scalar>,
        status: Option<Scalar>,
        external_identifier: Option<Scalar>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Transaction {
        status: Option<Scalar>,
        payment_id: Option<Scalar>,
    }
    let Data { invoice, transaction } = serde_json::from_str(data).map_err(malformed)?;
    let invoice_id = invoice.id.as_ref().map(|Scalar(id)| id.clone());
    let pair = |key: &str, value: Option<Scalar>| {
        (key.to_owned(), value.map_or(String::new(), |Scalar(text)| text))
    };
    let pairs = vec![
        pair("Invoice.Id", invoice.id),
        pair("Invoice.Status", invoice.status),
        pair("Transaction.Status", transaction.status),
        pair("Transaction.PaymentId", transaction.payment_id),
        pair("Invoice.ExternalIdentifier", invoice.external_identifier),
    ];
    Ok((pairs, invoice_id))
}

/// `k=v` joined with `,`.
///
/// A value that itself looks like `..,k=v` is refused, and so is a key that is no plain name:
/// the same text could else come from other fields, and one signature would cover both.
fn joined(pairs: &[(String, String)]) -> Result<String, Forged> {
    let is_name = |key: &str| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let hides_a_field = |value: &str| {
        value.split_once(',').is_some_and(|(_, after_comma)| after_comma.contains('='))
    };
    let mut text = String::new();
    for (key, value) in pairs {
        if !is_name(key) || hides_a_field(value) {
            return Err(Forged::Malformed("a field hides another one".to_owned()));
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    Ok(text)
}

fn malformed(error: serde_json::Error) -> Forged {
    Forged::Malformed(error.to_string())
}
