//! Whether a JSON value fits a schema: the keywords that the random schemas use, by the book.

use regex::Regex;
use serde_json::{Map, Value};

/// Whether `value` fits `schema`, a part of `root`.
pub(super) fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
    let Some(entries) = schema.as_object() else { return schema.as_bool().unwrap() };
    entries.iter().all(|(keyword, wanted)| fits_keyword(keyword, wanted, entries, value, root))
}

fn fits_keyword(
    keyword: &str,
    wanted: &Value,
    entries: &Map<String, Value>,
    value: &Value,
    root: &Value,
) -> bool {
    let all = |schemas: &Value| Vec::from_iter(schemas.as_array().unwrap().clone());
    let fitting = |schemas: &Value| all(schemas).iter().filter(|s| fits(s, value, root)).count();
    let count = || wanted.as_u64().unwrap() as usize;
    let number = || wanted.as_f64().unwrap();
    match keyword {
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|name| is_a(name, value)),
            name => is_a(name, value),
        },
        "enum" => all(wanted).contains(value),
        "const" => wanted == value,
        "anyOf" => fitting(wanted) > 0,
        "oneOf" => fitting(wanted) == 1,
        "allOf" => fitting(wanted) == all(wanted).len(),
        "$ref" => {
            let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
            fits(root.pointer(pointer).unwrap(), value, root)
        }
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= count()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= count()),
        "pattern" => {
            let pattern = Regex::new(wanted.as_str().unwrap()).unwrap();
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "format" => {
            let pattern = match wanted.as_str().unwrap() {
                "date" => r"^\d{4}-\d\d-\d\d$",
                "uuid" => r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
                "ipv4" => r"^\d{1,3}(\.\d{1,3}){3}$",
                other => panic!("{other}"),
            };
            value.as_str().is_none_or(|text| Regex::new(pattern).unwrap().is_match(text))
        }
        "minimum" => value.as_f64().is_none_or(|it| it >= number()),
        "maximum" => value.as_f64().is_none_or(|it| it <= number()),
        "exclusiveMinimum" => value.as_f64().is_none_or(|it| it > number()),
        "exclusiveMaximum" => value.as_f64().is_none_or(|it| it < number()),
        "multipleOf" => value.as_f64().is_none_or(|it| it % number() == 0.0),
        "minItems" => value.as_array().is_none_or(|items| items.len() >= count()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() <= count()),
        "prefixItems" => value.as_array().is_none_or(|items| {
            items.iter().zip(all(wanted)).all(|(item, schema)| fits(&schema, item, root))
        }),
        "items" => value.as_array().is_none_or(|items| {
            let prefix = entries.get("prefixItems").map_or(0, |prefix| all(prefix).len());
            items.iter().skip(prefix).all(|item| fits(wanted, item, root))
        }),
        "required" => value.as_object().is_none_or(|object| {
            all(wanted).iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            let known = |name: &String| wanted.get(name);
            object.iter().all(|(name, it)| known(name).is_none_or(|s| fits(s, it, root)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let is_known =
                |name: &str| entries.get("properties").is_some_and(|p| p.get(name).is_some());
            object.iter().filter(|(name, _)| !is_known(name)).all(|(_, it)| fits(wanted, it, root))
        }),
        "$defs" | "title" | "description" => true,
        other => panic!("{other} is not checked"),
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}
