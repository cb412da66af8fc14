//! Signatures of notices, by the Standard Webhooks specification (version 1.0.0, "Webhook
//! metadata" and "Signature scheme", <https://www.standardwebhooks.com>).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::ledger::{AccountId, Ledger};

/// What a team's server checks notices with. Prints as `whsec_` and base64.
pub struct Secret([u8; 32]);

/// The secret of an account's notices to one URL. It is made from the server's own keys, so it is
/// stored nowhere; another URL has another secret, so a receiver that was left can sign nothing.
pub fn secret(ledger: &Ledger, account: AccountId, url: &str) -> Secret {
    let digest = Sha256::digest(url.as_bytes());
    let (words, _) = digest.as_chunks::<4>();
    Secret(ledger.server_keys().webhook_secret(account, u32::from_be_bytes(words[0])))
}

impl Secret {
    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64.encode(tag))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "whsec_{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed outside of this program.
    #[test]
    fn the_signature_is_the_specifications() {
        let secret = Secret(std::array::from_fn(|index| index as u8));
        assert_eq!(secret.to_string(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(secret.sign("notice_1", 1_772_312_400, "{\"a\":1}"), EXPECTED);
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }

    const EXPECTED: &str = "v1,PvDkqhJDFVKyfsL1ZdKyk48tKQKv4os0qCO8MZDfRP8=";
}
