//! The kinds of value a setting can have: bounded numbers, sizes, prices, digests.
//!
//! Each kind reads itself from `models.toml` (serde) and, where a flag needs it, from the command
//! line (`FromStr`), refuses what is out of bounds and says what would be right.
//! The bounds are part of the type, so that a setting's declaration shows them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use crate::money::{Fils, ParseFilsError};

/// 1024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1024 KiB.
pub const MIB: u64 = 1 << 20;
/// 1024 MiB.
pub const GIB: u64 = 1 << 30;
/// 1024 GiB.
pub const TIB: u64 = 1 << 40;

/// Reads text from TOML with `FromStr`; any other TOML type is refused with `expecting`.
macro_rules! deserialize_from_text {
    ($($kind:ty),+ => $expecting:expr) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $kind;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$kind, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )+};
}
pub(super) use deserialize_from_text;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Number<MIN, MAX> {
    /// A number known when compiling; out of bounds does not compile where this is `const`.
    pub const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX, "the number is out of its setting's bounds");
        Number(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    fn bounded(value: Option<u64>, shown: &dyn fmt::Display) -> Result<Self, String> {
        match value {
            Some(value) if (MIN..=MAX).contains(&value) => Ok(Number(value)),
            _ => Err(format!("{shown} is out of range: a whole number from {MIN} to {MAX}")),
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Debug for Number<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Number<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Number<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::bounded(text.parse().ok(), &text)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Number<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Whole<MIN, MAX> {
            type Value = Number<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Number::bounded(u64::try_from(value).ok(), &value).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Number::bounded(Some(value), &value).map_err(E::custom)
            }
        }
        deserializer.deserialize_u64(Whole)
    }
}

/// A number with a fraction, from `MIN` to `MAX` thousandths.
///
/// For sampling defaults only; money is never one of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Real<const MIN: u32, const MAX: u32>(f32);

impl<const MIN: u32, const MAX: u32> Real<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Real<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (min, max) = (f64::from(MIN) / 1000.0, f64::from(MAX) / 1000.0);
        let value = f64::deserialize(deserializer)?;
        // Not a number is in no range.
        if (min..=max).contains(&value) {
            Ok(Real(value as f32))
        } else {
            Err(D::Error::custom(format!("{value} is out of range: a number from {min} to {max}")))
        }
    }
}

/// A number of bytes from `MIN` to `MAX`, written `"4GiB"`, `"512 MiB"`, `"8MB"` or as bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", KIB),
    ("MiB", MIB),
    ("GiB", GIB),
    ("TiB", TIB),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// A size known when compiling; out of bounds does not compile where this is `const`.
    pub const fn of(bytes: u64) -> Self {
        assert!(MIN <= bytes && bytes <= MAX, "the size is out of its setting's bounds");
        Size(bytes)
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    fn bounded(bytes: u64) -> Result<Self, String> {
        if (MIN..=MAX).contains(&bytes) {
            return Ok(Size(bytes));
        }
        let (found, min, max) = (Bytes(bytes), Bytes(MIN), Bytes(MAX));
        Err(format!("{found} is out of range: a size from {min} to {max}"))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Debug for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Bytes(self.0), f)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Bytes(self.0), f)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Size<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].trim();
        let factor = match unit {
            "" | "B" => Some(1),
            _ => SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
        };
        let count = digits.parse::<u64>().ok();
        let (Some(count), Some(factor)) = (count, factor) else {
            return Err(format!(
                "\"{text}\" is not a size: write a whole number and a unit, such as \"512MiB\" or \
                 \"4GiB\""
            ));
        };
        Self::bounded(count.saturating_mul(factor))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Text<MIN, MAX> {
            type Value = Size<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"512MiB\" or \"4GiB\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Self::Value, E> {
                Size::bounded(u64::try_from(bytes).unwrap_or(0)).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// Bytes for people: the largest binary unit that divides them evenly.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS[..4].iter().rev().find(|(_, factor)| self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) if self.0 > 0 => write!(f, "{}{name}", self.0 / factor),
            _ => write!(f, "{} bytes", self.0),
        }
    }
}

/// A price, read exactly from text such as `"2.000"`.
///
/// A TOML float is refused: `2.1` has no exact binary value, and money is never rounded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price(pub(super) Fils);

/// Dearer than this is taken for a slip: 1,000,000 KWD.
const MAX_PRICE: Fils = Fils(1_000_000_000);

impl FromStr for Price {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Fils(0)) => {
                Err("a price of 0 would give credits away: use a grant or a voucher".to_owned())
            }
            Ok(fils) if fils <= MAX_PRICE => Ok(Price(fils)),
            Ok(_) | Err(ParseFilsError::TooLarge(_)) => {
                Err(format!("{text} KWD is out of range: a price is at most {MAX_PRICE} KWD"))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

deserialize_from_text!(
    Price => "a price in KWD, as text with three decimals, such as \"2.000\""
);

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256Digest(pub [u8; 32]);

impl FromStr for Sha256Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.chars().count();
        if found != 64 {
            return Err(format!("a sha256 has 64 hexadecimal digits, this has {found}"));
        }
        let mut digest = [0; 32];
        let digits = text.chars().map(|c| c.to_digit(16));
        for (index, digit) in digits.enumerate() {
            let Some(digit) = digit else {
                return Err(format!(
                    "a sha256 has 64 hexadecimal digits (0-9, a-f); the one at place {} is not",
                    index + 1
                ));
            };
            digest[index / 2] = digest[index / 2] << 4 | digit as u8;
        }
        Ok(Sha256Digest(digest))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

deserialize_from_text!(Sha256Digest => "a sha256 as 64 hexadecimal digits in quotes");
