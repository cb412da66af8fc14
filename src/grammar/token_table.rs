//! A model's tokens as llguidance wants them: the bytes of each, control tokens apart.
//! Promises: text yields no control token; an id without text of its own is never allowed by it.
//! Never knows: grammars.

use llguidance::toktrie::{TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::text::Tokenizer;

/// A token longer than this would break the tree's bounds; it is never allowed.
const MAX_TOKEN_BYTES: usize = 1000;

/// The tree of all tokens. One id more than the model has stands for the end: what really ends a
/// sequence is the engine's business.
pub(super) struct TokenTable(TokTrie);

impl TokenTable {
    /// `vocab_size`: of the logits; ids beyond the tokenizer's have no text.
    pub(super) fn new(tokenizer: &Tokenizer, vocab_size: usize) -> Self {
        let end = vocab_size as TokenId;
        let mut words: Vec<Vec<u8>> = (0..end).map(|id| word(tokenizer, id)).collect();
        words.push(special("<end of output>"));
        Self(TokTrie::from(&TokRxInfo::new(end + 1, end), &words))
    }
}

fn word(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    if tokenizer.is_control(id) {
        return special(tokenizer.token_text(id));
    }
    let bytes = tokenizer.token_bytes(id);
    // The marker's byte is in no text, but some vocabularies have a token for each byte.
    let is_text = bytes.len() <= MAX_TOKEN_BYTES && bytes.first() != Some(&MARKER);
    if is_text { bytes.to_vec() } else { Vec::new() }
}

const MARKER: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

fn special(spelling: &str) -> Vec<u8> {
    let mut word = vec![MARKER];
    let spelling = spelling.as_bytes();
    word.extend_from_slice(&spelling[..spelling.len().min(MAX_TOKEN_BYTES)]);
    word
}

impl TokenizerEnv for TokenTable {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(text)
    }

    /// Tokens are sampled, never forced.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
