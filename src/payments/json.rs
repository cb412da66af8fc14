//! JSON as providers write it: amounts that are numbers, and numbers that are names.
//!
//! Promises: an amount goes in and out as the digits of its text; nothing of it passes through a
//! binary fraction.
//! Never knows: any provider's field names.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::money::Fils;

/// The content of a JSON string, or a JSON number as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar(pub(super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        scalar(&raw).flatten().map(Scalar).ok_or_else(|| D::Error::custom("not text or a number"))
    }
}

/// The text of a string or a number; inside, `None` for null. Nothing for anything else.
fn scalar(raw: &RawValue) -> Option<Option<String>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok().map(Some),
        b'-' | b'0'..=b'9' => Some(Some(text.to_owned())),
        b'n' => Some(None),
        _ => None,
    }
}

/// An amount, as a JSON number or as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount(pub(super) Fils);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        ungrouped(&text).parse().map(Amount).map_err(D::Error::custom)
    }
}

/// `1,234.000` -> `1234.000`; commas anywhere else stay, and are then refused.
fn ungrouped(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let is_grouped = (1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3);
    if whole.contains(',') && is_grouped && !fraction.contains(',') {
        return text.replace(',', "");
    }
    text.to_owned()
}

/// An object of which one field is an amount, written as a number of three decimals.
#[derive(Debug)]
pub(super) struct WithAmount {
    pub(super) key: &'static str,
    pub(super) amount: Fils,
    pub(super) rest: Map<String, Value>,
}

impl WithAmount {
    /// `rest` is an object.
    pub(super) fn new(key: &'static str, amount: Fils, rest: Value) -> WithAmount {
        let Value::Object(rest) = rest else { panic!("a request's body is an object") };
        WithAmount { key, amount, rest }
    }
}

impl Serialize for WithAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = RawValue::from_string(self.amount.to_string())
            .expect("an amount's text is a JSON number");
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.key, &digits)?;
        for (key, value) in &self.rest {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// An object's scalar fields as written. A key that is there twice is refused: one of the two
/// would be signed and the other read.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Vec<(String, Option<String>)>);

impl Fields {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == key)?.1.as_deref()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts and numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut seen = HashSet::new();
                let mut fields = Vec::new();
                while let Some((key, raw)) = map.next_entry::<String, Box<RawValue>>()? {
                    let Some(value) = scalar(&raw) else {
                        return Err(A::Error::custom(format!("{key} is not text or a number")));
                    };
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("{key} is there twice")));
                    }
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Whether `text` can stand in a path and between the fields of a signed text.
pub(super) fn is_plain_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<i64> {
        serde_json::from_str(json).ok().map(|Amount(Fils(fils))| fils)
    }

    #[test]
    fn amounts_are_read_from_numbers_and_text_alike() {
        for same in ["2", "2.0", "2.00", "2.000", "\"2\"", "\"2.000\""] {
            assert_eq!(read(same), Some(2_000), "{same}");
        }
        assert_eq!(read("\"1,234.000\""), Some(1_234_000));
        assert_eq!(read("\"1,000,000\""), Some(1_000_000_000));
        assert_eq!(read("0.1"), Some(100));
        for wrong in [
            "2.0001",
            "\"2.0001\"",
            "-2",
            "2e3",
            "2.0e0",
            "null",
            "true",
            "{}",
            "[2]",
            "\"\"",
            "\"1,23.000\"",
            "\"1234,567\"",
            "\",234\"",
            "\"2,000.0,0\"",
            "9e999",
            "99999999999999999999999999",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_round_trip_as_digits() {
        let mut fils: i64 = 1;
        while fils < 1_000_000_000_000 {
            let body = WithAmount::new("amount", Fils(fils), serde_json::json!({"x": "y"}));
            let text = serde_json::to_string(&body).expect("JSON");
            let digits = format!("{{\"amount\":{}.{:03},\"x\":\"y\"}}", fils / 1000, fils % 1000);
            assert_eq!(text, digits);
            #[derive(serde::Deserialize)]
            struct Back {
                amount: Amount,
            }
            let back: Back = serde_json::from_str(&text).expect("its own text");
            assert_eq!(back.amount, Amount(Fils(fils)));
            fils = fils * 7 / 5 + 1;
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let fields: Fields = serde_json::from_str(r#"{"a":1.50,"b":null,"c":"é"}"#).expect("sound");
        assert_eq!((fields.get("a"), fields.get("b")), (Some("1.50"), None));
        for wrong in [r#"{"a":1,"a":1}"#, r#"{"a":{}}"#, r#"{"a":[]}"#, r#"{"a":true}"#, "[1]"] {
            assert!(serde_json::from_str::<Fields>(wrong).is_err(), "{wrong}");
        }
    }
}
