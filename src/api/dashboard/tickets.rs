//! What a browser keeps that signed in with a key: a ticket, which stands for the key here and says
//! nothing of it.
//! Promises: bounded memory; a ticket is kept as its SHA-256 and ends; who signs in over and over
//! with one key ends that key's older tickets, never another's while there is room.
//! Never knows: keys. Whether one is still good is looked up each time its ticket is shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::ledger::KeyId;

/// What tickets begin with.
const PREFIX: &str = "mt-";

/// How long a ticket lasts: twelve hours, as sessions do.
const LASTS_MS: i64 = 12 * 3_600_000;

/// Browsers that one key is signed in with.
const MAX_OF_ONE: usize = 16;

/// Tickets in all.
const MAX_IN_ALL: usize = 4_096;

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ticket {
    /// The operator's key, which does not change while the server runs.
    Operator,
    /// An account's key, which may have been revoked since.
    Key(KeyId),
}

/// The tickets that are out; clones share them. A restart ends them all.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Tickets(Arc<Mutex<Issued>>);

#[derive(Debug, Default)]
struct Issued {
    /// By digest: what is looked up is nothing that a caller can choose byte by byte.
    tickets: HashMap<[u8; 32], Entry>,
    /// How many there were ever, which puts them in order.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    number: u64,
    expires_ms: i64,
}

impl Tickets {
    /// A new ticket: its value, which is shown once, and when it ends, at the latest `until_ms`.
    pub(in super::super) fn issue(
        &self,
        ticket: Ticket,
        now_ms: i64,
        until_ms: Option<i64>,
    ) -> (String, i64) {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).expect("the system has randomness; nothing is safe without");
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let value = format!("{PREFIX}{digits}");
        let expires_ms = until_ms.unwrap_or(i64::MAX).min(now_ms.saturating_add(LASTS_MS));

        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.tickets.retain(|_, entry| entry.expires_ms > now_ms);
        issued.make_room(MAX_OF_ONE, |entry| entry.ticket == ticket);
        issued.make_room(MAX_IN_ALL, |_| true);
        let number = issued.count;
        issued.count += 1;
        issued.tickets.insert(digest(&value), Entry { ticket, number, expires_ms });
        (value, expires_ms)
    }

    /// What `value` stands for, if it is a ticket that has not ended.
    pub(in super::super) fn find(&self, value: &str, now_ms: i64) -> Option<Ticket> {
        if !value.starts_with(PREFIX) {
            return None;
        }
        let issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = issued.tickets.get(&digest(value))?;
        (entry.expires_ms > now_ms).then_some(entry.ticket)
    }

    /// Ends a ticket; whether it was one.
    pub(in super::super) fn end(&self, value: &str) -> bool {
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.tickets.remove(&digest(value)).is_some()
    }
}

impl Issued {
    /// Ends the oldest of those tickets if there are as many as there may be.
    fn make_room(&mut self, max: usize, is_one: impl Fn(&Entry) -> bool) {
        let those = || self.tickets.iter().filter(|(_, entry)| is_one(entry));
        if those().count() < max {
            return;
        }
        let oldest = those().min_by_key(|(_, entry)| entry.number).map(|(digest, _)| *digest);
        if let Some(oldest) = oldest {
            self.tickets.remove(&oldest);
        }
    }
}

fn digest(value: &str) -> [u8; 32] {
    Sha256::digest(value.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Ticket = Ticket::Key(KeyId(7));

    #[test]
    fn a_ticket_ends_with_its_time_or_when_it_is_told_to() {
        let tickets = Tickets::default();
        let (long, expires_ms) = tickets.issue(KEY, 1_000, None);
        assert_eq!(expires_ms, 1_000 + LASTS_MS);
        let (short, expires_ms) = tickets.issue(Ticket::Operator, 1_000, Some(5_000));
        assert_eq!(expires_ms, 5_000);
        assert_eq!(tickets.find(&long, 4_999), Some(KEY));
        assert_eq!(tickets.find(&short, 4_999), Some(Ticket::Operator));
        assert_eq!(tickets.find(&short, 5_000), None);
        assert_eq!(tickets.find(&long, 1_000 + LASTS_MS), None);
        assert!(tickets.end(&long) && !tickets.end(&long));
        assert_eq!(tickets.find(&long, 2_000), None);
        for other in ["", "mt-", "mt-00", "mz-00", &long.replace("mt-", "ms-")] {
            assert_eq!(tickets.find(other, 2_000), None, "{other}");
        }
        assert!(!format!("{tickets:?}").contains(&short[3..]));
    }

    #[test]
    fn one_keys_many_tickets_end_its_own_older_ones_only() {
        let tickets = Tickets::default();
        let (operators, _) = tickets.issue(Ticket::Operator, 0, None);
        let of_key: Vec<String> = (0..40).map(|_| tickets.issue(KEY, 0, None).0).collect();
        let good = of_key.iter().filter(|value| tickets.find(value, 1).is_some());
        assert_eq!(good.count(), MAX_OF_ONE);
        assert_eq!(tickets.find(&of_key[24], 1), Some(KEY));
        assert_eq!(tickets.find(&of_key[23], 1), None);
        assert_eq!(tickets.find(&operators, 1), Some(Ticket::Operator));
    }

    #[test]
    fn there_are_so_many_in_all() {
        let tickets = Tickets::default();
        let (first, _) = tickets.issue(Ticket::Operator, 0, None);
        for number in 0..MAX_IN_ALL as i64 - 1 {
            tickets.issue(Ticket::Key(KeyId(number)), 0, None);
        }
        assert_eq!(tickets.find(&first, 1), Some(Ticket::Operator));
        tickets.issue(KEY, 0, None);
        assert_eq!(tickets.find(&first, 1), None);
        assert_eq!(tickets.0.lock().expect("no panic").tickets.len(), MAX_IN_ALL);
        // All over: the next one has the room to itself.
        tickets.issue(KEY, LASTS_MS, None);
        assert_eq!(tickets.0.lock().expect("no panic").tickets.len(), 1);
    }
}
