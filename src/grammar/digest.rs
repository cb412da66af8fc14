//! A name for each grammar, by which compiled ones are found again.
//! Promises: different grammars have different names; what is too large or nested too deep to be
//! looked at safely is refused here, before anything else follows it down.
//! Never knows: what a grammar means.

use sha2::{Digest, Sha256};

use super::pieces::MAX_PIECES;
use super::{Grammar, GrammarError, Piece, schema};

/// SHA-256.
pub(super) type Key = [u8; 32];

/// Bytes of a regular expression, of a Lark grammar, of all choices together.
const MAX_TEXT: usize = 64 << 10;

/// Schemas and pieces within one another, as JSON is nested.
pub(super) const MAX_DEPTH: usize = 100;

/// The grammar's name.
pub(super) fn digest(grammar: &Grammar) -> Result<Key, GrammarError> {
    let mut hash = Sha256::new();
    digest_grammar(grammar, 0, &mut hash)?;
    Ok(hash.finalize().into())
}

fn digest_grammar(grammar: &Grammar, depth: usize, hash: &mut Sha256) -> Result<(), GrammarError> {
    let what = grammar.name();
    let text = |hash: &mut Sha256, text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text.as_bytes());
    };
    let checked = |size: usize| match size > MAX_TEXT {
        true => Err(GrammarError::TooLarge { what, size, unit: "bytes", max: MAX_TEXT }),
        false => Ok(()),
    };
    match grammar {
        Grammar::JsonObject => hash.update([0]),
        Grammar::JsonSchema { schema, strict } => {
            hash.update([1, u8::from(*strict)]);
            text(hash, &schema::text(schema)?);
        }
        Grammar::Regex(pattern) => {
            checked(pattern.len())?;
            hash.update([2]);
            text(hash, pattern);
        }
        Grammar::Choice(choices) => {
            checked(choices.iter().map(String::len).sum())?;
            hash.update([3]);
            hash.update(choices.len().to_le_bytes());
            choices.iter().for_each(|choice| text(hash, choice));
        }
        Grammar::Lark(lark) => {
            checked(lark.len())?;
            hash.update([4]);
            text(hash, lark);
        }
        Grammar::Sequence(pieces) => {
            hash.update([5]);
            digest_pieces(pieces, depth, hash)?;
        }
    }
    Ok(())
}

fn digest_pieces(pieces: &[Piece], depth: usize, hash: &mut Sha256) -> Result<(), GrammarError> {
    let what = "pieces";
    let too_large = |size, unit, max| Err(GrammarError::TooLarge { what, size, unit, max });
    if depth > MAX_DEPTH {
        return too_large(depth, "levels", MAX_DEPTH);
    }
    if pieces.len() > MAX_PIECES {
        return too_large(pieces.len(), "parts", MAX_PIECES);
    }
    hash.update(pieces.len().to_le_bytes());
    for piece in pieces {
        match piece {
            Piece::Text(text) if text.len() > MAX_TEXT => {
                return too_large(text.len(), "bytes", MAX_TEXT);
            }
            Piece::Text(text) => {
                hash.update([0]);
                hash.update(text.len().to_le_bytes());
                hash.update(text);
            }
            Piece::Token(id) => {
                hash.update([1]);
                hash.update(id.to_le_bytes());
            }
            Piece::Grammar(grammar) => {
                hash.update([2]);
                digest_grammar(grammar, depth + 1, hash)?;
            }
            Piece::FreeText => hash.update([3]),
            Piece::OneOf(alternatives) => {
                hash.update([4]);
                hash.update(alternatives.len().to_le_bytes());
                for alternative in alternatives {
                    digest_pieces(alternative, depth + 1, hash)?;
                }
            }
            Piece::Repeat { pieces, min, max } => {
                hash.update([5]);
                hash.update(min.to_le_bytes());
                hash.update([u8::from(max.is_some())]);
                hash.update(max.unwrap_or_default().to_le_bytes());
                digest_pieces(pieces, depth + 1, hash)?;
            }
        }
    }
    Ok(())
}
