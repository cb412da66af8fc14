//! A call in tags, as Qwen3-Coder writes it:
//!
//! ```text
//! <function=name>
//! <parameter=city>
//! Kuwait City
//! </parameter>
//! </function>
//! ```
//!
//! Promises: values of parameters that the tool's schema types as something else than strings are
//! JSON already and stay as they are; all others are text.

use super::json_text::escaped;
use super::{CallEvent, Progress, ToolOffer};

const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";

/// Longest name of a function or a parameter.
const MAX_NAME: usize = 256;

/// Reads one call, from `<function=`.
#[derive(Debug, Default)]
pub(crate) struct XmlCall {
    name: String,
    at: At,
    num_parameters: usize,
}

#[derive(Debug)]
enum At {
    /// In `<function=name>`.
    Function(String),
    /// Between parameters, in a tag if it is not empty.
    Between(String),
    Value {
        is_text: bool,
        has_begun: bool,
        /// What may be the end of the value.
        held: String,
    },
}

impl Default for At {
    fn default() -> Self {
        Self::Function(String::new())
    }
}

impl XmlCall {
    pub(super) fn pending(&self) -> usize {
        match &self.at {
            At::Value { held, .. } => held.chars().count(),
            _ => 0,
        }
    }

    pub(super) fn push(
        &mut self,
        character: char,
        offer: &ToolOffer,
        events: &mut Vec<CallEvent>,
    ) -> Progress {
        match &mut self.at {
            At::Function(tag) => {
                tag.push(character);
                match name_of(tag, FUNCTION) {
                    Tag::Partial => return Progress::More,
                    Tag::Wrong => return Progress::Rejected,
                    Tag::Name(name) => self.name = name,
                }
                events.push(CallEvent::Name(self.name.clone()));
                events.push(CallEvent::Arguments("{".to_owned()));
                self.at = At::Between(String::new());
            }
            At::Between(tag) if tag.is_empty() && character.is_whitespace() => {}
            At::Between(tag) => {
                tag.push(character);
                if tag == FUNCTION_END {
                    events.push(CallEvent::Arguments("}".to_owned()));
                    return Progress::Done;
                }
                match name_of(tag, PARAMETER) {
                    Tag::Name(name) => self.begin(&name, offer, events),
                    Tag::Partial => {}
                    Tag::Wrong if FUNCTION_END.starts_with(tag.as_str()) => {}
                    Tag::Wrong => return Progress::Rejected,
                }
            }
            At::Value { .. } => self.value(character, events),
        }
        Progress::More
    }

    fn begin(&mut self, parameter: &str, offer: &ToolOffer, events: &mut Vec<CallEvent>) {
        let is_text = !offer.is_json(&self.name, parameter);
        let comma = if self.num_parameters > 0 { ", " } else { "" };
        let quote = if is_text { "\"" } else { "" };
        let key = escaped(parameter);
        events.push(CallEvent::Arguments(format!("{comma}\"{key}\": {quote}")));
        self.num_parameters += 1;
        self.at = At::Value { is_text, has_begun: false, held: String::new() };
    }

    /// A character of a value, around which there is one line break on each side.
    fn value(&mut self, character: char, events: &mut Vec<CallEvent>) {
        let At::Value { is_text, has_begun, held } = &mut self.at else { return };
        if !std::mem::replace(has_begun, true) && character == '\n' {
            return;
        }
        held.push(character);
        let mut value = String::new();
        while !held.is_empty() {
            let end = held.strip_prefix('\n').unwrap_or(held);
            if end == PARAMETER_END {
                let quote = if *is_text { "\"" } else { "" };
                events.push(CallEvent::Arguments(value + quote));
                self.at = At::Between(String::new());
                return;
            }
            if PARAMETER_END.starts_with(end) {
                break;
            }
            let character = held.remove(0);
            let mut buffer = [0; 4];
            let text = character.encode_utf8(&mut buffer);
            value.push_str(&if *is_text { escaped(text) } else { text.to_owned() });
        }
        if !value.is_empty() {
            events.push(CallEvent::Arguments(value));
        }
    }
}

/// What a tag is so far.
enum Tag {
    Partial,
    Name(String),
    Wrong,
}

fn name_of(tag: &str, opening: &str) -> Tag {
    let Some(name) = tag.strip_prefix(opening) else {
        return if opening.starts_with(tag) { Tag::Partial } else { Tag::Wrong };
    };
    match name.strip_suffix('>') {
        Some(name) if !name.trim().is_empty() => Tag::Name(name.trim().to_owned()),
        None if name.len() <= MAX_NAME && !name.contains('<') => Tag::Partial,
        _ => Tag::Wrong,
    }
}
