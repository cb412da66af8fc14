//! The models this process serves: loaded when first asked for, kept within a memory budget, the
//! least recently used one put out to make room.
//!
//! Promises: a model that was handed out stays until its last user lets go; a model is loaded once,
//! however many ask for it at the same time, and if that fails all of them are told.
//! Never knows: HTTP, credits, what a request says.

mod load;
mod machine;
mod status;
mod vocabulary;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::catalog::{ModelEntry, Tier};
use crate::config::Config;
use crate::engine::Engine;
use crate::grammar::Environment;
use crate::hub::{Hub, HubError};
use crate::model::{ModelError, Pooling};
use crate::text::{ChatTemplate, TemplateError, Tokenizer, TokenizerError};

use status::Loads;

pub use load::{DecoderLimits, default_step_tokens, open_decoder, open_tokenizer};
pub use status::{InMemory, ModelPlace, ModelStatus, UnloadError};
pub use vocabulary::vocabulary;

/// Between two looks whether a model that is in use has been let go of: nobody tells.
const ROOM_POLL: Duration = Duration::from_millis(20);

/// Why a load failed of which nothing else is known.
const BROKE_OFF: &str = "loading it broke off: see the server's log";

/// A model in memory, with everything a request needs of it.
#[derive(Debug)]
pub struct LoadedModel {
    /// Its entry in `models.toml`.
    pub entry: ModelEntry,
    /// What its tokens cost.
    pub tier: Tier,
    /// SHA-256 of its weights, frozen into each meter.
    pub digest: [u8; 32],
    /// Runs it.
    pub engine: Engine,
    /// Its strings and ids.
    pub tokenizer: Arc<Tokenizer>,
    /// What grammars for its output are compiled with.
    pub grammar: Environment,
    /// How messages become a prompt; `None` for a base model without a template.
    pub chat_template: Option<ChatTemplate>,
    /// How it makes vectors of texts, or why it does not.
    pub embedding: Result<Embedding, String>,
    /// Positions that a prompt and its answer have together.
    pub context_length: usize,
    /// Bytes it counts against the memory budget: weights and KV blocks.
    pub memory: u64,
    /// Unix seconds.
    pub loaded_at: i64,
}

/// How a model makes vectors of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Which hidden states count.
    pub pooling: Pooling,
    /// Values of a vector.
    pub size: usize,
    /// The shortest vectors it was trained for, if there are shorter ones than its own.
    pub min_dimensions: Option<usize>,
}

impl Drop for LoadedModel {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

/// Why a model cannot be handed out.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nobody offers it.
    #[error("there is no model {0:?} here: GET /v1/models lists what there is")]
    UnknownModel(String),
    /// It is offered, but its file has not been fetched.
    #[error("the model {0:?} has not been fetched: the operator can run `mizan pull {0}`")]
    NotFetched(String),
    /// It does not fit beside the models that are in use.
    #[error(
        "the model {id:?} needs {needed} bytes and {budget} are for models, of which those in use \
         leave too little: try again later"
    )]
    OutOfMemory {
        /// The model.
        id: String,
        /// Bytes it takes.
        needed: u64,
        /// Bytes for all models.
        budget: u64,
    },
    /// Its files cannot be used. The operator's log has the details too.
    #[error("the model {id:?} cannot be loaded: {why}")]
    Failed {
        /// The model.
        id: String,
        /// What is wrong.
        why: LoadError,
    },
}

/// What is wrong with a model's files.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// They cannot be found or read.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer.
    #[error("tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error("chat template: {0}")]
    Template(#[from] TemplateError),
    /// The system.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A file beside the weights does not hold what it should.
    #[error("{0}")]
    Invalid(String),
}

/// The models of a [`Config`], loaded on demand.
#[derive(Debug)]
pub struct Registry {
    config: Arc<Config>,
    hub: Hub,
    budget: u64,
    loaded: Mutex<HashMap<String, Slot>>,
    /// Taken while a model loads: loads are one after the other, so that each sees the memory that
    /// the one before has left.
    loading: Arc<tokio::sync::Mutex<()>>,
    loads: Mutex<Loads>,
    clock: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    model: Arc<LoadedModel>,
    last_used: u64,
}

impl Registry {
    /// A registry that has loaded nothing yet.
    pub fn new(config: Arc<Config>) -> Self {
        let budget =
            config.model_memory.unwrap_or_else(|| machine::memory_for_models(config.device));
        Self {
            config,
            hub: Hub::from_env(),
            budget,
            loaded: Mutex::default(),
            loading: Arc::default(),
            loads: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// A registry that holds `models` already, whatever their files.
    pub fn with_loaded(config: Arc<Config>, models: Vec<LoadedModel>) -> Self {
        let registry = Self::new(config);
        for model in models {
            registry.insert(model);
        }
        registry
    }

    /// The models that are offered, the default first, whether or not their files are here.
    pub fn entries(&self) -> impl Iterator<Item = &ModelEntry> {
        self.config.models.iter().filter_map(|id| self.config.catalog.model(id))
    }

    /// The offered models that can be used now: loaded, or with files here that nobody has found
    /// wrong yet.
    ///
    /// Looks at the disk, but reads no weights; call it where blocking is allowed.
    pub fn available(&self) -> Vec<ModelEntry> {
        let models_dir = self.config.models_dir();
        let is_here = |entry: &&ModelEntry| {
            self.lock().contains_key(&entry.id) || self.hub.is_here(entry, &models_dir)
        };
        self.entries().filter(is_here).cloned().collect()
    }

    /// The models in memory.
    pub fn loaded(&self) -> Vec<Arc<LoadedModel>> {
        self.lock().values().map(|slot| Arc::clone(&slot.model)).collect()
    }

    /// The model that answers to `name`, if it is in memory.
    pub fn get_loaded(&self, name: &str) -> Option<Arc<LoadedModel>> {
        self.ready(&self.find(name)?.id)
    }

    /// The model that answers to `name`, an id or an alias; loads it if need be.
    pub async fn get(self: &Arc<Self>, name: &str) -> Result<Arc<LoadedModel>, RegistryError> {
        let entry = self.find(name).ok_or_else(|| RegistryError::UnknownModel(name.to_owned()))?;
        if let Some(model) = self.ready(&entry.id) {
            return Ok(model);
        }
        let waiting = self.wait_for(&entry.id);
        let turn = Arc::clone(&self.loading).lock_owned().await;
        if let Some(model) = self.ready(&entry.id) {
            return Ok(model); // Somebody else loaded it while we waited.
        }
        let id = entry.id.clone();
        if let Some(why) = waiting.found_wrong() {
            return Err(RegistryError::Failed { id, why: LoadError::Invalid(why) });
        }
        let (registry, entry) = (Arc::clone(self), entry.clone());
        // The turn goes with the work: when a caller leaves, no load begins beside its own.
        let load = move || {
            let _turn = turn;
            registry.load(entry)
        };
        match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            Err(_) => {
                Err(RegistryError::Failed { id, why: LoadError::Invalid(BROKE_OFF.to_owned()) })
            }
        }
    }

    fn find(&self, name: &str) -> Option<&ModelEntry> {
        self.config.model(name)
    }

    fn ready(&self, id: &str) -> Option<Arc<LoadedModel>> {
        let mut loaded = self.lock();
        let slot = loaded.get_mut(id)?;
        if !slot.model.engine.is_running() {
            tracing::error!(model = %id, "its engine has ended: it is loaded again");
            loaded.remove(id);
            return None;
        }
        slot.last_used = self.tick();
        Some(Arc::clone(&slot.model))
    }

    /// Loads a model, and keeps in mind why it could not.
    fn load(&self, entry: ModelEntry) -> Result<Arc<LoadedModel>, RegistryError> {
        let id = entry.id.clone();
        let loading = self.begin_load(&id);
        let loaded = self.read(entry);
        loading.ended(&id, &loaded);
        loaded
    }

    fn read(&self, entry: ModelEntry) -> Result<Arc<LoadedModel>, RegistryError> {
        let id = entry.id.clone();
        let failed = |why: LoadError| RegistryError::Failed { id: id.clone(), why };
        let started = Instant::now();
        let files = self
            .hub
            .locate(&entry, &self.config.models_dir())
            .map_err(|error| failed(error.into()))?
            .ok_or_else(|| RegistryError::NotFetched(id.clone()))?;
        let plan = load::Plan::new(entry, files, &self.config).map_err(failed)?;
        self.wait_for_room(&id, plan.memory())?;
        let model = plan.load(&self.config).map_err(failed)?;
        tracing::info!(
            model = %id,
            seconds = started.elapsed().as_secs_f32(),
            context = model.context_length,
            blocks = model.engine.stats().blocks.total,
            "loaded"
        );
        Ok(self.insert(model))
    }

    /// Makes room, or waits until those who use other models let go of enough.
    fn wait_for_room(&self, id: &str, needed: u64) -> Result<(), RegistryError> {
        let deadline = Instant::now() + self.config.model_wait;
        loop {
            match self.make_room(id, needed) {
                // Waiting helps only if others are in the way.
                Err(RegistryError::OutOfMemory { .. })
                    if needed <= self.budget && Instant::now() < deadline =>
                {
                    std::thread::sleep(ROOM_POLL);
                }
                outcome => return outcome,
            }
        }
    }

    /// Puts unused models out until `needed` more bytes fit. Blocks until their memory is free.
    fn make_room(&self, id: &str, needed: u64) -> Result<(), RegistryError> {
        for model in self.put_out(id, needed)? {
            tracing::info!(model = %model.entry.id, "put out to make room");
            model.engine.stop();
            model.engine.join();
        }
        Ok(())
    }

    /// Takes unused models from the map, least recently used first, until `needed` more bytes fit.
    fn put_out(&self, id: &str, needed: u64) -> Result<Vec<Arc<LoadedModel>>, RegistryError> {
        let mut loaded = self.lock();
        let mut put_out = Vec::new();
        // Decided first: a model that cannot fit must not cost the others their places.
        let is_used = |slot: &&Slot| Arc::strong_count(&slot.model) > 1;
        let in_use: u64 = loaded.values().filter(is_used).map(|slot| slot.model.memory).sum();
        if in_use.saturating_add(needed) > self.budget {
            let id = id.to_owned();
            return Err(RegistryError::OutOfMemory { id, needed, budget: self.budget });
        }
        loop {
            let used: u64 = loaded.values().map(|slot| slot.model.memory).sum();
            if used.saturating_add(needed) <= self.budget {
                return Ok(put_out);
            }
            // Only this map holds it, and nobody gets it from the map while we have the lock.
            let unused = |slot: &&Slot| Arc::strong_count(&slot.model) == 1;
            let oldest = loaded.values().filter(unused).min_by_key(|slot| slot.last_used);
            let Some(oldest) = oldest.map(|slot| slot.model.entry.id.clone()) else {
                let id = id.to_owned();
                return Err(RegistryError::OutOfMemory { id, needed, budget: self.budget });
            };
            put_out.extend(loaded.remove(&oldest).map(|slot| slot.model));
        }
    }

    fn insert(&self, model: LoadedModel) -> Arc<LoadedModel> {
        let model = Arc::new(model);
        let slot = Slot { model: Arc::clone(&model), last_used: self.tick() };
        self.lock().insert(model.entry.id.clone(), slot);
        model
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// The map is whole between any two statements, so a panic elsewhere says nothing about it.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
