//! A call whose name stands before its arguments: `name[ARGS]{..}`, as Mistral's newer models
//! write it, with or without `[CALL_ID]..` between them.
//! Promises: the arguments come as they are written.

use super::json_text::{Place, ValueEnd};
use super::{CallEvent, Progress};

const ARGUMENTS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";

/// Reads one call, from its name.
#[derive(Debug)]
pub(crate) struct NamedCall {
    name: String,
    at: At,
}

#[derive(Debug)]
enum At {
    Name,
    Tag(String),
    /// Before `[ARGS]`.
    Id,
    /// Before the opening brace.
    Brace,
    Arguments(ValueEnd),
}

impl Default for NamedCall {
    fn default() -> Self {
        Self { name: String::new(), at: At::Name }
    }
}

impl NamedCall {
    pub(super) fn is_before_arguments(&self) -> bool {
        !matches!(self.at, At::Arguments(_))
    }

    pub(super) fn push(&mut self, character: char, events: &mut Vec<CallEvent>) -> Progress {
        match &mut self.at {
            At::Name | At::Id if character == '[' => self.at = At::Tag(character.into()),
            At::Name if character == '{' => return self.begin(character, events),
            At::Name if character.is_ascii_alphanumeric() || "_-.".contains(character) => {
                self.name.push(character);
            }
            At::Id if character.is_ascii_alphanumeric() => {}
            At::Tag(tag) => {
                tag.push(character);
                match tag.as_str() {
                    ARGUMENTS => {
                        self.at = At::Brace;
                        return self.announce(events);
                    }
                    CALL_ID => self.at = At::Id,
                    tag if ARGUMENTS.starts_with(tag) || CALL_ID.starts_with(tag) => {}
                    _ => return Progress::Rejected,
                }
            }
            At::Brace if character == '{' => return self.begin(character, events),
            At::Name | At::Brace if character.is_whitespace() && !self.name.is_empty() => {}
            At::Arguments(end) => {
                let place = end.push(character);
                if matches!(place, Place::Inside | Place::Last) {
                    events.push(CallEvent::Arguments(character.into()));
                }
                return match place {
                    Place::Inside => Progress::More,
                    Place::Last => Progress::Done,
                    Place::After | Place::Wrong => Progress::Rejected,
                };
            }
            At::Name | At::Id | At::Brace => return Progress::Rejected,
        }
        Progress::More
    }

    fn announce(&mut self, events: &mut Vec<CallEvent>) -> Progress {
        if self.name.is_empty() {
            return Progress::Rejected;
        }
        events.push(CallEvent::Name(self.name.clone()));
        Progress::More
    }

    /// The opening brace of the arguments.
    fn begin(&mut self, brace: char, events: &mut Vec<CallEvent>) -> Progress {
        if matches!(self.at, At::Name) && self.announce(events) == Progress::Rejected {
            return Progress::Rejected;
        }
        let mut end = ValueEnd::default();
        end.push(brace);
        self.at = At::Arguments(end);
        events.push(CallEvent::Arguments(brace.into()));
        Progress::More
    }
}
