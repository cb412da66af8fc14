//! When a key ends, as operators write it: `90d` from now, or a day such as `2027-01-31`, at whose
//! beginning in Kuwait it ends.

use std::str::FromStr;

use crate::ledger::Day;

const DAY_SECS: i64 = 86_400;

/// As it was written; [`Expiry::at`] makes a time of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So many days from now.
    Days(i64),
    /// When this day begins.
    Day(Day),
}

/// The text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give 1d to 36500d from now, or a day such as 2027-01-31")]
pub(crate) struct ParseExpiryError;

impl Expiry {
    /// The time in Unix seconds.
    pub(crate) fn at(self, now_secs: i64) -> i64 {
        match self {
            Self::Days(days) => now_secs + days * DAY_SECS,
            Self::Day(day) => day.start_ms() / 1000,
        }
    }
}

impl FromStr for Expiry {
    type Err = ParseExpiryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(days) = text.strip_suffix('d') else {
            return text.parse().map(Self::Day).map_err(|_| ParseExpiryError);
        };
        // Digits alone: `parse` would take a sign.
        let days = Some(days).filter(|days| days.bytes().all(|byte| byte.is_ascii_digit()));
        let days = days.and_then(|days| days.parse().ok());
        days.filter(|days| (1..=36_500).contains(days)).map(Self::Days).ok_or(ParseExpiryError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_times() {
        let at = |text: &str| text.parse().map(|expiry: Expiry| expiry.at(1_000));
        assert_eq!(at("1d"), Ok(87_400));
        assert_eq!(at("90d"), Ok(1_000 + 90 * DAY_SECS));
        assert_eq!(at("2026-03-01"), Ok(1_772_312_400));
        for wrong in ["", "d", "0d", "-1d", "+1d", "90", "1.5d", "36501d", "2027-02-29"] {
            assert_eq!(at(wrong), Err(ParseExpiryError), "{wrong}");
        }
    }
}
