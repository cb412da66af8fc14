//! The limiter against a clock that tests turn, and against a plain count of what was let in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::RateLimit;
use super::accounts::{Limiter, Place};
use super::bucket::{MINUTE_MS, Standing};
use crate::catalog::Plan;
use crate::ledger::{AccountId, Clock};

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

/// A clock that is set.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(SeqCst)
    }
}

/// A limiter, its clock, and one plan for everybody.
struct World {
    limiter: Limiter,
    clock: Arc<Hand>,
    plan: Plan,
}

impl World {
    fn new(requests: Option<u32>, input: Option<u32>, at_once: Option<u32>) -> Self {
        let plan = Plan {
            max_requests_per_minute: requests,
            max_input_tokens_per_minute: input,
            max_prompt_tokens: None,
            max_concurrent_requests: at_once,
        };
        let world = Self { limiter: Limiter::default(), clock: Arc::default(), plan };
        world.set(1_700_000_000_000);
        world
    }

    fn set(&self, ms: i64) {
        self.clock.0.store(ms, SeqCst);
    }

    fn pass(&self, ms: i64) {
        self.clock.0.fetch_add(ms, SeqCst);
    }

    fn begin(&self, account: AccountId) -> Result<Place, RateLimit> {
        self.limiter.begin(account, &self.plan, &*self.clock)
    }

    fn take(&self, account: AccountId, tokens: u64) -> Result<(), RateLimit> {
        self.limiter.take_input(account, &self.plan, &*self.clock, tokens)
    }

    fn standings(&self, account: AccountId) -> [Option<Standing>; 2] {
        self.limiter.standings(account, &self.plan, &*self.clock)
    }

    /// How many requests in a row are let in now.
    fn burst(&self, account: AccountId) -> usize {
        (0..).take_while(|_| self.begin(account).is_ok()).count()
    }
}

#[test]
fn accounts_do_not_share() {
    let world = World::new(Some(3), Some(100), None);
    assert_eq!(world.burst(ALICE), 3);
    assert_eq!(world.begin(ALICE).err(), Some(RateLimit::Requests { limit: 3, wait_ms: 20_000 }));
    assert_eq!(world.burst(BOB), 3);
    assert_eq!(world.take(ALICE, 60), Ok(()));
    let refused = RateLimit::InputTokens { limit: 100, remaining: 40, tokens: 60, wait_ms: 12_000 };
    assert_eq!(world.take(ALICE, 60), Err(refused));
    let standing = |remaining, reset_ms| Some(Standing { limit: 100, remaining, reset_ms });
    assert_eq!(world.standings(ALICE)[1], standing(40, 36_000));
    assert_eq!(world.standings(BOB)[1], standing(100, 0));
    world.pass(12_000);
    assert_eq!(world.take(ALICE, 60), Ok(()));
}

#[test]
fn a_place_is_free_when_it_is_dropped() {
    let world = World::new(None, None, Some(2));
    let (first, second) = (world.begin(ALICE), world.begin(ALICE));
    assert_eq!(world.begin(ALICE).err(), Some(RateLimit::Concurrent { limit: 2 }));
    assert!(world.begin(BOB).is_ok());
    world.pass(600_000);
    assert!(world.begin(ALICE).is_err(), "no time frees a place");
    drop(first);
    let third = world.begin(ALICE);
    assert!(third.is_ok() && world.begin(ALICE).is_err());
    let panicked = std::thread::spawn(move || {
        let _held = third;
        panic!("this is a test of panics");
    });
    assert!(panicked.join().is_err());
    drop(second);
    let both = (world.begin(ALICE), world.begin(ALICE));
    assert!(both.0.is_ok() && both.1.is_ok() && world.begin(ALICE).is_err());
}

#[test]
fn what_waits_for_a_place_uses_up_no_requests() {
    let world = World::new(Some(2), None, Some(1));
    let held = world.begin(ALICE);
    assert!((0..10).all(|_| world.begin(ALICE).is_err()));
    drop(held);
    assert!(world.begin(ALICE).is_ok());
    assert_eq!(world.begin(ALICE).err(), Some(RateLimit::Requests { limit: 2, wait_ms: 30_000 }));
}

#[test]
fn a_clock_that_jumps_neither_stops_nor_frees_anybody_for_long() {
    let world = World::new(Some(60), None, None);
    assert_eq!(world.burst(ALICE), 60);
    // Back by a year: the seconds after it count.
    world.pass(-31_536_000_000);
    assert_eq!(world.burst(ALICE), 0);
    world.pass(2_000);
    assert_eq!(world.burst(ALICE), 2);
    // Ahead, even to the end of time: a full bucket, no more.
    world.pass(31_536_000_000);
    assert_eq!(world.burst(ALICE), 60);
    for reading in [i64::MAX, i64::MIN, i64::MAX] {
        world.set(reading);
        assert!(world.burst(ALICE) <= 60);
    }
}

#[test]
fn a_plan_without_limits_never_looks_at_the_clock() {
    #[derive(Debug)]
    struct NoClock;
    impl Clock for NoClock {
        fn now_ms(&self) -> i64 {
            panic!("nobody needs the time");
        }
    }
    let (limiter, plan) = (Limiter::default(), Plan::default());
    for _ in 0..10_000 {
        assert!(limiter.begin(ALICE, &plan, &NoClock).is_ok());
        assert_eq!(limiter.take_input(ALICE, &plan, &NoClock, u64::MAX), Ok(()));
    }
    assert_eq!(limiter.standings(ALICE, &plan, &NoClock), [None; 2]);
}

#[test]
fn idle_accounts_take_no_memory() {
    let world = World::new(Some(60), None, Some(1));
    let busy = world.begin(AccountId(0));
    for account in 1..100_000 {
        assert!(world.begin(AccountId(account)).is_ok());
        // Each is idle again after a second, so a thousand are busy at a time.
        world.pass(1);
        assert!(world.limiter.len() <= 2 * 1_024, "{} accounts", world.limiter.len());
    }
    assert!(world.begin(AccountId(0)).is_err(), "who is busy is not forgotten");
    drop(busy);
    assert!(world.begin(AccountId(0)).is_ok());
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Whatever callers do, no span of time holds more than the scheme promises; and whoever waits as
/// long as it was told is let in, and would not have been a millisecond before.
#[test]
fn no_span_of_time_holds_more_than_promised() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let limit = 1 + random.below([5, 100, 5_000][seed as usize % 3]);
        let world = World::new(None, Some(limit as u32), None);
        let mut now = 0_u64;
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for _ in 0..300 {
            let pause = [0, 3, 400, 20_000][random.below(4) as usize];
            let pause = random.below(pause + 1);
            world.pass(pause as i64);
            now += pause;
            let most = 1 + random.below(limit);
            let count = 1 + random.below(most);
            match world.take(ALICE, count) {
                Ok(()) => taken.push((now, count)),
                Err(RateLimit::InputTokens { wait_ms, remaining, .. }) => {
                    assert!(count > remaining && wait_ms > 0, "seed {seed}");
                    if random.below(3) == 0 {
                        world.pass(wait_ms as i64 - 1);
                        assert!(world.take(ALICE, count).is_err(), "seed {seed}: too long a wait");
                        world.pass(1);
                        now += wait_ms;
                        assert_eq!(world.take(ALICE, count), Ok(()), "seed {seed}: told to come");
                        taken.push((now, count));
                    }
                }
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        for (first, (from, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (at, count) in &taken[first..] {
                sum += count;
                let allowed = limit * MINUTE_MS + limit * (at - from);
                let within = sum * MINUTE_MS <= allowed;
                assert!(within, "seed {seed}: {sum} of {limit} a minute from {from} to {at}");
            }
        }
    }
}
