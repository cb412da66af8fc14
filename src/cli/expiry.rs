//! When a key ends, as operators write it: `90d` from now, or a day such as `2027-01-31`, at whose
//! midnight in Kuwait (UTC+03:00, where limits are counted too) it ends.

use std::str::FromStr;

const DAY_SECS: i64 = 86_400;
const ZONE_SECS: i64 = 3 * 3_600;

/// As it was written; [`Expiry::at`] makes a time of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So many days from now.
    Days(i64),
    /// When this day begins, in days since 1970-01-01.
    Day(i64),
}

/// The text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give a number of days such as 90d, or a day such as 2027-01-31")]
pub(crate) struct ParseExpiryError;

impl Expiry {
    /// The time in Unix seconds.
    pub(crate) fn at(self, now_secs: i64) -> i64 {
        match self {
            Self::Days(days) => now_secs + days * DAY_SECS,
            Self::Day(day) => day * DAY_SECS - ZONE_SECS,
        }
    }
}

impl FromStr for Expiry {
    type Err = ParseExpiryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(days) = text.strip_suffix('d') {
            let days = number(days).filter(|days| (1..=36_500).contains(days));
            return days.map(Self::Days).ok_or(ParseExpiryError);
        }
        let mut parts = text.split('-').map(number);
        let mut next = || parts.next().flatten().ok_or(ParseExpiryError);
        let (year, month, day) = (next()?, next()?, next()?);
        if parts.next().is_some() || text.len() != 10 || !is_date(year, month, day) {
            return Err(ParseExpiryError);
        }
        Ok(Self::Day(days_since_1970(year, month, day)))
    }
}

/// The day in Kuwait that a time in Unix seconds falls on, as `2027-01-31`.
pub(crate) fn day_of(secs: i64) -> String {
    let (year, month, day) = date((secs + ZONE_SECS).div_euclid(DAY_SECS));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Digits alone: a sign is not one.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_date(year: i64, month: i64, day: i64) -> bool {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=length).contains(&day)
}

/// Howard Hinnant's `days_from_civil`: years start in March, so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The other way: Howard Hinnant's `civil_from_days`.
fn date(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_the_day_in_kuwait() {
        assert_eq!(day_of(1_772_312_400), "2026-03-01");
        assert_eq!(day_of(1_772_312_399), "2026-02-28");
        for day in (0..2_000_000).step_by(97) {
            let (year, month, of_month) = date(day);
            assert!(is_date(year, month, of_month), "{day}");
            assert_eq!(days_since_1970(year, month, of_month), day);
        }
    }

    #[test]
    fn days_and_dates_are_times() {
        let at = |text: &str| text.parse().map(|expiry: Expiry| expiry.at(1_000));
        assert_eq!(at("1d"), Ok(87_400));
        assert_eq!(at("90d"), Ok(1_000 + 90 * DAY_SECS));
        assert_eq!(at("1970-01-02"), Ok(DAY_SECS - ZONE_SECS));
        assert_eq!(at("2026-03-01"), Ok(1_772_312_400)); // As the ledger's tests have it.
        assert_eq!(at("2028-02-29"), Ok(1_835_384_400));
        for wrong in ["", "d", "0d", "-1d", "+1d", "90", "1.5d", "2027-02-29", "2027-13-01"] {
            assert_eq!(at(wrong), Err(ParseExpiryError), "{wrong}");
        }
        for wrong in ["2027-1-1", "2027-01-01-01", "27-01-2027", "2027-01", "99999999999999999d"] {
            assert_eq!(at(wrong), Err(ParseExpiryError), "{wrong}");
        }
    }
}
