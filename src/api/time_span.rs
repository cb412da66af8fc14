//! What the routes of usage have in common: a span of time, and whether a table is asked for.
//! Promises: a span is as it was asked for or refused, never cut silently.
//! Never knows: what lies in the span.

use axum::http::{HeaderMap, header};

use super::error::ApiError;
use crate::ledger::Day;

/// The days that a span has when nobody says.
pub(super) const USUAL_DAYS: u16 = 30;

/// The longest span that is summed up.
pub(super) const MAX_DAYS: i64 = 400;

const DAY_MS: i64 = 86_400_000;

/// Times in Unix milliseconds: from the first, before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeSpan {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

impl TimeSpan {
    /// The span from `from` to `to`, or the usual days up to there, or up to now.
    pub(super) fn read(
        from: Option<&str>,
        to: Option<&str>,
        now_ms: i64,
    ) -> Result<Self, ApiError> {
        let to_ms = end(to)?.unwrap_or_else(|| now_ms.saturating_add(1));
        let usual = || Day::of(to_ms - 1).before(USUAL_DAYS - 1).start_ms();
        let span = Self { from_ms: start(from)?.unwrap_or_else(usual), to_ms };
        if span.from_ms >= span.to_ms {
            return Err(ApiError::field("from", "'from' is not before 'to': swap them"));
        }
        if span.to_ms - span.from_ms > MAX_DAYS * DAY_MS {
            let message = format!("the time is longer than {MAX_DAYS} days: take a shorter one");
            return Err(ApiError::field("from", message));
        }
        Ok(span)
    }
}

/// When a span begins: with a day, or at a time.
pub(super) fn start(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    time("from", text, Day::start_ms)
}

/// When a span ends: with a day, which is part of it, or before a time.
pub(super) fn end(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    time("to", text, Day::end_ms)
}

fn time(
    name: &str,
    text: Option<&str>,
    of_day: impl FnOnce(Day) -> i64,
) -> Result<Option<i64>, ApiError> {
    // The last second of the year 9999.
    const LATEST: i64 = 253_402_300_799;
    let Some(text) = said(text) else { return Ok(None) };
    if let Ok(seconds) = text.parse::<i64>()
        && (0..=LATEST).contains(&seconds)
    {
        return Ok(Some(seconds * 1_000));
    }
    match text.parse::<Day>() {
        Ok(day) => Ok(Some(of_day(day))),
        Err(_) => Err(ApiError::field(
            name,
            format!("'{name}' must be a day such as 2026-03-01, in Kuwait, or Unix seconds"),
        )),
    }
}

/// A value of the query; one that is empty says nothing.
pub(super) fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Whether CSV is asked for: by `format`, else by what the caller accepts.
pub(super) fn wants_csv(format: Option<&str>, headers: &HeaderMap) -> Result<bool, ApiError> {
    match said(format) {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(other) => {
            Err(ApiError::field("format", format!("'format' is {other:?}: use json or csv")))
        }
        None => {
            let accepted = headers.get_all(header::ACCEPT).iter();
            let mut ranges = accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| {
                value.split(',').map(|range| range.split(';').next().unwrap_or_default().trim())
            });
            Ok(ranges.any(|range| range.eq_ignore_ascii_case("text/csv")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01 00:00 in Kuwait.
    const MARCH: i64 = 1_772_312_400_000;

    #[track_caller]
    fn check(from: Option<&str>, to: Option<&str>, expected: Result<(i64, i64), &str>) {
        let span = TimeSpan::read(from, to, MARCH + 5_000);
        match (span, expected) {
            (Ok(span), Ok(expected)) => assert_eq!((span.from_ms, span.to_ms), expected),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn days_are_kuwaits_and_whole() {
        check(Some("2026-03-01"), Some("2026-03-01"), Ok((MARCH, MARCH + DAY_MS)));
        check(Some("1772312400"), Some("1772312401"), Ok((MARCH, MARCH + 1_000)));
        check(None, None, Ok((MARCH - 29 * DAY_MS, MARCH + 5_001)));
        check(Some(""), Some("2026-03-01"), Ok((MARCH - 29 * DAY_MS, MARCH + DAY_MS)));
    }

    #[test]
    fn what_makes_no_span_is_refused() {
        check(Some("2026-02-30"), None, Err("'from' must be a day"));
        check(None, Some("tomorrow"), Err("'to' must be a day"));
        check(Some("-5"), None, Err("'from' must be a day"));
        check(Some("99999999999999"), None, Err("'from' must be a day"));
        check(Some("2026-03-02"), Some("2026-03-01"), Err("not before"));
        check(Some("2024-01-01"), Some("2026-03-01"), Err("400 days"));
        check(Some("2026-03-02"), None, Err("not before"));
    }

    #[test]
    fn a_table_is_asked_for_by_either() {
        let check = |format, accept: &'static str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header value"));
            assert_eq!(wants_csv(format, &headers), expected, "{format:?} {accept}");
        };
        check(None, "*/*", Ok(false));
        check(None, "text/html, Text/CSV;q=0.5", Ok(true));
        check(Some("csv"), "application/json", Ok(true));
        check(Some("json"), "text/csv", Ok(false));
        assert!(wants_csv(Some("xml"), &HeaderMap::new()).is_err());
    }
}
