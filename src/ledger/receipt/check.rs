//! Checks a receipt with nothing but the server's public key.

use super::{Receipt, SignedReceipt};
use crate::ledger::server_keys::{PublicKey, Signature};

/// Why a text is no receipt of this server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptRefused {
    /// It does not have a receipt's fields, or others beside them.
    #[error("this is no receipt: {0}")]
    NotAReceipt(String),
    /// It says that another key signed it.
    #[error("this receipt was signed by the key {found}, and the key given is {given}")]
    OtherKey {
        /// The id in the receipt.
        found: String,
        /// The id of the key it was checked with.
        given: String,
    },
    /// What it says is not what was signed.
    #[error("the signature does not fit: the receipt was changed, or was never this server's")]
    Forged,
}

/// Reads a receipt and proves that the owner of `key` signed just this. Spaces and line ends
/// between its parts do not matter; everything else does.
pub fn check_receipt(text: &str, key: &PublicKey) -> Result<Receipt, ReceiptRefused> {
    let signed: SignedReceipt = serde_json::from_str(text)
        .map_err(|error| ReceiptRefused::NotAReceipt(error.to_string()))?;
    let SignedReceipt { receipt, signature } = signed;
    if receipt.server_key() != key.id() {
        let found = receipt.server_key().to_owned();
        return Err(ReceiptRefused::OtherKey { found, given: key.id() });
    }
    match Signature::parse(&signature) {
        Some(signature) if key.has_signed(&receipt.signed_bytes(), &signature) => Ok(receipt),
        Some(_) | None => Err(ReceiptRefused::Forged),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::receipt::{ChargeReceipt, Link, PurchaseReceipt, sign};
    use crate::ledger::server_keys::ServerKeys;

    fn keys() -> ServerKeys {
        ServerKeys::of([1; 32], [2; 32])
    }

    fn link() -> Link {
        Link {
            seq: 17,
            prev_hash: "00".repeat(32),
            hash: "11".repeat(32),
            time: "2026-03-01T00:00:00.000+03:00".to_owned(),
        }
    }

    fn charge() -> Receipt {
        Receipt::Charge(ChargeReceipt {
            request: "0".repeat(32),
            account: "research".to_owned(),
            key: "mz-abcdefgh".to_owned(),
            model: "qwen".to_owned(),
            model_sha256: "22".repeat(32),
            input_tokens: 30,
            output_tokens: 150,
            ids_sha256: "33".repeat(32),
            credits_per_token: 2,
            credits: 300,
            transfer: link(),
            server_key: keys().public_key().id(),
        })
    }

    fn purchase() -> Receipt {
        Receipt::Purchase(PurchaseReceipt {
            request: "0".repeat(32),
            account: "research".to_owned(),
            pack: "small".to_owned(),
            credits: 5_000,
            amount: "2.000".to_owned(),
            currency: "KWD".to_owned(),
            provider: "tap".to_owned(),
            reference: "chg_1".to_owned(),
            transfer: link(),
            server_key: keys().public_key().id(),
        })
    }

    fn text(receipt: Receipt) -> String {
        serde_json::to_string(&sign(receipt, &keys())).unwrap()
    }

    /// Customers hold receipts for years: a change needs a new prefix.
    #[test]
    fn what_is_signed_is_frozen() {
        let bytes = String::from_utf8(charge().signed_bytes()).unwrap();
        let id = keys().public_key().id();
        let (zeroes, ones) = ("00".repeat(32), "11".repeat(32));
        let (model, ids) = ("22".repeat(32), "33".repeat(32));
        let expected = format!(
            "mizan.receipt.v1\n{{\"kind\":\"charge\",\"request\":\"{}\",\"account\":\"research\",\
             \"key\":\"mz-abcdefgh\",\"model\":\"qwen\",\"model_sha256\":\"{model}\",\
             \"input_tokens\":30,\"output_tokens\":150,\"ids_sha256\":\"{ids}\",\
             \"credits_per_token\":2,\"credits\":300,\"transfer\":{{\"seq\":17,\
             \"prev_hash\":\"{zeroes}\",\"hash\":\"{ones}\",\
             \"time\":\"2026-03-01T00:00:00.000+03:00\"}},\"server_key\":\"{id}\"}}",
            "0".repeat(32)
        );
        assert_eq!(bytes, expected);
        // Computed outside of this program.
        assert_eq!(
            sign(charge(), &keys()).signature,
            "RpgO1hnFqI3HFGWANhRe2VN4HJGj3LnDAPjkMRV7+0/VBOlOn/YeAkB992fEhzh4\
             rAnzVmc5cbYZe4ej/Ca4DA=="
        );
    }

    #[test]
    fn a_receipt_is_what_was_signed_however_it_is_laid_out() {
        let key = keys().public_key();
        for receipt in [charge(), purchase()] {
            let compact = text(receipt.clone());
            assert_eq!(check_receipt(&compact, &key), Ok(receipt.clone()));
            let pretty: Value = serde_json::from_str(&compact).unwrap();
            assert_eq!(check_receipt(&format!("{pretty:#}\n"), &key), Ok(receipt));
        }
    }

    #[test]
    fn a_change_of_any_field_is_seen() {
        let key = keys().public_key();
        for receipt in [charge(), purchase()] {
            let whole: Value = serde_json::from_str(&text(receipt)).unwrap();
            let check = |changed: Value, field: &str| {
                let refused = check_receipt(&changed.to_string(), &key);
                assert!(refused.is_err(), "{field} can be changed: {changed}");
            };
            for field in whole["receipt"].as_object().unwrap().keys() {
                for nested in [None, Some("seq"), Some("prev_hash"), Some("hash"), Some("time")] {
                    let mut changed = whole.clone();
                    let place = match (&changed["receipt"][field], nested) {
                        (Value::Object(_), Some(nested)) => &mut changed["receipt"][field][nested],
                        (Value::Object(_), None) | (_, Some(_)) => continue,
                        (_, None) => &mut changed["receipt"][field],
                    };
                    *place = match &*place {
                        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
                        Value::String(text) => json!(format!("{text}0")),
                        other => panic!("{other} is neither a text nor a whole number"),
                    };
                    check(changed, field);
                }
                let mut changed = whole.clone();
                changed["receipt"].as_object_mut().unwrap().shift_remove(field);
                check(changed, field);
            }
            let mut changed = whole.clone();
            changed["receipt"]["note"] = json!("paid twice");
            check(changed, "an added field");
            let mut changed = whole.clone();
            let signature = sign(charge(), &ServerKeys::of([1; 32], [3; 32])).signature;
            changed["signature"] = json!(signature);
            check(changed, "another key's signature");
        }
    }

    #[test]
    fn another_servers_key_is_told_apart() {
        let other = ServerKeys::of([1; 32], [3; 32]).public_key();
        let refused = check_receipt(&text(charge()), &other);
        let (found, given) = (keys().public_key().id(), other.id());
        assert_eq!(refused, Err(ReceiptRefused::OtherKey { found, given }));
        let refused = check_receipt("{}", &other);
        assert!(matches!(refused, Err(ReceiptRefused::NotAReceipt(_))), "{refused:?}");
    }
}
