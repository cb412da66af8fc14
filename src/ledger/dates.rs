//! Calendar days and times of day, as numbers and as text, in the one zone the books are told in:
//! Kuwait, UTC+03:00, which has no daylight saving time.
//! Promises: what is parsed is a day that exists; times print as RFC 3339.

use std::fmt;
use std::str::FromStr;

pub(super) const DAY_MS: i64 = 86_400_000;
pub(super) const ZONE_MS: i64 = 3 * 3_600_000;

/// A calendar day in Kuwait. Prints as `2026-03-01`, and parses from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub(super) i64);

impl Day {
    /// The day that holds a time in Unix milliseconds.
    pub fn of(ms: i64) -> Self {
        Self(day_of(ms))
    }

    /// The day this many days earlier.
    #[must_use]
    pub fn before(self, days: u16) -> Self {
        Self(self.0 - i64::from(days))
    }

    /// When it begins, in Unix milliseconds.
    pub fn start_ms(self) -> i64 {
        midnight(self.0)
    }

    /// When the next one begins.
    pub fn end_ms(self) -> i64 {
        midnight(self.0 + 1)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        let wrong = || ParseDayError(text.to_owned());
        let parts: Vec<&str> = text.split('-').collect();
        let [year, month, day] = parts.as_slice() else { return Err(wrong()) };
        let number = |part: &str, digits: usize| {
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| plain).ok_or_else(wrong)
        };
        let date = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        let days = day_from_civil(date);
        // The 31st of a month that has 30 days comes back as another date.
        if civil(days) == date { Ok(Self(days)) } else { Err(wrong()) }
    }
}

/// A text that is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a day: write year, month and day, such as 2026-03-01")]
pub struct ParseDayError(String);

/// A time in Unix milliseconds as `2026-03-01T00:00:00.000+03:00`.
pub fn rfc3339(ms: i64) -> String {
    let (hours, minutes, seconds) = time_of_day(ms);
    let millis = ms.rem_euclid(1_000);
    format!("{}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}+03:00", Day(day_of(ms)))
}

/// `20260301-000000`: a time as part of a file's name.
pub(super) fn stamp(ms: i64) -> String {
    let (year, month, day) = civil(day_of(ms));
    let (hours, minutes, seconds) = time_of_day(ms);
    format!("{year:04}{month:02}{day:02}-{hours:02}{minutes:02}{seconds:02}")
}

fn time_of_day(ms: i64) -> (i64, i64, i64) {
    let seconds = (ms + ZONE_MS).rem_euclid(DAY_MS) / 1_000;
    (seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Days since 1970-01-01 on the zone's wall calendar.
pub(super) fn day_of(ms: i64) -> i64 {
    (ms + ZONE_MS).div_euclid(DAY_MS)
}

/// When a day begins, in Unix milliseconds.
pub(super) fn midnight(day: i64) -> i64 {
    day * DAY_MS - ZONE_MS
}

/// Year, month and day. Howard Hinnant's `civil_from_days`: years start in March, so that the leap
/// day comes last and month lengths repeat as 153 days in five months.
pub(super) fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

/// The inverse of [`civil`] on dates that exist.
fn day_from_civil((year, month, day): (i64, i64, i64)) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_print_what_they_parse_for_eight_centuries() {
        for day in (-3_000..300_000).step_by(17) {
            let text = Day(day).to_string();
            assert_eq!(text.parse(), Ok(Day(day)), "{text}");
        }
        assert_eq!("1970-01-01".parse(), Ok(Day(0)));
        assert_eq!("2026-03-01".parse::<Day>().map(Day::start_ms), Ok(1_772_312_400_000));
    }

    #[test]
    fn only_days_that_exist_are_days() {
        for wrong in
            ["", "2026", "2026-3-1", "2026-02-29", "2026-13-01", "2026-00-10", "+026-01-01"]
        {
            assert_eq!(wrong.parse::<Day>(), Err(ParseDayError(wrong.to_owned())));
        }
        assert!("2028-02-29".parse::<Day>().is_ok());
    }

    #[test]
    fn times_are_kuwaits() {
        assert_eq!(rfc3339(1_772_312_400_000), "2026-03-01T00:00:00.000+03:00");
        assert_eq!(rfc3339(1_772_312_399_999), "2026-02-28T23:59:59.999+03:00");
        assert_eq!(rfc3339(0), "1970-01-01T03:00:00.000+03:00");
        assert_eq!(stamp(1_772_312_400_000 + 3_723_000), "20260301-010203");
    }
}
