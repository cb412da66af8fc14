//! Tells the control tokens that a template's author wrote from those that came with a message.
//!
//! Before a template is compiled, each control token spelled in its source (in text or in a string
//! literal) is replaced by a *mark*, a private-use character of its own; so are the values of
//! `bos_token` and `eos_token`. After rendering, each mark is that control token, and all other
//! text is plain, whatever the template did with it: trimmed, split, joined, printed as JSON.
//! Messages need no change: tests on their text (`'</think>' in content`) see what was written.

use serde_json::Value;

use super::super::special_tokens::Fragment;
use super::super::{Segment, Tokenizer};
use super::TemplateError;

/// Marks are U+10F000 to U+10FFFC: the end of the last private-use plane.
const FIRST: u32 = 0x10_F000;
const MAX_MARKS: usize = 0xFFD;
/// In callers' text, a character from the marks' range is written as this and a stand-in.
const ESCAPE: char = '\u{10_FFFD}';
/// Where a prompt is cut that goes on with its last message.
pub(super) const CUT: char = '\u{10_FFFE}';
/// The stand-in for U+10F000.
const FIRST_STAND_IN: u32 = 0xF_0000;

/// Roles that templates put between the pieces of a control token.
const ROLES: [&str; 4] = ["user", "assistant", "system", "tool"];

/// The control tokens of one template, by mark.
#[derive(Debug)]
pub(super) struct Marks {
    spellings: Vec<String>,
}

impl Marks {
    /// No marks yet, for a template that must not contain any itself.
    pub(super) fn new(source: &str) -> Result<Self, TemplateError> {
        match source.chars().find(|&character| is_reserved(character)) {
            None => Ok(Self { spellings: Vec::new() }),
            Some(found) => {
                let code = u32::from(found);
                Err(TemplateError::Syntax(format!("U+{code:X} is reserved for control tokens")))
            }
        }
    }

    /// `source` with its control tokens marked.
    pub(super) fn mark_source(
        &mut self,
        source: &str,
        tokenizer: &Tokenizer,
    ) -> Result<String, TemplateError> {
        let specials = tokenizer.specials();
        let controls = || specials.controls().filter(|token| !is_word(&token.text));
        if let Some(token) = controls().find(|token| is_assembled(&token.text, source)) {
            return Err(TemplateError::AssembledControlToken(token.text.clone()));
        }
        let mut marked = String::with_capacity(source.len());
        let mut copied = 0;
        for fragment in specials.partition(source, |found| !is_word(&source[found.clone()])) {
            if let Fragment::Token(id, range) = fragment
                && specials.is_control(id)
            {
                marked.push_str(&source[copied..range.start]);
                marked.push_str(&self.mark(&source[range.clone()]));
                copied = range.end;
            }
        }
        marked.push_str(&source[copied..]);
        if self.spellings.len() > MAX_MARKS - 2 {
            return Err(TemplateError::Syntax("too many different control tokens".into()));
        }
        Ok(marked)
    }

    /// The mark for a control token; nothing for nothing.
    pub(super) fn mark(&mut self, spelling: &str) -> String {
        if spelling.is_empty() {
            return String::new();
        }
        let known = self.spellings.iter().position(|known| known == spelling);
        let index = known.unwrap_or_else(|| {
            self.spellings.push(spelling.to_owned());
            self.spellings.len() - 1
        });
        char::from_u32(FIRST + index as u32).map(String::from).unwrap_or_default()
    }

    /// Rendered text in parts: marks are what the template wrote, the rest is content.
    pub(super) fn segments(&self, rendered: &str) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut characters = rendered.chars().peekable();
        while let Some(character) = characters.next() {
            let index = u32::from(character).wrapping_sub(FIRST) as usize;
            if let Some(spelling) = self.spellings.get(index) {
                match segments.last_mut() {
                    Some(Segment::Template(text)) => text.push_str(spelling),
                    _ => segments.push(Segment::Template(spelling.clone())),
                }
                continue;
            }
            let character = match character {
                ESCAPE => {
                    let stands_for = characters.peek().copied().and_then(from_stand_in);
                    let Some(original) = stands_for else { continue };
                    characters.next();
                    original
                }
                plain => plain,
            };
            match segments.last_mut() {
                Some(Segment::Content(text)) => text.push(character),
                _ => segments.push(Segment::Content(character.into())),
            }
        }
        segments
    }

    /// Text for people: marks spelled out.
    pub(super) fn restore(&self, text: &str) -> String {
        self.segments(text).iter().map(Segment::text).collect()
    }
}

/// Replaces characters that are reserved for marks in all strings of what a caller wrote.
pub(super) fn escape(value: &mut Value) {
    match value {
        Value::String(text) => escape_text(text),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(fields) => {
            fields.values_mut().for_each(escape);
            if fields.keys().any(|name| name.chars().any(is_reserved)) {
                let escaped = |(mut name, value): (String, Value)| {
                    escape_text(&mut name);
                    (name, value)
                };
                *fields = std::mem::take(fields).into_iter().map(escaped).collect();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn escape_text(text: &mut String) {
    if !text.chars().any(is_reserved) {
        return;
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if is_reserved(character) {
            escaped.push(ESCAPE);
            escaped.extend(char::from_u32(u32::from(character) - FIRST + FIRST_STAND_IN));
        } else {
            escaped.push(character);
        }
    }
    *text = escaped;
}

fn is_reserved(character: char) -> bool {
    (FIRST..=u32::from(CUT)).contains(&u32::from(character))
}

fn from_stand_in(character: char) -> Option<char> {
    let original = u32::from(character).checked_sub(FIRST_STAND_IN)?.checked_add(FIRST)?;
    char::from_u32(original).filter(|&original| is_reserved(original))
}

/// A control token spelled like a word could be part of the template's code: it stays as it is,
/// and in the prompt it is plain text.
fn is_word(spelling: &str) -> bool {
    spelling.chars().all(|c| c.is_alphanumeric() || c == '_' || c.is_whitespace())
}

/// Whether the source writes the token as `'<|' + role + '|>'` or `<|{{ role }}|>`.
fn is_assembled(spelling: &str, source: &str) -> bool {
    ROLES.iter().any(|role| {
        let Some((before, after)) = spelling.split_once(role) else { return false };
        let ends_piece =
            ["'", "\"", "{{"].iter().any(|end| source.contains(&format!("{before}{end}")));
        let starts_piece =
            ["'", "\"", "}}"].iter().any(|start| source.contains(&format!("{start}{after}")));
        !before.is_empty() && !after.is_empty() && ends_piece && starts_piece
    })
}
