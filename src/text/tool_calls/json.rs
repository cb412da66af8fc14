//! A call that is a JSON object: `{"name": "f", "arguments": {..}}`, as most families write it.
//! Promises: the arguments come as they are written; a string of JSON is taken out of its quotes.
//! Never knows: what stands around the object.

use super::json_text::{Place, Said, TextReader, ValueEnd};
use super::{CallEvent, Progress, ToolOffer};

/// Reads one object, from its opening brace.
#[derive(Debug)]
pub(crate) struct JsonCall {
    /// Nothing but the object itself says that it is a call.
    is_unmarked: bool,
    at: At,
    /// Objects that are open: the call, and `function` within it.
    depth: usize,
    name: Option<String>,
    is_announced: bool,
    has_arguments: bool,
    /// Arguments that came before the name.
    early: String,
}

#[derive(Debug)]
enum At {
    /// Before the object.
    Brace,
    /// Before a name, or the end of an object without any.
    FirstKey,
    NextKey,
    Key(String, TextReader),
    Colon(Key),
    Value(Key),
    Name(String, TextReader),
    Arguments(ValueEnd),
    /// Arguments that are written as a string.
    Text(TextReader),
    Other(ValueEnd),
    CommaOrEnd,
}

/// What a name in the object stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    /// An object around name and arguments, or the name.
    Function,
    Arguments,
    Other,
}

impl JsonCall {
    /// A call that, if it `is_unmarked`, has to name an offered tool and look like nothing else.
    pub(super) fn new(is_unmarked: bool) -> Self {
        Self {
            is_unmarked,
            at: At::Brace,
            depth: 0,
            name: None,
            is_announced: false,
            has_arguments: false,
            early: String::new(),
        }
    }

    pub(super) fn pending(&self) -> usize {
        match &self.at {
            At::Text(reader) => reader.pending(),
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
            At::Key(key, reader) => match reader.push(character) {
                Said::Text(text) => key.push_str(&text),
                Said::End(_) => return self.key(offer),
            },
            At::Name(name, reader) => match reader.push(character) {
                Said::Text(text) => name.push_str(&text),
                Said::End(_) => {
                    let name = std::mem::take(name);
                    return self.named(name, offer, events);
                }
            },
            At::Arguments(end) => {
                let place = end.push(character);
                if matches!(place, Place::Inside | Place::Last) {
                    self.arguments(character.into(), events);
                }
                return self.after_value(place, character, offer, events);
            }
            At::Text(reader) => match reader.push(character) {
                Said::Text(text) => self.arguments(text, events),
                Said::End(text) => {
                    self.arguments(text, events);
                    self.at = At::CommaOrEnd;
                }
            },
            At::Other(end) => {
                let place = end.push(character);
                return self.after_value(place, character, offer, events);
            }
            _ if character.is_whitespace() => {}
            At::Value(key) => {
                let key = *key;
                return self.value(key, character, events);
            }
            At::Colon(key) if character == ':' => self.at = At::Value(*key),
            At::FirstKey | At::NextKey if character == '"' => {
                self.at = At::Key(String::new(), TextReader::default());
            }
            At::Brace if character == '{' => {
                self.depth = 1;
                self.at = At::FirstKey;
            }
            At::FirstKey | At::CommaOrEnd if character == '}' => return self.close(events),
            At::CommaOrEnd if character == ',' => self.at = At::NextKey,
            _ => return Progress::Rejected,
        }
        Progress::More
    }

    /// A name of the object is complete.
    fn key(&mut self, offer: &ToolOffer) -> Progress {
        let At::Key(key, _) = &self.at else { return Progress::Rejected };
        let has_name = self.name.is_some();
        let key = match key.as_str() {
            "name" if !has_name => Key::Name,
            "function" if !has_name => Key::Function,
            "arguments" | "parameters" if !self.has_arguments => Key::Arguments,
            "type" | "id" => Key::Other,
            _ if self.is_unmarked && !self.is_announced => return Progress::Rejected,
            _ => Key::Other,
        };
        // Data may have a `parameters` too.
        let is_known = || self.name.as_deref().is_some_and(|name| offer.knows(name));
        if self.is_unmarked && key == Key::Arguments && !is_known() {
            return Progress::Rejected;
        }
        self.at = At::Colon(key);
        Progress::More
    }

    /// The first character of a value.
    fn value(&mut self, key: Key, character: char, events: &mut Vec<CallEvent>) -> Progress {
        match (key, character) {
            (Key::Name | Key::Function, '"') => {
                self.at = At::Name(String::new(), TextReader::default());
            }
            (Key::Function, '{') => {
                self.depth += 1;
                self.at = At::FirstKey;
            }
            (Key::Name | Key::Function, _) => return Progress::Rejected,
            (Key::Arguments, '"') => {
                self.announce(events);
                self.at = At::Text(TextReader::default());
            }
            (Key::Arguments | Key::Other, _) => {
                let mut end = ValueEnd::default();
                if end.push(character) != Place::Inside {
                    return Progress::Rejected;
                }
                // `null` stands for no arguments.
                if key == Key::Other || character == 'n' {
                    self.at = At::Other(end);
                } else {
                    self.announce(events);
                    self.arguments(character.into(), events);
                    self.at = At::Arguments(end);
                }
            }
        }
        Progress::More
    }

    fn named(&mut self, name: String, offer: &ToolOffer, events: &mut Vec<CallEvent>) -> Progress {
        if name.is_empty() || (self.is_unmarked && !offer.knows(&name)) {
            return Progress::Rejected;
        }
        self.name = Some(name);
        self.at = At::CommaOrEnd;
        if !self.is_unmarked {
            self.announce(events);
        }
        Progress::More
    }

    /// It is a call: says so, once the name is known.
    fn announce(&mut self, events: &mut Vec<CallEvent>) {
        if let Some(name) = self.name.as_ref().filter(|_| !self.is_announced) {
            self.is_announced = true;
            events.push(CallEvent::Name(name.clone()));
            if !self.early.is_empty() {
                events.push(CallEvent::Arguments(std::mem::take(&mut self.early)));
            }
        }
    }

    fn arguments(&mut self, text: String, events: &mut Vec<CallEvent>) {
        self.has_arguments |= !text.is_empty();
        match events.last_mut() {
            _ if text.is_empty() => {}
            _ if !self.is_announced => self.early.push_str(&text),
            Some(CallEvent::Arguments(more)) => more.push_str(&text),
            _ => events.push(CallEvent::Arguments(text)),
        }
    }

    fn after_value(
        &mut self,
        place: Place,
        character: char,
        offer: &ToolOffer,
        events: &mut Vec<CallEvent>,
    ) -> Progress {
        match place {
            Place::Inside => Progress::More,
            Place::Wrong => Progress::Rejected,
            Place::Last => {
                self.at = At::CommaOrEnd;
                Progress::More
            }
            Place::After => {
                self.at = At::CommaOrEnd;
                self.push(character, offer, events)
            }
        }
    }

    /// An object's closing brace.
    fn close(&mut self, events: &mut Vec<CallEvent>) -> Progress {
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 {
            self.at = At::CommaOrEnd;
            return Progress::More;
        }
        if self.name.is_none() {
            return Progress::Rejected;
        }
        self.announce(events);
        if !self.has_arguments {
            self.arguments("{}".to_owned(), events);
        }
        Progress::Done
    }
}
