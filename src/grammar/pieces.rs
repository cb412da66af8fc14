//! Pieces, written down in the library's Lark syntax.
//!
//! Free text ends where the marker of what follows begins. The library reads a text's longest
//! match, so a marker after any text would never be found: free text and the marker that ends it
//! are one terminal, "anything that has the marker at its end and nowhere else".
//!
//! Promises: bounded work, however pieces are nested; the order of the alternatives is kept.
//! Never knows: whose syntax of tool calls it writes.

use std::fmt::Write as _;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::Value;

use super::compile::alone;
use super::{GrammarError, Piece};

/// Pieces, those within others included; and those that are written down, where free text has some
/// written twice.
pub(super) const MAX_PIECES: usize = 10_000;

/// Repetitions beyond this are refused.
const MAX_REPEAT: usize = 10_000;

/// A piece, checked.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Token(u32),
    /// The number of a grammar of its own.
    Grammar(usize),
    Free,
    OneOf(Vec<Vec<Part>>),
    Repeat {
        parts: Vec<Part>,
        min: usize,
        max: Option<usize>,
    },
}

/// What ends free text.
#[derive(Clone, Debug, PartialEq)]
enum Marker {
    Text(String),
    Token(u32),
}

/// What may follow free text: nothing, or a marker and more.
struct Continuation {
    marker: Option<Marker>,
    rest: Vec<Part>,
}

/// What the tokens of the vocabulary are.
pub(super) trait Vocabulary {
    /// The text of a token that is text; `None` for one that steers the model or has none.
    fn text_of(&self, id: u32) -> Option<&str>;
    /// Ids are below this.
    fn size(&self) -> usize;
}

/// The pieces as a grammar, one more for each grammar in them.
pub(super) fn lower(
    pieces: &[Piece],
    vocabulary: &dyn Vocabulary,
) -> Result<TopLevelGrammar, GrammarError> {
    let mut reader = Reader { vocabulary, grammars: Vec::new() };
    let parts = reader.parts(pieces)?;
    let mut writer = Writer { terminals: String::new(), num_terminals: 0, num_written: 0 };
    let start = writer.sequence(&parts)?;
    let lark = format!("start: {start}\n{}", writer.terminals);
    let mut grammars = vec![GrammarWithLexer::from_lark(lark)];
    for (number, grammar) in reader.grammars.into_iter().enumerate() {
        grammars.push(GrammarWithLexer { name: Some(format!("part{number}")), ..grammar });
    }
    Ok(TopLevelGrammar { grammars, max_tokens: None })
}

/// A text as Lark writes it.
pub(super) fn lark_string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn error<T>(why: impl Into<String>) -> Result<T, GrammarError> {
    Err(GrammarError::Pieces(why.into()))
}

struct Reader<'a> {
    vocabulary: &'a dyn Vocabulary,
    grammars: Vec<GrammarWithLexer>,
}

impl Reader<'_> {
    fn parts(&mut self, pieces: &[Piece]) -> Result<Vec<Part>, GrammarError> {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Text(text) if text.is_empty() => {}
                Piece::Text(text) => parts.push(Part::Text(text.clone())),
                Piece::Token(id) => parts.push(self.token(*id)?),
                Piece::Grammar(grammar) => {
                    self.grammars.push(alone(grammar)?);
                    parts.push(Part::Grammar(self.grammars.len() - 1));
                }
                Piece::FreeText => parts.push(Part::Free),
                Piece::OneOf(alternatives) if alternatives.is_empty() => {
                    return error("there is nothing to choose from");
                }
                Piece::OneOf(alternatives) => {
                    let read = alternatives.iter().map(|pieces| self.parts(pieces));
                    parts.push(Part::OneOf(read.collect::<Result<_, _>>()?));
                }
                Piece::Repeat { pieces, min, max } => {
                    let inner = self.parts(pieces)?;
                    parts.extend(repeated(inner, *min, *max)?);
                }
            }
        }
        Ok(parts)
    }

    fn token(&self, id: u32) -> Result<Part, GrammarError> {
        if id as usize >= self.vocabulary.size() {
            return error(format!("there is no token {id}"));
        }
        // Such a token is in the middle of free text like any other: only its text tells it apart.
        let text = self.vocabulary.text_of(id);
        Ok(text.map_or(Part::Token(id), |text| Part::Text(text.to_owned())))
    }
}

fn repeated(
    parts: Vec<Part>,
    min: usize,
    max: Option<usize>,
) -> Result<Option<Part>, GrammarError> {
    if max == Some(0) {
        return Ok(None);
    }
    if max.is_some_and(|max| max < min) || max.unwrap_or(min) > MAX_REPEAT {
        return error(format!("they cannot repeat {min} to {max:?} times"));
    }
    if may_be_nothing(&parts) {
        return error("what repeats must not be nothing");
    }
    if ends_free(&parts) {
        return error("free text cannot be the end of what repeats");
    }
    Ok(Some(Part::Repeat { parts, min, max }))
}

fn may_be_nothing(parts: &[Part]) -> bool {
    parts.iter().all(|part| match part {
        Part::Text(_) | Part::Token(_) | Part::Grammar(_) => false,
        Part::Free => true,
        Part::OneOf(alternatives) => alternatives.iter().any(|parts| may_be_nothing(parts)),
        Part::Repeat { min, .. } => *min == 0,
    })
}

/// Whether the last that these parts say may be free text.
fn ends_free(parts: &[Part]) -> bool {
    for part in parts.iter().rev() {
        let is_free = match part {
            Part::Free => true,
            Part::OneOf(alternatives) => alternatives.iter().any(|parts| ends_free(parts)),
            Part::Text(_) | Part::Token(_) | Part::Grammar(_) | Part::Repeat { .. } => false,
        };
        if is_free || !may_be_nothing(std::slice::from_ref(part)) {
            return is_free;
        }
    }
    false
}

struct Writer {
    /// Their definitions, a line each.
    terminals: String,
    num_terminals: usize,
    num_written: usize,
}

impl Writer {
    /// The parts as the right side of a rule.
    fn sequence(&mut self, parts: &[Part]) -> Result<String, GrammarError> {
        let mut text = String::new();
        for (index, part) in parts.iter().enumerate() {
            self.count(1)?;
            let rest = &parts[index + 1..];
            if !text.is_empty() {
                text.push(' ');
            }
            match part {
                Part::Text(literal) => text.push_str(&lark_string(literal)),
                Part::Token(id) => text.push_str(&token(*id)),
                Part::Grammar(number) => _ = write!(text, "@part{number}"),
                Part::Free => {
                    text.push_str(&self.free(rest)?);
                    return Ok(text);
                }
                // Free text at its end needs to know what follows, so that goes into each.
                Part::OneOf(alternatives) if ends_free(std::slice::from_ref(part)) => {
                    let whole = alternatives.iter().map(|parts| [parts, rest].concat());
                    let whole: Vec<_> = whole.collect();
                    text.push_str(&self.alternatives(&whole)?);
                    return Ok(text);
                }
                Part::OneOf(alternatives) => text.push_str(&self.alternatives(alternatives)?),
                Part::Repeat { parts, min, max } => {
                    let inner = self.sequence(parts)?;
                    let times = match max {
                        Some(max) => format!("{{{min},{max}}}"),
                        None if *min == 0 => "*".to_owned(),
                        None => format!("{{{min},}}"),
                    };
                    _ = write!(text, "({inner}){times}");
                }
            }
        }
        Ok(if text.is_empty() { "\"\"".to_owned() } else { text })
    }

    fn alternatives(&mut self, alternatives: &[Vec<Part>]) -> Result<String, GrammarError> {
        let written = alternatives.iter().map(|parts| self.sequence(parts));
        let written: Vec<String> = written.collect::<Result<_, _>>()?;
        Ok(format!("({})", written.join(" | ")))
    }

    /// Free text and what follows it.
    fn free(&mut self, rest: &[Part]) -> Result<String, GrammarError> {
        let mut continuations = Vec::new();
        self.continuations(rest, &mut continuations)?;
        // By marker, in the order of their first occurrence.
        let mut by_marker: Vec<(Option<Marker>, Vec<Vec<Part>>)> = Vec::new();
        for Continuation { marker, rest } in continuations {
            match by_marker.iter_mut().find(|(other, _)| *other == marker) {
                Some((_, rests)) => rests.push(rest),
                None => by_marker.push((marker, vec![rest])),
            }
        }
        let texts = by_marker.iter().filter_map(|(marker, _)| match marker {
            Some(Marker::Text(text)) => Some(lark_string(text)),
            Some(Marker::Token(_)) | None => None,
        });
        let markers = texts.collect::<Vec<_>>().join(" | ");
        let mut plain = None;
        let mut alternatives = Vec::new();
        for (marker, rests) in by_marker {
            if let Some(Marker::Text(text)) = marker {
                let text = lark_string(&text);
                let whole = format!("/(?s:.*)/ {text} & ~(/(?s:.*)/ ({markers}) /(?s:.+)/)");
                let terminal = self.terminal(&whole);
                alternatives.push(format!("{terminal} {}", self.alternatives(&rests)?));
                continue;
            }
            let terminal = plain.get_or_insert_with(|| match markers.is_empty() {
                true => self.terminal("/(?s:.+)/"),
                false => self.terminal(&format!("/(?s:.+)/ & ~(/(?s:.*)/ ({markers}) /(?s:.*)/)")),
            });
            let mut alternative = format!("{terminal}?");
            if let Some(Marker::Token(id)) = marker {
                _ = write!(alternative, " {} {}", token(id), self.alternatives(&rests)?);
            }
            alternatives.push(alternative);
        }
        Ok(format!("({})", alternatives.join(" | ")))
    }

    /// All that may come first in `parts`, with what comes after it.
    fn continuations(
        &mut self,
        parts: &[Part],
        found: &mut Vec<Continuation>,
    ) -> Result<(), GrammarError> {
        self.count(1 + parts.len())?;
        let Some((first, rest)) = parts.split_first() else {
            found.push(Continuation { marker: None, rest: Vec::new() });
            return Ok(());
        };
        let marker = match first {
            Part::Text(text) => Marker::Text(text.clone()),
            Part::Token(id) => Marker::Token(*id),
            Part::OneOf(alternatives) => {
                for alternative in alternatives {
                    self.continuations(&[alternative, rest].concat(), found)?;
                }
                return Ok(());
            }
            Part::Repeat { parts, min, max } => {
                let again = repeated(parts.clone(), min.saturating_sub(1), max.map(|max| max - 1))?;
                let once = [parts, again.as_slice(), rest].concat();
                self.continuations(&once, found)?;
                return if *min == 0 { self.continuations(rest, found) } else { Ok(()) };
            }
            Part::Grammar(_) | Part::Free => {
                return error("after free text comes a text or a token that ends it");
            }
        };
        found.push(Continuation { marker: Some(marker), rest: rest.to_vec() });
        Ok(())
    }

    fn terminal(&mut self, definition: &str) -> String {
        let name = format!("TEXT{}", self.num_terminals);
        self.num_terminals += 1;
        _ = writeln!(self.terminals, "{name}: {definition}");
        name
    }

    fn count(&mut self, num_parts: usize) -> Result<(), GrammarError> {
        self.num_written += num_parts;
        let (what, unit) = ("pieces", "parts");
        match self.num_written {
            size if size > MAX_PIECES => {
                Err(GrammarError::TooLarge { what, size, unit, max: MAX_PIECES })
            }
            _ => Ok(()),
        }
    }
}

fn token(id: u32) -> String {
    format!("<[{id}]>")
}
