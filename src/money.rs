//! Money as whole fils, the thousandth of a Kuwaiti dinar, and the one place that reads and prints
//! it as decimal text.
//!
//! Promises: what is read is exact or refused; three decimals are always shown, since a currency
//! of three decimals read with two is wrong by a factor of ten.
//! Never knows: credits, providers, prices' bounds.

#![deny(clippy::float_arithmetic)]

use std::fmt;
use std::str::FromStr;

/// An amount of money: 1 KWD = 1000 fils (ISO 4217 exponent 3). Prints as `2.000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fils(pub i64);

impl fmt::Display for Fils {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let fils = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", fils / 1000, fils % 1000)
    }
}

/// A text that is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFilsError {
    /// Something other than digits with at most one point between them.
    #[error("{0:?} is not an amount: write KWD with three decimals, such as \"2.000\"")]
    NotAnAmount(String),
    /// More than three decimals, of which the last would be lost.
    #[error(
        "{text:?} has {decimals} decimals: an amount is whole fils, at most three, such as \
         \"2.000\""
    )]
    TooFine {
        /// As written.
        text: String,
        /// How many decimals it has.
        decimals: usize,
    },
    /// Past what an i64 of fils holds.
    #[error("{0} KWD is more than can be counted")]
    TooLarge(String),
}

impl FromStr for Fils {
    type Err = ParseFilsError;

    /// Reads KWD: `2`, `2.0` and `2.000` are the same; `2.0001`, `-2`, `2.` and `2e3` are refused.
    fn from_str(text: &str) -> Result<Self, ParseFilsError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(ParseFilsError::NotAnAmount(text.to_owned()));
        }
        if fraction.len() > 3 {
            let decimals = fraction.len();
            return Err(ParseFilsError::TooFine { text: text.to_owned(), decimals });
        }
        let fils = format!("{whole}{fraction:0<3}").parse();
        fils.map(Self).map_err(|_| ParseFilsError::TooLarge(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        let check = |text: &str, fils: i64| assert_eq!(text.parse(), Ok(Fils(fils)), "{text}");
        for same in ["2", "2.0", "2.00", "2.000", "02.000"] {
            check(same, 2_000);
        }
        check("0.1", 100);
        check("0.001", 1);
        check("9223372036854775.807", i64::MAX);
        for wrong in ["", ".", "2.", ".5", "-2", "+2", "2,000", "2e3", " 2", "2.0.0", "٢"] {
            let refused = ParseFilsError::NotAnAmount(wrong.to_owned());
            assert_eq!(wrong.parse::<Fils>(), Err(refused));
        }
        let fine = ParseFilsError::TooFine { text: "2.0001".to_owned(), decimals: 4 };
        assert_eq!("2.0001".parse::<Fils>(), Err(fine));
        let large = "9223372036854775.808";
        assert_eq!(large.parse::<Fils>(), Err(ParseFilsError::TooLarge(large.to_owned())));
    }

    #[test]
    fn three_decimals_are_always_shown() {
        for (fils, text) in
            [(0, "0.000"), (1, "0.001"), (-50, "-0.050"), (2_000, "2.000"), (1_234_567, "1234.567")]
        {
            assert_eq!(Fils(fils).to_string(), text);
        }
        assert_eq!(Fils(i64::MIN).to_string(), "-9223372036854775.808");
    }
}
