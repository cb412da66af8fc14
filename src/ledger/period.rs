//! Days, weeks and months in the one zone that limits are counted in: Kuwait, UTC+03:00, which has
//! no daylight saving time. Weeks begin on Monday.

use super::dates::{civil, day_of, midnight};
use super::types::{Credits, KeyLimit, LimitReset};

/// When the period that holds `now_ms` began, in Unix milliseconds.
pub(super) fn start(reset: LimitReset, now_ms: i64) -> i64 {
    midnight(first_day(reset, day_of(now_ms)))
}

/// When the period after the one that holds `now_ms` begins.
fn next_start(reset: LimitReset, now_ms: i64) -> i64 {
    let first = first_day(reset, day_of(now_ms));
    // The longest a period can be lands in the next one, whose first day is then looked up.
    let length = match reset {
        LimitReset::Daily => 1,
        LimitReset::Weekly => 7,
        LimitReset::Monthly => 31,
    };
    midnight(first_day(reset, first + length))
}

/// The period a key counts in now: the stored one, unless a later one has begun.
///
/// Never an earlier one: a clock that jumps back must not open a period again.
fn current(reset: Option<LimitReset>, stored_start_ms: i64, now_ms: i64) -> i64 {
    match reset {
        Some(reset) => stored_start_ms.max(start(reset, now_ms)),
        None => stored_start_ms,
    }
}

/// A key's limits, and what counts against them, as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spending {
    pub(super) limit: Option<KeyLimit>,
    pub(super) total_limit: Option<Credits>,
    pub(super) period_start_ms: i64,
    pub(super) period_used: i64,
    /// Ever, less reversals.
    pub(super) used: i64,
}

/// What a key may spend now: its limits, against what it used in the period that holds now and
/// ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// When that period began.
    pub(super) start_ms: i64,
    /// Charged in it so far.
    pub(super) used: i64,
    /// What the period's limit leaves; `None`: no limit.
    pub(super) period_remaining: Option<i64>,
    /// What the limit of the key's life leaves; `None`: no limit.
    pub(super) total_remaining: Option<i64>,
    /// When `used` starts again; `None`: never.
    pub(super) resets_ms: Option<i64>,
}

impl Allowance {
    /// The smaller of what both limits leave; `None`: no limit.
    pub(super) fn remaining(&self) -> Option<i64> {
        [self.period_remaining, self.total_remaining].into_iter().flatten().min()
    }

    /// When something that costs `needed` may be paid again; `None`: never, or it is not known.
    pub(super) fn resets_ms_for(&self, needed: i64) -> Option<i64> {
        self.resets_ms.filter(|_| self.total_remaining.is_none_or(|left| left >= needed))
    }
}

/// Reads a key's stored spending as of now; a period that is over has used nothing.
pub(super) fn allowance(spending: &Spending, now_ms: i64) -> Allowance {
    let reset = spending.limit.and_then(|limit| limit.reset);
    let start_ms = current(reset, spending.period_start_ms, now_ms);
    let used = if start_ms == spending.period_start_ms { spending.period_used } else { 0 };
    let left = |limit: Credits, used: i64| limit.0.saturating_sub(used).max(0);
    Allowance {
        start_ms,
        used,
        period_remaining: spending.limit.map(|limit| left(limit.credits, used)),
        total_remaining: spending.total_limit.map(|limit| left(limit, spending.used)),
        resets_ms: reset.map(|reset| next_start(reset, start_ms)),
    }
}

fn first_day(reset: LimitReset, day: i64) -> i64 {
    match reset {
        LimitReset::Daily => day,
        // 1970-01-01 was a Thursday, three days after a Monday.
        LimitReset::Weekly => day - (day + 3).rem_euclid(7),
        LimitReset::Monthly => day - day_of_month(day),
    }
}

/// Zero for the first of a month.
fn day_of_month(day: i64) -> i64 {
    civil(day).2 - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::dates::DAY_MS;

    /// 2026-03-01 00:00 in Kuwait, a Sunday.
    const MARCH: i64 = 1_772_312_400_000;

    #[test]
    fn periods_begin_at_kuwaits_midnight() {
        let check = |reset, now_ms, began, next| {
            assert_eq!(start(reset, now_ms), began, "{reset:?} {now_ms}");
            assert_eq!(next_start(reset, now_ms), next, "{reset:?} {now_ms}");
        };
        check(LimitReset::Daily, MARCH, MARCH, MARCH + DAY_MS);
        check(LimitReset::Daily, MARCH - 1, MARCH - DAY_MS, MARCH);
        check(LimitReset::Daily, MARCH + DAY_MS - 1, MARCH, MARCH + DAY_MS);
        check(LimitReset::Weekly, MARCH, MARCH - 6 * DAY_MS, MARCH + DAY_MS);
        check(LimitReset::Weekly, MARCH + DAY_MS, MARCH + DAY_MS, MARCH + 8 * DAY_MS);
        check(LimitReset::Monthly, MARCH, MARCH, MARCH + 31 * DAY_MS);
        check(LimitReset::Monthly, MARCH - 1, MARCH - 28 * DAY_MS, MARCH);
    }

    #[test]
    fn months_have_their_lengths_for_eight_centuries() {
        let mut day = 0; // 1970-01-01
        for year in 1970..2770 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                for offset in [0, 1, length - 1] {
                    assert_eq!(day_of_month(day + offset), offset, "{year}");
                }
                day += length;
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_back_opens_no_old_period() {
        assert_eq!(current(Some(LimitReset::Daily), MARCH, MARCH - 1), MARCH);
        assert_eq!(current(Some(LimitReset::Daily), MARCH, MARCH + DAY_MS), MARCH + DAY_MS);
        assert_eq!(current(None, 5, MARCH), 5);
    }
}
