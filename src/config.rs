//! Flags, environment and `models.toml` resolved into one frozen [`Config`].
//!
//! For each setting the first that says something wins: flag, `MIZAN_*` variable, `[server]` of
//! `models.toml`, default. A setting is declared, documented and bounded in one place:
//! [`ServerSettings`]. Nothing is written back, and nothing changes once resolved.
//!
//! Secrets of payment providers are no settings: they come from the environment only.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{
    Catalog, CatalogError, ModelEntry, MyFatoorahPayments, Payments, SecureOrigin, ServerSettings,
    TapPayments,
};
use crate::payments::{
    self, Manual, MyFatoorah, MyFatoorahSettings, PaymentProvider, SecretError, Tap, TapSettings,
};

pub use crate::catalog::{Device, KvType, NoticeNetworks, Speculation};

/// The settings file that is looked for in the working directory.
const FILE_NAME: &str = "models.toml";

/// The tier of models that are named by path; it must then be in the catalog.
const PATH_MODEL_TIER: &str = "standard";

/// A shorter operator's key could be guessed.
const MIN_ADMIN_KEY_CHARS: usize = 16;

/// Where settings and data are: the flags that every command has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StoreFlags {
    /// Settings file [default: models.toml in the working directory, else the built-in one]
    #[arg(long, env = "MIZAN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder of the ledger and the model files [default: mizan/ in the user's data directory]
    #[arg(long, env = "MIZAN_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The flags of `mizan serve`; clap fills those that are absent from the environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeFlags {
    /// Where settings and data are.
    #[command(flatten)]
    pub store: StoreFlags,

    /// The same settings as `[server]` has.
    #[command(flatten)]
    pub settings: ServerSettings,

    /// The operator's key, at least 16 characters [default: made at the first start]. Better set
    /// as a variable: other users of the machine can see flags
    #[arg(long, env = "MIZAN_ADMIN_KEY", value_name = "KEY", hide_env_values = true)]
    pub admin_key: Option<Secret>,

    /// Secrets of payment providers; `None` takes those of the environment. Not flags: other users
    /// of the machine could see them.
    #[arg(skip)]
    pub payment_secrets: Option<PaymentSecrets>,

    /// Whether a payment provider that lacks its secret is left out, not refused: commands that
    /// take no payments work without.
    #[arg(skip)]
    pub may_lack_secrets: bool,
}

impl From<StoreFlags> for ServeFlags {
    fn from(store: StoreFlags) -> ServeFlags {
        ServeFlags { store, may_lack_secrets: true, ..ServeFlags::default() }
    }
}

/// The secrets of payment providers, as they were given; not yet looked at.
#[derive(Clone, Debug, Default)]
pub struct PaymentSecrets {
    /// `MIZAN_TAP_SECRET_KEY`: opens Tap and signs its callbacks.
    pub tap_secret_key: Option<Secret>,
    /// `MIZAN_MYFATOORAH_TOKEN`: opens MyFatoorah.
    pub myfatoorah_token: Option<Secret>,
    /// `MIZAN_MYFATOORAH_WEBHOOK_SECRET`: signs its callbacks.
    pub myfatoorah_webhook_secret: Option<Secret>,
}

const TAP_SECRET_KEY: &str = "MIZAN_TAP_SECRET_KEY";
const MYFATOORAH_TOKEN: &str = "MIZAN_MYFATOORAH_TOKEN";
const MYFATOORAH_WEBHOOK_SECRET: &str = "MIZAN_MYFATOORAH_WEBHOOK_SECRET";

impl PaymentSecrets {
    /// Those of this process's environment.
    pub fn from_environment() -> PaymentSecrets {
        // What is not UTF-8 stays wrong in a way that `Secret` of the providers refuses.
        let read = |variable: &str| {
            std::env::var_os(variable).map(|text| Secret::new(text.to_string_lossy()))
        };
        PaymentSecrets {
            tap_secret_key: read(TAP_SECRET_KEY),
            myfatoorah_token: read(MYFATOORAH_TOKEN),
            myfatoorah_webhook_secret: read(MYFATOORAH_WEBHOOK_SECRET),
        }
    }
}

/// Every setting of a running server, checked and final.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on: IP address or host name.
    pub host: String,
    /// Port to listen on; 0 is any free one.
    pub port: u16,
    /// Where the server is reached from outside: scheme and host, without a slash at the end.
    /// Always there if a provider sends callbacks.
    pub public_url: Option<String>,
    /// Folder of the ledger and the model files; may not exist yet.
    pub data_dir: PathBuf,
    /// Models, tiers, packs and plans. Holds an entry for each model named by path.
    pub catalog: Arc<Catalog>,
    /// Ids of the models that are served, the default first.
    pub models: Vec<String>,
    /// Where models run.
    pub device: Device,
    /// Threads that compute; at least 1.
    pub threads: usize,
    /// Sequences computed together in one step; `None` leaves it to the device.
    pub max_batch: Option<usize>,
    /// Tokens computed in one step; `None` leaves it to the device.
    pub max_step_tokens: Option<usize>,
    /// Bytes for keys and values of each model; `None` leaves it to the model and the machine.
    pub kv_memory: Option<u64>,
    /// How a GPU keeps keys and values. `Fp8` only where models can run on one.
    pub kv_type: KvType,
    /// Bytes for all loaded models; `None` is three quarters of the machine's.
    pub model_memory: Option<u64>,
    /// How long a request waits for its model to load, or for memory to load it into.
    pub model_wait: Duration,
    /// Whether computed prompt prefixes are kept.
    pub prefix_cache: bool,
    /// How tokens are computed ahead of being sampled.
    pub speculation: Speculation,
    /// Requests that may wait for each model.
    pub queue: usize,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Web origins that may call, in lower case, without a trailing slash.
    pub cors_origins: Vec<String>,
    /// How long a client may leave a stream unread.
    pub stall_timeout: Duration,
    /// How long a request may wait for its first token.
    pub first_token_timeout: Duration,
    /// How long an answer may take in all.
    pub request_timeout: Option<Duration>,
    /// Silence before a keep-alive comment; `None` sends none.
    pub keep_alive: Option<Duration>,
    /// How long running requests may take to finish at shutdown.
    pub shutdown_timeout: Duration,
    /// How long the tokens of paid answers are kept; zero is until their request ends.
    pub retain_output: Duration,
    /// How long responses are kept for their callers; `None` keeps none.
    pub retain_responses: Option<Duration>,
    /// Between two checks of the whole books; `None` checks only when asked.
    pub verify_every: Option<Duration>,
    /// Which networks notices are sent to.
    pub notice_networks: NoticeNetworks,
    /// The operator's key, where one was given.
    pub admin_key: Option<Secret>,
    /// The ways to pay, ready to be used.
    pub payments: Vec<Arc<dyn PaymentProvider>>,
}

/// Why settings could not be resolved. Each says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file is there, or was named, and can not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The settings file is wrong.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A model was named that is neither in the catalog nor a file.
    #[error(
        "unknown model \"{name}\": neither a file nor in models.toml, which has {}",
        known.join(", ")
    )]
    UnknownModel {
        /// As named.
        name: String,
        /// Ids that would be right.
        known: Vec<String>,
    },
    /// A model was named twice, or two paths make the same id.
    #[error("model \"{id}\" is named twice: name each once")]
    DuplicateModel {
        /// Its id.
        id: String,
    },
    /// A model was named by path, and the catalog has no tier to price it.
    #[error(
        "{}: a model named by path needs [tiers.{PATH_MODEL_TIER}] in models.toml",
        path.display()
    )]
    NoTierForPath {
        /// The path.
        path: PathBuf,
    },
    /// Neither a flag nor the system says where data belongs.
    #[error("this user has no data directory: say where with --data DIR or MIZAN_DATA")]
    NoDataDir,
    /// The operator's key is too short.
    #[error("the operator's key has {found} characters: it needs at least {MIN_ADMIN_KEY_CHARS}")]
    AdminKeyTooShort {
        /// Its length.
        found: usize,
    },
    /// Keys and values as fp8, where no model can run on a GPU.
    #[error(
        "kv_type fp8 is for GPUs, and {why}: set kv_type to bf16; on the CPU, less kv_memory or a \
         smaller context_length saves memory"
    )]
    KvTypeOfGpus {
        /// Why there is no GPU.
        why: &'static str,
    },
    /// A payment provider is enabled and its secret is not set, or is none.
    #[error(
        "[payments.{provider}] needs its secret in {variable}, but {why}: set it in the \
         environment, or take the section away"
    )]
    PaymentSecret {
        /// The section.
        provider: &'static str,
        /// Where the secret belongs.
        variable: &'static str,
        /// What is wrong with it.
        why: SecretError,
    },
    /// A payment provider is enabled that has to reach this server.
    #[error(
        "[payments.{provider}] sends customers and callbacks back to this server: set public_url \
         in [server], or MIZAN_PUBLIC_URL, to its address from outside"
    )]
    NoPublicUrl {
        /// The section.
        provider: &'static str,
    },
}

impl Config {
    /// Reads the settings file that `flags` or the working directory name, and resolves.
    pub fn load(flags: ServeFlags) -> Result<Config, ConfigError> {
        let catalog = load_catalog(flags.store.config.as_deref())?;
        Config::resolve(flags, catalog)
    }

    /// Resolves flags over `catalog`'s settings over the defaults.
    pub fn resolve(flags: ServeFlags, mut catalog: Catalog) -> Result<Config, ConfigError> {
        let ServeFlags { store, mut settings, admin_key, payment_secrets, may_lack_secrets } =
            flags;
        settings.data = store.data;
        let settings = settings.or(catalog.server.clone()).or(ServerSettings::defaults());
        let ServerSettings {
            host: Some(host),
            port: Some(port),
            public_url,
            data,
            models,
            device: Some(device),
            threads,
            max_batch,
            max_step_tokens,
            kv_memory,
            kv_type: Some(kv_type),
            model_memory,
            model_wait_secs: Some(model_wait_secs),
            prefix_cache: Some(prefix_cache),
            speculation: Some(speculation),
            queue: Some(queue),
            max_body: Some(max_body),
            cors_origins: Some(cors_origins),
            stall_secs: Some(stall_secs),
            first_token_secs: Some(first_token_secs),
            request_secs: Some(request_secs),
            notice_networks: Some(notice_networks),
            keep_alive_secs: Some(keep_alive_secs),
            shutdown_secs: Some(shutdown_secs),
            retain_output_days: Some(retain_output_days),
            retain_responses_days: Some(retain_responses_days),
            verify_hours: Some(verify_hours),
        } = settings
        else {
            unreachable!("ServerSettings::defaults gives every setting that a server must have");
        };

        if let Some(key) = &admin_key {
            let found = key.expose().chars().count();
            if found < MIN_ADMIN_KEY_CHARS {
                return Err(ConfigError::AdminKeyTooShort { found });
            }
        }
        check_kv_type(kv_type, device)?;
        let public_url = public_url.map(|origin| origin.0);
        let secrets = payment_secrets.unwrap_or_else(PaymentSecrets::from_environment);
        let mut payments = Vec::new();
        for provider in enable(&catalog.payments, &secrets, public_url.is_some()) {
            match provider {
                Ok(provider) => payments.push(provider),
                Err(_) if may_lack_secrets => {}
                Err(why) => return Err(why),
            }
        }
        let models = match models {
            Some(names) => choose_models(&names, &mut catalog)?,
            None => catalog.models.iter().map(|model| model.id.clone()).collect(),
        };
        Ok(Config {
            host: host.0,
            port: port.get() as u16,
            public_url,
            data_dir: data.or_else(default_data_dir).ok_or(ConfigError::NoDataDir)?,
            catalog: Arc::new(catalog),
            models,
            device,
            threads: threads.map_or_else(available_threads, |n| n.get() as usize),
            max_batch: max_batch.map(|n| n.get() as usize),
            max_step_tokens: max_step_tokens.map(|n| n.get() as usize),
            kv_memory: kv_memory.map(|size| size.bytes()),
            kv_type,
            model_memory: model_memory.map(|size| size.bytes()),
            model_wait: Duration::from_secs(model_wait_secs.get()),
            prefix_cache,
            speculation,
            queue: queue.get() as usize,
            max_body_bytes: max_body.bytes() as usize,
            cors_origins: cors_origins.into_iter().map(|origin| origin.0).collect(),
            stall_timeout: Duration::from_secs(stall_secs.get()),
            first_token_timeout: Duration::from_secs(first_token_secs.get()),
            request_timeout: Some(request_secs.get()).filter(|s| *s > 0).map(Duration::from_secs),
            keep_alive: Some(keep_alive_secs.get()).filter(|s| *s > 0).map(Duration::from_secs),
            notice_networks,
            shutdown_timeout: Duration::from_secs(shutdown_secs.get()),
            retain_output: Duration::from_secs(retain_output_days.get() * 24 * 60 * 60),
            retain_responses: Some(retain_responses_days.get())
                .filter(|days| *days > 0)
                .map(|days| Duration::from_secs(days * 24 * 60 * 60)),
            verify_every: Some(verify_hours.get())
                .filter(|hours| *hours > 0)
                .map(|hours| Duration::from_secs(hours * 60 * 60)),
            admin_key,
            payments,
        })
    }

    /// The folder of model files; see `crate::hub`.
    pub fn models_dir(&self) -> PathBuf {
        self.data_dir.join("models")
    }

    /// The ledger's file.
    pub fn ledger_path(&self) -> PathBuf {
        self.data_dir.join("ledger.db")
    }

    /// The file of kept responses.
    pub fn responses_path(&self) -> PathBuf {
        self.data_dir.join("responses.db")
    }

    /// The way to pay called `name`, if it is enabled.
    pub fn payment_provider(&self, name: &str) -> Option<&Arc<dyn PaymentProvider>> {
        self.payments.iter().find(|provider| provider.name() == name)
    }

    /// The served model that answers to `name`, an id or an alias.
    pub fn model(&self, name: &str) -> Option<&ModelEntry> {
        self.catalog.model(name).filter(|entry| self.models.contains(&entry.id))
    }
}

/// The settings file at `path`, or else in the working directory, or else the built-in one.
pub fn load_catalog(path: Option<&Path>) -> Result<Catalog, ConfigError> {
    let path = match path {
        Some(path) => path,
        None if Path::new(FILE_NAME).exists() => Path::new(FILE_NAME),
        None => return Ok(Catalog::shipped()),
    };
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(Catalog::parse(&text, &path.display().to_string(), folder)?)
}

/// With a GPU build, `auto` may find a GPU; which of its models end up on the CPU is not known yet.
fn check_kv_type(kv_type: KvType, device: Device) -> Result<(), ConfigError> {
    let why = match (kv_type, device) {
        (KvType::Bf16, _) | (KvType::Fp8, Device::Cuda(_)) => return Ok(()),
        (KvType::Fp8, Device::Auto) if cfg!(feature = "cuda") => return Ok(()),
        (KvType::Fp8, Device::Auto) => "this build is without the feature cuda",
        (KvType::Fp8, Device::Cpu) => "the device is cpu",
    };
    Err(ConfigError::KvTypeOfGpus { why })
}

/// The ids of the models that were named; one named by path gets an entry in the catalog.
fn choose_models(names: &[String], catalog: &mut Catalog) -> Result<Vec<String>, ConfigError> {
    let mut ids = Vec::new();
    for name in names {
        let id = match catalog.model(name) {
            Some(entry) => entry.id.clone(),
            None => add_path_model(name, catalog)?,
        };
        if ids.contains(&id) {
            return Err(ConfigError::DuplicateModel { id });
        }
        ids.push(id);
    }
    Ok(ids)
}

fn add_path_model(name: &str, catalog: &mut Catalog) -> Result<String, ConfigError> {
    let path = Path::new(name);
    let is_model = path.is_file() || path.join("config.json").is_file();
    if !is_model {
        return Err(ConfigError::UnknownModel {
            name: name.to_owned(),
            known: catalog.models.iter().map(|model| model.id.clone()).collect(),
        });
    }
    if !catalog.tiers.contains_key(PATH_MODEL_TIER) {
        return Err(ConfigError::NoTierForPath { path: path.to_owned() });
    }
    let mut entry = ModelEntry::from_path(path, PATH_MODEL_TIER);
    if catalog.model(&entry.id).is_some() {
        // A file may well be called like the model of the catalog that it is a copy of.
        entry.id.push_str("-local");
    }
    if catalog.model(&entry.id).is_some() {
        return Err(ConfigError::DuplicateModel { id: entry.id });
    }
    let id = entry.id.clone();
    catalog.models.push(entry);
    Ok(id)
}

/// The ways to pay of `[payments.*]`, each with its secrets or with what it lacks.
fn enable(
    settings: &Payments,
    secrets: &PaymentSecrets,
    has_public_url: bool,
) -> Vec<Result<Arc<dyn PaymentProvider>, ConfigError>> {
    let secret = |provider, variable, given: &Option<Secret>| {
        let given = given.as_ref().map_or("", Secret::expose);
        payments::Secret::new(given).map_err(|why| ConfigError::PaymentSecret {
            provider,
            variable,
            why,
        })
    };
    let reachable = |provider| match has_public_url {
        true => Ok(()),
        false => Err(ConfigError::NoPublicUrl { provider }),
    };
    let base_url = |chosen: &Option<SecureOrigin>, own: &str| {
        chosen.as_ref().map_or(own.to_owned(), |origin| origin.0.clone())
    };
    let tap = |tap: &TapPayments| -> Result<Arc<dyn PaymentProvider>, ConfigError> {
        let provider = "tap";
        let secret_key = secret(provider, TAP_SECRET_KEY, &secrets.tap_secret_key)?;
        reachable(provider)?;
        Ok(Arc::new(Tap::new(TapSettings {
            base_url: base_url(&tap.base_url, TapSettings::BASE_URL),
            timeout: Duration::from_secs(tap.timeout_secs.get()),
            source: tap.source.id().to_owned(),
            merchant: tap.merchant.as_ref().map(|merchant| merchant.0.clone()),
            secret_key,
        })))
    };
    let myfatoorah = |section: &MyFatoorahPayments| -> Result<Arc<dyn PaymentProvider>, _> {
        let provider = "myfatoorah";
        let token = secret(provider, MYFATOORAH_TOKEN, &secrets.myfatoorah_token)?;
        let webhook_secret = &secrets.myfatoorah_webhook_secret;
        let webhook_secret = secret(provider, MYFATOORAH_WEBHOOK_SECRET, webhook_secret)?;
        reachable(provider)?;
        Ok(Arc::new(MyFatoorah::new(MyFatoorahSettings {
            base_url: base_url(&section.base_url, MyFatoorahSettings::BASE_URL),
            timeout: Duration::from_secs(section.timeout_secs.get()),
            method: section.method.code().to_owned(),
            token,
            webhook_secret,
        })))
    };
    let manual = settings.manual.as_ref().map(|manual| {
        let provider: Arc<dyn PaymentProvider> =
            Arc::new(Manual::new(manual.instructions.0.clone()));
        Ok(provider)
    });
    let online = [settings.tap.as_ref().map(tap), settings.myfatoorah.as_ref().map(myfatoorah)];
    manual.into_iter().chain(online.into_iter().flatten()).collect()
}

fn default_data_dir() -> Option<PathBuf> {
    dirs::data_dir().map(|dir| dir.join("mizan"))
}

/// The CPUs this process may use: its affinity and the quota of its control group count.
fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Text that must not be shown: prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself; never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Secret::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
