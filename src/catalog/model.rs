//! One entry of `[[models]]`: what a model is called, what it costs, where its file comes from.
//!
//! Never knows: whether a file is there (`crate::hub`), or what is in it (`crate::model`).

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::error::Refusal;
use super::source::{RawSource, Source};
use super::value::{Number, Real, Sha256Digest};

/// A model that this server offers.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEntry {
    /// What callers write as `model`; also the name of its files in the models folder.
    pub id: String,
    /// Further names that callers may use.
    pub aliases: Vec<String>,
    /// The tier that prices its tokens; one of the catalog's.
    pub tier: String,
    /// Who made it, as `/v1/models` shows.
    pub owned_by: Option<String>,
    /// Cap on the context in tokens; `None` leaves what the file says.
    pub context_length: Option<u32>,
    /// Jinja source that replaces the file's chat template, or gives one to a file without.
    pub chat_template: Option<String>,
    /// Sampling where a request says nothing.
    pub sampling: SamplingDefaults,
    /// How it makes vectors of texts; `None` leaves what the file says.
    pub pooling: Option<Pooling>,
    /// The shortest vectors it was trained for, where that is shorter than its own.
    pub min_dimensions: Option<usize>,
    /// Where the weights come from, most preferred first; at least one.
    pub sources: Vec<Source>,
    /// Size of the weights, whichever source they come from.
    pub bytes: Option<u64>,
    /// SHA-256 of the weights, whichever source they come from; see `hub::ModelFiles::digest`.
    pub sha256: Option<[u8; 32]>,
}

impl ModelEntry {
    /// An entry for a model file or folder that the operator named by path instead of by id.
    pub fn from_path(path: &Path, tier: &str) -> ModelEntry {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let name = name.strip_suffix(".gguf").unwrap_or(&name).to_lowercase();
        let id: String = name.chars().map(|c| if is_id_char(c) { c } else { '-' }).collect();
        let id = id.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        ModelEntry {
            id: if id.is_empty() { "model".to_owned() } else { id[..id.len().min(64)].to_owned() },
            aliases: Vec::new(),
            tier: tier.to_owned(),
            owned_by: None,
            context_length: None,
            chat_template: None,
            sampling: SamplingDefaults::default(),
            pooling: None,
            min_dimensions: None,
            sources: vec![Source::Path { path: path.to_owned() }],
            bytes: None,
            sha256: None,
        }
    }

    /// Whether callers may ask for this model as `name`.
    pub fn answers_to(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Which of a text's hidden states make its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
}

/// Sampling parameters for requests that leave them out; `None` leaves the API's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplingDefaults {
    /// 0..2; 0 takes the most probable token.
    pub temperature: Option<f32>,
    /// 0..1.
    pub top_p: Option<f32>,
    /// 0 is off.
    pub top_k: Option<u32>,
    /// 0..1.
    pub min_p: Option<f32>,
    /// 0.1..10; 1 is off.
    pub repetition_penalty: Option<f32>,
}

/// `[[models]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    pub(super) id: Spanned<String>,
    #[serde(default)]
    pub(super) aliases: Vec<Spanned<String>>,
    pub(super) tier: Spanned<String>,
    owned_by: Option<String>,
    context_length: Option<Number<16, 16_777_216>>,
    chat_template: Option<Spanned<String>>,
    #[serde(default)]
    sampling: RawSampling,
    pooling: Option<Pooling>,
    min_dimensions: Option<Number<1, 65_536>>,
    sources: Spanned<Vec<Spanned<RawSource>>>,
    bytes: Option<Number<1, { 1 << 44 }>>,
    sha256: Option<Sha256Digest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSampling {
    temperature: Option<Real<0, 2_000>>,
    top_p: Option<Real<0, 1_000>>,
    top_k: Option<Number<0, 1_000_000>>,
    min_p: Option<Real<0, 1_000>>,
    repetition_penalty: Option<Real<100, 10_000>>,
}

impl RawModel {
    /// The entry, its own values checked; `folder` is where relative paths start.
    pub(super) fn check(self, folder: &Path) -> Result<ModelEntry, Refusal> {
        check_id(&self.id)?;
        for alias in &self.aliases {
            check_alias(alias)?;
        }
        if let Some(template) = &self.chat_template
            && !template.get_ref().contains("{%")
            && !template.get_ref().contains("{{")
        {
            return Err(Refusal::new(
                template.span(),
                "a chat_template is Jinja source, and this has neither {{ }} nor {% %}",
            ));
        }
        if self.sources.get_ref().is_empty() {
            return Err(Refusal::new(
                self.sources.span(),
                "no source: give at least one of { path = \"..\" }, { hub = \"owner/name\", \
                 files = [..] }, { wheels = [..] }",
            ));
        }
        let mut sources = Vec::new();
        for source in self.sources.into_inner() {
            let span = source.span();
            let source = source.into_inner().check(span.clone(), folder)?;
            let is_wheel = matches!(source, Source::Wheel { .. });
            if is_wheel && (self.bytes.is_none() || self.sha256.is_none()) {
                return Err(Refusal::new(
                    span,
                    "a model that comes in wheels needs `bytes` and `sha256` of the whole file",
                ));
            }
            sources.push(source);
        }
        Ok(ModelEntry {
            id: self.id.into_inner(),
            aliases: self.aliases.into_iter().map(Spanned::into_inner).collect(),
            tier: self.tier.into_inner(),
            owned_by: self.owned_by,
            context_length: self.context_length.map(|length| length.get() as u32),
            chat_template: self.chat_template.map(Spanned::into_inner),
            sampling: SamplingDefaults {
                temperature: self.sampling.temperature.map(Real::get),
                top_p: self.sampling.top_p.map(Real::get),
                top_k: self.sampling.top_k.map(|top_k| top_k.get() as u32),
                min_p: self.sampling.min_p.map(Real::get),
                repetition_penalty: self.sampling.repetition_penalty.map(Real::get),
            },
            pooling: self.pooling,
            min_dimensions: self.min_dimensions.map(|least| least.get() as usize),
            sources,
            bytes: self.bytes.map(Number::get),
            sha256: self.sha256.map(|digest| digest.0),
        })
    }
}

pub(super) fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

pub(super) fn starts_plainly(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// An id names files and is a segment of `/v1/models/{id}`.
fn check_id(id: &Spanned<String>) -> Result<(), Refusal> {
    let text = id.get_ref();
    if starts_plainly(text) && text.len() <= 64 && text.chars().all(is_id_char) {
        return Ok(());
    }
    Err(Refusal::new(
        id.span(),
        format!(
            "model id \"{text}\" is not one: up to 64 of a-z, A-Z, 0-9, '.', '-', '_', the first \
             a letter or digit (other names may stand in `aliases`)"
        ),
    ))
}

fn check_alias(alias: &Spanned<String>) -> Result<(), Refusal> {
    let text = alias.get_ref();
    let allowed = |c: char| is_id_char(c) || matches!(c, '/' | ':' | '@' | '+');
    if starts_plainly(text) && text.len() <= 128 && text.chars().all(allowed) {
        return Ok(());
    }
    Err(Refusal::new(
        alias.span(),
        format!(
            "alias \"{text}\" is not one: up to 128 of a-z, A-Z, 0-9 and . - _ / : @ +, the first \
             a letter or digit"
        ),
    ))
}
