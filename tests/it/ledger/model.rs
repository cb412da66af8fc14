//! A ledger in memory, written to be obviously right: the oracle of the simulation.
//!
//! It keeps every single charge and sums them whenever it is asked; it has no journal, no
//! counters and no clever dates. It knows nothing of SQLite and shares no code with the ledger.

use std::collections::BTreeMap;

use mizan::ledger::{
    AccountId, ChargeError, Charged, CloseError, Closed, Credits, CutBy, GrantError, KeyId,
    LimitReset, MeterId, MeterRequest, MeterState, NewKeyRequest, OpenError,
};

use super::model_sales::Sales;
use super::{DAY_MS, MARCH};

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) accounts: BTreeMap<AccountId, Account>,
    pub(super) keys: BTreeMap<KeyId, Key>,
    pub(super) meters: BTreeMap<MeterId, Meter>,
    pub(super) sales: Sales,
    grants_once: BTreeMap<String, (AccountId, i64)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) granted: i64,
    pub(super) closed: bool,
    pub(super) frozen: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) account: AccountId,
    pub(super) request: NewKeyRequest,
    pub(super) revoked: bool,
    /// The latest period that was charged in, at first the one it was made in.
    latest: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Meter {
    pub(super) request: MeterRequest,
    pub(super) state: MeterState,
    pub(super) ids: BTreeMap<u32, Vec<u32>>,
    pub(super) closed_ms: i64,
    pub(super) purged: bool,
    /// Period and credits of each charge.
    charges: Vec<(i64, i64)>,
}

impl Meter {
    pub(super) fn tokens(&self) -> u32 {
        self.ids.values().map(|ids| u32::try_from(ids.len()).unwrap()).sum()
    }

    pub(super) fn used(&self) -> i64 {
        i64::from(self.tokens()) * self.request.credits_per_token
    }
}

impl Model {
    pub(super) fn balance(&self, account: AccountId) -> i64 {
        let kept = |meter: &&Meter| {
            meter.request.account == account && meter.state != MeterState::Reversed
        };
        let used: i64 = self.meters.values().filter(kept).map(Meter::used).sum();
        self.accounts[&account].granted + self.sales.brought(account) - used
    }

    /// What the key's limits leave, and the period that one of them is counted in.
    fn remaining(&self, id: KeyId, now_ms: i64) -> (Option<i64>, i64) {
        let key = &self.keys[&id];
        let kept = |meter: &&Meter| meter.request.key == id && meter.state != MeterState::Reversed;
        let charges = || self.meters.values().filter(kept).flat_map(|meter| &meter.charges);
        let total: i64 = charges().map(|(_, cost)| cost).sum();
        let total_left = key.request.total_limit.map(|limit| limit.0 - total);
        let Some(limit) = key.request.limit else { return (total_left, 0) };
        let period = limit.reset.map_or(0, |reset| key.latest.max(period_start(reset, now_ms)));
        let used: i64 = charges().filter(|(then, _)| *then == period).map(|(_, cost)| cost).sum();
        let left = limit.credits.0 - used;
        (Some(total_left.map_or(left, |total_left| total_left.min(left))), period)
    }

    /// Whether waiting can not help: the limit of the key's life does not leave `needed`.
    fn is_spent(&self, id: KeyId, needed: Credits) -> bool {
        let total = self.keys[&id].request.total_limit;
        total.is_some_and(|total| {
            let kept = self
                .meters
                .values()
                .filter(|meter| meter.request.key == id && meter.state != MeterState::Reversed);
            total.0 - kept.map(Meter::used).sum::<i64>() < needed.0
        })
    }

    pub(super) fn create_key(&mut self, id: KeyId, request: NewKeyRequest, now_ms: i64) {
        let reset = request.limit.and_then(|limit| limit.reset);
        let latest = reset.map_or(0, |reset| period_start(reset, now_ms));
        let account = request.account;
        self.keys.insert(id, Key { account, request, revoked: false, latest });
    }

    pub(super) fn grant(
        &mut self,
        account: AccountId,
        credits: i64,
        once: Option<&str>,
    ) -> Result<Credits, GrantError> {
        let before = once.and_then(|key| self.grants_once.get(key));
        match before {
            Some(same) if *same == (account, credits) => {
                return Ok(Credits(self.balance(account)));
            }
            Some(_) => return Err(GrantError::Conflict),
            None if self.accounts[&account].closed => {
                return Err(GrantError::AccountClosed(account));
            }
            None => {}
        }
        if let Some(key) = once {
            self.grants_once.insert(key.to_owned(), (account, credits));
        }
        self.accounts.get_mut(&account).unwrap().granted += credits;
        Ok(Credits(self.balance(account)))
    }

    /// What opening answers; the caller then tells which id it got.
    pub(super) fn may_open(&self, request: &MeterRequest, now_ms: i64) -> Result<(), OpenError> {
        let key = &self.keys[&request.key];
        if key.account != request.account {
            return Err(OpenError::UnknownKey);
        }
        if key.revoked {
            return Err(OpenError::KeyRevoked);
        }
        if key.request.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms) {
            return Err(OpenError::KeyExpired);
        }
        if self.accounts[&request.account].closed {
            return Err(OpenError::AccountClosed);
        }
        if self.accounts[&request.account].frozen {
            return Err(OpenError::AccountFrozen);
        }
        let same = |meter: &&MeterId| {
            let other = &self.meters[meter];
            request.idempotency_key.is_some()
                && other.state != MeterState::Reversed
                && other.request.key == request.key
                && other.request.idempotency_key == request.idempotency_key
        };
        if let Some(id) = self.meters.keys().find(same) {
            let other = &self.meters[id];
            return Err(match other.state {
                _ if other.request.body_hash != request.body_hash => OpenError::Conflict,
                MeterState::Open => OpenError::StillRunning(*id),
                _ => OpenError::Replay(*id),
            });
        }
        let needed = Credits(request.credits_per_token);
        let balance = Credits(self.balance(request.account));
        if balance < needed {
            return Err(OpenError::Insufficient { needed, balance });
        }
        let (remaining, period) = self.remaining(request.key, now_ms);
        match remaining.map(Credits) {
            Some(remaining) if remaining < needed => {
                let reset = key.request.limit.and_then(|limit| limit.reset);
                let reset = reset.filter(|_| !self.is_spent(request.key, needed));
                let resets_ms = reset.map(|reset| period_end(reset, period));
                Err(OpenError::KeyLimit { needed, remaining, resets_ms })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn opened(&mut self, id: MeterId, request: MeterRequest) {
        let (state, ids, charges) = (MeterState::Open, BTreeMap::new(), Vec::new());
        let meter = Meter { request, state, ids, closed_ms: 0, purged: false, charges };
        self.meters.insert(id, meter);
    }

    pub(super) fn charge(
        &mut self,
        id: MeterId,
        choice: u32,
        groups: &[Vec<u32>],
        now_ms: i64,
    ) -> Result<Charged, ChargeError> {
        let Some(meter) = self.meters.get(&id) else { return Err(ChargeError::UnknownMeter) };
        if meter.state != MeterState::Open {
            return Err(ChargeError::MeterClosed);
        }
        let (account, key) = (meter.request.account, meter.request.key);
        let rate = meter.request.credits_per_token;
        let balance = Credits(self.balance(account));
        let credits = Credits(0);
        let mut charged = Charged { groups: 0, tokens: 0, credits, balance, cut_by: None };
        for group in groups {
            let tokens = u32::try_from(group.len()).unwrap();
            let needed = Credits(i64::from(tokens) * rate);
            let balance = Credits(self.balance(account));
            let (remaining, period) = self.remaining(key, now_ms);
            let remaining = remaining.map(Credits).filter(|remaining| *remaining < balance);
            if needed > remaining.unwrap_or(balance) {
                if charged.groups == 0 {
                    return Err(match remaining {
                        Some(remaining) => ChargeError::KeyLimit { needed, remaining },
                        None => ChargeError::Insufficient { needed, balance },
                    });
                }
                charged.cut_by = Some(remaining.map_or(CutBy::Balance, |_| CutBy::KeyLimit));
                break;
            }
            charged.groups += 1;
            if tokens > 0 {
                let meter = self.meters.get_mut(&id).unwrap();
                meter.ids.entry(choice).or_default().extend(group);
                meter.charges.push((period, needed.0));
                self.keys.get_mut(&key).unwrap().latest = period;
                charged.tokens += tokens;
                charged.credits.0 += needed.0;
                charged.balance.0 -= needed.0;
            }
        }
        Ok(charged)
    }

    pub(super) fn close(&mut self, id: MeterId, now_ms: i64) -> Result<Closed, CloseError> {
        let Some(meter) = self.meters.get_mut(&id) else { return Err(CloseError::UnknownMeter) };
        match meter.state {
            MeterState::Reversed => return Err(CloseError::Reversed),
            MeterState::Open => meter.closed_ms = now_ms,
            MeterState::Closed => {}
        }
        meter.state = MeterState::Closed;
        Ok(self.closed(id))
    }

    pub(super) fn reverse(&mut self, id: MeterId, now_ms: i64) -> Result<Closed, CloseError> {
        let Some(meter) = self.meters.get_mut(&id) else { return Err(CloseError::UnknownMeter) };
        if meter.state == MeterState::Open {
            meter.closed_ms = now_ms;
        }
        meter.state = MeterState::Reversed;
        Ok(self.closed(id))
    }

    fn closed(&self, id: MeterId) -> Closed {
        let meter = &self.meters[&id];
        let balance = Credits(self.balance(meter.request.account));
        Closed { tokens: meter.tokens(), credits: Credits(meter.used()), balance }
    }

    pub(super) fn crash(&mut self, now_ms: i64) {
        let open = |id: &MeterId| self.meters[id].state == MeterState::Open;
        for id in self.meters.keys().copied().filter(open).collect::<Vec<_>>() {
            let meter = &self.meters[&id];
            let settled = match meter.request.streamed && meter.tokens() > 0 {
                true => self.close(id, now_ms),
                false => self.reverse(id, now_ms),
            };
            settled.unwrap();
        }
    }

    pub(super) fn purge(&mut self, before_ms: i64) {
        for meter in self.meters.values_mut() {
            meter.purged |= meter.state != MeterState::Open && meter.closed_ms < before_ms;
        }
    }
}

/// Counts days, weeks and months from 2025-12-01, a Monday, in Kuwait.
fn period_start(reset: LimitReset, now_ms: i64) -> i64 {
    let december = MARCH - 90 * DAY_MS;
    let mut start = december;
    for length in lengths(reset) {
        if start + length * DAY_MS > now_ms {
            return start;
        }
        start += length * DAY_MS;
    }
    panic!("the simulation's clock left its calendar");
}

fn period_end(reset: LimitReset, start_ms: i64) -> i64 {
    (0..)
        .map(|day| start_ms + day * DAY_MS)
        .find(|&day| period_start(reset, day) > start_ms)
        .unwrap()
}

fn lengths(reset: LimitReset) -> Vec<i64> {
    match reset {
        LimitReset::Daily => vec![1; 600],
        LimitReset::Weekly => vec![7; 80],
        LimitReset::Monthly => {
            let year = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            [31].into_iter().chain(year).chain(year).collect()
        }
    }
}
