//! The JSON that goes out on OpenAI's routes, field by field in their order.
//! Promises: keys that clients require are there even when null; none that confuses them is.
//! Never knows: where the values come from.

use serde::Serialize;

use super::super::delivery::{Admitted, ReleasedToken, Usage};
use crate::engine::TokenLogprobs;
use crate::registry::LoadedModel;
use crate::text::Tokenizer;

/// OpenAI's stand-in for a log probability that JSON has no number for.
const LOWEST_LOGPROB: f32 = -9999.0;

/// `usage`: OpenAI's counters, and what they cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct WireUsage {
    prompt_tokens: usize,
    completion_tokens: u32,
    total_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptTokensDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionTokensDetails>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PromptTokensDetails {
    cached_tokens: usize,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct CompletionTokensDetails {
    reasoning_tokens: u32,
}

/// The extension fields.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    credits: i64,
    credit_multiplier: i64,
    balance: i64,
    credits_exhausted: bool,
}

impl From<&Usage> for WireUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens_details: Some(PromptTokensDetails { cached_tokens: usage.cached_tokens }),
            completion_tokens_details: Some(CompletionTokensDetails {
                reasoning_tokens: usage.reasoning_tokens,
            }),
            cost: Some(Cost {
                credits: usage.credits,
                credit_multiplier: usage.credit_multiplier,
                balance: usage.balance,
                credits_exhausted: usage.credits_exhausted,
            }),
            ..Self::so_far(usage.prompt_tokens, usage.completion_tokens)
        }
    }
}

impl WireUsage {
    /// The standard counters of an answer that goes on.
    pub(super) fn so_far(prompt_tokens: usize, completion_tokens: u32) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens as usize,
            prompt_tokens_details: None,
            completion_tokens_details: None,
            cost: None,
        }
    }
}

/// `usage` of embeddings, which have no output to be paid for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct EmbeddingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
    #[serde(flatten)]
    cost: Cost,
}

impl EmbeddingUsage {
    pub(super) fn new(prompt_tokens: usize, credit_multiplier: i64, balance: i64) -> Self {
        let cost = Cost { credits: 0, credit_multiplier, balance, credits_exhausted: false };
        Self { prompt_tokens, total_tokens: prompt_tokens, cost }
    }
}

/// What every answer and every chunk starts with.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Head {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    system_fingerprint: String,
}

impl Head {
    /// The head of a generation's answer; `prefix` makes OpenAI's kind of id.
    pub(super) fn new(
        prefix: &str,
        object: &'static str,
        admitted: &Admitted,
        model: &LoadedModel,
    ) -> Self {
        let [a, b, c, d, ..] = model.digest;
        Self {
            id: format!("{prefix}-{}", admitted.id),
            object,
            created: admitted.created,
            model: model.entry.id.clone(),
            system_fingerprint: format!("mizan-{a:02x}{b:02x}{c:02x}{d:02x}"),
        }
    }
}

/// An answer, or a chunk of one.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a, C> {
    #[serde(flatten)]
    pub(super) head: &'a Head,
    pub(super) choices: Vec<C>,
    /// Left out where the inner option is absent is not enough: a stream that was asked for usage
    /// shows `null` until the end, one that was not has no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<WireUsage>>,
}

/// `choices[]` of a chat completion.
#[derive(Debug, Serialize)]
pub(super) struct ChatChoice {
    pub(super) index: usize,
    pub(super) message: ChatAnswer,
    pub(super) logprobs: Option<ChatLogprobs>,
    pub(super) finish_reason: &'static str,
}

/// What the assistant says.
#[derive(Debug, Serialize)]
pub(super) struct ChatAnswer {
    pub(super) role: &'static str,
    /// Null if there are calls and no text.
    pub(super) content: Option<String>,
    pub(super) refusal: Option<String>,
    #[serde(flatten)]
    pub(super) reasoning: Reasoning,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<ChatToolCall>,
}

/// What the model thought, by both names that clients read. None of them reads both.
#[derive(Debug, Default, Serialize)]
pub(super) struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
}

impl Reasoning {
    pub(super) fn new(text: String) -> Self {
        let text = Some(text).filter(|text| !text.is_empty());
        Self { reasoning_content: text.clone(), reasoning: text }
    }
}

/// A call, whole or a piece of one: what an earlier chunk has said is left out, because clients
/// join what they get.
#[derive(Debug, Serialize)]
pub(super) struct ChatToolCall {
    /// In chunks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    pub(super) kind: Option<&'static str>,
    pub(super) function: CalledFunction,
}

#[derive(Debug, Serialize)]
pub(super) struct CalledFunction {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) arguments: String,
}

/// `choices[]` of a chat completion's chunk.
#[derive(Debug, Serialize)]
pub(super) struct ChatChunkChoice {
    pub(super) index: usize,
    pub(super) delta: ChatDelta,
    pub(super) logprobs: Option<ChatLogprobs>,
    pub(super) finish_reason: Option<&'static str>,
}

/// What a chunk adds: clients join what they get, so nothing is ever said twice.
#[derive(Debug, Default, Serialize)]
pub(super) struct ChatDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    /// Null before a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Option<String>>,
    #[serde(flatten)]
    pub(super) reasoning: Reasoning,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<ChatToolCall>,
}

/// `logprobs` of a chat completion.
#[derive(Debug, Serialize)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatTokenLogprob>,
    refusal: Option<()>,
}

/// A token, and what it was preferred to.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct ChatTokenLogprob {
    #[serde(flatten)]
    token: TokenLogprob,
    top_logprobs: Vec<TokenLogprob>,
}

#[derive(Clone, Debug, Serialize)]
struct TokenLogprob {
    /// Lossy where a character spans tokens; `bytes` is exact.
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl TokenLogprob {
    fn new(tokenizer: &Tokenizer, id: u32, logprob: f32) -> Self {
        let bytes = tokenizer.token_bytes(id).to_vec();
        let token = token_text(tokenizer, id);
        Self { token, logprob: finite(logprob), bytes }
    }
}

impl ChatLogprobs {
    pub(super) fn new(tokenizer: &Tokenizer, tokens: &[ReleasedToken]) -> Self {
        Self { content: token_logprobs(tokenizer, tokens), refusal: None }
    }
}

/// One entry for each token.
pub(in super::super) fn token_logprobs(
    tokenizer: &Tokenizer,
    tokens: &[ReleasedToken],
) -> Vec<ChatTokenLogprob> {
    let entry = |released: &ReleasedToken| {
        let logprobs = &released.logprobs;
        let top = logprobs.top.iter();
        ChatTokenLogprob {
            token: TokenLogprob::new(tokenizer, released.id, logprobs.logprob),
            top_logprobs: top.map(|(id, lp)| TokenLogprob::new(tokenizer, *id, *lp)).collect(),
        }
    };
    tokens.iter().map(entry).collect()
}

/// `choices[]` of a text completion, whole or a chunk.
#[derive(Debug, Serialize)]
pub(super) struct CompletionChoice {
    pub(super) text: String,
    pub(super) index: usize,
    pub(super) logprobs: Option<CompletionLogprobs>,
    pub(super) finish_reason: Option<&'static str>,
}

/// `logprobs` of a text completion: parallel lists.
#[derive(Debug, Default, Serialize)]
pub(super) struct CompletionLogprobs {
    tokens: Vec<String>,
    /// `None`: nothing comes before the token.
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<serde_json::Map<String, serde_json::Value>>>,
    /// Characters of the text before each token.
    text_offset: Vec<usize>,
}

impl CompletionLogprobs {
    /// Adds the tokens of an answer. `text_offset` is where the first token starts; it is moved
    /// past the last one.
    pub(super) fn add(
        &mut self,
        tokenizer: &Tokenizer,
        tokens: &[ReleasedToken],
        text_offset: &mut usize,
    ) {
        for released in tokens {
            let num_chars =
                self.push(tokenizer, released.id, Some(&released.logprobs), *text_offset);
            *text_offset += num_chars;
        }
    }

    /// Adds the tokens of a prompt of this text, of which all but the first are scored.
    pub(super) fn add_prompt(
        &mut self,
        tokenizer: &Tokenizer,
        text: &str,
        ids: &[u32],
        logprobs: &[TokenLogprobs],
    ) {
        let num_chars = text.chars().count();
        // Some tokenizers put a space in front, which is in the first token and not in the text.
        let mut extra = usize::from(!text.starts_with(' '));
        let mut offset = 0;
        for (id, logprobs) in ids.iter().zip([None].into_iter().chain(logprobs.iter().map(Some))) {
            let num_chars_of_token = self.push(tokenizer, *id, logprobs, offset);
            // Control tokens are no text.
            if !tokenizer.is_control(*id) {
                let has_extra = tokenizer.token_bytes(*id).starts_with(b" ");
                let num_extra = if has_extra { extra } else { 0 };
                offset = (offset + num_chars_of_token - num_extra).min(num_chars);
                extra = 0;
            }
        }
    }

    /// Adds a token, and says how many characters begin in it: one that spans tokens counts once.
    fn push(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
        text_offset: usize,
    ) -> usize {
        let token = token_text(tokenizer, id);
        let begins_character = |byte: &&u8| **byte & 0xC0 != 0x80;
        let num_chars = tokenizer.token_bytes(id).iter().filter(begins_character).count();
        let top = logprobs.map(|logprobs| {
            let top = logprobs.top.iter();
            top.map(|(id, lp)| (token_text(tokenizer, *id), finite(*lp).into())).collect()
        });
        self.tokens.push(token);
        self.token_logprobs.push(logprobs.map(|logprobs| finite(logprobs.logprob)));
        self.top_logprobs.push(top);
        self.text_offset.push(text_offset);
        num_chars
    }
}

fn token_text(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned()
}

fn finite(logprob: f32) -> f32 {
    logprob.max(LOWEST_LOGPROB)
}
