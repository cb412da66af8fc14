//! How a request wants its tokens chosen.
//! Promises: a parameter is obeyed or refused by name, never bent.
//! Never knows: which route it came on.

use std::ops::RangeInclusive;

use super::error::ApiError;
use super::fields::Fields;
use super::middleware::random_u64;
use crate::engine::SamplingParams;
use crate::registry::LoadedModel;

/// The bounds of the parameters: OpenAI's, and where it has none, what makes sense.
pub(super) const TEMPERATURE: RangeInclusive<f64> = 0.0..=2.0;
pub(super) const TOP_P: RangeInclusive<f64> = 0.0..=1.0;
/// vLLM writes "off" as -1 or 0.
pub(super) const TOP_K: RangeInclusive<i64> = -1..=u32::MAX as i64;
pub(super) const MIN_P: RangeInclusive<f64> = 0.0..=1.0;
pub(super) const REPETITION_PENALTY: RangeInclusive<f64> = 0.01..=100.0;
/// Of the frequency and the presence penalty.
pub(super) const PENALTY: RangeInclusive<f64> = -2.0..=2.0;
pub(super) const LOGIT_BIAS: RangeInclusive<f64> = -100.0..=100.0;

/// Sampling as the request has it; `None` is left to the model's entry in `models.toml`.
#[derive(Clone, Debug)]
pub(super) struct SamplingFields {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    frequency_penalty: f32,
    presence_penalty: f32,
    seed: Option<i64>,
    logit_bias: Vec<(u32, f32)>,
    min_tokens: usize,
    ignore_eos: bool,
}

impl SamplingFields {
    /// Reads the fields by OpenAI's and vLLM's names.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            temperature: fields.number("temperature", TEMPERATURE)?,
            top_p: fields.number("top_p", TOP_P)?,
            top_k: fields.integer("top_k", TOP_K)?.map(|k| k.max(0) as usize),
            min_p: fields.number("min_p", MIN_P)?,
            repetition_penalty: fields.number("repetition_penalty", REPETITION_PENALTY)?,
            frequency_penalty: fields.number("frequency_penalty", PENALTY)?.unwrap_or(0.0),
            presence_penalty: fields.number("presence_penalty", PENALTY)?.unwrap_or(0.0),
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
            logit_bias: logit_bias(fields)?,
            min_tokens: fields.count("min_tokens", 0..=i64::MAX as usize)?.unwrap_or(0),
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
        })
    }

    /// The request's sampling over the model's defaults over OpenAI's.
    pub(super) fn resolve(
        &self,
        model: &LoadedModel,
        top_logprobs: Option<usize>,
    ) -> Result<SamplingParams, ApiError> {
        let (fields, defaults) = (self, &model.entry.sampling);
        let vocab_size = model.tokenizer.vocab_size();
        if let Some((id, _)) = fields.logit_bias.iter().find(|(id, _)| *id as usize >= vocab_size) {
            let message = format!("token id {id} is not one of this model's {vocab_size}");
            return Err(ApiError::field("logit_bias", message));
        }
        let default_top_k = defaults.top_k.map(|top_k| top_k as usize);
        Ok(SamplingParams {
            temperature: fields.temperature.or(defaults.temperature).unwrap_or(1.0),
            top_p: fields.top_p.or(defaults.top_p).unwrap_or(1.0),
            top_k: fields.top_k.or(default_top_k).unwrap_or(0),
            min_p: fields.min_p.or(defaults.min_p).unwrap_or(0.0),
            repetition_penalty: fields
                .repetition_penalty
                .or(defaults.repetition_penalty)
                .unwrap_or(1.0),
            frequency_penalty: fields.frequency_penalty,
            presence_penalty: fields.presence_penalty,
            seed: fields.seed.map_or_else(random_u64, i64::cast_unsigned),
            logit_bias: fields.logit_bias.clone(),
            top_logprobs,
            prompt_logprobs: None,
            ignore_stop_ids: fields.ignore_eos,
            min_tokens: fields.min_tokens,
        })
    }
}

/// `logit_bias`: token ids, as strings because they are keys, to -100..100.
fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(biases) = fields.fields("logit_bias")? else { return Ok(Vec::new()) };
    let mut pairs = Vec::with_capacity(biases.object().len());
    for token in biases.object().keys() {
        let Ok(id) = token.parse::<u32>() else {
            let message = format!("'{token}' is not a token id: write one as a string of digits");
            return Err(fields.refuse("logit_bias", message));
        };
        if let Some(bias) = biases.number(token, LOGIT_BIAS)? {
            pairs.push((id, bias));
        }
    }
    Ok(pairs)
}
