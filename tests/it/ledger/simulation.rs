//! Seeded random commands on the ledger and on the model: every answer and every state is compared,
//! every invariant proven after each. `MIZAN_LEDGER_SEEDS=1000` runs more of them.

use std::fmt::Debug;

use mizan::ledger::{
    AccountId, Credits, KeyId, KeyLimit, LimitReset, MeterId, MeterRequest, MeterState,
    NewKeyRequest,
};

use super::model::{Account, Model};
use super::{Books, DAY_MS, MARCH, group, open, request};
use crate::support::random::Random;

const OPERATIONS: usize = 200;

#[test]
fn the_ledger_answers_as_the_model_does() {
    let seeds = std::env::var("MIZAN_LEDGER_SEEDS").map_or(16, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut simulation = Simulation::new(seed);
        simulation.create_account();
        simulation.create_account();
        for _ in 0..OPERATIONS {
            simulation.step();
        }
    }
}

pub(super) struct Simulation {
    books: Option<Books>,
    pub(super) model: Model,
    pub(super) random: Random,
    pub(super) now_ms: i64,
    log: Log,
}

/// Prints what was done when a test fails.
struct Log {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}:\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            books: Some(Books::new()),
            model: Model::default(),
            random: Random(seed),
            now_ms: MARCH,
            log: Log { seed, lines: Vec::new() },
        }
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn books(&self) -> &Books {
        self.books.as_ref().unwrap()
    }

    fn step(&mut self) {
        match self.random.below(5) {
            0..2 => self.sale(),
            _ => self.use_or_manage(),
        }
        self.books().assert_sound();
        for account in self.model.accounts.keys() {
            assert_eq!(self.books().balance(*account), self.model.balance(*account), "{account}");
        }
    }

    fn use_or_manage(&mut self) {
        match self.random.below(100) {
            0 => self.create_account(),
            1..4 => self.create_key(),
            4..13 => self.grant(),
            13..33 => self.open(),
            33..69 => self.charge(),
            69..78 => self.close(),
            78..84 => self.reverse(),
            84..93 => self.move_clock(),
            93..96 => self.crash(),
            96..98 => self.purge(),
            98 if self.random.below(2) == 0 => self.revoke(),
            98 => self.close_account(),
            _ => self.strangers(),
        }
    }

    /// Compares an answer, and that an answer which is no change left every byte as it was.
    #[track_caller]
    pub(super) fn compare<T: Debug + PartialEq>(
        &mut self,
        what: String,
        changes: bool,
        before: &[String],
        found: T,
        expected: T,
    ) {
        self.log.lines.push(format!("{what} -> {found:?}"));
        assert_eq!(found, expected, "{what}");
        if !changes {
            assert_eq!(self.books().dump(), before, "{what} changed the books");
        }
    }

    pub(super) fn create_account(&mut self) {
        let name = format!("team {}", self.model.accounts.len());
        let account = self.books().account(&name, 0);
        self.log.lines.push(format!("account {account}"));
        self.model.accounts.insert(account, Account::default());
        self.create_key_for(account);
    }

    fn create_key(&mut self) {
        let account = self.some_account();
        if !self.model.accounts[&account].closed {
            self.create_key_for(account);
        }
    }

    fn create_key_for(&mut self, account: AccountId) {
        let (daily, weekly) = (Some(LimitReset::Daily), Some(LimitReset::Weekly));
        let resets = [None, daily, daily, weekly, Some(LimitReset::Monthly)];
        let credits = Credits(i64::try_from(self.random.below(40)).unwrap());
        let limit = KeyLimit { credits, reset: self.random.pick(&resets) };
        let limit = Some(limit).filter(|_| self.random.below(4) > 0);
        let total = Credits(i64::try_from(self.random.below(80)).unwrap());
        let total_limit = Some(total).filter(|_| self.random.below(3) == 0);
        let life = self.random.pick(&[1, DAY_MS, 30 * DAY_MS]);
        let expires_ms = Some(self.now_ms + life).filter(|_| self.random.below(4) == 0);
        let request =
            NewKeyRequest { limit, total_limit, expires_ms, ..NewKeyRequest::new(account, "key") };
        let key = self.books().key_like(request.clone());
        self.log.lines.push(format!("key {key} {request:?}"));
        self.model.create_key(key, request, self.now_ms);
    }

    pub(super) fn grant(&mut self) {
        let account = self.some_account();
        let credits = 1 + i64::try_from(self.random.below(60)).unwrap();
        let once = format!("grant {}", self.random.below(4));
        let once = Some(once.as_str()).filter(|_| self.random.below(2) == 0);
        let before = self.books().dump();
        let ledger = &self.books().ledger;
        let found = match once {
            Some(key) => ledger.grant_once(key, account, Credits(credits), "why", "test"),
            None => ledger.grant(account, Credits(credits), "why", "test"),
        };
        let found = found.wait();
        let balance_before = self.model.balance(account);
        let expected = self.model.grant(account, credits, once);
        let changes = self.model.balance(account) != balance_before;
        let what = format!("grant {account} {credits} {once:?}");
        self.compare(what, changes, &before, found, expected);
    }

    pub(super) fn open(&mut self) {
        let key = self.random.pick(&self.model.keys.keys().copied().collect::<Vec<_>>());
        let request = self.some_request(self.model.keys[&key].account, key);
        self.open_with(request);
    }

    fn open_with(&mut self, request: MeterRequest) {
        let before = self.books().dump();
        let found = open(&self.books().ledger, request.clone());
        let expected = self.model.may_open(&request, self.now_ms);
        let what = format!(
            "open {found:?} of {} with {} rate {} streamed {} {:?} body {}",
            request.account,
            request.key,
            request.credits_per_token,
            request.streamed,
            request.idempotency_key,
            request.body_hash[0]
        );
        let opened = found.clone().ok();
        self.compare(what, opened.is_some(), &before, found.map(|_| ()), expected);
        if let Some(id) = opened {
            self.model.opened(id, request);
        }
    }

    pub(super) fn charge(&mut self) {
        let Some(id) = self.some_meter() else { return };
        let choice = u32::try_from(self.random.below(2)).unwrap();
        let count = self.random.below(4);
        let sizes: Vec<u64> =
            (0..count).map(|_| self.random.pick(&[0, 1, 1, 1, 2, 3, 30])).collect();
        let groups: Vec<Vec<u32>> =
            sizes.iter().map(|&size| group(usize::try_from(size).unwrap())).collect();
        let before = self.books().dump();
        let found = self.books().ledger.charge(id, choice, groups.clone()).wait();
        let expected = self.model.charge(id, choice, &groups, self.now_ms);
        let changes = expected.as_ref().is_ok_and(|charged| charged.tokens > 0);
        self.compare(format!("charge {id} {sizes:?}"), changes, &before, found, expected);
        self.compare_record(id);
    }

    pub(super) fn close(&mut self) {
        let Some(id) = self.some_meter() else { return };
        let changes = self.model.meters[&id].state == MeterState::Open;
        let before = self.books().dump();
        let found = self.books().ledger.close_meter(id, "stop").wait();
        let expected = self.model.close(id, self.now_ms);
        self.compare(format!("close {id}"), changes, &before, found, expected);
        self.compare_record(id);
    }

    pub(super) fn reverse(&mut self) {
        let Some(id) = self.some_meter() else { return };
        let changes = self.model.meters[&id].state != MeterState::Reversed;
        let before = self.books().dump();
        let found = self.books().ledger.reverse_meter(id, "not sent").wait();
        let expected = self.model.reverse(id, self.now_ms);
        self.compare(format!("reverse {id}"), changes, &before, found, expected);
        self.compare_record(id);
    }

    fn compare_record(&self, id: MeterId) {
        let meter = &self.model.meters[&id];
        let record = self.books().ledger.generation(meter.request.account, id).unwrap().unwrap();
        let gone = meter.tokens() > 0 && (meter.purged || meter.state == MeterState::Reversed);
        assert_eq!(record.token_ids.as_ref(), (!gone).then_some(&meter.ids), "{id}");
        assert_eq!((record.state, record.output_tokens), (meter.state, meter.tokens()), "{id}");
        assert_eq!(record.credits.0, meter.used(), "{id}");
    }

    /// Mostly a little forwards; sometimes far, sometimes back.
    fn move_clock(&mut self) {
        let hour = DAY_MS / 24;
        let by = self.random.pick(&[1, hour, hour, 7 * hour, DAY_MS, 20 * DAY_MS, -hour, -DAY_MS]);
        self.now_ms = (self.now_ms + by).clamp(MARCH - 30 * DAY_MS, MARCH + 300 * DAY_MS);
        self.books().set_clock(self.now_ms);
        self.log.lines.push(format!("clock {}", self.now_ms));
    }

    fn crash(&mut self) {
        self.log.lines.push("crash".to_owned());
        self.books = self.books.take().map(Books::reopen);
        self.model.crash(self.now_ms);
    }

    fn purge(&mut self) {
        let before_ms = self.now_ms - DAY_MS;
        self.log.lines.push(format!("purge before {before_ms}"));
        while self.books().ledger.purge_ids(before_ms).wait().unwrap().more {}
        self.model.purge(before_ms);
        for id in self.model.meters.keys() {
            self.compare_record(*id);
        }
    }

    fn revoke(&mut self) {
        let key = self.random.pick(&self.model.keys.keys().copied().collect::<Vec<_>>());
        self.log.lines.push(format!("revoke {key}"));
        self.books().ledger.revoke_key(key, "test").wait().unwrap();
        self.model.keys.get_mut(&key).unwrap().revoked = true;
    }

    fn close_account(&mut self) {
        let account = self.some_account();
        self.log.lines.push(format!("close account {account}"));
        self.books().ledger.close_account(account, "test").wait().unwrap();
        self.model.accounts.get_mut(&account).unwrap().closed = true;
    }

    /// Somebody else's key, and a meter that never was.
    fn strangers(&mut self) {
        let (account, key) = (self.some_account(), self.some_key());
        let request = self.some_request(account, key);
        self.open_with(request);
        let never = MeterId([0xff; 16]);
        let before = self.books().dump();
        let found = self.books().ledger.charge(never, 0, vec![vec![1]]).wait();
        let expected = self.model.charge(never, 0, &[vec![1]], self.now_ms);
        self.compare("charge never".to_owned(), false, &before, found, expected);
        let found = self.books().ledger.close_meter(never, "stop").wait();
        let expected = self.model.close(never, self.now_ms);
        self.compare("close never".to_owned(), false, &before, found, expected);
        let found = self.books().ledger.reverse_meter(never, "why").wait();
        let expected = self.model.reverse(never, self.now_ms);
        self.compare("reverse never".to_owned(), false, &before, found, expected);
    }

    pub(super) fn some_account(&mut self) -> AccountId {
        self.random.pick(&self.model.accounts.keys().copied().collect::<Vec<_>>())
    }

    fn some_key(&mut self) -> KeyId {
        self.random.pick(&self.model.keys.keys().copied().collect::<Vec<_>>())
    }

    /// Usually one that is open.
    fn some_meter(&mut self) -> Option<MeterId> {
        let any = self.random.below(4) == 0;
        let is_open = |id: &MeterId| self.model.meters[id].state == MeterState::Open;
        let ids = self.model.meters.keys().copied().filter(|id| any || is_open(id));
        let ids: Vec<_> = ids.collect();
        (!ids.is_empty()).then(|| self.random.pick(&ids))
    }

    fn some_request(&mut self, account: AccountId, key: KeyId) -> MeterRequest {
        let mut request = request(account, key, self.random.pick(&[1, 1, 2, 7]));
        request.streamed = self.random.below(2) == 0;
        if self.random.below(2) == 0 {
            request.idempotency_key = Some(format!("key {}", self.random.below(3)));
            request.body_hash = [self.random.pick(&[1, 1, 2]); 32];
        }
        request
    }
}
