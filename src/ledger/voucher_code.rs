//! The code on a voucher: 16 characters that are hard to mistake for each other, about 79 bits.
//! Promises: each code is equally likely; a `Debug` print does not show it.
//! Never knows: keys, batches.

use std::fmt;
use std::str::FromStr;

use super::keys;

/// Digits and letters without 0 O, 1 I L.
const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";

const CHARS: usize = 16;

/// A voucher's code. Prints as `XXXX-XXXX-XXXX-XXXX`, and parses from what people make of that:
/// small letters, spaces, no dashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoucherCode(String);

impl VoucherCode {
    /// A code nobody has seen.
    pub fn fresh() -> Self {
        let mut code = String::with_capacity(CHARS);
        while code.len() < CHARS {
            // 248 = 8 * 31: larger bytes would make some characters likelier, so they are dropped.
            let random: [u8; 24] = keys::random();
            let unbiased = random.iter().filter(|&&byte| byte < 248);
            let missing = CHARS - code.len();
            let chars = unbiased.map(|byte| char::from(ALPHABET[usize::from(byte % 31)]));
            code.extend(chars.take(missing));
        }
        Self(code)
    }

    /// The 16 characters alone, as they are MACed.
    pub(super) fn plain(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, char) in self.0.chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{char}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoucherCode(..)")
    }
}

impl FromStr for VoucherCode {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let mut code = String::with_capacity(CHARS);
        for char in text.chars().filter(|char| !char.is_whitespace() && *char != '-') {
            let char = char.to_ascii_uppercase();
            let known = u8::try_from(char).is_ok_and(|byte| ALPHABET.contains(&byte));
            if !known || code.len() == CHARS {
                return Err(ParseCodeError);
            }
            code.push(char);
        }
        if code.len() == CHARS { Ok(Self(code)) } else { Err(ParseCodeError) }
    }
}

/// A text that is no [`VoucherCode`]. It is not shown: it may be a code with one wrong character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a voucher's code is 16 letters and digits, without 0, O, 1, I and L")]
pub struct ParseCodeError;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn codes_use_every_character_equally() {
        let mut seen: BTreeMap<char, usize> = BTreeMap::new();
        for _ in 0..4_000 {
            let code = VoucherCode::fresh();
            assert_eq!(code.plain().len(), CHARS);
            code.plain().chars().for_each(|char| *seen.entry(char).or_default() += 1);
        }
        let alphabet = ALPHABET.iter().map(|byte| char::from(*byte));
        assert!(seen.keys().copied().eq(alphabet), "{seen:?}");
        // 64,000 characters, 2,065 of each, standard deviation 45.
        assert!(seen.values().all(|count| (1_765..2_365).contains(count)), "{seen:?}");
    }

    #[test]
    fn what_people_type_is_understood() {
        let code = VoucherCode::fresh();
        let shown = code.to_string();
        assert_eq!(shown.len(), 19);
        assert!(!format!("{code:?}").contains(code.plain()));
        let spaced: String = code.plain().chars().flat_map(|char| [char, ' ']).collect();
        for text in [shown.clone(), shown.to_lowercase(), spaced, code.plain().to_owned()] {
            assert_eq!(text.parse(), Ok(code.clone()), "{text}");
        }
        let short = &shown[..18];
        for wrong in ["", "-", short, &format!("{shown}2"), &shown.replace(&shown[..1], "0")] {
            assert_eq!(wrong.parse::<VoucherCode>(), Err(ParseCodeError), "{wrong}");
        }
        assert_eq!("２２２２-2222-2222-2222".parse::<VoucherCode>(), Err(ParseCodeError));
    }
}
