//! The life of a meter: opened, charged, closed or reversed.

use crate::ledger::clock::bounded_ms;
use crate::ledger::store;
use crate::ledger::store::NewCharge;
use crate::ledger::writer::{self, Changes, Durability, Queue};
use crate::ledger::{
    Admission, ChargeError, Charged, CloseError, Closed, Ledger, MeterId, MeterRequest, OpenError,
    Purged, Reply, Unavailable, keys,
};

impl Ledger {
    /// A name for a meter that is to be opened with [`Ledger::open_meter_as`].
    pub fn fresh_meter(&self) -> MeterId {
        MeterId(keys::fresh_id(bounded_ms(&*self.inner.clock)))
    }

    /// Opens a meter if the balance and the key's limit can pay one token. Nothing is held.
    pub fn open_meter(&self, request: MeterRequest) -> Reply<Result<MeterId, OpenError>> {
        self.open_meter_as(self.fresh_meter(), request)
    }

    /// Opens a meter under a name that the caller knows before it is answered. Who does not wait
    /// for the answer can so reverse it: commands are run in the order they are given.
    pub fn open_meter_as(
        &self,
        meter: MeterId,
        request: MeterRequest,
    ) -> Reply<Result<MeterId, OpenError>> {
        let (work, reply) = writer::job(Durability::Kill, Changes::None, move |context| {
            store::open_meter(context, meter, &request)
        });
        self.queue_up(Admission::New, work);
        reply
    }

    /// Pays the longest prefix of `groups` that balance and key limit afford, and stores its ids.
    /// What it paid may be sent once this is answered, and nothing else. A group is paid whole or
    /// not at all; if not even the first can be paid, that is the error.
    ///
    /// Every call is a charge of its own: do not repeat one that was answered. It is run once its
    /// reply is awaited, waited for or dropped.
    pub fn charge(
        &self,
        meter: MeterId,
        choice: u32,
        groups: Vec<Vec<u32>>,
    ) -> Reply<Result<Charged, ChargeError>> {
        let (work, reply) = writer::charge(NewCharge { meter, choice, groups });
        self.push(work, Queue::push_unrung);
        reply.rings(&self.inner.queue)
    }

    /// Ends a meter: what it used is spent. Idempotent; `finish_reason` is cut to 64 characters.
    pub fn close_meter(
        &self,
        meter: MeterId,
        finish_reason: &str,
    ) -> Reply<Result<Closed, CloseError>> {
        let finish_reason = finish_reason.to_owned();
        // What it used was debited charge by charge, so no balance and no key moves.
        let (work, reply) = writer::job(Durability::Kill, Changes::Meter(meter), move |context| {
            store::close_meter(context, meter, &finish_reason)
        });
        self.queue_up(Admission::InFlight, work);
        reply
    }

    /// Ends a meter, if it is open, and gives back what it used: for an answer that was not sent.
    /// Its ids are deleted and its idempotency key is free. Idempotent; `reason` is cut to 200
    /// characters.
    pub fn reverse_meter(&self, meter: MeterId, reason: &str) -> Reply<Result<Closed, CloseError>> {
        let reason = reason.to_owned();
        self.submit(Durability::Kill, Admission::InFlight, move |context| {
            store::reverse_meter(context, meter, &reason)
        })
    }

    /// Removes the ids of some meters that closed before `before_ms`; call again while there is
    /// more. The writer does this by itself when `retain_ids` is set.
    pub fn purge_ids(&self, before_ms: i64) -> Reply<Result<Purged, Unavailable>> {
        self.submit(Durability::Kill, Admission::New, move |context| {
            store::purge_ids(context, before_ms, writer::PURGE_BATCH)
        })
    }
}
