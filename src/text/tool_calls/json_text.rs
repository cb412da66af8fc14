//! JSON values in a stream of characters: where they end, and what strings say.
//! Never knows: what the values are for.

/// Finds the end of a JSON value, whose inside it does not check.
#[derive(Debug, Default)]
pub(super) struct ValueEnd {
    depth: usize,
    is_text: bool,
    is_escaped: bool,
    has_begun: bool,
}

/// What a character is to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Part of it.
    Inside,
    /// Its last.
    Last,
    /// No part of it: the value has ended before.
    After,
    /// Nothing that JSON could have here.
    Wrong,
}

impl ValueEnd {
    /// Takes the next character of a value, which begins with the first that is not white space.
    pub(super) fn push(&mut self, character: char) -> Place {
        if self.is_text {
            match character {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => {
                    self.is_text = false;
                    return self.closed();
                }
                _ => {}
            }
            return Place::Inside;
        }
        match character {
            '"' => self.is_text = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' if self.depth == 0 => return Place::After,
            '}' | ']' => {
                self.depth -= 1;
                return self.closed();
            }
            ',' if self.depth == 0 => return Place::After,
            ',' | ':' => {}
            _ if character.is_whitespace() => {
                let is_over = self.depth == 0 && self.has_begun;
                return if is_over { Place::After } else { Place::Inside };
            }
            '+' | '-' | '.' => {}
            _ if character.is_ascii_alphanumeric() => {}
            _ => return Place::Wrong,
        }
        self.has_begun = true;
        Place::Inside
    }

    fn closed(&self) -> Place {
        if self.depth == 0 { Place::Last } else { Place::Inside }
    }
}

/// Reads what a JSON string says, from behind its opening quote.
#[derive(Debug, Default)]
pub(super) struct TextReader {
    /// An escape that is not complete, from its backslash.
    escape: String,
    /// The first half of a character beyond U+FFFF.
    high: Option<u16>,
}

/// What a character of a string says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// This; nothing, where an escape goes on.
    Text(String),
    /// That the string is over; what half an escape stands for comes first.
    End(String),
}

impl TextReader {
    pub(super) fn push(&mut self, character: char) -> Said {
        if self.escape.is_empty() {
            return match character {
                '\\' => {
                    self.escape.push(character);
                    Said::Text(String::new())
                }
                '"' => Said::End(self.lone()),
                _ => Said::Text(self.lone() + character.encode_utf8(&mut [0; 4])),
            };
        }
        self.escape.push(character);
        let plain = match (self.escape.len(), character) {
            (2, 'n') => '\n',
            (2, 't') => '\t',
            (2, 'r') => '\r',
            (2, 'b') => '\u{8}',
            (2, 'f') => '\u{c}',
            (2, 'u') => return Said::Text(String::new()),
            (2, other) => other,
            (_, digit) if !digit.is_ascii_hexdigit() => char::REPLACEMENT_CHARACTER,
            (6, _) => return Said::Text(self.unit()),
            _ => return Said::Text(String::new()),
        };
        self.escape.clear();
        Said::Text(self.lone() + plain.encode_utf8(&mut [0; 4]))
    }

    /// Characters that nothing is known of yet.
    pub(super) fn pending(&self) -> usize {
        self.escape.chars().count() + if self.high.is_some() { 6 } else { 0 }
    }

    /// The end of a `\u` escape: a UTF-16 unit.
    fn unit(&mut self) -> String {
        let unit = u16::from_str_radix(&self.escape[2..], 16).unwrap_or_default();
        self.escape.clear();
        match (self.high.take(), unit) {
            (None, 0xD800..=0xDBFF) => {
                self.high = Some(unit);
                String::new()
            }
            (high, unit) => {
                String::from_utf16_lossy(&Vec::from_iter(high.into_iter().chain([unit])))
            }
        }
    }

    /// What half a character is without the other half.
    fn lone(&mut self) -> String {
        self.high.take().map_or_else(String::new, |_| char::REPLACEMENT_CHARACTER.into())
    }
}

/// `text` as the inside of a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
