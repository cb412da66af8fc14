//! One way to turn fields into a SHA-256: versioned, typed, length-prefixed.
//! Promises: different fields never encode to the same bytes, so no value can move into its
//! neighbour without changing the hash.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// `prev_hash` of the first transfer.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// Absorbs fields in order. Each is a tag byte, a little-endian u64 length, and the bytes.
struct Encoder(Sha256);

impl Encoder {
    /// `domain` names what is hashed and the version of its field list.
    fn new(domain: &str) -> Self {
        let mut encoder = Self(Sha256::new());
        encoder.field(b'd', domain.as_bytes());
        encoder
    }

    fn field(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn integer(&mut self, value: i64) {
        self.field(b'i', &value.to_le_bytes());
    }

    fn text(&mut self, value: &str) {
        self.field(b't', value.as_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.field(b'b', value);
    }

    fn absent(&mut self) {
        self.field(b'n', &[]);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A transfer's columns, as they are hashed; `hash` itself is the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TransferFields<'a> {
    pub(super) prev_hash: &'a [u8],
    pub(super) seq: i64,
    pub(super) id: &'a [u8],
    pub(super) kind: &'a str,
    pub(super) from_id: i64,
    pub(super) to_id: i64,
    pub(super) amount: i64,
    pub(super) source: &'a [u8],
    pub(super) reverses: Option<i64>,
    pub(super) actor: &'a str,
    pub(super) reason: Option<&'a str>,
    pub(super) at_ms: i64,
}

/// The link a transfer adds to the chain.
pub(super) fn transfer(fields: &TransferFields<'_>) -> [u8; 32] {
    let mut encoder = Encoder::new("mizan.transfer.v1");
    encoder.bytes(fields.prev_hash);
    encoder.integer(fields.seq);
    encoder.bytes(fields.id);
    encoder.text(fields.kind);
    encoder.integer(fields.from_id);
    encoder.integer(fields.to_id);
    encoder.integer(fields.amount);
    encoder.bytes(fields.source);
    match fields.reverses {
        Some(seq) => encoder.integer(seq),
        None => encoder.absent(),
    }
    encoder.text(fields.actor);
    match fields.reason {
        Some(reason) => encoder.text(reason),
        None => encoder.absent(),
    }
    encoder.integer(fields.at_ms);
    encoder.finish()
}

/// A transfer's public id: opaque, says nothing of how many there are, the same on every replay.
pub(super) fn transfer_id(prev_hash: &[u8], kind: &str, source: &[u8]) -> [u8; 16] {
    let mut encoder = Encoder::new("mizan.transfer.id.v1");
    encoder.bytes(prev_hash);
    encoder.text(kind);
    encoder.bytes(source);
    first_half(encoder.finish())
}

/// An operator's idempotency key as the 16 bytes that a grant's `source` holds.
pub(super) fn command_id(key: &str) -> [u8; 16] {
    let mut encoder = Encoder::new("mizan.command.v1");
    encoder.text(key);
    first_half(encoder.finish())
}

/// The paid ids of one meter, by choice, each as little-endian u32 bytes.
pub(super) fn token_ids(choices: &BTreeMap<u32, Vec<u8>>) -> [u8; 32] {
    let mut encoder = Encoder::new("mizan.token_ids.v1");
    for (choice, ids) in choices {
        encoder.integer(i64::from(*choice));
        encoder.bytes(ids);
    }
    encoder.finish()
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|index| hash[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> TransferFields<'static> {
        TransferFields {
            prev_hash: &GENESIS,
            seq: 1,
            id: &[1; 16],
            kind: "grant",
            from_id: 2,
            to_id: 4,
            amount: 5000,
            source: &[2; 16],
            reverses: None,
            actor: "operator",
            reason: Some("demo"),
            at_ms: 1_760_000_000_000,
        }
    }

    #[test]
    fn every_column_is_bound_and_no_byte_can_change_column() {
        let base = transfer(&fields());
        let other = [9; 32];
        let changed = [
            TransferFields { prev_hash: &other, ..fields() },
            TransferFields { seq: 2, ..fields() },
            TransferFields { id: &[3; 16], ..fields() },
            TransferFields { kind: "spend", ..fields() },
            TransferFields { from_id: 3, ..fields() },
            TransferFields { to_id: 5, ..fields() },
            TransferFields { amount: 5001, ..fields() },
            TransferFields { source: &[3; 16], ..fields() },
            TransferFields { reverses: Some(1), ..fields() },
            TransferFields { actor: "operatord", reason: Some("emo"), ..fields() },
            TransferFields { reason: None, ..fields() },
            TransferFields { reason: Some(""), ..fields() },
            TransferFields { at_ms: 1_760_000_000_001, ..fields() },
        ];
        let mut seen: Vec<_> = changed.iter().map(transfer).chain([base]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), changed.len() + 1);
    }

    /// Computed outside of this program. Existing books depend on these bytes: a change needs a new
    /// version of the encoding.
    #[test]
    fn the_encoding_is_frozen() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let hash = "3cb5387f046d67c9d67302972de5fc6db031ca7136a531d9878d55f056f64e31";
        assert_eq!(hex(&transfer(&fields())), hash);
        let id = "773cd54947945e7e8a77d9dffdc68b0d";
        assert_eq!(hex(&transfer_id(&GENESIS, "grant", &[2; 16])), id);
        let choices = BTreeMap::from([(0, vec![1, 0, 0, 0]), (1, vec![2, 0, 0, 0])]);
        let ids = "3952def00998ae5b5b895e4561b2f026575056dee99817dabbb6e12518afdaea";
        assert_eq!(hex(&token_ids(&choices)), ids);
    }
}
