//! `models.toml`: the one file an operator edits, read into a checked [`Catalog`].
//!
//! Promises: a catalog that exists is sound. Unknown keys, bad sizes, duplicate ids, fractional
//! prices, unknown tiers and malformed digests are refused with file, line, column and what would
//! be right. Money is whole fils and credits whole numbers; a float never comes near either.
//! Never knows: flags and environment (`crate::config`), files of models (`crate::hub`).

mod error;
mod model;
mod payments;
mod server;
mod source;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use error::{Refusal, one_of};
use model::RawModel;
use value::Price;

use crate::money::Fils;

pub use error::CatalogError;
pub use model::{ModelEntry, Pooling, SamplingDefaults};
pub use payments::{
    Instructions, ManualPayments, Merchant, MyFatoorahMethod, MyFatoorahPayments, Payments,
    TapPayments, TapSource,
};
pub use server::{
    Device, Host, KvType, NoticeNetworks, Origin, SecureOrigin, ServerSettings, Speculation,
};
pub use source::{Source, WheelPart};
pub use value::{GIB, KIB, MIB, Number, Real, Sha256Digest, Size, TIB};

/// The catalog that the program carries: the repository's own `models.toml`.
const SHIPPED: &str = include_str!("../../models.toml");

/// The plan of accounts that were given no other.
pub const DEFAULT_PLAN: &str = "default";

/// What a server offers and sells, and how it is set up.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// `[server]`: settings below flags and environment.
    pub server: ServerSettings,
    /// `[tiers.*]`: what tokens cost, by name.
    pub tiers: BTreeMap<String, Tier>,
    /// `[[packs]]`: credits for sale, in the file's order.
    pub packs: Vec<Pack>,
    /// `[plans.*]`: rate limits, by name; always holds [`DEFAULT_PLAN`].
    pub plans: BTreeMap<String, Plan>,
    /// `[payments.*]`: the ways to pay.
    pub payments: Payments,
    /// `[[models]]`, in the file's order; at least one, the first is the default.
    pub models: Vec<ModelEntry>,
}

/// What a class of models costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Credits for one output token; at least 1.
    pub credits_per_output_token: i64,
}

/// Credits for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// What an order names.
    pub id: String,
    /// Whole credits.
    pub credits: i64,
    /// What they cost.
    pub price: Fils,
}

/// Rate limits of an account; `None` is no limit. Separate from credits, which never expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Requests a minute: so many at once after a quiet minute, then as they come back evenly.
    pub max_requests_per_minute: Option<u32>,
    /// Prompt tokens a minute, likewise. Input is free, so this is what bounds its abuse.
    pub max_input_tokens_per_minute: Option<u32>,
    /// Tokens of one prompt.
    pub max_prompt_tokens: Option<u32>,
    /// Requests at the same time.
    pub max_concurrent_requests: Option<u32>,
}

impl Catalog {
    /// The catalog that the program carries.
    pub fn shipped() -> Catalog {
        Catalog::parse(SHIPPED, "models.toml", Path::new(""))
            .expect("the shipped models.toml is sound: a test parses it")
    }

    /// Reads a catalog from `text`.
    ///
    /// `file` is the name that errors show, `folder` where relative paths of models start.
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Catalog, CatalogError> {
        let locate = |refusal: Refusal| refusal.locate(file, text);
        let raw: RawCatalog = toml::from_str(text).map_err(|error| locate(error.into()))?;
        raw.check(folder).map_err(locate)
    }

    /// The model that answers to `name`, an id or an alias.
    pub fn model(&self, name: &str) -> Option<&ModelEntry> {
        self.models.iter().find(|model| model.answers_to(name))
    }

    /// The tier that prices `model`'s tokens.
    pub fn tier_of(&self, model: &ModelEntry) -> Tier {
        self.tiers[&model.tier]
    }
}

/// The file as written. Values are bounded by their types; what relates two of them is checked
/// in [`RawCatalog::check`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCatalog {
    #[serde(default)]
    server: ServerSettings,
    tiers: BTreeMap<String, RawTier>,
    #[serde(default)]
    packs: Vec<RawPack>,
    #[serde(default)]
    plans: BTreeMap<String, RawPlan>,
    #[serde(default)]
    payments: Payments,
    models: Spanned<Vec<RawModel>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTier {
    credits_per_output_token: Number<1, 1_000_000>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPack {
    id: Spanned<String>,
    credits: Number<1, 1_000_000_000_000>,
    price_kwd: Price,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    max_requests_per_minute: Option<Number<1, 1_000_000>>,
    max_input_tokens_per_minute: Option<Number<1, 4_000_000_000>>,
    max_prompt_tokens: Option<Number<1, 16_777_216>>,
    max_concurrent_requests: Option<Number<1, 100_000>>,
}

impl RawCatalog {
    fn check(self, folder: &Path) -> Result<Catalog, Refusal> {
        if self.models.get_ref().is_empty() {
            return Err(Refusal::new(self.models.span(), "no model: give at least one [[models]]"));
        }
        self.check_names()?;
        let mut models = Vec::new();
        for model in self.models.into_inner() {
            models.push(model.check(folder)?);
        }
        let tier = |tier: RawTier| Tier {
            credits_per_output_token: tier.credits_per_output_token.get() as i64,
        };
        let pack = |pack: RawPack| Pack {
            id: pack.id.into_inner(),
            credits: pack.credits.get() as i64,
            price: pack.price_kwd.0,
        };
        let mut plans: BTreeMap<String, Plan> =
            self.plans.into_iter().map(|(name, plan)| (name, plan.into())).collect();
        plans.entry(DEFAULT_PLAN.to_owned()).or_default();
        // As with the paths of models: from where the file is, not from where a command runs.
        let mut server = self.server;
        server.data = server.data.map(|data| folder.join(data));
        Ok(Catalog {
            server,
            tiers: self.tiers.into_iter().map(|(name, raw)| (name, tier(raw))).collect(),
            packs: self.packs.into_iter().map(pack).collect(),
            plans,
            payments: self.payments,
            models,
        })
    }

    /// Every name that callers use means one thing, and every tier that is named exists.
    fn check_names(&self) -> Result<(), Refusal> {
        let mut packs = HashMap::new();
        for pack in &self.packs {
            if packs.insert(pack.id.get_ref(), ()).is_some() {
                return Err(duplicate("pack id", &pack.id));
            }
        }
        // Ids name files, and some file systems take upper and lower case for the same.
        let mut ids = HashMap::new();
        let mut names = HashMap::new();
        for model in self.models.get_ref() {
            if ids.insert(model.id.get_ref().to_lowercase(), ()).is_some() {
                return Err(duplicate("model id", &model.id));
            }
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                if names.insert(name.get_ref(), ()).is_some() {
                    return Err(duplicate("model name", name));
                }
            }
            if !self.tiers.contains_key(model.tier.get_ref()) {
                let remedy = one_of(self.tiers.keys());
                let message = format!("unknown tier \"{}\": {remedy}", model.tier.get_ref());
                return Err(Refusal::new(model.tier.span(), message));
            }
        }
        Ok(())
    }
}

fn duplicate(what: &str, name: &Spanned<String>) -> Refusal {
    let message = format!("{what} \"{}\" is there twice: each needs its own", name.get_ref());
    Refusal::new(name.span(), message)
}

impl From<RawPlan> for Plan {
    fn from(raw: RawPlan) -> Plan {
        Plan {
            max_requests_per_minute: raw.max_requests_per_minute.map(|n| n.get() as u32),
            max_input_tokens_per_minute: raw.max_input_tokens_per_minute.map(|n| n.get() as u32),
            max_prompt_tokens: raw.max_prompt_tokens.map(|n| n.get() as u32),
            max_concurrent_requests: raw.max_concurrent_requests.map(|n| n.get() as u32),
        }
    }
}
