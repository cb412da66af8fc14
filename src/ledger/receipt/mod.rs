//! Receipts: what a server signs about one charge or one purchase, for its customer to keep and to
//! check without the server.
//!
//! A receipt names a link of the journal's chain, so a server that rewrote its journal later would
//! contradict its own signature. It is signed only when that link survives a power cut: else, after
//! one, another transfer could honestly get the same number.
//!
//! Promises: the signed bytes are the receipt's fields in their fixed order, as JSON of strings and
//! whole numbers without spaces, behind a prefix that no other signature of this server has.

mod check;

pub use check::{ReceiptRefused, check_receipt};

use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::dates::rfc3339;
use super::errors::{LedgerError, Unavailable};
use super::server_keys::{ServerKeys, hex};
use super::store::{self, Blob};
use super::types::{AccountId, Credits, MeterId, MeterState};
use super::writer::Durability;
use super::{Admission, Ledger};
use crate::money::Fils;

/// What the signed bytes begin with.
const DOMAIN: &str = "mizan.receipt.v1\n";

/// What was signed. The order of the fields is the order of the signed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Receipt {
    /// Tokens were paid for with credits.
    Charge(ChargeReceipt),
    /// Credits were paid for with money.
    Purchase(PurchaseReceipt),
}

/// One request's charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeReceipt {
    /// The generation's id.
    pub request: String,
    /// The account's name.
    pub account: String,
    /// The first characters of the key that was used.
    pub key: String,
    /// The model's id.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_sha256: String,
    /// Tokens of the prompt, which cost nothing.
    pub input_tokens: i64,
    /// Tokens that were paid for.
    pub output_tokens: i64,
    /// SHA-256 over the ids of those tokens.
    pub ids_sha256: String,
    /// The price of one.
    pub credits_per_token: i64,
    /// Their price.
    pub credits: i64,
    /// The transfer that spent them.
    pub transfer: Link,
    /// The id of the key that signed.
    pub server_key: String,
}

/// One purchase of credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurchaseReceipt {
    /// The top-up's id.
    pub request: String,
    /// The account's name.
    pub account: String,
    /// The pack that was bought.
    pub pack: String,
    /// What is in it.
    pub credits: i64,
    /// What was paid, with three decimals.
    pub amount: String,
    /// Of which currency.
    pub currency: String,
    /// Through whom.
    pub provider: String,
    /// What the provider calls the payment.
    pub reference: String,
    /// The transfer that brought the credits.
    pub transfer: Link,
    /// The id of the key that signed.
    pub server_key: String,
}

/// A link of the journal's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its number.
    pub seq: i64,
    /// The hash of the one before.
    pub prev_hash: String,
    /// Its own hash, which binds all before it.
    pub hash: String,
    /// When it was written (RFC 3339).
    pub time: String,
}

/// A receipt and what proves it; what a customer keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// What was signed.
    pub receipt: Receipt,
    /// Ed25519, in base64.
    pub signature: String,
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The account has no such request.
    #[error("there is no such request")]
    Unknown,
    /// It has not ended.
    #[error("the request is still running: its receipt is made when it has ended")]
    StillRunning,
    /// It cost nothing.
    #[error("the request cost nothing, so there is nothing to give a receipt for")]
    NothingCharged,
    /// What it cost was given back.
    #[error("what the request cost was given back, so there is no receipt for it")]
    Reversed,
    /// The ledger does not write.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What the journal does not say about a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The top-up's id.
    pub request: String,
    /// The account's name.
    pub account: String,
    /// The pack that was bought.
    pub pack: String,
    /// What was paid.
    pub fils: Fils,
    /// Through whom.
    pub provider: String,
    /// What the provider calls the payment.
    pub reference: String,
    /// The transfer that brought the credits.
    pub seq: i64,
}

impl Ledger {
    /// The receipt for what a request of this account cost. Blocks, for a durable commit if need be.
    pub fn charge_receipt(
        &self,
        account: AccountId,
        meter: MeterId,
    ) -> Result<SignedReceipt, ReceiptError> {
        let key_id = self.server_keys().public_key().id();
        let found = self.inner.readers.read(|conn| charge(conn, account, meter, key_id))?;
        let (state, receipt) = found.ok_or(ReceiptError::Unknown)?;
        let receipt = match (state, receipt) {
            (MeterState::Open, _) => return Err(ReceiptError::StillRunning),
            (MeterState::Reversed, _) => return Err(ReceiptError::Reversed),
            (MeterState::Closed, None) => return Err(ReceiptError::NothingCharged),
            (MeterState::Closed, Some(receipt)) => receipt,
        };
        self.make_durable(receipt.transfer.seq)?;
        Ok(sign(Receipt::Charge(receipt), self.server_keys()))
    }

    /// The receipt for a purchase, of which the caller knows what the journal does not. Blocks.
    pub fn purchase_receipt(&self, purchase: Purchase) -> Result<SignedReceipt, ReceiptError> {
        let found = self.inner.readers.read(|conn| {
            conn.prepare_cached(
                "SELECT amount,seq,prev_hash,hash,at_ms FROM transfer
                 WHERE seq=?1 AND kind='topup'",
            )?
            .query_row([purchase.seq], |row| Ok((row.get::<_, Credits>(0)?, link(row, 1)?)))
            .optional()
        })?;
        let (credits, transfer) = found.ok_or(ReceiptError::Unknown)?;
        self.make_durable(transfer.seq)?;
        let receipt = Receipt::Purchase(PurchaseReceipt {
            request: purchase.request,
            account: purchase.account,
            pack: purchase.pack,
            credits: credits.0,
            amount: purchase.fils.to_string(),
            currency: "KWD".to_owned(),
            provider: purchase.provider,
            reference: purchase.reference,
            transfer,
            server_key: self.server_keys().public_key().id(),
        });
        Ok(sign(receipt, self.server_keys()))
    }

    /// Returns when the transfer `seq`, and all before it, survive a power cut.
    fn make_durable(&self, seq: i64) -> Result<(), Unavailable> {
        if self.inner.gauges.durable_seq.load(Ordering::SeqCst) >= seq {
            return Ok(());
        }
        self.submit(Durability::PowerCut, Admission::New, store::write_again).wait()
    }
}

fn charge(
    conn: &Connection,
    account: AccountId,
    meter: MeterId,
    server_key: String,
) -> rusqlite::Result<Option<(MeterState, Option<ChargeReceipt>)>> {
    conn.prepare_cached(
        "SELECT m.state,a.name,k.prefix,m.model,m.model_digest,m.input_tokens,m.output_tokens,
           m.ids_sha256,m.credits_per_token,t.amount,t.seq,t.prev_hash,t.hash,t.at_ms
         FROM meter m JOIN account a ON a.id=m.account_id JOIN api_key k ON k.id=m.key_id
           LEFT JOIN transfer t ON t.kind='spend' AND t.source=m.id
         WHERE m.id=?1 AND m.account_id=?2",
    )?
    .query_row(params![meter, account], |row| {
        let state = row.get(0)?;
        if row.get::<_, Option<i64>>(10)?.is_none() {
            return Ok((state, None));
        }
        let receipt = ChargeReceipt {
            request: meter.to_string(),
            account: row.get(1)?,
            key: row.get(2)?,
            model: row.get(3)?,
            model_sha256: hash(row, 4)?,
            input_tokens: row.get(5)?,
            output_tokens: row.get(6)?,
            ids_sha256: hash(row, 7)?,
            credits_per_token: row.get(8)?,
            credits: row.get(9)?,
            transfer: link(row, 10)?,
            server_key,
        };
        Ok((state, Some(receipt)))
    })
    .optional()
}

/// `seq`, `prev_hash`, `hash` and `at_ms`, from the column `first` on.
fn link(row: &Row<'_>, first: usize) -> rusqlite::Result<Link> {
    Ok(Link {
        seq: row.get(first)?,
        prev_hash: hash(row, first + 1)?,
        hash: hash(row, first + 2)?,
        time: rfc3339(row.get(first + 3)?),
    })
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    row.get::<_, Blob<32>>(column).map(|Blob(hash)| hex(&hash))
}

fn sign(receipt: Receipt, keys: &ServerKeys) -> SignedReceipt {
    let signature = keys.sign(&receipt.signed_bytes()).to_string();
    SignedReceipt { receipt, signature }
}

impl Receipt {
    /// The id of the key that it says has signed it.
    pub fn server_key(&self) -> &str {
        match self {
            Self::Charge(charge) => &charge.server_key,
            Self::Purchase(purchase) => &purchase.server_key,
        }
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.as_bytes().to_vec();
        serde_json::to_writer(&mut bytes, self).expect("strings and numbers are JSON");
        bytes
    }
}
