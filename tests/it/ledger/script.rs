//! Ledger scripts: one command and its answer a line, as a table anyone can read.
//!
//! Accounts and meters are named by the script; every account has one key. `!` before a verb says
//! that it must change no byte of the books.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mizan::ledger::{
    AccountId, ChargeError, CloseError, Credits, GrantError, KeyId, KeyLimit, MeterId, OpenError,
    RefundId, TopupId, VoucherCode,
};

use super::{Books, group, open, request, singles};

/// Runs a script and compares every answer.
#[track_caller]
pub(super) fn check(script: &str) {
    let mut run = Run { books: Some(Books::new()), ..Run::default() };
    let mut found = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let command = line.split("->").next().unwrap().trim();
        let (verb, frozen) = match command.strip_prefix('!') {
            Some(verb) => (verb, Some(run.books().dump())),
            None => (command, None),
        };
        let words: Vec<&str> = verb.split_whitespace().collect();
        let answer = run.command(&words);
        if let Some(before) = frozen {
            assert_eq!(run.books().dump(), before, "{command} changed the books");
        }
        run.books().assert_sound();
        writeln!(found, "{command} -> {answer}").unwrap();
    }
    let tidy = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(tidy).filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(lines(script), lines(&found), "\n{found}");
}

#[derive(Default)]
pub(super) struct Run {
    books: Option<Books>,
    pub(super) accounts: BTreeMap<String, (AccountId, KeyId)>,
    pub(super) topups: BTreeMap<String, TopupId>,
    pub(super) refunds: BTreeMap<String, RefundId>,
    pub(super) codes: BTreeMap<String, VoucherCode>,
    meters: BTreeMap<String, MeterId>,
}

impl Run {
    pub(super) fn books(&self) -> &Books {
        self.books.as_ref().unwrap()
    }

    fn command(&mut self, words: &[&str]) -> String {
        let number = |word: &str| word.parse::<i64>().unwrap();
        match *words {
            ["account", name] => self.account(name, None),
            ["account", name, "limit", limit] => {
                self.account(name, Some(KeyLimit { credits: Credits(number(limit)), reset: None }))
            }
            ["grant", name, credits] => self.grant(name, number(credits), None),
            ["grant", name, credits, "once", key] => self.grant(name, number(credits), Some(key)),
            ["open", meter, account, rate] => self.open(meter, account, number(rate), true, None),
            ["open", meter, account, rate, "whole"] => {
                self.open(meter, account, number(rate), false, None)
            }
            ["open", meter, account, rate, "key", key, "body", body] => {
                self.open(meter, account, number(rate), true, Some((key, body)))
            }
            ["charge", meter, tokens] => {
                self.charge(meter, vec![group(number(tokens).try_into().unwrap())])
            }
            ["charge", meter, "singles", tokens] => {
                self.charge(meter, singles(number(tokens).try_into().unwrap()))
            }
            ["charge", meter, "groups", sizes] => {
                let sizes = sizes.split(',').map(|size| group(size.parse().unwrap()));
                self.charge(meter, sizes.collect())
            }
            ["close", meter] => self.close(meter),
            ["reverse", meter] => self.reverse(meter),
            ["revoke", account] => {
                let (_, key) = self.accounts[account];
                show(self.books().ledger.revoke_key(key, "test").wait(), |()| "ok".to_owned())
            }
            ["end", account] => {
                let (account, _) = self.accounts[account];
                show(self.books().ledger.close_account(account, "test").wait(), |()| "ok".into())
            }
            ["show", account] => self.show(account),
            ["ids", account, meter] => self.ids(account, meter),
            ["crash"] => {
                self.books = self.books.take().map(Books::reopen);
                "ok".to_owned()
            }
            _ => self.sale(words),
        }
    }

    fn account(&mut self, name: &str, limit: Option<KeyLimit>) -> String {
        let account = self.books().account(name, 0);
        let key = self.books().key(account, limit);
        self.accounts.insert(name.to_owned(), (account, key));
        "ok".to_owned()
    }

    fn grant(&self, name: &str, credits: i64, once: Option<&str>) -> String {
        let ledger = &self.books().ledger;
        let account = self.accounts.get(name).map_or(AccountId(999), |(account, _)| *account);
        let answer = match once {
            Some(key) => ledger.grant_once(key, account, Credits(credits), "script", "test"),
            None => ledger.grant(account, Credits(credits), "script", "test"),
        };
        match answer.wait() {
            Ok(balance) => format!("ok balance={balance}"),
            Err(GrantError::UnknownAccount(_)) => "unknown_account".to_owned(),
            Err(GrantError::AccountClosed(_)) => "account_closed".to_owned(),
            Err(GrantError::Conflict) => "conflict".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    fn open(
        &mut self,
        name: &str,
        account: &str,
        rate: i64,
        streamed: bool,
        idempotency: Option<(&str, &str)>,
    ) -> String {
        let (account, key) = self.accounts[account];
        let mut request = request(account, key, rate);
        request.streamed = streamed;
        if let Some((key, body)) = idempotency {
            request.idempotency_key = Some(key.to_owned());
            request.body_hash = [body.as_bytes()[0]; 32];
        }
        match open(&self.books().ledger, request) {
            Ok(meter) => {
                self.meters.insert(name.to_owned(), meter);
                "ok".to_owned()
            }
            Err(OpenError::Insufficient { needed, balance }) => {
                format!("insufficient needed={needed} balance={balance}")
            }
            Err(OpenError::KeyLimit { needed, remaining, .. }) => {
                format!("key_limit needed={needed} remaining={remaining}")
            }
            Err(OpenError::Replay(meter)) => format!("replay {}", self.name_of(meter)),
            Err(OpenError::StillRunning(meter)) => format!("running {}", self.name_of(meter)),
            Err(OpenError::Conflict) => "conflict".to_owned(),
            Err(OpenError::KeyRevoked) => "key_revoked".to_owned(),
            Err(OpenError::AccountClosed) => "account_closed".to_owned(),
            Err(OpenError::AccountFrozen) => "account_frozen".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    fn name_of(&self, meter: MeterId) -> &str {
        self.meters.iter().find(|(_, id)| **id == meter).map_or("?", |(name, _)| name)
    }

    fn charge(&self, meter: &str, groups: Vec<Vec<u32>>) -> String {
        let asked = groups.len();
        match self.books().ledger.charge(self.meters[meter], 0, groups).wait() {
            Ok(charged) if charged.groups == asked => format!("ok balance={}", charged.balance),
            Ok(charged) => format!(
                "cut groups={} tokens={} credits={} balance={} by={:?}",
                charged.groups,
                charged.tokens,
                charged.credits,
                charged.balance,
                charged.cut_by.unwrap()
            ),
            Err(ChargeError::Insufficient { needed, balance }) => {
                format!("insufficient needed={needed} balance={balance}")
            }
            Err(ChargeError::KeyLimit { needed, remaining }) => {
                format!("key_limit needed={needed} remaining={remaining}")
            }
            Err(ChargeError::MeterClosed) => "meter_closed".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    fn close(&self, meter: &str) -> String {
        match self.books().ledger.close_meter(self.meters[meter], "stop").wait() {
            Ok(closed) => format!("ok used={}", closed.credits),
            Err(CloseError::Reversed) => "reversed".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    fn reverse(&self, meter: &str) -> String {
        let answer = self.books().ledger.reverse_meter(self.meters[meter], "script").wait();
        show(answer, |closed| format!("ok used={} balance={}", closed.credits, closed.balance))
    }

    fn show(&self, account: &str) -> String {
        let ledger = &self.books().ledger;
        let info = ledger.account(self.accounts[account].0).unwrap().unwrap();
        let totals = ledger.account_totals(info.id).unwrap().unwrap();
        assert_eq!(totals.balance, info.balance);
        assert_eq!(totals.total_credits.0 - totals.total_usage.0, totals.balance.0);
        let journal = info.balance.0 + info.open.0;
        format!("balance={} journal={journal} open={}", info.balance, info.open)
    }

    fn ids(&self, account: &str, meter: &str) -> String {
        let ledger = &self.books().ledger;
        let (account, meter) = (self.accounts[account].0, self.meters[meter]);
        match ledger.generation(account, meter).unwrap() {
            None => "none of yours".to_owned(),
            Some(record) => match record.token_ids {
                None => "gone".to_owned(),
                Some(choices) => format!("{:?}", choices.values().flatten().collect::<Vec<_>>()),
            },
        }
    }
}

fn show<T, E: std::fmt::Display>(
    answer: Result<T, E>,
    success: impl FnOnce(T) -> String,
) -> String {
    answer.map_or_else(|error| error.to_string(), success)
}

#[test]
fn two_meters_share_one_balance_and_survive_a_crash() {
    check(
        "account alice            -> ok
         grant   alice 1000       -> ok balance=1000
         open    m1 alice 1       -> ok
         open    m2 alice 1       -> ok
         charge  m1 600           -> ok balance=400
         !charge m2 500           -> insufficient needed=500 balance=400
         charge  m2 400           -> ok balance=0
         !open   m3 alice 2       -> insufficient needed=2 balance=0
         close   m1               -> ok used=600
         show    alice            -> balance=0 journal=400 open=400
         !charge m1 1             -> meter_closed
         !close  m1               -> ok used=600
         crash                    -> ok
         show    alice            -> balance=0 journal=0 open=0
         !close  m2               -> ok used=400
         !charge m2 1             -> meter_closed",
    );
}

/// The product page: 150 output tokens of 5,000 credits leave 4,850, and on Premium 4,700.
#[test]
fn the_product_pages_example() {
    check(
        "account standard              -> ok
         grant   standard 5000         -> ok balance=5000
         open    m standard 1          -> ok
         charge  m singles 150         -> ok balance=4850
         close   m                     -> ok used=150
         account premium               -> ok
         grant   premium 5000          -> ok balance=5000
         open    p premium 2           -> ok
         charge  p singles 150         -> ok balance=4700
         close   p                     -> ok used=300",
    );
}

#[test]
fn the_longest_affordable_prefix_is_paid() {
    check(
        "account alice                 -> ok
         grant   alice 7               -> ok balance=7
         open    m alice 2             -> ok
         charge  m groups 1,1          -> ok balance=3
         charge  m groups 1,1,1        -> cut groups=1 tokens=1 credits=2 balance=1 by=Balance
         ids     alice m               -> [0, 0, 0]
         !charge m 1                   -> insufficient needed=2 balance=1
         close   m                     -> ok used=6
         show    alice                 -> balance=1 journal=1 open=0
         !open   n alice 2             -> insufficient needed=2 balance=1
         open    n alice 1             -> ok
         !charge n groups 3,1          -> insufficient needed=3 balance=1
         charge  n groups 1,3          -> cut groups=1 tokens=1 credits=1 balance=0 by=Balance",
    );
}

#[test]
fn a_request_that_used_nothing_leaves_no_transfer() {
    check(
        "account alice          -> ok
         grant   alice 5        -> ok balance=5
         open    m alice 1      -> ok
         !charge m groups 0     -> ok balance=5
         close   m              -> ok used=0
         open    n alice 1      -> ok
         reverse n              -> ok used=0 balance=5
         !reverse n             -> ok used=0 balance=5
         show    alice          -> balance=5 journal=5 open=0",
    );
}

#[test]
fn an_unsent_answer_is_given_back_with_its_ids() {
    check(
        "account  alice                        -> ok
         account  bob                          -> ok
         grant    alice 10                     -> ok balance=10
         open     m alice 1 key k body a       -> ok
         charge   m singles 4                  -> ok balance=6
         !open    n alice 1 key k body a       -> running m
         !open    n alice 1 key k body b       -> conflict
         close    m                            -> ok used=4
         !open    n alice 1 key k body a       -> replay m
         !open    n alice 1 key k body b       -> conflict
         ids      alice m                      -> [0, 1, 2, 3]
         ids      bob m                        -> none of yours
         reverse  m                            -> ok used=4 balance=10
         !reverse m                            -> ok used=4 balance=10
         !close   m                            -> reversed
         !charge  m 1                          -> meter_closed
         ids      alice m                      -> gone
         open     n alice 1 key k body b       -> ok
         reverse  n                            -> ok used=0 balance=10",
    );
}

#[test]
fn a_replay_costs_nothing_even_with_an_empty_balance() {
    check(
        "account alice                        -> ok
         grant   alice 2                      -> ok balance=2
         open    m alice 1 key k body a       -> ok
         charge  m 2                          -> ok balance=0
         close   m                            -> ok used=2
         !open   n alice 1 key k body a       -> replay m
         !open   n alice 1 key l body a       -> insufficient needed=1 balance=0",
    );
}

#[test]
fn a_crash_keeps_what_was_streamed_and_gives_back_what_was_not_sent() {
    check(
        "account alice                   -> ok
         grant   alice 100               -> ok balance=100
         open    s alice 1               -> ok
         open    w alice 2 whole         -> ok
         open    z alice 2 whole         -> ok
         open    e alice 1               -> ok
         charge  s 10                    -> ok balance=90
         charge  w 10                    -> ok balance=70
         crash                           -> ok
         show    alice                   -> balance=90 journal=90 open=0
         !close  s                       -> ok used=10
         !close  w                       -> reversed
         !close  e                       -> reversed
         ids     alice w                 -> gone
         crash                           -> ok
         show    alice                   -> balance=90 journal=90 open=0",
    );
}

#[test]
fn a_keys_limit_binds_like_a_balance() {
    check(
        "account alice limit 5   -> ok
         grant   alice 100       -> ok balance=100
         open    m alice 2       -> ok
         charge  m singles 3     -> cut groups=2 tokens=2 credits=4 balance=96 by=KeyLimit
         !charge m 1             -> key_limit needed=2 remaining=1
         !open   n alice 2       -> key_limit needed=2 remaining=1
         open    n alice 1       -> ok
         charge  n 1             -> ok balance=95
         !charge n 1             -> key_limit needed=1 remaining=0
         reverse m               -> ok used=4 balance=99
         charge  n groups 4      -> ok balance=95
         close   n               -> ok used=5",
    );
}

#[test]
fn what_is_closed_opens_nothing_and_finishes_what_runs() {
    check(
        "account alice         -> ok
         grant   alice 10      -> ok balance=10
         open    m alice 1     -> ok
         revoke  alice         -> ok
         !revoke alice         -> ok
         !open   n alice 1     -> key_revoked
         charge  m 3           -> ok balance=7
         account bob           -> ok
         grant   bob 10        -> ok balance=10
         open    b bob 1       -> ok
         end     bob           -> ok
         !end    bob           -> ok
         !open   c bob 1       -> account_closed
         !grant  bob 1         -> account_closed
         charge  b 3           -> ok balance=7
         close   b             -> ok used=3",
    );
}

#[test]
fn a_grant_with_a_key_is_given_once() {
    check(
        "account alice               -> ok
         account bob                 -> ok
         grant   alice 5 once k      -> ok balance=5
         !grant  alice 5 once k      -> ok balance=5
         !grant  alice 6 once k      -> conflict
         !grant  bob   5 once k      -> conflict
         grant   alice 5             -> ok balance=10
         !grant  nobody 5            -> unknown_account",
    );
}
