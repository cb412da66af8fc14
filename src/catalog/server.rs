//! The settings of a server: each declared, documented and bounded here, once.
//!
//! One declaration serves the `[server]` section of `models.toml` (serde), the flags of
//! `mizan serve` and their environment variables (clap). `crate::config` puts them in order.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::value::{GIB, KIB, MIB, Number, Size, TIB, deserialize_from_text};

/// Server settings as one place gives them; `None` leaves a setting to the next place.
#[derive(Clone, Debug, Default, clap::Args, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Address to listen on; 0.0.0.0 takes callers from other machines [default: 127.0.0.1]
    #[arg(long, env = "MIZAN_HOST", value_name = "ADDRESS")]
    pub host: Option<Host>,

    /// Port to listen on; 0 takes any free one [default: 8080]
    #[arg(long, env = "MIZAN_PORT")]
    pub port: Option<Number<0, 65_535>>,

    /// Address under which customers and payment providers reach this server from outside, such
    /// as https://credits.example.com [default: none]
    #[arg(long, env = "MIZAN_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<SecureOrigin>,

    /// Folder of the ledger and the model files [default: mizan/ in the user's data directory]
    // The flag is declared beside --config in `crate::config::StoreFlags`: every command has it.
    #[arg(skip)]
    pub data: Option<PathBuf>,

    /// Models to serve, as ids of models.toml or paths of model files; the first is loaded at
    /// start [default: all of models.toml]
    #[arg(long = "model", env = "MIZAN_MODEL", value_name = "ID", value_delimiter = ',')]
    pub models: Option<Vec<String>>,

    /// Where models run: auto, cpu, or with the feature cuda also cuda or cuda:N [default: auto]
    #[arg(long, env = "MIZAN_DEVICE")]
    pub device: Option<Device>,

    /// Threads that compute [default: the CPUs this process may use]
    #[arg(long, env = "MIZAN_THREADS", value_name = "N")]
    pub threads: Option<Number<1, 1_024>>,

    /// Sequences computed together in one step [default: 32, on a GPU 256]
    #[arg(long, env = "MIZAN_MAX_BATCH", value_name = "N")]
    pub max_batch: Option<Number<1, 1_024>>,

    /// Tokens computed in one step, prompts included [default: 512, on a GPU 2048]
    #[arg(long, env = "MIZAN_MAX_STEP_TOKENS", value_name = "N")]
    pub max_step_tokens: Option<Number<16, 65_536>>,

    /// Memory for keys and values of each loaded model, such as 4GiB [default: by the model's
    /// context and the free memory]
    #[arg(long, env = "MIZAN_KV_MEMORY", value_name = "SIZE")]
    pub kv_memory: Option<Size<MIB, { 16 * TIB }>>,

    /// How a GPU keeps keys and values: bf16, or fp8, with which contexts take half the memory and
    /// are read in half the time, at a small loss; the CPU has one type only [default: bf16]
    #[arg(long, env = "MIZAN_KV_TYPE", value_name = "bf16|fp8")]
    pub kv_type: Option<KvType>,

    /// Memory for all loaded models, such as 16GiB; the least recently used leaves first
    /// [default: three quarters of the machine's memory]
    #[arg(long, env = "MIZAN_MODEL_MEMORY", value_name = "SIZE")]
    pub model_memory: Option<Size<{ 16 * MIB }, { 64 * TIB }>>,

    /// Seconds that a request waits for its model to load, or for others to leave memory to it
    /// [default: 30]
    #[arg(long, env = "MIZAN_MODEL_WAIT_SECS", value_name = "SECONDS")]
    pub model_wait_secs: Option<Number<0, 3_600>>,

    /// Keep computed prompt prefixes for reuse [default: true]
    #[arg(long, env = "MIZAN_PREFIX_CACHE", value_name = "true|false")]
    pub prefix_cache: Option<bool>,

    /// How tokens are computed ahead while few requests run; the answers are the same: off, or
    /// prompt-lookup, which guesses what followed the same words before [default: prompt-lookup]
    #[arg(long, env = "MIZAN_SPECULATION", value_name = "off|prompt-lookup")]
    pub speculation: Option<Speculation>,

    /// Requests that may wait for each model; one more is answered 503 [default: 256]
    #[arg(long, env = "MIZAN_QUEUE", value_name = "N")]
    pub queue: Option<Number<1, 100_000>>,

    /// Largest request body, such as 8MiB [default: 8MiB]
    #[arg(long, env = "MIZAN_MAX_BODY", value_name = "SIZE")]
    pub max_body: Option<Size<KIB, GIB>>,

    /// Web origins whose pages may call this server, such as https://chat.example.com
    /// [default: none]
    #[arg(long, env = "MIZAN_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origins: Option<Vec<Origin>>,

    /// Seconds a client may leave a stream unread before it counts as gone [default: 30]
    #[arg(long, env = "MIZAN_STALL_SECS", value_name = "SECONDS")]
    pub stall_secs: Option<Number<1, 3_600>>,

    /// Seconds that a request may wait for its first token; then it is refused with 503, and costs
    /// nothing [default: 600]
    #[arg(long, env = "MIZAN_FIRST_TOKEN_SECS", value_name = "SECONDS")]
    pub first_token_secs: Option<Number<1, 86_400>>,

    /// Seconds that an answer may take in all; then it ends with finish_reason "length"; 0 for any
    /// [default: 3600]
    #[arg(long, env = "MIZAN_REQUEST_SECS", value_name = "SECONDS")]
    pub request_secs: Option<Number<0, 86_400>>,

    /// Seconds of silence before a stream is sent a keep-alive comment; 0 for never
    /// [default: 15]
    #[arg(long, env = "MIZAN_KEEP_ALIVE_SECS", value_name = "SECONDS")]
    pub keep_alive_secs: Option<Number<0, 3_600>>,

    /// Seconds that running requests may take to finish when the server stops [default: 30]
    #[arg(long, env = "MIZAN_SHUTDOWN_SECS", value_name = "SECONDS")]
    pub shutdown_secs: Option<Number<0, 3_600>>,

    /// Days for which the tokens of paid answers stay readable; they are removed within the hour
    /// after that. 0 keeps them only until their request ends [default: 30]
    #[arg(long, env = "MIZAN_RETAIN_OUTPUT_DAYS", value_name = "DAYS")]
    pub retain_output_days: Option<Number<0, 3_650>>,

    /// Days for which responses (`/v1/responses`) are kept for their callers; they are removed
    /// within the hour after that. 0 keeps none [default: 30]
    #[arg(long, env = "MIZAN_RETAIN_RESPONSES_DAYS", value_name = "DAYS")]
    pub retain_responses_days: Option<Number<0, 3_650>>,

    /// Hours between two checks of the whole books while the server runs; 0 for never
    /// [default: 24]
    #[arg(long, env = "MIZAN_VERIFY_HOURS", value_name = "HOURS")]
    pub verify_hours: Option<Number<0, 8_760>>,

    /// Which networks notices are sent to, besides the public one: public for none, private for the
    /// place's own, any for this machine's loopback, too [default: private]
    #[arg(long, env = "MIZAN_NOTICE_NETWORKS", value_name = "public|private|any")]
    pub notice_networks: Option<NoticeNetworks>,
}

impl ServerSettings {
    /// The values of settings that nobody gave.
    ///
    /// `None` stays where the machine decides: data folder, threads, steps, memory; and where there
    /// is nothing to be right by default: the address outside.
    pub fn defaults() -> Self {
        ServerSettings {
            host: Some(Host("127.0.0.1".to_owned())),
            port: Some(const { Number::of(8_080) }),
            public_url: None,
            data: None,
            models: None,
            device: Some(Device::Auto),
            threads: None,
            max_batch: None,
            max_step_tokens: None,
            kv_memory: None,
            kv_type: Some(KvType::Bf16),
            model_memory: None,
            model_wait_secs: Some(const { Number::of(30) }),
            prefix_cache: Some(true),
            speculation: Some(Speculation::PromptLookup),
            queue: Some(const { Number::of(256) }),
            max_body: Some(const { Size::of(8 * MIB) }),
            cors_origins: Some(Vec::new()),
            stall_secs: Some(const { Number::of(30) }),
            first_token_secs: Some(const { Number::of(600) }),
            request_secs: Some(const { Number::of(3_600) }),
            notice_networks: Some(NoticeNetworks::Private),
            keep_alive_secs: Some(const { Number::of(15) }),
            shutdown_secs: Some(const { Number::of(30) }),
            retain_output_days: Some(const { Number::of(30) }),
            retain_responses_days: Some(const { Number::of(30) }),
            verify_hours: Some(const { Number::of(24) }),
        }
    }

    /// These settings, and `lower`'s where these say nothing.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        ServerSettings {
            host: self.host.or(lower.host),
            port: self.port.or(lower.port),
            public_url: self.public_url.or(lower.public_url),
            data: self.data.or(lower.data),
            models: self.models.or(lower.models),
            device: self.device.or(lower.device),
            threads: self.threads.or(lower.threads),
            max_batch: self.max_batch.or(lower.max_batch),
            max_step_tokens: self.max_step_tokens.or(lower.max_step_tokens),
            kv_memory: self.kv_memory.or(lower.kv_memory),
            kv_type: self.kv_type.or(lower.kv_type),
            model_memory: self.model_memory.or(lower.model_memory),
            model_wait_secs: self.model_wait_secs.or(lower.model_wait_secs),
            prefix_cache: self.prefix_cache.or(lower.prefix_cache),
            speculation: self.speculation.or(lower.speculation),
            queue: self.queue.or(lower.queue),
            max_body: self.max_body.or(lower.max_body),
            cors_origins: self.cors_origins.or(lower.cors_origins),
            stall_secs: self.stall_secs.or(lower.stall_secs),
            first_token_secs: self.first_token_secs.or(lower.first_token_secs),
            request_secs: self.request_secs.or(lower.request_secs),
            notice_networks: self.notice_networks.or(lower.notice_networks),
            keep_alive_secs: self.keep_alive_secs.or(lower.keep_alive_secs),
            shutdown_secs: self.shutdown_secs.or(lower.shutdown_secs),
            retain_output_days: self.retain_output_days.or(lower.retain_output_days),
            retain_responses_days: self.retain_responses_days.or(lower.retain_responses_days),
            verify_hours: self.verify_hours.or(lower.verify_hours),
        }
    }
}

/// Where models run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The fastest that this build and machine have.
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number. Builds without the feature `cuda` refuse it.
    Cuda(usize),
}

/// What a build without it answers who asks for a GPU.
const NO_CUDA: &str = "this build has auto and cpu; one for NVIDIA GPUs is made by `cargo build \
                       --release --features cuda`";

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known =
            if cfg!(feature = "cuda") { "auto, cpu, cuda and cuda:N" } else { "auto and cpu" };
        let gpu = match text.split_once(':') {
            None if text == "cuda" => Some(0),
            Some(("cuda", number)) => number.parse().ok(),
            _ => None,
        };
        match (text, gpu) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            (_, Some(gpu)) if cfg!(feature = "cuda") => Ok(Device::Cuda(gpu)),
            (_, Some(_)) => Err(format!("no device \"{text}\": {NO_CUDA}")),
            _ => Err(format!("unknown device \"{text}\": this build has {known}")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(gpu) => write!(f, "cuda:{gpu}"),
        }
    }
}

/// How a GPU keeps keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Two bytes each.
    Bf16,
    /// One byte each, and one for each head of a position.
    Fp8,
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bf16" => Ok(KvType::Bf16),
            "fp8" => Ok(KvType::Fp8),
            _ => Err(format!("unknown type \"{text}\" of keys and values: there are bf16 and fp8")),
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KvType::Bf16 => "bf16",
            KvType::Fp8 => "fp8",
        })
    }
}

/// How tokens are computed ahead of being sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speculation {
    /// Not at all.
    Off,
    /// Guessed from what followed the same tokens earlier in the prompt or the answer.
    PromptLookup,
}

impl FromStr for Speculation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Speculation::Off),
            "prompt-lookup" => Ok(Speculation::PromptLookup),
            _ => Err(format!("unknown speculation \"{text}\": there are off and prompt-lookup")),
        }
    }
}

impl fmt::Display for Speculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Speculation::Off => "off",
            Speculation::PromptLookup => "prompt-lookup",
        })
    }
}

/// How far notices reach: who sets their URL is a team, not the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeNetworks {
    /// Public addresses only.
    Public,
    /// Those, and private networks.
    Private,
    /// Those, and this machine's loopback.
    Any,
}

impl FromStr for NoticeNetworks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "public" => Ok(NoticeNetworks::Public),
            "private" => Ok(NoticeNetworks::Private),
            "any" => Ok(NoticeNetworks::Any),
            _ => Err(format!("unknown networks \"{text}\": there are public, private and any")),
        }
    }
}

impl fmt::Display for NoticeNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoticeNetworks::Public => "public",
            NoticeNetworks::Private => "private",
            NoticeNetworks::Any => "any",
        })
    }
}

/// An address to listen on: an IP address or a host name, without scheme and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(pub(crate) String);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        };
        if is_name(text) || text.parse::<std::net::IpAddr>().is_ok() {
            Ok(Host(text.to_owned()))
        } else {
            Err(format!(
                "\"{text}\" is not an address to listen on: write one such as 127.0.0.1, \
                 0.0.0.0 or ::1, and the port as a setting of its own"
            ))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A web origin as browsers send it: scheme, host and, if not the usual one, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub(crate) String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@*,".contains(&b))
        };
        if host.is_some_and(is_host) {
            // Browsers send it in lower case, and it is compared byte for byte.
            Ok(Origin(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "\"{text}\" is not an origin: write scheme and host, such as \
                 \"https://chat.example.com\", without a path"
            ))
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An origin to which money or secrets may go: over https, or on this machine itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureOrigin(pub(crate) String);

impl FromStr for SecureOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Origin(origin) = text.parse()?;
        let is_here = |host: &str| {
            let port =
                ["127.0.0.1", "localhost", "[::1]"].iter().find_map(|here| host.strip_prefix(here));
            port.is_some_and(|port| port.is_empty() || port.starts_with(':'))
        };
        if origin.strip_prefix("http://").is_some_and(|host| !is_here(host)) {
            return Err(format!(
                "\"{text}\" is not secure: write https://, or http:// with 127.0.0.1 or localhost"
            ));
        }
        Ok(SecureOrigin(origin))
    }
}

impl fmt::Display for SecureOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

deserialize_from_text!(Device => "a device in quotes, such as \"auto\" or \"cpu\"");
deserialize_from_text!(KvType => "a type in quotes: \"bf16\" or \"fp8\"");
deserialize_from_text!(Speculation => "a speculation in quotes: \"off\" or \"prompt-lookup\"");
deserialize_from_text!(NoticeNetworks => "networks in quotes: \"public\", \"private\" or \"any\"");
deserialize_from_text!(Host => "an address in quotes, such as \"127.0.0.1\"");
deserialize_from_text!(Origin => "an origin in quotes, such as \"https://chat.example.com\"");
deserialize_from_text!(SecureOrigin => "an address in quotes, such as \"https://credits.example.com\"");
