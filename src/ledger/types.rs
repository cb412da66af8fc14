//! The words the ledger speaks in: ids, credits, what commands ask and what they answer.
//! Never knows: tokens' text, money, HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::scopes::{Scope, Scopes};

/// Whole credits. There is no arithmetic on this type: sums are checked where they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(pub i64);

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an account can spend right now; never negative.
pub type Balance = Credits;

/// An owner of credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An API key, not its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub i64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message to a team's own server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeId(pub i64);

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A person who signs in, not its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One request that may be charged. UUID version 7: ids made later sort later (as far as the clock
/// allows). Prints as 32 hexadecimal digits, and parses from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub [u8; 16]);

impl fmt::Display for MeterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for MeterId {
    type Err = ParseMeterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` alone would take a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseMeterIdError);
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| ParseMeterIdError)?;
        Ok(Self(value.to_be_bytes()))
    }
}

/// A text that is no [`MeterId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseMeterIdError;

/// How often a key's limit starts again, at midnight in Kuwait (UTC+03:00).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitReset {
    /// Every day.
    Daily,
    /// Every Monday.
    Weekly,
    /// On the first of every month.
    Monthly,
}

impl LimitReset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// The word used in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

impl FromStr for LimitReset {
    type Err = UnknownReset;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "daily" => Ok(Self::Daily),
            "weekly" => Ok(Self::Weekly),
            "monthly" => Ok(Self::Monthly),
            _ => Err(UnknownReset(text.to_owned())),
        }
    }
}

/// A text that is no [`LimitReset`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit reset is {0:?}: use \"daily\", \"weekly\" or \"monthly\"")]
pub struct UnknownReset(pub String);

/// The most a key may spend, in one period or ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimit {
    /// Credits; zero is allowed and means that the key can pay for nothing.
    pub credits: Credits,
    /// `None`: the limit is for the key's whole life.
    pub reset: Option<LimitReset>,
}

/// What a key is to be; it stays so. Another key takes its place, and it is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKeyRequest {
    /// Whose credits it spends.
    pub account: AccountId,
    /// Who makes it; `None`: the operator.
    pub user: Option<UserId>,
    /// What its owner calls it, at most 64 characters.
    pub label: String,
    /// What it may do: at least one thing, and nothing that `user` may not.
    pub scopes: Scopes,
    /// The most it may spend in one period, or in its life.
    pub limit: Option<KeyLimit>,
    /// The most it may spend in its life, whatever the period.
    pub total_limit: Option<Credits>,
    /// From then on it is refused; Unix milliseconds. `None`: it lasts until it is revoked.
    pub expires_ms: Option<i64>,
}

impl NewKeyRequest {
    /// What a key may do when nobody says otherwise: spend credits and see what was spent.
    pub const DEFAULT_SCOPES: Scopes = Scopes::of(&[Scope::Inference, Scope::Usage]);

    /// The operator's key for `account`: the usual scopes, no limit, no end.
    pub fn new(account: AccountId, label: &str) -> Self {
        Self {
            account,
            user: None,
            label: label.to_owned(),
            scopes: Self::DEFAULT_SCOPES,
            limit: None,
            total_limit: None,
            expires_ms: None,
        }
    }
}

/// A key that was just made. The only place its secret exists in the clear.
#[derive(Clone)]
pub struct NewKey {
    /// Names the key from now on.
    pub id: KeyId,
    /// `mz-` and 43 letters and digits. Show it once; it can not be read again.
    pub secret: String,
    /// The secret's first characters, for people to tell keys apart.
    pub prefix: String,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).field("prefix", &self.prefix).finish()
    }
}

/// What opens a meter. Everything here is frozen into its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterRequest {
    /// Who pays.
    pub account: AccountId,
    /// Which of the account's keys was shown.
    pub key: KeyId,
    /// The model's id, at most 200 characters.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_digest: [u8; 32],
    /// Credits for one output token, 1 to 1,000,000.
    pub credits_per_token: i64,
    /// Whether text leaves while it is generated. If not, a crash gives the charge back.
    pub streamed: bool,
    /// Prompt length, for the record: input is free.
    pub input_tokens: u32,
    /// The client's `Idempotency-Key`, 1 to 255 characters.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request body: the same key with another body is a conflict.
    pub body_hash: [u8; 32],
}

/// What a charge paid. Only the first `groups` groups may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charged {
    /// How many groups, counted from the first, were paid.
    pub groups: usize,
    /// Tokens in those groups.
    pub tokens: u32,
    /// Their price.
    pub credits: Credits,
    /// The account's balance after.
    pub balance: Balance,
    /// What kept the rest from being paid; `None` when all was.
    pub cut_by: Option<CutBy>,
}

/// What was too small to pay for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutBy {
    /// The account's balance.
    Balance,
    /// The key's limit.
    KeyLimit,
}

/// How a meter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Tokens charged while it was open.
    pub tokens: u32,
    /// What they cost: spent if the meter was closed, given back if it was reversed.
    pub credits: Credits,
    /// The account's balance now.
    pub balance: Balance,
}

/// What an account has had and has: `balance = total_credits - total_usage`, open meters included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountTotals {
    /// Ever bought or granted.
    pub total_credits: Credits,
    /// Ever charged, less what was given back.
    pub total_usage: Credits,
    /// What is left.
    pub balance: Balance,
}

/// An account as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Names it to the ledger.
    pub id: AccountId,
    /// Names it to people; unique.
    pub name: String,
    /// Its rate limits, by name.
    pub plan: String,
    /// What it can spend.
    pub balance: Balance,
    /// Ever bought or granted.
    pub total_credits: Credits,
    /// Charged on meters that are still open.
    pub open: Credits,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Unix milliseconds; closed accounts open no meters.
    pub closed_ms: Option<i64>,
    /// Unix milliseconds; frozen accounts open no meters until they are thawed.
    pub frozen_ms: Option<i64>,
}

/// A key, and the account it spends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Names the key.
    pub id: KeyId,
    /// Whose credits it spends.
    pub account: AccountId,
    /// That account's name.
    pub account_name: String,
    /// That account's plan.
    pub plan: String,
    /// What its owner calls it.
    pub label: String,
    /// The secret's first characters.
    pub prefix: String,
    /// Who made it; `None`: the operator.
    pub user: Option<UserId>,
    /// What it may do.
    pub scopes: Scopes,
    /// The most it may spend in one period, or in its life.
    pub limit: Option<KeyLimit>,
    /// The most it may spend in its life.
    pub total_limit: Option<Credits>,
    /// What it has spent, less what was given back.
    pub used: Credits,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// From then on it is refused; Unix milliseconds. `None`: it lasts until it is revoked.
    pub expires_ms: Option<i64>,
    /// When it opened its last meter, in Unix milliseconds; looked up for lists only.
    pub last_used_ms: Option<i64>,
    /// Whether its time was over when it was looked up.
    pub expired: bool,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether its account was closed.
    pub account_closed: bool,
    /// Whether its account is frozen.
    pub account_frozen: bool,
}

/// What a key has spent: closed and open meters, less reversed ones, by when they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// Ever.
    pub usage: Credits,
    /// Since midnight in Kuwait.
    pub daily: Credits,
    /// Since Monday.
    pub weekly: Credits,
    /// Since the first of the month.
    pub monthly: Credits,
    /// What its period's limit leaves it now; `None` without one.
    pub limit_remaining: Option<Credits>,
    /// What the limit of its life leaves it; `None` without one.
    pub total_remaining: Option<Credits>,
}

/// Where a meter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeterState {
    /// Charges are taken.
    Open,
    /// Spent.
    Closed,
    /// Given back; its ids are gone and its idempotency key is free.
    Reversed,
}

/// One generation, as its meter recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRecord {
    /// The meter.
    pub id: MeterId,
    /// Who paid.
    pub account: AccountId,
    /// With which key.
    pub key: KeyId,
    /// The model's id when it was opened.
    pub model: String,
    /// SHA-256 of that model's weights.
    pub model_digest: [u8; 32],
    /// Credits for one output token.
    pub credits_per_token: i64,
    /// Whether it was sent while it was generated.
    pub streamed: bool,
    /// Prompt length.
    pub input_tokens: u32,
    /// Tokens charged.
    pub output_tokens: u32,
    /// Credits charged; given back if `state` is `Reversed`.
    pub credits: Credits,
    /// Where it stands.
    pub state: MeterState,
    /// Why it ended; `None` while open.
    pub finish_reason: Option<String>,
    /// SHA-256 over the paid ids, set when it closed.
    pub ids_sha256: Option<[u8; 32]>,
    /// The client's idempotency key.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request body.
    pub body_hash: [u8; 32],
    /// Unix milliseconds.
    pub opened_ms: i64,
    /// When the first token was paid for, in Unix milliseconds.
    pub first_charge_ms: Option<i64>,
    /// Unix milliseconds; `None` while open.
    pub closed_ms: Option<i64>,
    /// The paid ids of each choice, in order. `None`: they are gone, by reversal or by age.
    pub token_ids: Option<BTreeMap<u32, Vec<u32>>>,
}

/// Something an operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with each entry.
    pub id: i64,
    /// Who did it.
    pub actor: String,
    /// What, such as `account.close`.
    pub action: String,
    /// To whom, how much, why.
    pub detail: String,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// What a purge removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Meters whose ids were removed.
    pub meters: usize,
    /// Whether there is more to remove; call again.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meter_ids_print_and_parse() {
        let id = MeterId(std::array::from_fn(|index| index as u8 * 17));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0", "+0112233445566778899aabbccddeeff", "zz112233445566778899aabbccddee"]
        {
            assert_eq!(wrong.parse::<MeterId>(), Err(ParseMeterIdError), "{wrong}");
        }
    }

    #[test]
    fn a_new_keys_debug_form_hides_its_secret() {
        let key = NewKey { id: KeyId(1), secret: "mz-secret".into(), prefix: "mz-s".into() };
        assert!(!format!("{key:?}").contains("secret"));
    }
}
