//! A command on its way through the writer: queued, run, answered after the commit.

use std::mem;

use super::Place;
use crate::ledger::errors::Unavailable;
use crate::ledger::reply::{Answer, Reply, reply};
use crate::ledger::store::{self, Context, Outcome};

/// What reaches the writer.
pub(in crate::ledger) enum Message {
    Run(Box<dyn Job>, Place),
    /// Finish what is queued, then end.
    Stop,
}

/// Whether a commit has to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Durability {
    /// `synchronous=NORMAL`: survives a kill of the process.
    Kill,
    /// `synchronous=FULL`: survives a power cut, with everything committed before it.
    PowerCut,
}

/// A command on its way through the writer, whatever it answers.
pub(in crate::ledger) trait Job: Send {
    fn durability(&self) -> Durability;
    /// Runs in a transaction. An error means that the transaction is lost.
    fn run(&mut self, context: &Context<'_>) -> rusqlite::Result<()>;
    /// Called once, after the commit or instead of it.
    fn answer(self: Box<Self>, committed: Result<(), Unavailable>);
}

struct Command<T, E, F> {
    durability: Durability,
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
    run: F,
) -> (Box<dyn Job>, Reply<Result<T, E>>)
where
    T: Send + 'static,
    E: From<Unavailable> + Send + 'static,
    F: FnOnce(&Context<'_>) -> Outcome<T, E> + Send + 'static,
{
    let (answer, pending) = reply();
    (Box::new(Command { durability, progress: Progress::Queued(run), answer }), pending)
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
