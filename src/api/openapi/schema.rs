//! JSON schemas (draft 2020-12), which is what OpenAPI 3.1 describes bodies with.
//! Promises: a schema made here says what it is for, or refers to one that does.
//! Never knows: routes.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// The schema of one value.
#[derive(Clone, Debug)]
pub(super) struct Schema(Map<String, Value>);

/// One field of an object.
#[derive(Clone, Debug)]
pub(super) struct Field {
    name: &'static str,
    schema: Schema,
    is_required: bool,
}

/// A field that is always there.
pub(super) fn required(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, is_required: true }
}

/// A field that may be left out.
pub(super) fn optional(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, is_required: false }
}

/// A string.
pub(super) fn text(about: &str) -> Schema {
    of_type("string", about)
}

/// One of a closed list of strings.
pub(super) fn word(about: &str, words: &[&str]) -> Schema {
    text(about).with("enum", json!(words))
}

/// This string and no other.
pub(super) fn constant(word: &str, about: &str) -> Schema {
    text(about).with("const", json!(word))
}

/// A whole number.
pub(super) fn integer(about: &str) -> Schema {
    of_type("integer", about)
}

/// Any number.
pub(super) fn number(about: &str) -> Schema {
    of_type("number", about)
}

/// `true` or `false`.
pub(super) fn boolean(about: &str) -> Schema {
    of_type("boolean", about)
}

/// A field that is there and always null.
pub(super) fn null(about: &str) -> Schema {
    of_type("null", about)
}

/// A list.
pub(super) fn list(about: &str, items: Schema) -> Schema {
    of_type("array", about).with("items", items.json())
}

/// Any JSON value.
pub(super) fn any(about: &str) -> Schema {
    Schema(Map::new()).with("description", json!(about))
}

/// An object that the server answers with.
pub(super) fn object(about: &str, fields: impl IntoIterator<Item = Field>) -> Schema {
    let mut properties = Map::new();
    let mut always = Vec::new();
    for field in fields {
        if field.is_required {
            always.push(field.name);
        }
        properties.insert(field.name.to_owned(), field.schema.json());
    }
    let schema = of_type("object", about).with("properties", properties.into());
    if always.is_empty() { schema } else { schema.with("required", json!(always)) }
}

/// An object that a caller sends: an explicit null is as good as a field that is left out.
pub(super) fn request(about: &str, fields: impl IntoIterator<Item = Field>) -> Schema {
    let nullable = |field: Field| match field.is_required {
        true => field,
        false => Field { schema: field.schema.or_null(), ..field },
    };
    object(about, fields.into_iter().map(nullable))
}

/// An object whose keys are the caller's own.
pub(super) fn map(about: &str, values: Schema) -> Schema {
    of_type("object", about).with("additionalProperties", values.json())
}

/// One of several shapes.
pub(super) fn either(about: &str, shapes: impl IntoIterator<Item = Schema>) -> Schema {
    let shapes: Vec<Value> = shapes.into_iter().map(Schema::json).collect();
    any(about).with("anyOf", shapes.into())
}

/// A schema of the document's components.
pub(super) fn named(name: &str) -> Schema {
    Schema(Map::new()).with("$ref", json!(format!("#/components/schemas/{name}")))
}

/// `{"object": "list", "data": [...]}`
pub(super) fn list_of(about: &str, items: Schema) -> Schema {
    object(about, [object_name("list"), required("data", list("The rows.", items))])
}

/// `{"data": {...}}`
pub(super) fn data_of(data: Schema) -> Schema {
    object("The answer's envelope.", [required("data", data)])
}

/// The field that says which kind of object this is.
pub(super) fn object_name(name: &str) -> Field {
    required("object", constant(name, "The kind of object."))
}

/// A point in time as OpenAI writes it.
pub(super) fn seconds(about: &str) -> Schema {
    integer(&format!("{about} Unix seconds."))
}

fn of_type(name: &str, about: &str) -> Schema {
    Schema(Map::from_iter([
        ("type".to_owned(), json!(name)),
        ("description".to_owned(), json!(about)),
    ]))
}

impl Schema {
    /// The schema as it stands in the document.
    pub(super) fn json(self) -> Value {
        Value::Object(self.0)
    }

    fn with(mut self, keyword: &str, value: Value) -> Self {
        self.0.insert(keyword.to_owned(), value);
        self
    }

    /// What the value is for, over what a component says of itself.
    pub(super) fn about(self, about: &str) -> Self {
        self.with("description", json!(about))
    }

    /// Numbers from the first to the second.
    pub(super) fn within<T: Into<Value> + Copy>(self, range: RangeInclusive<T>) -> Self {
        self.at_least(*range.start()).at_most(*range.end())
    }

    /// The smallest number that is taken.
    pub(super) fn at_least(self, bound: impl Into<Value>) -> Self {
        self.with("minimum", bound.into())
    }

    /// The largest number that is taken.
    pub(super) fn at_most(self, bound: impl Into<Value>) -> Self {
        self.with("maximum", bound.into())
    }

    /// So many characters.
    pub(super) fn chars(self, range: RangeInclusive<usize>) -> Self {
        self.with("minLength", json!(range.start())).with("maxLength", json!(range.end()))
    }

    /// So many items.
    pub(super) fn items(self, range: RangeInclusive<usize>) -> Self {
        self.with("minItems", json!(range.start())).with("maxItems", json!(range.end()))
    }

    /// At least one item.
    pub(super) fn not_empty(self) -> Self {
        self.with("minItems", json!(1))
    }

    /// A regular expression that the text fits.
    pub(super) fn pattern(self, pattern: &str) -> Self {
        self.with("pattern", json!(pattern))
    }

    /// The text is of a well-known kind, such as `uri`.
    pub(super) fn format(self, format: &str) -> Self {
        self.with("format", json!(format))
    }

    /// What holds if the field is left out.
    pub(super) fn default(self, value: impl Into<Value>) -> Self {
        self.with("default", value.into())
    }

    /// A value as it may look.
    pub(super) fn example(self, value: impl Into<Value>) -> Self {
        self.with("examples", json!([value.into()]))
    }

    /// The value is text in another format, whose parts look like `content`.
    pub(super) fn holding(self, media_type: &str, content: Schema) -> Self {
        self.with("contentMediaType", json!(media_type)).with("contentSchema", content.json())
    }

    /// The same, or null.
    pub(super) fn or_null(mut self) -> Self {
        if let Some(kind) = self.0.get_mut("type") {
            if kind.is_string() && *kind != "null" {
                *kind = json!([kind, "null"]);
            }
            if let Some(Value::Array(words)) = self.0.get_mut("enum") {
                words.push(Value::Null);
            }
            return self;
        }
        if self.0.contains_key("$ref") {
            let about = self.0.remove("description");
            let either = Schema(Map::from_iter([(
                "anyOf".to_owned(),
                json!([self.json(), { "type": "null" }]),
            )]));
            return match about {
                Some(about) => either.with("description", about),
                None => either,
            };
        }
        // What takes any value takes null already.
        if let Some(Value::Array(shapes)) = self.0.get_mut("anyOf") {
            shapes.push(json!({ "type": "null" }));
        }
        self
    }
}
