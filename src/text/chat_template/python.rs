//! What templates expect of Python and of Hugging Face's `apply_chat_template`, beyond Jinja:
//! methods of strings and maps, `raise_exception`, `tojson`, and how values print.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;

/// What a template said in `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// Adds it all to an environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    environment.add_filter("tojson", tojson);
    // Python iterates text, and not `None`.
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && (value.as_str().is_some() || value.try_iter().is_ok())
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
    environment.set_formatter(|out, state, value| {
        if value.is_none() {
            return Ok(()); // a turn without text has no text, not "None"
        }
        if value.kind() != ValueKind::Bool {
            return escape_formatter(out, state, value);
        }
        out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from)
    });
}

/// `json.dumps(value, ensure_ascii=False, ..)`: not escaped for HTML, keys in their order.
fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let given: Option<Value> = options.get("indent")?;
    let indent = given.or(indent).filter(|indent| !indent.is_none());
    let unit = match indent {
        None => None,
        Some(width) => match (width.as_str(), width.as_usize()) {
            (Some(unit), _) => Some(unit.to_owned()),
            (None, Some(width)) => Some(" ".repeat(width.min(16))),
            (None, None) => {
                let why = "indent is neither a number nor a string";
                return Err(Error::new(ErrorKind::InvalidOperation, why));
            }
        },
    };
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sorts_keys: Option<bool> = options.get("sort_keys")?;
    let ascii_only: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let json = serde_json::to_value(value).map_err(|error| {
        Error::new(ErrorKind::BadSerialization, "the value cannot be written as JSON")
            .with_source(error)
    })?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ if unit.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = JsonWriter {
        out: String::new(),
        unit,
        item,
        key,
        sorts_keys: sorts_keys.unwrap_or(false),
        ascii_only: ascii_only.unwrap_or(false),
    };
    writer.write(&json, 0);
    Ok(writer.out)
}

/// `json.dumps(value, ensure_ascii=False)`.
pub(in super::super) fn to_json(value: &Json) -> String {
    let (item, key) = (", ".to_owned(), ": ".to_owned());
    let (sorts_keys, ascii_only) = (false, false);
    let mut writer =
        JsonWriter { out: String::new(), unit: None, item, key, sorts_keys, ascii_only };
    writer.write(value, 0);
    writer.out
}

/// Python's `json.dumps`. Depth is bounded: values come from JSON, which serde_json bounds.
struct JsonWriter {
    out: String,
    unit: Option<String>,
    item: String,
    key: String,
    sorts_keys: bool,
    ascii_only: bool,
}

impl JsonWriter {
    fn write(&mut self, value: &Json, depth: usize) {
        match value {
            Json::Null => self.out += "null",
            Json::Bool(value) => self.out += if *value { "true" } else { "false" },
            Json::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => self.out += &float_repr(float),
                _ => self.out += &number.to_string(),
            },
            Json::String(text) => self.write_string(text),
            Json::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.separate(index, depth + 1);
                    self.write(item, depth + 1);
                }
                self.close(items.is_empty(), depth, ']');
            }
            Json::Object(fields) => {
                self.out.push('{');
                let mut fields: Vec<(&String, &Json)> = fields.iter().collect();
                if self.sorts_keys {
                    fields.sort_by_key(|(name, _)| *name);
                }
                for (index, (name, field)) in fields.iter().enumerate() {
                    self.separate(index, depth + 1);
                    self.write_string(name);
                    self.out += &self.key;
                    self.write(field, depth + 1);
                }
                self.close(fields.is_empty(), depth, '}');
            }
        }
    }

    fn separate(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out += &self.item;
        }
        self.break_line(depth);
    }

    fn close(&mut self, is_empty: bool, depth: usize, bracket: char) {
        if !is_empty {
            self.break_line(depth);
        }
        self.out.push(bracket);
    }

    fn break_line(&mut self, depth: usize) {
        if let Some(unit) = &self.unit {
            self.out.push('\n');
            self.out += &unit.repeat(depth);
        }
    }

    fn write_string(&mut self, text: &str) {
        let quoted = Json::from(text).to_string(); // escapes what Python escapes
        if !self.ascii_only {
            self.out += &quoted;
            return;
        }
        for character in quoted.chars() {
            if character.is_ascii() {
                self.out.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                self.out += &format!("\\u{unit:04x}");
            }
        }
    }
}

/// A float as Python prints it: `1.0`, `1e-05`, `1e+16`.
fn float_repr(value: f64) -> String {
    let scientific = format!("{value:e}"); // the shortest digits, `1.5e-7`
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_python_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (123456.789, "123456.789"),
        ];
        for (value, expected) in cases {
            assert_eq!(float_repr(value), expected);
        }
    }
}
