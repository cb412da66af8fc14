//! What one route takes and answers, apart from its path, method and who may call it: those come
//! from the table of `access`.
//! Never knows: which routes there are.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::access::{Access, Route};
use super::errors;
use super::schema::{Schema, text};
use crate::api::openai::MAX_IDEMPOTENCY_KEY_CHARS;
use crate::ledger::Scope;

/// A chapter of the document: operations that belong together, and the schemas they share.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) tag: &'static str,
    pub(super) about: &'static str,
    pub(super) operations: Vec<Operation>,
    /// Components, by name.
    pub(super) schemas: Vec<(&'static str, Schema)>,
}

/// The operation of a route, or of several that answer alike.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// As the table of `access` has them. The first one's operation has the plain id.
    pub(super) paths: Vec<&'static str>,
    id: &'static str,
    summary: &'static str,
    about: String,
    parameters: Vec<Value>,
    body: Option<Body>,
    answers: Vec<Answer>,
    /// Statuses of the shared shape of errors.
    errors: BTreeSet<u16>,
    /// Their shape, where it is not the shared one.
    error_shape: Option<Schema>,
}

#[derive(Debug)]
struct Body {
    schema: Schema,
    media_type: &'static str,
}

/// An answer that is not the shared error.
#[derive(Debug)]
struct Answer {
    status: u16,
    about: &'static str,
    /// Media type and schema.
    contents: Vec<(&'static str, Schema)>,
    headers: Vec<&'static str>,
}

pub(super) fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("GET", path, id, summary)
}

pub(super) fn post(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("POST", path, id, summary)
}

pub(super) fn put(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("PUT", path, id, summary)
}

pub(super) fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("PATCH", path, id, summary)
}

pub(super) fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("DELETE", path, id, summary)
}

impl Operation {
    fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            paths: vec![path],
            id,
            summary,
            about: String::new(),
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            errors: BTreeSet::new(),
            error_shape: None,
        }
    }

    /// Another path that answers alike.
    pub(super) fn also_at(mut self, path: &'static str) -> Self {
        self.paths.push(path);
        self
    }

    /// What a reader has to know beyond the summary.
    pub(super) fn about(mut self, about: &str) -> Self {
        self.about = about.to_owned();
        self
    }

    /// A part of the path.
    pub(super) fn path(mut self, name: &str, schema: Schema) -> Self {
        self.parameters.push(parameter("path", name, true, schema));
        self.fails(&[400, 404])
    }

    /// A parameter of the query, which may be left out.
    pub(super) fn query(mut self, name: &str, schema: Schema) -> Self {
        self.parameters.push(parameter("query", name, false, schema));
        self.fails(&[400])
    }

    /// A header, which may be left out.
    pub(super) fn header(mut self, name: &str, schema: Schema) -> Self {
        self.parameters.push(parameter("header", name, false, schema));
        self
    }

    /// The request may be sent again under the same `Idempotency-Key`.
    pub(super) fn idempotent(mut self, about: &str) -> Self {
        let key = text(about).chars(1..=MAX_IDEMPOTENCY_KEY_CHARS);
        self.parameters.push(parameter("header", "Idempotency-Key", false, key));
        self.fails(&[400, 422])
    }

    /// A JSON body.
    pub(super) fn body(mut self, schema: Schema) -> Self {
        self.body = Some(Body { schema, media_type: "application/json" });
        self.fails(&[400, 408, 413, 415])
    }

    /// A body that is not read as JSON.
    pub(super) fn raw_body(mut self, media_type: &'static str, schema: Schema) -> Self {
        self.body = Some(Body { schema, media_type });
        self.fails(&[400, 408, 413])
    }

    /// The answer when all is well: JSON with status 200.
    pub(super) fn answers(self, about: &'static str, schema: Schema) -> Self {
        self.answers_as(200, about, "application/json", schema)
    }

    /// An answer with another status or of another media type.
    pub(super) fn answers_as(
        mut self,
        status: u16,
        about: &'static str,
        media_type: &'static str,
        schema: Schema,
    ) -> Self {
        let contents = vec![(media_type, schema)];
        self.answers.push(Answer { status, about, contents, headers: Vec::new() });
        self
    }

    /// An answer without a body.
    pub(super) fn answers_empty(mut self, status: u16, about: &'static str) -> Self {
        self.answers.push(Answer { status, about, contents: Vec::new(), headers: Vec::new() });
        self
    }

    /// Another media type of the latest answer.
    pub(super) fn or_as(mut self, media_type: &'static str, schema: Schema) -> Self {
        let answer = self.answers.last_mut().expect("an answer comes before its other forms");
        answer.contents.push((media_type, schema));
        self
    }

    /// Headers of the latest answer, by their names among the components.
    pub(super) fn with_headers(mut self, names: &[&'static str]) -> Self {
        let answer = self.answers.last_mut().expect("an answer comes before its headers");
        answer.headers.extend(names);
        self
    }

    /// Statuses of refusals that the table of `access` and the parameters do not tell of.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        self.errors.extend(statuses);
        self
    }

    /// Refusals have another shape.
    pub(super) fn errors_as(mut self, shape: Schema) -> Self {
        self.error_shape = Some(shape);
        self
    }

    /// The operation object of one of its paths.
    pub(super) fn json(&self, route: &Route, tag: &str) -> Value {
        let (who, security) = callers(route.access);
        let about = if self.about.is_empty() { who } else { format!("{}\n\n{who}", self.about) };
        let is_first = self.paths.first() == Some(&route.path);
        let id = if is_first { self.id.to_owned() } else { format!("{}UnderApi", self.id) };
        let mut operation = Map::from_iter([
            ("operationId".to_owned(), json!(id)),
            ("tags".to_owned(), json!([tag])),
            ("summary".to_owned(), json!(self.summary)),
            ("description".to_owned(), json!(about)),
            ("security".to_owned(), security),
        ]);
        if let Access::Scope(scope) = route.access {
            operation.insert("x-scope".to_owned(), json!(scope.as_str()));
        }
        if !self.parameters.is_empty() {
            operation.insert("parameters".to_owned(), json!(self.parameters));
        }
        if let Some(Body { schema, media_type }) = &self.body {
            let content = json!({ *media_type: { "schema": schema.clone().json() } });
            let body = json!({ "required": true, "content": content });
            operation.insert("requestBody".to_owned(), body);
        }
        operation.insert("responses".to_owned(), self.responses(route.access));
        Value::Object(operation)
    }

    fn responses(&self, access: Access) -> Value {
        let is_limited = access == Access::Scope(Scope::Inference);
        let mut responses = Map::new();
        for answer in &self.answers {
            let mut headers = Map::from_iter([errors::header(errors::REQUEST_ID)]);
            headers.extend(answer.headers.iter().map(|name| errors::header(name)));
            if is_limited {
                headers.extend(errors::rate_limit_headers());
            }
            let contents = answer.contents.iter().map(|(media_type, schema)| {
                ((*media_type).to_owned(), json!({ "schema": schema.clone().json() }))
            });
            let contents: Map<String, Value> = contents.collect();
            let mut response = json!({ "description": answer.about, "headers": headers });
            if !contents.is_empty() {
                response["content"] = contents.into();
            }
            responses.insert(answer.status.to_string(), response);
        }
        let of_access: &[u16] = match access {
            Access::Public => &[500],
            Access::Known => &[401, 500, 503],
            Access::Scope(Scope::Inference) => &[401, 403, 429, 500, 503],
            Access::SignedIn
            | Access::Account
            | Access::Key
            | Access::Scope(_)
            | Access::Operator => &[401, 403, 500, 503],
        };
        for status in self.errors.iter().chain(of_access) {
            let status = status.to_string();
            if !responses.contains_key(&status) {
                let response = match &self.error_shape {
                    Some(shape) => errors::response_as(&status, shape.clone()),
                    None => errors::response(&status),
                };
                responses.insert(status, response);
            }
        }
        responses.sort_keys();
        responses.into()
    }
}

fn parameter(place: &str, name: &str, is_required: bool, schema: Schema) -> Value {
    let mut schema = schema.json();
    // Where tools look for it; the schema itself need not repeat it.
    let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    json!({
        "name": name, "in": place, "required": is_required, "description": about, "schema": schema,
    })
}

/// Who may call, in words and as security requirements: any of them will do.
fn callers(access: Access) -> (String, Value) {
    let (key, session, operator) =
        (json!({ "accountKey": [] }), json!({ "session": [] }), json!({ "operatorKey": [] }));
    match access {
        Access::Public => ("Open to everybody: no key is needed.".to_owned(), json!([])),
        Access::Known => {
            let text = "For whoever is known, by any key or session.";
            (text.to_owned(), json!([key, session, operator]))
        }
        Access::SignedIn => ("For whoever has signed in.".to_owned(), json!([session])),
        Access::Account => {
            ("For any key of an account, and any of its users.".to_owned(), json!([key, session]))
        }
        Access::Key => ("For any key of an account.".to_owned(), json!([key])),
        Access::Scope(Scope::Inference) => (
            "For keys with the scope `inference`: credits are spent with keys only (users who are \
             signed in by cookie have one for it). Counts against the limits of the account's plan."
                .to_owned(),
            json!([key]),
        ),
        Access::Scope(scope) => (
            format!("For keys with the scope `{scope}`, and users whose role has it."),
            json!([key, session]),
        ),
        Access::Operator => ("For the operator.".to_owned(), json!([operator, session])),
    }
}
