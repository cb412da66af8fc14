//! SentencePiece vocabularies (Llama 2, Mistral, Gemma 1 to 3), by llama.cpp's algorithm:
//! characters merge with their neighbours while the two together are a token, best score first;
//! what remains unknown is spelled in byte tokens.
//! Promises: no text is lost where the vocabulary has byte tokens; never yields a control token.
//! Never knows: special tokens, the leading space (the tokenizer adds it).

use super::FastMap;
use super::bpe::byte_tokens;
use super::merge::{Merger, NO_TOKEN};
use super::vocabulary::TokenType;

/// A SentencePiece encoder.
#[derive(Debug)]
pub(super) struct Spm {
    ids: FastMap<Box<str>, u32>,
    /// By id: 0 merges first. Order of scores, highest first.
    priorities: Vec<u32>,
    byte_tokens: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
    /// Bytes of the longest token: longer text needs no look-up.
    longest: usize,
}

impl Spm {
    /// Builds the tables; `types` and `scores` are as long as `tokens`. Only normal and
    /// user-defined tokens can come out of text.
    pub(super) fn new(
        tokens: &[String],
        types: &[TokenType],
        scores: &[f32],
        unknown: Option<u32>,
    ) -> Self {
        let spelled = |kind: TokenType| matches!(kind, TokenType::Normal | TokenType::UserDefined);
        let ids: FastMap<Box<str>, u32> = tokens
            .iter()
            .zip(types)
            .zip(0..)
            .filter(|((_, kind), _)| spelled(**kind))
            .map(|((text, _), id)| (text.as_str().into(), id))
            .collect();
        Self {
            longest: ids.keys().map(|text| text.len()).max().unwrap_or(0),
            ids,
            priorities: scores.iter().map(|&score| priority(score)).collect(),
            byte_tokens: byte_tokens(tokens, types),
            unknown,
        }
    }

    /// Appends the ids of `text`, in which spaces are U+2581 already.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) {
        merger.clear();
        for (start, character) in text.char_indices() {
            let len = character.len_utf8();
            let id = self.ids.get(&text[start..start + len]).copied();
            merger.push(id.unwrap_or(NO_TOKEN), len as u32);
        }
        merger.run(|left, right| {
            let pair = left.start as usize..(right.start + right.len) as usize;
            if pair.len() > self.longest {
                return None;
            }
            let id = *self.ids.get(&text[pair])?;
            Some((self.priorities[id as usize], id))
        });
        for symbol in merger.symbols() {
            if symbol.id != NO_TOKEN {
                ids.push(symbol.id);
                continue;
            }
            let start = symbol.start as usize;
            for byte in text[start..start + symbol.len as usize].bytes() {
                ids.extend(self.byte_tokens[usize::from(byte)].or(self.unknown));
            }
        }
    }
}

/// Maps scores to integers in the opposite order; equal scores (also 0 and -0) to equal integers.
/// A score that is not a number comes last.
fn priority(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    let bits = (score + 0.0).to_bits(); // -0.0 + 0.0 is 0.0
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_in_descending_order_of_scores() {
        let scores = [f32::INFINITY, 2.0, 1e-9, 0.0, -1e-9, -1.0, -1e9, f32::NEG_INFINITY];
        assert!(scores.map(priority).is_sorted_by(|a, b| a < b));
        assert_eq!(priority(0.0), priority(-0.0));
        assert!(priority(f32::NAN) > priority(f32::NEG_INFINITY));
    }

    #[test]
    fn best_score_first_ties_leftmost_and_bytes_for_the_rest() {
        let table = [
            ("▁", 0.0),
            ("a", 0.0),
            ("b", 0.0),
            ("ab", -2.0),
            ("▁a", -1.0),
            ("aa", -3.0),
            ("<s>", 0.0),
            ("<", 0.0),
            ("s>", 0.0),
            ("<0xC3>", 0.0),
            ("<0xA9>", 0.0),
        ];
        let tokens: Vec<String> = table.iter().map(|(text, _)| (*text).to_owned()).collect();
        let scores: Vec<f32> = table.iter().map(|(_, score)| *score).collect();
        let types: Vec<TokenType> = tokens
            .iter()
            .map(|text| match text.as_str() {
                "<s>" => TokenType::Control,
                text if text.starts_with("<0x") => TokenType::Byte,
                _ => TokenType::Normal,
            })
            .collect();
        let spm = Spm::new(&tokens, &types, &scores, None);
        let check = |text: &str, expected: &[&str]| {
            let mut ids = Vec::new();
            spm.encode(text, &mut Merger::default(), &mut ids);
            let found: Vec<&str> = ids.iter().map(|&id| tokens[id as usize].as_str()).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("▁ab", &["▁a", "b"]);
        check("aaa", &["aa", "a"]);
        check("aé", &["a", "<0xC3>", "<0xA9>"]);
        check("<s>", &["<", "s>"]);
    }
}
