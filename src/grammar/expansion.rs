//! How large a schema becomes where its alternatives multiply.
//!
//! The library merges what `allOf` holds, and what stands beside an `anyOf` or a `$ref`: each
//! alternative of one part with each of all others, and copies what they hold every time. So a
//! schema of some kilobytes can become gigabytes, while the library counts merges only.
//!
//! Promises: an upper bound, in time that grows as the schema does.
//! Never knows: what a schema means.

use std::collections::HashMap;

use serde_json::Value;

/// Types that a schema without `type` may have.
const NUM_TYPES: u64 = 6;

/// Keywords that tell readers something, and the library nothing.
const IGNORED: [&str; 9] = [
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$comment",
    "$id",
    "$defs",
    "definitions",
];

/// Bytes that the schema has when all is merged, about; as JSON writes them.
pub(super) fn expanded_bytes(schema: &Value) -> u64 {
    let mut walk = Walk { root: schema, referred: HashMap::new(), referred_bytes: 0 };
    walk.size(schema).bytes.saturating_add(walk.referred_bytes)
}

#[derive(Clone, Copy)]
struct Size {
    bytes: u64,
    /// How often whatever it is merged with is copied, at most.
    copies: u64,
}

const NOTHING: Size = Size { bytes: 0, copies: 1 };

struct Walk<'a> {
    root: &'a Value,
    /// By reference; nothing, while it is being looked at.
    referred: HashMap<&'a str, Size>,
    /// Each of these once, as it stays where nothing is merged with the reference.
    referred_bytes: u64,
}

impl<'a> Walk<'a> {
    fn size(&mut self, schema: &'a Value) -> Size {
        let Value::Object(entries) = schema else { return NOTHING };
        // What is merged with one another.
        let mut parts = Vec::new();
        let mut plain: Option<Size> = None;
        for (keyword, value) in entries {
            match (keyword.as_str(), value) {
                ("anyOf", Value::Array(options)) => parts.push(self.either(options)),
                ("oneOf", Value::Array(options)) => {
                    let Size { bytes, copies } = self.either(options);
                    // Whether they exclude each other is looked at pair by pair.
                    let bytes = bytes.saturating_mul(1 + options.len() as u64);
                    parts.push(Size { bytes, copies });
                }
                ("allOf", Value::Array(all)) => parts.extend(all.iter().map(|one| self.size(one))),
                ("enum", Value::Array(values)) => {
                    parts.push(Size { bytes: text_len(value), copies: values.len() as u64 });
                }
                ("const", value) => parts.push(Size { bytes: text_len(value), copies: 1 }),
                ("$ref", Value::String(reference)) => {
                    let size = self.referred(reference);
                    let is_said = |other: &String| !IGNORED.contains(&other.as_str());
                    let is_alone = entries.keys().filter(|other| is_said(other)).count() == 1;
                    // Alone it stays a reference.
                    parts.push(if is_alone { NOTHING } else { size });
                }
                (ignored, _) if IGNORED.contains(&ignored) => {}
                (keyword, value) => {
                    let size = self.plain(keyword, value);
                    let so_far = plain.unwrap_or(NOTHING);
                    plain = Some(Size {
                        bytes: so_far.bytes.saturating_add(size.bytes),
                        copies: so_far.copies.max(size.copies),
                    });
                }
            }
        }
        let num_types = match &schema["type"] {
            Value::Array(types) => types.len() as u64,
            Value::String(_) => 1,
            _ => NUM_TYPES,
        };
        parts.extend(
            plain.map(|plain| Size { copies: plain.copies.saturating_mul(num_types), ..plain }),
        );
        merged(&parts)
    }

    /// What a keyword holds that is merged as a whole.
    fn plain(&mut self, keyword: &'a str, value: &'a Value) -> Size {
        let schemas: Vec<&'a Value> = match (keyword, value) {
            ("properties" | "patternProperties", Value::Object(named)) => named.values().collect(),
            ("items" | "prefixItems", Value::Array(items)) => items.iter().collect(),
            ("items" | "additionalItems" | "additionalProperties", schema) => vec![schema],
            _ => return Size { bytes: text_len(value), copies: 1 },
        };
        let names = value.as_object().into_iter().flat_map(|named| named.keys());
        let bytes = names.map(|name| name.len() as u64).sum();
        schemas.into_iter().fold(Size { bytes, copies: 1 }, |so_far, schema| {
            let size = self.size(schema);
            Size {
                bytes: so_far.bytes.saturating_add(size.bytes).saturating_add(1),
                copies: so_far.copies.max(size.copies),
            }
        })
    }

    fn either(&mut self, options: &'a [Value]) -> Size {
        let nothing = Size { bytes: 0, copies: 0 };
        options.iter().map(|option| self.size(option)).fold(nothing, |all, option| Size {
            bytes: all.bytes.saturating_add(option.bytes).saturating_add(1),
            copies: all.copies.saturating_add(option.copies),
        })
    }

    fn referred(&mut self, reference: &'a str) -> Size {
        if let Some(size) = self.referred.get(reference) {
            return *size;
        }
        self.referred.insert(reference, NOTHING);
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        let size = self.root.pointer(pointer).map_or(NOTHING, |schema| self.size(schema));
        self.referred.insert(reference, size);
        self.referred_bytes = self.referred_bytes.saturating_add(size.bytes);
        size
    }
}

/// Each alternative of a part with each of all others.
fn merged(parts: &[Size]) -> Size {
    let product = |parts: &[Size]| {
        parts.iter().fold(1_u64, |product, part| product.saturating_mul(part.copies.max(1)))
    };
    let copied = |(index, part): (usize, &Size)| {
        let others = product(&parts[..index]).saturating_mul(product(&parts[index + 1..]));
        part.bytes.saturating_mul(others)
    };
    let bytes = parts.iter().enumerate().map(copied).fold(0, u64::saturating_add);
    Size { bytes, copies: product(parts) }
}

fn text_len(value: &Value) -> u64 {
    value.to_string().len() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_merged_multiplies() {
        let name = "n".repeat(1000);
        let object = json!({ "type": "object", "required": [name] });
        let any = |count: usize| json!(vec![json!({ "type": "object" }); count]);
        let within = |schema: Value, least: u64, most: u64| {
            let bytes = expanded_bytes(&schema);
            assert!((least..=most).contains(&bytes), "{bytes}: {schema}");
        };
        within(object.clone(), 1000, 1100);
        within(json!({ "anyOf": any(100) }), 100, 2000);
        // Beside alternatives, or in one part of two.
        let mut beside = object.clone();
        beside["anyOf"] = any(100);
        within(beside.clone(), 100_000, 120_000);
        within(json!({ "allOf": [object, { "anyOf": any(100) }] }), 100_000, 120_000);
        within(json!({ "allOf": [beside.clone(), { "anyOf": any(50) }] }), 5_000_000, 6_500_000);
        // A long list of values beside its type.
        let words: Vec<String> = (0..10_000).map(|number| format!("w{number}")).collect();
        within(json!({ "type": "string", "enum": words }), 50_000, 300_000);
        // References: alone they stay, beside something they are copied.
        let definitions = |define: &dyn Fn(Value) -> Value| {
            let define = |n: usize| match n {
                0 => json!({ "type": "string" }),
                n => define(json!({ "$ref": format!("#/$defs/d{}", n - 1) })),
            };
            let all: serde_json::Map<_, _> =
                (0..40).map(|n| (format!("d{n}"), define(n))).collect();
            json!({ "$ref": "#/$defs/d39", "$defs": all })
        };
        let pair = |inner: Value| json!({ "properties": { "a": inner.clone(), "b": inner } });
        within(definitions(&pair), 40, 4000);
        // Definitions may stand anywhere.
        let mut deep =
            json!({ "properties": { "a": { "$ref": "#/properties/b/$defs/x" }, "b": {} } });
        deep["properties"]["b"]["$defs"] = json!({ "x": beside });
        within(deep, 100_000, 120_000);
        let circle =
            |inner: Value| json!({ "allOf": [inner, { "$ref": "#/$defs/d39", "type": "object" }] });
        within(definitions(&circle), 1, u64::MAX);
    }
}
