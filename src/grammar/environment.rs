//! What a model's grammars are compiled with, and those compiled last.
//! Promises: the tokens' tree is built once, when the first grammar is there; the cache is bounded.
//! Never knows: what a grammar says.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::ParserLimits;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use llguidance::{ParserFactory, earley::SlicedBiasComputer};

use super::constraint::TokenConstraint;
use super::digest::Key;
use super::pieces::Vocabulary;
use super::token_table::TokenTable;
use crate::text::Tokenizer;

/// Grammars that are kept compiled; some 0.1 to 10 MB each.
const CACHED_GRAMMARS: usize = 32;

/// What a grammar may cost, at most. The library's own bounds are for grammars that are trusted.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2000,
    initial_lexer_fuel: 1_000_000, // 50,000 a millisecond
    step_lexer_fuel: 200_000,      // 14,000 a millisecond
    step_max_items: 50_000,        // 20,000 a millisecond
    max_lexer_states: 20_000,      // 1 to 2 kB each
    max_grammar_size: 200_000,     // symbols
    precompute_large_lexemes: true,
    verbose_errors: false,
};

/// A model's tokens for grammars, and the grammars compiled last. Clones are the same.
#[derive(Clone)]
pub struct Environment(Arc<Inner>);

struct Inner {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
    /// A tenth of a second to a whole one in the making, by the number of ids.
    factory: OnceLock<ParserFactory>,
    /// The latest used last.
    compiled: Mutex<VecDeque<(Key, TokenConstraint)>>,
}

impl Environment {
    /// For a model whose logits are `vocab_size` many; they may be more than the tokenizer's ids.
    pub fn new(tokenizer: Arc<Tokenizer>, vocab_size: usize) -> Self {
        let (factory, compiled) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { tokenizer, vocab_size, factory, compiled }))
    }

    /// The number of the model's ids.
    pub(super) fn vocab_size(&self) -> usize {
        self.0.vocab_size
    }

    /// What makes parsers of grammars.
    pub(super) fn factory(&self) -> &ParserFactory {
        self.0.factory.get_or_init(|| {
            let tokens: TokEnv = Arc::new(TokenTable::new(&self.0.tokenizer, self.0.vocab_size));
            let slices = SlicedBiasComputer::json_slices();
            let mut factory =
                ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
                    .expect("the slices are the library's own");
            *factory.limits_mut() = LIMITS;
            factory.quiet();
            factory
        })
    }

    /// A constraint at the beginning of the grammar, if it was compiled lately.
    pub(super) fn cached(&self, key: &Key) -> Option<TokenConstraint> {
        let mut compiled = self.0.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let index = compiled.iter().position(|(other, _)| other == key)?;
        let entry = compiled.remove(index)?;
        let constraint = entry.1.clone();
        compiled.push_back(entry);
        Some(constraint)
    }

    pub(super) fn keep(&self, key: Key, constraint: TokenConstraint) {
        let mut compiled = self.0.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.retain(|(other, _)| *other != key);
        if compiled.len() == CACHED_GRAMMARS {
            compiled.pop_front();
        }
        compiled.push_back((key, constraint));
    }
}

impl Vocabulary for Environment {
    fn text_of(&self, id: u32) -> Option<&str> {
        let tokenizer = &self.0.tokenizer;
        let bytes = (!tokenizer.is_control(id)).then(|| tokenizer.token_bytes(id));
        std::str::from_utf8(bytes?).ok().filter(|text| !text.is_empty())
    }

    fn size(&self) -> usize {
        self.0.vocab_size
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("vocab_size", &self.0.vocab_size)
            .finish_non_exhaustive()
    }
}
