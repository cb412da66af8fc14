//! `[payments.*]` of `models.toml`: the ways to pay. A section enables its provider.
//!
//! Secrets are not here but in the environment: MIZAN_TAP_SECRET_KEY, MIZAN_MYFATOORAH_TOKEN and
//! MIZAN_MYFATOORAH_WEBHOOK_SECRET; `crate::config` reads them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::server::SecureOrigin;
use super::value::{Number, deserialize_from_text};

/// The ways to pay that are enabled; none by default.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    /// Bank transfer, confirmed by the operator.
    pub manual: Option<ManualPayments>,
    /// Tap: KNET and cards.
    pub tap: Option<TapPayments>,
    /// MyFatoorah: KNET or cards.
    pub myfatoorah: Option<MyFatoorahPayments>,
}

/// `[payments.manual]`
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManualPayments {
    /// What the customer is told to do.
    pub instructions: Instructions,
}

/// `[payments.tap]`
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapPayments {
    /// What the customer may pay with.
    #[serde(default)]
    pub source: TapSource,
    /// The merchant's number, for accounts that have several.
    pub merchant: Option<Merchant>,
    /// Another address than Tap's own.
    pub base_url: Option<SecureOrigin>,
    /// How long a call may take.
    #[serde(default = "default_timeout")]
    pub timeout_secs: Number<1, 120>,
}

/// `[payments.myfatoorah]`
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MyFatoorahPayments {
    /// What the customer pays with.
    #[serde(default)]
    pub method: MyFatoorahMethod,
    /// Another address than that for Kuwait.
    pub base_url: Option<SecureOrigin>,
    /// How long a call may take.
    #[serde(default = "default_timeout")]
    pub timeout_secs: Number<1, 120>,
}

/// A bank's page answers within this, or it does not.
fn default_timeout() -> Number<1, 120> {
    const { Number::of(20) }
}

/// What a customer is told to do; `{amount}` and `{reference}` stand for the order's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instructions(pub(crate) String);

impl FromStr for Instructions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("{reference}") {
            return Err("instructions need {reference} in them: what the customer writes on the \
                        transfer, so that the operator finds the order"
                .to_owned());
        }
        Ok(Instructions(text.trim().to_owned()))
    }
}

/// What the customer may pay with at Tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TapSource {
    /// Whatever the merchant's account has; Tap's page asks.
    #[default]
    All,
    /// KNET.
    Knet,
    /// Cards.
    Card,
}

impl TapSource {
    /// Tap's name for it.
    pub fn id(self) -> &'static str {
        match self {
            TapSource::All => "src_all",
            TapSource::Knet => "src_kw.knet",
            TapSource::Card => "src_card",
        }
    }
}

impl FromStr for TapSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sources = [TapSource::All, TapSource::Knet, TapSource::Card];
        sources.into_iter().find(|source| source.id() == text).ok_or_else(|| {
            format!("unknown source \"{text}\": one of src_all, src_kw.knet, src_card")
        })
    }
}

/// What the customer pays with at MyFatoorah.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MyFatoorahMethod {
    /// KNET.
    #[default]
    Knet,
    /// Visa and Mastercard.
    Card,
}

impl MyFatoorahMethod {
    /// MyFatoorah's `PaymentMethodCode` for it.
    pub fn code(self) -> &'static str {
        match self {
            MyFatoorahMethod::Knet => "kn",
            MyFatoorahMethod::Card => "vm",
        }
    }
}

impl FromStr for MyFatoorahMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "knet" => Ok(MyFatoorahMethod::Knet),
            "card" => Ok(MyFatoorahMethod::Card),
            _ => Err(format!("unknown method \"{text}\": there are knet and card")),
        }
    }
}

/// A merchant's number at Tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant(pub(crate) String);

impl FromStr for Merchant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Ok(Merchant(text.to_owned()));
        }
        Err(format!("\"{text}\" is not a merchant: write the number that Tap gave, in quotes"))
    }
}

/// As a setting is written.
macro_rules! display {
    ($($kind:ty: $text:expr;)+) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text: fn(&$kind) -> &str = $text;
                f.write_str(text(self))
            }
        }
    )+};
}

display! {
    Instructions: |instructions| &instructions.0;
    TapSource: |source| source.id();
    MyFatoorahMethod: |method| match method {
        MyFatoorahMethod::Knet => "knet",
        MyFatoorahMethod::Card => "card",
    };
    Merchant: |merchant| &merchant.0;
}

deserialize_from_text!(Instructions => "instructions to the customer, as text");
deserialize_from_text!(TapSource => "a source in quotes, such as \"src_all\" or \"src_kw.knet\"");
deserialize_from_text!(MyFatoorahMethod => "a method in quotes: \"knet\" or \"card\"");
deserialize_from_text!(Merchant => "a merchant's number in quotes, such as \"1124340\"");
