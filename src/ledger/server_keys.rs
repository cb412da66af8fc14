//! The secrets of one server, in a file beside its books: what vouchers are known by, and what
//! receipts are signed with.
//!
//! Promises: made once, from the system's randomness, and written whole for the owner alone; no
//! secret is ever printed. Whoever backs up the books has to back up this file, too.
//! Never knows: what is signed.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, hmac};
use subtle::ConstantTimeEq;

use super::files;
use super::keys;
use super::types::AccountId;

const FILE_NAME: &str = "server.keys";
const FIRST_LINE: &str = "mizan server keys 1";

/// One server's secrets.
pub struct ServerKeys {
    /// Of the code that stands for a voucher in the books.
    voucher: [u8; 32],
    /// Ed25519 seed (RFC 8032, 5.1.5).
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

/// Why the server's keys are not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeysError {
    /// The file is something else.
    #[error("{0} is damaged: restore it from a backup; without it vouchers are void")]
    Damaged(PathBuf),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        source: io::Error,
    },
}

impl ServerKeys {
    /// The file of the books at `books`.
    pub fn path_beside(books: &Path) -> PathBuf {
        books.with_file_name(FILE_NAME)
    }

    /// Reads the keys at `path`, or makes them. The caller holds the lock of the books.
    pub(super) fn open(path: &Path) -> Result<Self, ServerKeysError> {
        if path.exists() {
            return Self::read(path);
        }
        let keys = Self::of(keys::random(), keys::random());
        keys.write(path)?;
        Ok(keys)
    }

    /// Reads the keys at `path`.
    pub fn read(path: &Path) -> Result<Self, ServerKeysError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ServerKeysError::Io { path: path.to_owned(), source })?;
        Self::parse(&text).ok_or_else(|| ServerKeysError::Damaged(path.to_owned()))
    }

    /// Writes the keys to a new file.
    pub(super) fn write(&self, path: &Path) -> Result<(), ServerKeysError> {
        let (voucher, receipt) = (hex(&self.voucher), hex(&self.seed));
        let text = format!("{FIRST_LINE}\nvoucher {voucher}\nreceipt {receipt}\n");
        files::write_private(path, text.as_bytes())
            .map_err(|source| ServerKeysError::Io { path: path.to_owned(), source })
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let [FIRST_LINE, voucher, receipt] = lines.as_slice() else { return None };
        let voucher = unhex(voucher.strip_prefix("voucher ")?)?;
        Some(Self::of(voucher, unhex(receipt.strip_prefix("receipt ")?)?))
    }

    pub(super) fn of(voucher: [u8; 32], seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed is 32 bytes");
        Self { voucher, seed, pair }
    }

    /// What stands for a voucher's code in the books: HMAC-SHA-256, so that who has the books
    /// alone can not try codes.
    pub fn voucher_mac(&self, code: &str) -> [u8; 32] {
        self.mac("mizan.voucher.v1", code.as_bytes())
    }

    /// The secret that notices to an account are signed with; each version is another one.
    pub fn webhook_secret(&self, account: AccountId, version: u32) -> [u8; 32] {
        let mut message = account.0.to_be_bytes().to_vec();
        message.extend(version.to_be_bytes());
        self.mac("mizan.webhook.v1", &message)
    }

    /// `domain` keeps what is made for one purpose from being used for another.
    fn mac(&self, domain: &str, message: &[u8]) -> [u8; 32] {
        let mut context =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.voucher));
        context.update(domain.as_bytes());
        context.update(&[0]);
        context.update(message);
        context.sign().as_ref().try_into().expect("SHA-256 is 32 bytes")
    }

    /// What anybody can check receipts with.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("Ed25519 keys are 32 bytes"))
    }

    pub(super) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.pair.sign(message).as_ref().try_into().expect("signatures are 64 bytes"))
    }
}

impl PartialEq for ServerKeys {
    fn eq(&self, other: &Self) -> bool {
        (self.voucher.ct_eq(&other.voucher) & self.seed.ct_eq(&other.seed)).into()
    }
}

impl fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKeys({})", self.public_key().id())
    }
}

/// What a server's receipts are checked with. Prints and parses as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A short name: the first half of its SHA-256, as 32 hexadecimal digits.
    pub fn id(&self) -> String {
        hex(&digest::digest(&digest::SHA256, &self.0).as_ref()[..16])
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&signature::ED25519, self.0);
        key.verify(message, &signature.0).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = ParsePublicKeyError;

    fn from_str(text: &str) -> Result<Self, ParsePublicKeyError> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| ParsePublicKeyError)?;
        bytes.try_into().map(Self).map_err(|_| ParsePublicKeyError)
    }
}

/// A text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 32 bytes in base64, as GET /api/v1/receipt-key shows it")]
pub struct ParsePublicKeyError;

/// An Ed25519 signature. Prints and parses as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature([u8; 64]);

impl Signature {
    pub(super) fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn signatures_are_ed25519() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let keys = ServerKeys::of([0; 32], unhex(seed).unwrap());
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(hex(&keys.public_key().0), public);
        let signature = keys.sign(&[0x72]);
        assert_eq!(
            hex(&signature.0),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(keys.public_key().has_signed(&[0x72], &signature));
        assert!(!keys.public_key().has_signed(&[0x73], &signature));
    }

    /// Computed outside of this program: what is in the books depends on it.
    #[test]
    fn derived_secrets_are_frozen() {
        let keys = ServerKeys::of([7; 32], [9; 32]);
        let voucher = "ded80a8df8f423cc7479686cc81bcf0a24b77fd0919f2821e2076c7bb0363a67";
        assert_eq!(hex(&keys.voucher_mac("ABCD-EFGH")), voucher);
        let webhook = "eefd6de86345216c2d6890197a5e29bd3c87d6ff05425dac0646ab5a5f0c2a96";
        assert_eq!(hex(&keys.webhook_secret(AccountId(4), 1)), webhook);
    }

    #[test]
    fn keys_are_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = ServerKeys::path_beside(&folder.path().join("ledger.db"));
        let made = ServerKeys::open(&path).unwrap();
        assert!(ServerKeys::open(&path).unwrap() == made);
        let shown = format!("{made:?}");
        assert!(!shown.contains(&hex(&made.seed)) && !shown.contains(&hex(&made.voucher)));
        assert_eq!(made.public_key().to_string().parse(), Ok(made.public_key()));
        for wrong in ["", "mizan server keys 1\nvoucher 00\nreceipt 00\n", "mizan server keys 2\n"]
        {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(ServerKeys::open(&path), Err(ServerKeysError::Damaged(_))), "{wrong}");
        }
    }
}
