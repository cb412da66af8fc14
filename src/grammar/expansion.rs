//! How large a schema becomes where its alternatives multiply.
//!
//! The library merges what `allOf` holds, and what stands beside an `anyOf` or a `$ref`: each
//! alternative of one part with each of all others, and copies what they hold every time. So a
//! schema of some kilobytes can become gigabytes, while the library counts merges only.
//!
//! Promises: an estimate, in time that grows as the schema does.
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
    let whole = text_len(schema);
    let mut walk = Walk { root: schema, whole, referred: HashMap::new(), referred_bytes: 0 };
    walk.size(schema).bytes.saturating_add(walk.referred_bytes)
}

#[derive(Clone, Copy)]
struct Size {
    /// Where it is merged with nothing: references stay references.
    bytes: u64,
    /// Where it is merged with something.
    unfolded: u64,
    /// How often what it is merged with is copied.
    copies: u64,
    /// Those of them that are alternatives of `anyOf` and `oneOf`, at any depth: only these
    /// multiply where two objects that hold them are merged.
    nested: u64,
}

const NOTHING: Size = Size { bytes: 0, unfolded: 0, copies: 1, nested: 1 };

struct Walk<'a> {
    root: &'a Value,
    /// Bytes of the root.
    whole: u64,
    /// By reference; nothing, while it is being looked at.
    referred: HashMap<&'a str, Size>,
    /// Each of these once.
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
                    let size = self.either(options);
                    // Whether they exclude each other is looked at pair by pair.
                    let bytes = size.bytes.saturating_mul(1 + options.len() as u64);
                    parts.push(Size { bytes, ..size });
                }
                ("allOf", Value::Array(all)) => parts.extend(all.iter().map(|one| self.size(one))),
                ("enum", Value::Array(values)) => {
                    let copies = values.len() as u64;
                    parts.push(Size { copies, ..of_text(value) });
                }
                ("const", value) => parts.push(of_text(value)),
                ("$ref", Value::String(reference)) => {
                    let size = self.referred(reference);
                    parts.push(Size { bytes: 0, ..size });
                }
                (ignored, _) if IGNORED.contains(&ignored) => {}
                (keyword, value) => {
                    let size = self.plain(keyword, value);
                    plain = Some(plain.map_or(size, |so_far| beside(so_far, size)));
                }
            }
        }
        let num_types = match &schema["type"] {
            Value::Array(types) => types.len() as u64,
            Value::String(_) => 1,
            _ => NUM_TYPES,
        };
        parts.extend(plain.map(|plain| Size {
            unfolded: plain.unfolded.min(self.whole),
            copies: plain.nested.saturating_mul(num_types),
            ..plain
        }));
        merged(&parts)
    }

    /// What a keyword holds that is merged as a whole.
    fn plain(&mut self, keyword: &'a str, value: &'a Value) -> Size {
        let schemas: Vec<&'a Value> = match (keyword, value) {
            ("properties" | "patternProperties", Value::Object(named)) => named.values().collect(),
            ("items" | "prefixItems", Value::Array(items)) => items.iter().collect(),
            ("items" | "additionalItems" | "additionalProperties", schema) => vec![schema],
            _ => return of_text(value),
        };
        let names = value.as_object().into_iter().flat_map(|named| named.keys());
        let bytes = names.map(|name| name.len() as u64).sum::<u64>() + schemas.len() as u64;
        let names = Size { bytes, unfolded: bytes, ..NOTHING };
        schemas.into_iter().fold(names, |so_far, schema| beside(so_far, self.size(schema)))
    }

    fn either(&mut self, options: &'a [Value]) -> Size {
        let nothing = Size { bytes: 0, unfolded: 0, copies: 0, nested: 0 };
        options.iter().map(|option| self.size(option)).fold(nothing, |all, option| Size {
            bytes: all.bytes.saturating_add(option.bytes).saturating_add(1),
            unfolded: all.unfolded.saturating_add(option.unfolded).saturating_add(1),
            copies: all.copies.saturating_add(option.copies),
            nested: all.nested.saturating_add(option.nested),
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
    if let [only] = parts {
        return *only;
    }
    let product = |parts: &[Size], of: fn(&Size) -> u64| {
        parts.iter().fold(1_u64, |product, part| product.saturating_mul(of(part).max(1)))
    };
    let copies = |part: &Size| part.copies;
    let copied = |(index, part): (usize, &Size)| {
        let (before, behind) = (&parts[..index], &parts[index + 1..]);
        let others = product(before, copies).saturating_mul(product(behind, copies));
        part.unfolded.saturating_mul(others)
    };
    let bytes = parts.iter().enumerate().map(copied).fold(0, u64::saturating_add);
    let nested = product(parts, |part| part.nested);
    Size { bytes, unfolded: bytes, copies: product(parts, copies), nested }
}

/// Two keywords, or two children, of one schema.
fn beside(one: Size, other: Size) -> Size {
    Size {
        bytes: one.bytes.saturating_add(other.bytes),
        unfolded: one.unfolded.saturating_add(other.unfolded),
        copies: 1,
        nested: one.nested.max(other.nested),
    }
}

fn of_text(value: &Value) -> Size {
    let bytes = text_len(value);
    Size { bytes, unfolded: bytes, ..NOTHING }
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
        // One level deeper, and behind a reference.
        let deep = |schema: Value| json!({ "type": "object", "properties": { "a": schema } });
        let two = json!({
            "allOf": [deep(json!({ "$ref": "#/$defs/x" })), deep(json!({ "anyOf": any(100) }))],
            "$defs": { "x": { "type": "object", "required": ["n".repeat(1000)] } },
        });
        within(two, 100_000, 300_000);
        // Objects that inherit, with lists of values: what people write.
        let base = json!({ "properties": {
            "country": { "enum": vec!["KW"; 250] }, "next": { "$ref": "#/$defs/base" },
        } });
        let own = json!({ "properties": { "name": { "anyOf": [{ "type": "null" }, {}] } } });
        let inherits = json!({
            "allOf": [{ "$ref": "#/$defs/base" }, own],
            "$defs": { "base": base },
        });
        within(inherits, 1000, 100_000);
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
