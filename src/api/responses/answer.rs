//! A response: what is said again of the request, the items so far, and in the end what it cost.
//! Promises: keys that typed clients require are there even when null.
//! Never knows: who is told, where it is kept.

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use super::super::delivery::{Failure, Finish, Summary, Usage};
use super::super::error::ApiError;
use super::super::generation::Started;
use super::output::{Output, OutputItem, is_whole};
use super::settings::Settings;
use crate::ledger::Clock;

/// A response that is being made.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created_at: i64,
    pub(super) model: String,
    pub(super) settings: Settings,
    pub(super) output: Output,
    pub(super) clock: Arc<dyn Clock>,
    /// Unix seconds; once it is whole, whenever it is shown.
    pub(super) completed_at: OnceLock<i64>,
}

/// A response as the wire has it.
#[derive(Debug, Serialize)]
pub(super) struct WireResponse<'a> {
    id: &'a str,
    object: &'static str,
    created_at: i64,
    completed_at: Option<i64>,
    status: &'static str,
    background: bool,
    error: Option<WireError>,
    incomplete_details: Option<IncompleteDetails>,
    model: &'a str,
    output: &'a [OutputItem],
    #[serde(flatten)]
    settings: &'a Settings,
    usage: Option<WireUsage>,
}

#[derive(Debug, Serialize)]
struct WireError {
    code: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct IncompleteDetails {
    reason: &'static str,
}

/// `usage`: OpenAI's counters, and what they cost.
#[derive(Clone, Copy, Debug, Serialize)]
struct WireUsage {
    input_tokens: usize,
    input_tokens_details: InputTokensDetails,
    output_tokens: u32,
    output_tokens_details: OutputTokensDetails,
    total_tokens: usize,
    credits: i64,
    credit_multiplier: i64,
    balance: i64,
    credits_exhausted: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct InputTokensDetails {
    cached_tokens: usize,
    /// Nobody pays for them here, so nobody counts them.
    cache_write_tokens: usize,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct OutputTokensDetails {
    reasoning_tokens: u32,
}

impl From<&Usage> for WireUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokensDetails {
                cached_tokens: usage.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokensDetails { reasoning_tokens: usage.reasoning_tokens },
            total_tokens: usage.prompt_tokens + usage.completion_tokens as usize,
            credits: usage.credits,
            credit_multiplier: usage.credit_multiplier,
            balance: usage.balance,
            credits_exhausted: usage.credits_exhausted,
        }
    }
}

impl Draft {
    /// Of a generation that was admitted, with nothing in it.
    pub(super) fn new(started: &Started, mut settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let Started { model, admitted, .. } = started;
        settings.complete(model);
        Self {
            id: response_id(&admitted.id),
            created_at: admitted.created,
            model: model.entry.id.clone(),
            settings,
            output: Output::new(admitted.id.clone(), model.tokenizer.clone()),
            clock,
            completed_at: OnceLock::new(),
        }
    }

    /// While it is being made.
    pub(super) fn in_progress(&self) -> WireResponse<'_> {
        self.shown("in_progress")
    }

    /// When it has ended.
    pub(super) fn ended(&self, summary: &Summary) -> WireResponse<'_> {
        let is_whole = is_whole(finish_of(summary));
        // OpenAI has one word for all bounds; `usage` tells of credits.
        let details = (!is_whole).then_some(IncompleteDetails { reason: "max_output_tokens" });
        let now = || self.clock.now_ms() / 1_000;
        WireResponse {
            completed_at: is_whole.then(|| *self.completed_at.get_or_init(now)),
            incomplete_details: details,
            usage: Some((&summary.usage).into()),
            ..self.shown(if is_whole { "completed" } else { "incomplete" })
        }
    }

    /// When there will be no more of it.
    pub(super) fn failed(&self, failure: &Failure) -> WireResponse<'_> {
        let code = match failure.error {
            ApiError::GrammarFailed => "invalid_prompt",
            _ => "server_error",
        };
        let error = WireError { code, message: failure.error.to_string() };
        let usage = failure.usage.as_ref().map(WireUsage::from);
        WireResponse { error: Some(error), usage, ..self.shown("failed") }
    }

    fn shown(&self, status: &'static str) -> WireResponse<'_> {
        WireResponse {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            completed_at: None,
            status,
            background: false,
            error: None,
            incomplete_details: None,
            model: &self.model,
            output: self.output.items(),
            settings: &self.settings,
            usage: None,
        }
    }
}

impl WireResponse<'_> {
    /// The name of the event that tells it.
    pub(super) fn event(&self) -> &'static str {
        match self.status {
            "completed" => "response.completed",
            "incomplete" => "response.incomplete",
            "failed" => "response.failed",
            _ => "response.in_progress",
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("wire types have string keys only")
    }
}

/// Why the one choice ended.
pub(super) fn finish_of(summary: &Summary) -> Finish {
    summary.finishes.first().copied().unwrap_or(Finish::Length)
}

/// The response that a generation makes.
pub(super) fn response_id(generation: &str) -> String {
    format!("{PREFIX}{generation}")
}

/// The generation that makes a response.
pub(super) fn generation_of(response: &str) -> Option<&str> {
    response.strip_prefix(PREFIX)
}

const PREFIX: &str = "resp_";
