//! Grammars with the tokens of real models: whatever is sampled within the masks is what was asked
//! for, and what is meant to hurt does not.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod decoding;
mod fits;
mod hostile;
mod schemas;
mod texts;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use mizan::engine::{Allowed, Constraint, Progress};
use mizan::grammar::{Environment, Grammar, GrammarError, Piece, compile};
use mizan::model::Model;
use mizan::registry;
use mizan::text::Tokenizer;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::models;
use crate::support::random::Random;

/// A real model's tokens.
pub(super) struct Vocabulary {
    pub(super) name: &'static str,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) environment: Environment,
    /// Ids that close a string, an array or an object: rare among all ids.
    closing: Vec<u32>,
}

/// Bytes as GPT-2 has them, twice, and SentencePiece with a token for each byte.
const MODELS: [&str; 3] = ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m"];

static VOCABULARIES: LazyLock<[Vocabulary; 3]> = LazyLock::new(|| MODELS.map(Vocabulary::open));

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static NUM_COMPILED: AtomicU64 = AtomicU64::new(0);

pub(super) fn vocabularies() -> &'static [Vocabulary; 3] {
    &VOCABULARIES
}

/// The smallest one.
pub(super) fn smollm2() -> &'static Vocabulary {
    &vocabularies()[0]
}

/// What was said within a grammar.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) ids: Vec<u32>,
    /// Whether the grammar ended it, or let it end.
    pub(super) has_ended: bool,
}

impl Vocabulary {
    fn open(name: &'static str) -> Self {
        let model = Model::open(&models::path(name)).unwrap();
        let vocabulary = registry::vocabulary(model.metadata.as_ref().unwrap()).unwrap();
        let tokenizer = Arc::new(Tokenizer::from_vocabulary(vocabulary).unwrap());
        let environment = Environment::new(tokenizer.clone(), model.config.vocab_size);
        let closes = |id: &u32| {
            let bytes = tokenizer.token_bytes(*id);
            bytes.len() < 4 && bytes.iter().any(|byte| b"\"]},:".contains(byte))
        };
        let closing = (0..model.config.vocab_size as u32).filter(closes).collect();
        Self { name, tokenizer, environment, closing }
    }

    pub(super) fn compile(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GrammarError> {
        // As many accounts as grammars: none waits for another one's.
        let lane = NUM_COMPILED.fetch_add(1, Relaxed);
        RUNTIME.block_on(compile(grammar.clone(), &self.environment, lane))
    }

    /// Samples within the masks: any id, every other time one that closes something.
    pub(super) fn say(&self, mut at: Box<dyn Constraint>, random: &mut Random, max: usize) -> Said {
        let mut ids = Vec::new();
        let mut has_ended = false;
        while !has_ended && ids.len() < max {
            if random.below(3) == 0 {
                at.prepare();
            }
            let allowed = at.allowed().unwrap();
            if allowed.may_end && (random.below(2) == 0 || allowed.ids.iter().all(|w| *w == 0)) {
                has_ended = true;
                break;
            }
            let id = self.pick(&allowed, random);
            ids.push(id);
            has_ended = at.accept(id).unwrap() == Progress::Complete;
        }
        Said { text: self.text(&ids), ids, has_ended }
    }

    fn pick(&self, allowed: &Allowed, random: &mut Random) -> u32 {
        let closing: Vec<u32> =
            self.closing.iter().copied().filter(|id| is_allowed(allowed, *id)).collect();
        if !closing.is_empty() && random.below(2) == 0 {
            return random.pick(&closing);
        }
        let count: u32 = allowed.ids.iter().map(|word| word.count_ones()).sum();
        let mut index = random.below(count as usize) as u32;
        for (number, word) in allowed.ids.iter().enumerate() {
            if index >= word.count_ones() {
                index -= word.count_ones();
                continue;
            }
            let mut bits = *word;
            for _ in 0..index {
                bits &= bits - 1;
            }
            return number as u32 * 32 + bits.trailing_zeros();
        }
        unreachable!("there are so many bits")
    }

    /// The bytes of the ids as text; panics if they are not UTF-8. Control tokens as spelled.
    pub(super) fn text(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            bytes.extend_from_slice(match self.tokenizer.is_control(id) {
                true => self.tokenizer.token_text(id).as_bytes(),
                false => self.tokenizer.token_bytes(id),
            });
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Whether the grammar lets exactly this text be said, token by token as encoded.
    pub(super) fn takes(&self, at: &dyn Constraint, text: &str) -> bool {
        let mut at = at.boxed_clone();
        let mut ids = Vec::new();
        // Byte by byte if need be: the longest token that is allowed and fits.
        let mut rest = text.as_bytes();
        let mut is_complete = false;
        while !rest.is_empty() {
            if is_complete {
                return false;
            }
            let allowed = at.allowed().unwrap();
            let fits = |id: &u32| {
                let bytes = self.tokenizer.token_bytes(*id);
                !self.tokenizer.is_control(*id) && !bytes.is_empty() && rest.starts_with(bytes)
            };
            let fitting = (0..allowed.ids.len() as u32 * 32).filter(|id| is_allowed(&allowed, *id));
            let Some(id) =
                fitting.filter(fits).max_by_key(|id| self.tokenizer.token_bytes(*id).len())
            else {
                return false;
            };
            rest = &rest[self.tokenizer.token_bytes(id).len()..];
            ids.push(id);
            is_complete = at.accept(id).unwrap() == Progress::Complete;
        }
        is_complete || at.allowed().unwrap().may_end
    }
}

/// JSON that fits a schema, as a piece.
pub(super) fn json_piece(schema: Value) -> Piece {
    Piece::Grammar(Grammar::JsonSchema { schema, strict: false })
}

pub(super) fn is_allowed(allowed: &Allowed, id: u32) -> bool {
    allowed.ids.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
}
