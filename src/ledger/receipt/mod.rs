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
use super::types::{AccountId, MeterId, MeterState};
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
    /// The top-up is not paid.
    #[error("the top-up is not paid: its receipt is made when it is")]
    NotPaid,
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

impl Ledger {
    /// The receipt for what a request of this account cost. Blocks; makes it durable if need be.
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

    /// The receipt for a top-up of this account that was paid. Blocks, as the other does.
    pub fn purchase_receipt(
        &self,
        account: AccountId,
        topup: [u8; 16],
    ) -> Result<SignedReceipt, ReceiptError> {
        let key_id = self.server_keys().public_key().id();
        let found = self.inner.readers.read(|conn| purchase(conn, account, topup, key_id))?;
        let receipt = found.ok_or(ReceiptError::Unknown)?.ok_or(ReceiptError::NotPaid)?;
        self.make_durable(receipt.transfer.seq)?;
        Ok(sign(Receipt::Purchase(receipt), self.server_keys()))
    }

    /// Returns when the transfer `seq`, and all before it, survive a power cut.
    fn make_durable(&self, seq: i64) -> Result<(), Unavailable> {
        if self.inner.gauges.durable_seq.load(Ordering::SeqCst) >= seq {
            return Ok(());
        }
        self.submit(Durability::PowerCut, Admission::New, store::touch).wait()
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

/// A top-up of the account; the receipt inside if it is paid.
fn purchase(
    conn: &Connection,
    account: AccountId,
    topup: [u8; 16],
    server_key: String,
) -> rusqlite::Result<Option<Option<PurchaseReceipt>>> {
    conn.prepare_cached(
        "SELECT a.name,p.pack,t.amount,p.fils,p.provider,
           coalesce(p.provider_payment_id,p.provider_order_id,''),t.seq,t.prev_hash,t.hash,t.at_ms
         FROM topup p JOIN account a ON a.id=p.account_id
           LEFT JOIN transfer t ON t.kind='topup' AND t.source=p.id
         WHERE p.id=?1 AND p.account_id=?2",
    )?
    .query_row(params![topup, account], |row| {
        if row.get::<_, Option<i64>>(6)?.is_none() {
            return Ok(None);
        }
        Ok(Some(PurchaseReceipt {
            request: hex(&topup),
            account: row.get(0)?,
            pack: row.get(1)?,
            credits: row.get(2)?,
            amount: Fils(row.get(3)?).to_string(),
            currency: "KWD".to_owned(),
            provider: row.get(4)?,
            reference: row.get(5)?,
            transfer: link(row, 6)?,
            server_key,
        }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerOptions;
    use crate::ledger::store::Failure;

    /// The order and its transfer as rows: what moves them has tests of its own.
    #[test]
    fn a_paid_topup_has_a_receipt_for_its_own_account() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
        let account = ledger.create_account("alice", "default", "test").wait().unwrap();
        let topup = [7; 16];
        let sql = |sql: &'static str| {
            let reply: super::super::Reply<Result<(), Unavailable>> =
                ledger.submit(Durability::Kill, Admission::New, move |context| {
                    context.conn.execute_batch(sql).map_err(Failure::Database)
                });
            reply.wait().unwrap();
        };
        sql("INSERT INTO topup(id,account_id,pack,fils,credits,state,provider,actor,created_ms,
               expires_ms) SELECT unhex(replace(hex(zeroblob(16)),'00','07')),id,'small',2000,5000,
               'pending','tap','test',0,1 FROM account WHERE name='alice'");
        let refused = ledger.purchase_receipt(account, topup);
        assert!(matches!(refused, Err(ReceiptError::NotPaid)), "{refused:?}");
        sql("UPDATE topup SET state='paid',paid_ms=5,provider_payment_id='chg_1';
             INSERT INTO transfer(seq,id,kind,from_id,to_id,amount,source,actor,at_ms,prev_hash,
               hash) SELECT 1,zeroblob(16),'topup',1,account_id,credits,id,'test',0,zeroblob(32),
               zeroblob(32) FROM topup");
        let signed = ledger.purchase_receipt(account, topup).unwrap();
        let text = serde_json::to_string(&signed).unwrap();
        let Ok(Receipt::Purchase(receipt)) =
            check_receipt(&text, &ledger.server_keys().public_key())
        else {
            panic!("{text}")
        };
        assert_eq!((receipt.credits, receipt.amount.as_str()), (5_000, "2.000"));
        assert_eq!((receipt.provider.as_str(), receipt.reference.as_str()), ("tap", "chg_1"));
        assert_eq!((receipt.pack.as_str(), receipt.transfer.seq), ("small", 1));
        let other = ledger.create_account("bob", "default", "test").wait().unwrap();
        let refused = ledger.purchase_receipt(other, topup);
        assert!(matches!(refused, Err(ReceiptError::Unknown)), "{refused:?}");
    }
}
