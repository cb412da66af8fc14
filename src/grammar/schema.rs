//! A stranger's JSON schema, looked through before the library compiles it.
//!
//! The library tells what is wrong, but seldom where; what is wrong most often is found here.
//!
//! Promises: what passes is bounded in size and depth, refers to nothing outside itself, and lets
//! only so much white space through between two parts that no answer can consist of it.
//! Never knows: the library's other grammars.

use llguidance::derivre::RegexBuilder;
use llguidance::{JsonCompileOptions, regex_to_lark};
use serde_json::{Map, Value};

use super::GrammarError;
use super::digest::MAX_DEPTH;
use super::expansion::expanded_bytes;
use super::pattern::without_null;

/// Bytes of a schema, written without spaces.
const MAX_BYTES: usize = 256 << 10;

/// Bytes that it may have once its alternatives are merged; in memory it is twenty times that.
const MAX_EXPANDED: u64 = 16 << 20;

/// Bytes of a pattern in it.
const MAX_PATTERN: usize = 4096;

/// Least lengths and numbers of items above this are refused, and greatest ones are as good as
/// none: no answer is so long.
const MAX_COUNT: u64 = 8192;

/// Between two parts of a value: a space or two, or a line break and an indentation. It comes once
/// at a place, so that a model that has lost its way cannot go on with it for ever.
const WHITE_SPACE: &str = r"[ \t]{1,2}|\r?\n[ \t]{0,24}";

/// As in JSON, without `u`: it would write a name in two ways, of which one is not recognised.
const ESCAPES: &str = "nrbtf\\\"";

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Keywords that restrict, but cannot be enforced.
const UNENFORCED: [&str; 18] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// The schema as text, if it is not too large or too deep.
pub(super) fn text(schema: &Value) -> Result<String, GrammarError> {
    let depth = depth(schema, 0);
    if depth > MAX_DEPTH {
        let (what, unit) = ("schema", "levels");
        return Err(GrammarError::TooLarge { what, size: depth, unit, max: MAX_DEPTH });
    }
    let text = schema.to_string();
    if text.len() > MAX_BYTES {
        let (what, unit) = ("schema", "bytes");
        return Err(GrammarError::TooLarge { what, size: text.len(), unit, max: MAX_BYTES });
    }
    Ok(text)
}

/// How deep values are nested in one another; looks no further than one too deep.
fn depth(value: &Value, above: usize) -> usize {
    if above > MAX_DEPTH {
        return above;
    }
    let below = |value| depth(value, above + 1);
    match value {
        Value::Array(items) => items.iter().map(below).max().unwrap_or(above),
        Value::Object(entries) => entries.values().map(below).max().unwrap_or(above),
        _ => above,
    }
}

/// The schema as the library is to have it. `is_strict`: what cannot be enforced is an error.
pub(super) fn prepare(schema: &Value, is_strict: bool) -> Result<Value, GrammarError> {
    text(schema)?;
    let mut prepared = match schema {
        Value::Bool(true) => Value::Object(Map::new()),
        other => other.clone(),
    };
    if !prepared.is_object() {
        return Err(error("", "it must be an object that says what is wanted"));
    }
    Walk { root: schema, is_strict, path: Vec::new() }.schema(&mut prepared)?;
    let expanded = expanded_bytes(&prepared);
    if expanded > MAX_EXPANDED {
        let why = format!(
            "its alternatives multiply to {} MiB, and at most {} are taken",
            expanded >> 20,
            MAX_EXPANDED >> 20
        );
        return Err(GrammarError::TooComplex { what: "schema", why });
    }
    let options = JsonCompileOptions {
        whitespace_pattern: Some(WHITE_SPACE.to_owned()),
        coerce_one_of: !is_strict,
        lenient: !is_strict,
        json_allowed_escapes: Some(ESCAPES.to_owned()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut prepared);
    Ok(prepared)
}

fn error(at: &str, why: impl Into<String>) -> GrammarError {
    GrammarError::Schema { at: at.to_owned(), why: why.into() }
}

/// On its way through a schema.
struct Walk<'a> {
    root: &'a Value,
    is_strict: bool,
    path: Vec<String>,
}

impl Walk<'_> {
    fn error(&self, keyword: &str, why: impl Into<String>) -> GrammarError {
        let mut at = String::new();
        for segment in self.path.iter().map(String::as_str).chain([keyword]) {
            if !segment.is_empty() {
                at.push('/');
                at.push_str(&segment.replace('~', "~0").replace('/', "~1"));
            }
        }
        error(&at, why)
    }

    fn schema(&mut self, schema: &mut Value) -> Result<(), GrammarError> {
        let entries = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(entries) => entries,
            _ => return Err(self.error("", "a schema must be an object, true or false")),
        };
        entries.retain(|keyword, value| !is_as_good_as_none(keyword, value));
        if self.is_strict
            && let Some(keyword) = entries.keys().find(|key| UNENFORCED.contains(&key.as_str()))
        {
            let why = "this keyword cannot be enforced: leave it out, or leave `strict` out";
            return Err(self.error(keyword, why));
        }
        self.bounds(entries)?;
        for (keyword, value) in entries.iter_mut() {
            self.keyword(keyword, value)?;
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, value: &mut Value) -> Result<(), GrammarError> {
        match keyword {
            "type" => self.types(value),
            "enum" => match value.as_array() {
                Some(values) if !values.is_empty() => Ok(()),
                _ => Err(self.error(keyword, "it must be an array of at least one value")),
            },
            "properties" | "$defs" | "definitions" => self.schemas_by_name(keyword, value),
            "patternProperties" => {
                self.schemas_by_name(keyword, value)?;
                let entries = value.as_object_mut().map(std::mem::take).unwrap_or_default();
                let entries = entries.into_iter();
                let entries =
                    entries.map(|(name, schema)| Ok((self.pattern(keyword, &name)?, schema)));
                *value = Value::Object(entries.collect::<Result<_, GrammarError>>()?);
                Ok(())
            }
            "items" if value.is_array() => self.schemas(keyword, value),
            "items" | "additionalItems" | "additionalProperties" => {
                self.within(keyword, |walk| walk.schema(value))
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => self.schemas(keyword, value),
            "required" => match value.as_array() {
                Some(names) if names.iter().all(Value::is_string) => Ok(()),
                _ => Err(self.error(keyword, "it must be an array of names")),
            },
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
                if !(value.is_number() || keyword.starts_with('e') && value.is_boolean()) =>
            {
                Err(self.error(keyword, "it must be a number"))
            }
            "multipleOf" if value.as_f64().is_none_or(|number| number <= 0.0) => {
                Err(self.error(keyword, "it must be a number above 0"))
            }
            "pattern" => match value.as_str() {
                Some(pattern) => {
                    *value = self.pattern(keyword, pattern)?.into();
                    Ok(())
                }
                None => Err(self.error(keyword, "it must be a regular expression")),
            },
            "format" if !value.is_string() => Err(self.error(keyword, "it must be a name")),
            "$ref" => self.reference(value),
            _ => Ok(()),
        }
    }

    fn within<T>(
        &mut self,
        segment: &str,
        usage: impl FnOnce(&mut Self) -> Result<T, GrammarError>,
    ) -> Result<T, GrammarError> {
        self.path.push(segment.to_owned());
        let result = usage(self);
        self.path.pop();
        result
    }

    fn schemas_by_name(&mut self, keyword: &str, value: &mut Value) -> Result<(), GrammarError> {
        let Some(entries) = value.as_object_mut() else {
            return Err(self.error(keyword, "it must be an object of schemas"));
        };
        self.within(keyword, |walk| {
            for (name, schema) in entries {
                walk.within(name, |walk| walk.schema(schema))?;
            }
            Ok(())
        })
    }

    fn schemas(&mut self, keyword: &str, value: &mut Value) -> Result<(), GrammarError> {
        let schemas = match value.as_array_mut() {
            Some(schemas) if !schemas.is_empty() || keyword.ends_with("tems") => schemas,
            _ => return Err(self.error(keyword, "it must be an array of at least one schema")),
        };
        self.within(keyword, |walk| {
            for (index, schema) in schemas.iter_mut().enumerate() {
                walk.within(&index.to_string(), |walk| walk.schema(schema))?;
            }
            Ok(())
        })
    }

    fn types(&self, value: &Value) -> Result<(), GrammarError> {
        let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
        let is_list = |values: &Vec<Value>| !values.is_empty() && values.iter().all(is_type);
        if is_type(value) || value.as_array().is_some_and(is_list) {
            return Ok(());
        }
        let why = format!("it must be one of {}, or an array of them", TYPES.join(", "));
        Err(self.error("type", why))
    }

    fn bounds(&self, entries: &Map<String, Value>) -> Result<(), GrammarError> {
        let count = |keyword: &str| match entries.get(keyword) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.error(keyword, "it must be a whole number, 0 or above")),
            },
        };
        for (min, max) in [
            ("minLength", "maxLength"),
            ("minItems", "maxItems"),
            ("minProperties", "maxProperties"),
        ] {
            let (least, most) = (count(min)?, count(max)?);
            if let Some(least) = least.filter(|least| *least > MAX_COUNT) {
                let why = format!("{least} is more than an answer has room for: {MAX_COUNT}");
                return Err(self.error(min, why));
            }
            if let (Some(least), Some(most)) = (least, most)
                && least > most
            {
                return Err(self.error(min, format!("{least} is above {max}, which is {most}")));
            }
        }
        Ok(())
    }

    /// A pattern as the library is to have it.
    fn pattern(&self, keyword: &str, pattern: &str) -> Result<String, GrammarError> {
        if pattern.len() > MAX_PATTERN {
            let why = format!("{} bytes; a pattern has at most {MAX_PATTERN}", pattern.len());
            return Err(self.error(keyword, why));
        }
        let parsed = RegexBuilder::new().mk_regex_for_serach(&regex_to_lark(pattern, "dw"));
        parsed.map_err(|error| self.error(keyword, short(&error)))?;
        Ok(without_null(pattern))
    }

    /// Refers only to a place of this schema. Spelled as the library looks it up.
    fn reference(&self, value: &mut Value) -> Result<(), GrammarError> {
        let Some(reference) = value.as_str() else {
            return Err(self.error("$ref", "it must be a string"));
        };
        let Some(pointer) = reference.strip_prefix('#') else {
            let why = format!("{reference:?} is elsewhere: only `#/...` is looked up");
            return Err(self.error("$ref", why));
        };
        let unknown = || self.error("$ref", format!("there is no {reference:?}"));
        let pointer = percent_decoded(pointer).ok_or_else(unknown)?;
        if pointer.contains("~1") {
            let why = format!("{reference:?} has a name with a slash: give it another");
            return Err(self.error("$ref", why));
        }
        let is_there = pointer == "/" || self.root.pointer(&pointer).is_some();
        if !is_there {
            return Err(unknown());
        }
        *value = Value::String(format!("#{}", pointer.replace("~0", "~")));
        Ok(())
    }
}

/// Drops what no answer reaches.
fn is_as_good_as_none(keyword: &str, value: &Value) -> bool {
    matches!(keyword, "maxLength" | "maxItems" | "maxProperties")
        && value.as_u64().is_some_and(|count| count > MAX_COUNT)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// The beginning of what the library says.
fn short(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().take(300).collect()
}
