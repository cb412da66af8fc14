//! How the models stand, for whoever runs the place, and putting one out of memory.
//! Promises: looking keeps no model in memory: figures are copied, nothing is handed out; a model
//! that somebody uses is not put out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{LoadedModel, ROOM_POLL, Registry, RegistryError};
use crate::catalog::ModelEntry;
use crate::engine::Stats;
use crate::model::BLOCK_SIZE;

/// How long unloading waits for those who hold a model for a moment only, as a page of metrics.
const MOMENT: Duration = Duration::from_millis(500);

/// One offered model.
#[derive(Clone, Debug)]
pub struct ModelStatus {
    /// Its entry in `models.toml`.
    pub entry: ModelEntry,
    /// Where it is.
    pub place: ModelPlace,
    /// Requests that wait for it to be loaded.
    pub waiting: usize,
    /// Why it could not be loaded the last time, if it could not.
    pub error: Option<String>,
}

/// Where a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPlace {
    /// In memory.
    Loaded(InMemory),
    /// On its way there.
    Loading,
    /// On the disk, and not found wrong yet.
    Available,
    /// Not on this machine, or refused.
    Missing,
}

/// A model in memory, in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InMemory {
    /// Tokens that prompt and answer may have together: the model's bound, or the memory's.
    pub context_length: usize,
    /// Bytes that it counts against the budget.
    pub memory: u64,
    /// Unix seconds.
    pub loaded_at: i64,
    /// Sequences in a batch, at most.
    pub max_batch: usize,
    /// Sequences that may wait, at most.
    pub max_waiting: usize,
    /// Positions of a KV block.
    pub block_tokens: usize,
    /// What the engine counts.
    pub stats: Stats,
}

/// Why a model was not put out of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnloadError {
    /// Nobody offers it.
    #[error("there is no model {0:?} here")]
    UnknownModel(String),
    /// It is being read into memory.
    #[error("the model {0:?} is being loaded: try again when it is")]
    Loading(String),
    /// Somebody uses it.
    #[error(
        "the model {id:?} is in use (answers that run or wait on it: {answers}): try again when \
         they have ended"
    )]
    InUse {
        /// The model.
        id: String,
        /// Answers, of which a request has one for each choice.
        answers: usize,
    },
}

/// Loads that run, are waited for, or failed.
#[derive(Debug, Default)]
pub(super) struct Loads {
    current: Option<String>,
    /// Never with a count of 0.
    waiting: BTreeMap<String, usize>,
    /// Until a load works.
    failures: HashMap<String, Failure>,
    /// Loads that have ended.
    ended: u64,
}

/// Why a model could not be loaded.
#[derive(Debug)]
struct Failure {
    why: String,
    /// The number of the load that found its files wrong; `None`: the next one may find room.
    found_wrong_by: Option<u64>,
}

/// A load that runs, until it is dropped.
pub(super) struct Loading<'a>(&'a Registry);

/// Somebody who waits for a model, until it is dropped.
pub(super) struct Waiting<'a> {
    registry: &'a Registry,
    id: String,
    /// Loads that had ended when the wait began.
    since: u64,
}

impl Registry {
    /// How every offered model stands, the default first.
    ///
    /// Looks at the disk, but reads no weights; call it where blocking is allowed.
    pub fn status(&self) -> Vec<ModelStatus> {
        let models_dir = self.config.models_dir();
        let status = |entry: &ModelEntry| {
            let in_memory = self.lock().get(&entry.id).map(|slot| in_memory(&slot.model));
            let loads = self.loads();
            let is_loading = loads.current.as_ref() == Some(&entry.id);
            let waiting = loads.waiting.get(&entry.id).copied().unwrap_or(0);
            let failure = loads.failures.get(&entry.id).filter(|_| !is_loading);
            let error = failure.map(|failure| failure.why.clone());
            drop(loads);
            let place = match in_memory {
                Some(in_memory) => ModelPlace::Loaded(in_memory),
                None if is_loading => ModelPlace::Loading,
                None if self.hub.is_here(entry, &models_dir) => ModelPlace::Available,
                None => ModelPlace::Missing,
            };
            ModelStatus { entry: entry.clone(), place, waiting, error }
        };
        self.entries().map(status).collect()
    }

    /// Bytes for all models.
    pub fn memory_budget(&self) -> u64 {
        self.budget
    }

    /// Puts a model out of memory, if nobody uses it; false: it was not there. Returns when its
    /// memory is free, so call it where blocking is allowed.
    pub fn unload(&self, name: &str) -> Result<bool, UnloadError> {
        let entry = self.find(name).ok_or_else(|| UnloadError::UnknownModel(name.to_owned()))?;
        let deadline = Instant::now() + MOMENT;
        loop {
            match self.take_out(&entry.id) {
                Err(UnloadError::InUse { .. }) if Instant::now() < deadline => sleep(ROOM_POLL),
                Err(refused) => return Err(refused),
                Ok(None) => return Ok(false),
                Ok(Some(model)) => {
                    model.engine.stop();
                    model.engine.join();
                    tracing::info!(model = %entry.id, "put out by the operator");
                    return Ok(true);
                }
            }
        }
    }

    fn take_out(&self, id: &str) -> Result<Option<Arc<LoadedModel>>, UnloadError> {
        let mut loaded = self.lock();
        let Some(slot) = loaded.get(id) else {
            let is_loading = self.loads().current.as_deref() == Some(id);
            return if is_loading { Err(UnloadError::Loading(id.to_owned())) } else { Ok(None) };
        };
        if Arc::strong_count(&slot.model) > 1 {
            // Whoever holds it and runs nothing yet is about to.
            let answers = slot.model.engine.num_open().max(1);
            return Err(UnloadError::InUse { id: id.to_owned(), answers });
        }
        // Only this map holds it, and nobody gets it from the map while we have the lock.
        Ok(loaded.remove(id).map(|slot| slot.model))
    }

    /// Counts somebody who waits for a model.
    pub(super) fn wait_for(&self, id: &str) -> Waiting<'_> {
        let mut loads = self.loads();
        *loads.waiting.entry(id.to_owned()).or_default() += 1;
        Waiting { registry: self, id: id.to_owned(), since: loads.ended }
    }

    /// A load begins. Unless it is told how it ended, it broke off.
    pub(super) fn begin_load(&self, id: &str) -> Loading<'_> {
        let mut loads = self.loads();
        loads.current = Some(id.to_owned());
        let why = super::BROKE_OFF.to_owned();
        let failure = Failure { why, found_wrong_by: Some(loads.ended + 1) };
        loads.failures.insert(id.to_owned(), failure);
        Loading(self)
    }

    /// The maps are whole between any two statements, so a panic elsewhere says nothing about them.
    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loading<'_> {
    /// The load has ended, like this.
    pub(super) fn ended<T>(self, id: &str, outcome: &Result<T, RegistryError>) {
        let mut loads = self.0.loads();
        let failure = match outcome {
            // What is missing can be seen at any time.
            Ok(_) | Err(RegistryError::UnknownModel(_) | RegistryError::NotFetched(_)) => None,
            Err(RegistryError::Failed { why, .. }) => {
                Some(Failure { why: why.to_string(), found_wrong_by: Some(loads.ended + 1) })
            }
            Err(error @ RegistryError::OutOfMemory { .. }) => {
                Some(Failure { why: error.to_string(), found_wrong_by: None })
            }
        };
        match failure {
            Some(failure) => loads.failures.insert(id.to_owned(), failure),
            None => loads.failures.remove(id),
        };
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut loads = self.0.loads();
        loads.current = None;
        loads.ended += 1;
    }
}

impl Waiting<'_> {
    /// What a load that ended since the wait began found wrong with the model's files. To read them
    /// again for each who waits would keep all others waiting.
    pub(super) fn found_wrong(&self) -> Option<String> {
        let loads = self.registry.loads();
        let failure = loads.failures.get(&self.id)?;
        let is_news = failure.found_wrong_by.is_some_and(|load| load > self.since);
        is_news.then(|| failure.why.clone())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut loads = self.registry.loads();
        let left = loads.waiting.get(&self.id).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => loads.waiting.remove(&self.id),
            left => loads.waiting.insert(self.id.clone(), left),
        };
    }
}

fn in_memory(model: &LoadedModel) -> InMemory {
    let options = model.engine.options();
    InMemory {
        context_length: model.context_length.min(model.engine.max_sequence_len()),
        memory: model.memory,
        loaded_at: model.loaded_at,
        max_batch: options.max_batch,
        max_waiting: options.max_waiting,
        block_tokens: BLOCK_SIZE,
        stats: model.engine.stats(),
    }
}
