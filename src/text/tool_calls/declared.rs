//! A call as FunctionGemma writes it: `call:name{city:<escape>Kuwait City<escape>,days:3}`.
//! Promises: the arguments come as JSON.

use super::json_text::escaped;
use super::{CallEvent, Progress};

const CALL: &str = "call:";
const QUOTE: &str = "<escape>";

/// Longest name of a tool or a parameter, and how deep values may nest.
const MAX_NAME: usize = 256;
const MAX_DEPTH: usize = 64;

/// Reads one call, from `call:`.
#[derive(Debug, Default)]
pub(crate) struct DeclaredCall {
    at: At,
    /// The brackets that are open.
    open: Vec<char>,
}

#[derive(Debug)]
enum At {
    /// In `call:name`.
    Name(String),
    /// In the name of a parameter.
    Key(String),
    /// Before a value, of which this may be the quote.
    Value(String),
    /// In text, of which this may be the quote at its end.
    Text(String),
    /// In a number or a word.
    Scalar,
    /// Behind a value.
    Next,
}

impl Default for At {
    fn default() -> Self {
        Self::Name(String::new())
    }
}

impl DeclaredCall {
    pub(super) fn pending(&self) -> usize {
        match &self.at {
            At::Text(held) | At::Key(held) | At::Value(held) => held.chars().count(),
            At::Name(_) | At::Scalar | At::Next => 0,
        }
    }

    pub(super) fn push(&mut self, character: char, events: &mut Vec<CallEvent>) -> Progress {
        let mut json = String::new();
        let progress = self.step(character, events, &mut json);
        if !json.is_empty() {
            events.push(CallEvent::Arguments(json));
        }
        progress
    }

    fn step(
        &mut self,
        character: char,
        events: &mut Vec<CallEvent>,
        json: &mut String,
    ) -> Progress {
        match &mut self.at {
            At::Name(tag) if character == '{' => {
                let Some(name) = tag.strip_prefix(CALL).filter(|name| !name.is_empty()) else {
                    return Progress::Rejected;
                };
                events.push(CallEvent::Name(name.trim().to_owned()));
                return self.begin(character, json);
            }
            At::Name(tag) => {
                tag.push(character);
                let is_fit = CALL.starts_with(tag.as_str())
                    || (tag.starts_with(CALL) && tag.len() <= MAX_NAME && character != '<');
                return if is_fit { Progress::More } else { Progress::Rejected };
            }
            At::Key(key) if character == ':' && !key.is_empty() => {
                *json += &format!("\"{}\": ", escaped(key.trim()));
                self.at = At::Value(String::new());
            }
            At::Key(key) if character == '}' && key.is_empty() => return self.end(character, json),
            At::Key(key) if character.is_whitespace() && key.is_empty() => {}
            At::Key(key) if key.len() < MAX_NAME && !"{}[]<,".contains(character) => {
                key.push(character);
            }
            At::Value(quote) if character == '<' || !quote.is_empty() => {
                quote.push(character);
                if quote == QUOTE {
                    json.push('"');
                    self.at = At::Text(String::new());
                } else if !QUOTE.starts_with(quote.as_str()) {
                    return Progress::Rejected;
                }
            }
            At::Value(_) if matches!(character, '{' | '[') => return self.begin(character, json),
            At::Value(_) if character == ']' => return self.end(character, json),
            At::Value(_) if character.is_whitespace() => {}
            At::Value(_) | At::Scalar
                if character.is_ascii_alphanumeric() || "+-.".contains(character) =>
            {
                json.push(character);
                self.at = At::Scalar;
            }
            At::Text(held) => {
                held.push(character);
                while !QUOTE.starts_with(held.as_str()) {
                    let first = held.remove(0);
                    *json += &escaped(first.encode_utf8(&mut [0; 4]));
                }
                if held == QUOTE {
                    json.push('"');
                    self.at = At::Next;
                }
            }
            At::Scalar | At::Next if character == ',' => {
                *json += ", ";
                self.expect();
            }
            At::Scalar | At::Next if matches!(character, '}' | ']') => {
                return self.end(character, json);
            }
            At::Scalar | At::Next if character.is_whitespace() => self.at = At::Next,
            At::Key(_) | At::Value(_) | At::Scalar | At::Next => return Progress::Rejected,
        }
        Progress::More
    }

    fn begin(&mut self, bracket: char, json: &mut String) -> Progress {
        if self.open.len() == MAX_DEPTH {
            return Progress::Rejected;
        }
        json.push(bracket);
        self.open.push(bracket);
        self.expect();
        Progress::More
    }

    /// What stands first in brackets, or behind a comma.
    fn expect(&mut self) {
        let is_list = self.open.last() == Some(&'[');
        self.at = if is_list { At::Value(String::new()) } else { At::Key(String::new()) };
    }

    fn end(&mut self, bracket: char, json: &mut String) -> Progress {
        let opening = if bracket == '}' { '{' } else { '[' };
        if self.open.pop() != Some(opening) {
            return Progress::Rejected;
        }
        json.push(bracket);
        self.at = At::Next;
        if self.open.is_empty() { Progress::Done } else { Progress::More }
    }
}
