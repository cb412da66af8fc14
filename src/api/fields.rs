//! Reading a JSON object field by field, so that a refusal names the field, what was sent and
//! what would be right.
//! Promises: an explicit null is an absent field, at every depth; unknown fields are not looked
//! at; a number is never cut silently.
//! Never knows: what the fields mean.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// One object of a request, and where in the body it is.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The body itself.
    pub(super) fn body(object: &'a Map<String, Value>) -> Self {
        Self { object, path: String::new() }
    }

    /// `value`, which stands at `path`, if it is an object.
    pub(super) fn at(value: &'a Value, path: String) -> Result<Self, ApiError> {
        match value {
            Value::Object(object) => Ok(Self { object, path }),
            other => Err(wrong(&path, "an object", other)),
        }
    }

    /// The path of a field, such as `messages[0].role`.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The error for a field of this object.
    pub(super) fn refuse(&self, name: &str, message: impl Into<String>) -> ApiError {
        ApiError::field(self.path(name), message)
    }

    /// All fields as sent.
    pub(super) fn object(&self) -> &'a Map<String, Value> {
        self.object
    }

    /// A field's value, if it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A value that has to be there.
    pub(super) fn require<T>(&self, name: &str, value: Option<T>) -> Result<T, ApiError> {
        value.ok_or_else(|| self.refuse(name, format!("'{}' is required", self.path(name))))
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.read(name, "a string", Value::as_str)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(super) fn array(&self, name: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
        self.read(name, "an array", Value::as_array)
    }

    pub(super) fn fields(&self, name: &str) -> Result<Option<Fields<'a>>, ApiError> {
        self.get(name).map(|value| Fields::at(value, self.path(name))).transpose()
    }

    /// A whole number in `range`.
    pub(super) fn integer(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.read(name, "an integer", as_integer)? else { return Ok(None) };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let (start, end) = (range.start(), range.end());
        let bounds = match (*start, *end) {
            (start, i64::MAX) => format!("at least {start}"),
            (start, end) => format!("from {start} to {end}"),
        };
        let path = self.path(name);
        Err(self.refuse(name, format!("'{path}' is {value} and must be {bounds}")))
    }

    /// A whole number in `range`, as a count.
    pub(super) fn count(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let bound = |bound: usize| i64::try_from(bound).unwrap_or(i64::MAX);
        let range = bound(*range.start())..=bound(*range.end());
        let count = self.integer(name, range)?;
        Ok(count.map(|count| usize::try_from(count).expect("in a range of counts")))
    }

    /// A number in `range`.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.read(name, "a number", Value::as_f64)? else { return Ok(None) };
        if range.contains(&value) {
            return Ok(Some(value as f32));
        }
        let (start, end, path) = (range.start(), range.end(), self.path(name));
        let message = format!("'{path}' is {value} and must be from {start} to {end}");
        Err(self.refuse(name, message))
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| wrong(&self.path(name), expected, value))
    }
}

/// The error for a value of the wrong type. The value itself may be long or private: its type is
/// enough.
pub(super) fn wrong(path: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number of another kind",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    ApiError::field(path, format!("'{path}' must be {expected}, not {found}"))
}

/// Integers, also those written like `16.0`, as some languages do.
fn as_integer(value: &Value) -> Option<i64> {
    // 2^53: the largest magnitude up to which every integer is exact in a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|_| value.is_f64())?;
        (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
    })
}

/// A token id.
pub(super) fn token_id(value: &Value) -> Option<u32> {
    as_integer(value).and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: Value, read: fn(&Fields<'_>) -> Result<String, ApiError>, expected: &str) {
        let body = body.as_object().cloned().expect("an object");
        let found = match read(&Fields::body(&body)) {
            Ok(value) => value,
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn null_is_absent_and_refusals_name_field_value_and_bound() {
        let n = |fields: &Fields<'_>| fields.integer("n", 1..=128).map(|n| format!("{n:?}"));
        check(json!({}), n, "None");
        check(json!({ "n": null }), n, "None");
        check(json!({ "n": 3 }), n, "Some(3)");
        check(json!({ "n": 3.0 }), n, "Some(3)");
        check(json!({ "n": 3.5 }), n, "'n' must be an integer, not a number of another kind");
        check(json!({ "n": "3" }), n, "'n' must be an integer, not a string");
        check(json!({ "n": 0 }), n, "'n' is 0 and must be from 1 to 128");
        let nested = |fields: &Fields<'_>| {
            let options = fields.fields("o")?.expect("there");
            options.number("t", 0.0..=2.0).map(|t| format!("{t:?}"))
        };
        check(json!({ "o": { "t": null } }), nested, "None");
        check(json!({ "o": { "t": 2 } }), nested, "Some(2.0)");
        check(json!({ "o": { "t": 2.5 } }), nested, "'o.t' is 2.5 and must be from 0 to 2");
    }
}
