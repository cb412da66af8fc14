//! A command on its way through the writer: queued, run, answered after the commit.

use std::mem;

use super::Place;
use crate::ledger::errors::{ChargeError, Unavailable};
use crate::ledger::reply::{Answer, Reply, reply};
use crate::ledger::store::{self, Context, NewCharge, OneByOne, Outcome, Remembered, Undo};
use crate::ledger::types::{Charged, MeterId};

/// What reaches the writer.
pub(in crate::ledger) enum Message {
    Run(Work, Place),
    /// Finish what is queued, then end.
    Stop,
}

/// A command of any kind.
pub(in crate::ledger) enum Work {
    /// Charges are most of what is asked for, and those that come together are run together.
    Charge(Charge),
    Other(Box<dyn Job>),
}

/// Whether a commit has to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Durability {
    /// `synchronous=NORMAL`: survives a kill of the process.
    Kill,
    /// `synchronous=FULL`: survives a power cut, with everything committed before it.
    PowerCut,
}

/// Which of the rows that charges read and write a command may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Changes {
    None,
    Meter(MeterId),
    Any,
}

/// A command on its way through the writer, whatever it answers.
pub(in crate::ledger) trait Job: Send {
    fn durability(&self) -> Durability;
    fn changes(&self) -> Changes;
    /// Runs in a transaction. An error means that the transaction is lost.
    fn run(&mut self, context: &Context<'_>) -> rusqlite::Result<()>;
    /// Called once, after the commit or instead of it.
    fn answer(self: Box<Self>, committed: Result<(), Unavailable>);
}

struct Command<T, E, F> {
    durability: Durability,
    changes: Changes,
    progress: Progress<T, E, F>,
    answer: Answer<Result<T, E>>,
}

enum Progress<T, E, F> {
    Queued(F),
    Ran(Result<T, E>),
    Lost,
}

/// Wraps a command, and gives the reply its caller waits on.
pub(in crate::ledger) fn job<T, E, F>(
    durability: Durability,
    changes: Changes,
    run: F,
) -> (Work, Reply<Result<T, E>>)
where
    T: Send + 'static,
    E: From<Unavailable> + Send + 'static,
    F: FnOnce(&Context<'_>) -> Outcome<T, E> + Send + 'static,
{
    let (answer, pending) = reply();
    let command = Command { durability, changes, progress: Progress::Queued(run), answer };
    (Work::Other(Box::new(command)), pending)
}

impl<T, E, F> Job for Command<T, E, F>
where
    T: Send,
    E: From<Unavailable> + Send,
    F: FnOnce(&Context<'_>) -> Outcome<T, E> + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn changes(&self) -> Changes {
        self.changes
    }

    fn run(&mut self, context: &Context<'_>) -> rusqlite::Result<()> {
        if let Progress::Queued(run) = mem::replace(&mut self.progress, Progress::Lost) {
            self.progress = Progress::Ran(store::command(context, run)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), Unavailable>) {
        let Self { progress, answer, .. } = *self;
        answer.send(match (committed, progress) {
            (Ok(()), Progress::Ran(outcome)) => outcome,
            (Ok(()), Progress::Queued(_) | Progress::Lost) => Err(Unavailable::Failed.into()),
            (Err(unavailable), _) => Err(unavailable.into()),
        });
    }
}

/// A charge on its way through the writer.
pub(in crate::ledger) struct Charge {
    new: NewCharge,
    /// Once it was run.
    outcome: Option<Result<Charged, ChargeError>>,
    answer: Answer<Result<Charged, ChargeError>>,
}

/// Wraps a charge, and gives the reply its caller waits on.
pub(in crate::ledger) fn charge(new: NewCharge) -> (Work, Reply<Result<Charged, ChargeError>>) {
    let (answer, pending) = reply();
    (Work::Charge(Charge { new, outcome: None, answer }), pending)
}

impl Work {
    pub(super) fn durability(&self) -> Durability {
        match self {
            Self::Charge(_) => Durability::Kill,
            Self::Other(job) => job.durability(),
        }
    }

    pub(super) fn is_charge(&self) -> bool {
        matches!(self, Self::Charge(_))
    }

    /// Called once, after the commit or instead of it.
    pub(in crate::ledger) fn answer(self, committed: Result<(), Unavailable>) {
        match self {
            Self::Charge(Charge { outcome, answer, .. }) => {
                let outcome = outcome.unwrap_or(Err(Unavailable::Failed.into()));
                answer.send(committed.map_err(ChargeError::from).and(outcome));
            }
            Self::Other(job) => job.answer(committed),
        }
    }
}

/// Runs all of `batch` in one transaction, in its order. An error means that it is lost.
pub(super) fn run(
    batch: &mut [Work],
    context: &Context<'_>,
    remembered: &mut Remembered,
) -> rusqlite::Result<()> {
    let is_alone = batch.iter().all(Work::is_charge);
    let undo = if is_alone { Undo::Transaction } else { Undo::Savepoint };
    for works in batch.chunk_by_mut(|work, next| work.is_charge() && next.is_charge()) {
        if let [Work::Other(job)] = works {
            job.run(context)?;
            match job.changes() {
                Changes::None => {}
                Changes::Meter(meter) => remembered.forget_meter(meter),
                Changes::Any => remembered.forget_all(),
            }
        } else {
            run_charges(works, context, remembered, undo)?;
        }
    }
    Ok(())
}

/// Together, if they can be paid so; else one by one.
fn run_charges(
    works: &mut [Work],
    context: &Context<'_>,
    remembered: &mut Remembered,
    undo: Undo,
) -> rusqlite::Result<()> {
    let new = works.iter().filter_map(|work| match work {
        Work::Charge(charge) => Some(&charge.new),
        Work::Other(_) => None,
    });
    let paid = store::charge_together(context, remembered, undo, new)?;
    let mut charges = works.iter_mut().filter_map(|work| match work {
        Work::Charge(charge) => Some(charge),
        Work::Other(_) => None,
    });
    match paid {
        Ok(paid) => {
            charges.zip(paid).for_each(|(charge, paid)| charge.outcome = Some(Ok(paid)));
        }
        Err(OneByOne) => charges.try_for_each(|charge| {
            let NewCharge { meter, choice, groups } = &charge.new;
            let run = |context: &Context<'_>| store::charge(context, *meter, *choice, groups);
            charge.outcome = Some(store::command(context, run)?);
            Ok::<_, rusqlite::Error>(())
        })?,
    }
    Ok(())
}
