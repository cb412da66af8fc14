//! `/openapi.json`: against the table of routes, against what handlers read, and against what they
//! answer.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, header};
use mizan::api::{Access, ROUTES};
use serde_json::{Value, json};

use super::{OPERATORS_KEY, operated};
use crate::support::server::{Server, Setup};
use crate::tidy;

/// The document as anybody gets it.
async fn document(server: &Server) -> Value {
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    server.send(request).await.json()
}

/// The rows of the table, with paths as OpenAPI writes them.
fn rows() -> BTreeSet<(String, String)> {
    let row = |route: &mizan::api::Route| {
        (route.method.as_str().to_lowercase(), route.path.replace("{*", "{"))
    };
    ROUTES.iter().map(row).collect()
}

/// Method, path and operation.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

/// Calls `visit` with every object of the document and where it is.
fn walk<'a>(node: &'a Value, path: String, visit: &mut impl FnMut(&str, &'a Value)) {
    match node {
        Value::Object(fields) => {
            visit(&path, node);
            fields.iter().for_each(|(name, value)| walk(value, format!("{path}/{name}"), visit));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| walk(item, format!("{path}/{index}"), visit));
        }
        _ => {}
    }
}

/// What `reference` names in the document.
fn resolve<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    match node["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap();
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} is nowhere"))
        }
        None => node,
    }
}

#[tokio::test]
async fn the_document_has_the_served_routes_and_no_others() {
    let server = Server::start(Setup::saying(&[]));
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    let documented: BTreeSet<(String, String)> = operations(&document)
        .map(|(method, path, _)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(documented, rows());
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let path = route.path.replace("{*", "{");
        let method = route.method.as_str().to_lowercase();
        let operation = &document["paths"][path.as_str()][method.as_str()];
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
        let is_open = operation["security"].as_array().unwrap().is_empty();
        assert_eq!(is_open, route.access == Access::Public, "{method} {path}");
        let is_free = is_open && !SIGN_IN.contains(&path.as_str());
        assert_eq!(operation["responses"].get("401").is_none(), is_free, "{method} {path}");
    }
}

/// Open to everybody, and yet they refuse.
const SIGN_IN: [&str; 2] = ["/api/v1/sessions", "/api/v1/sessions/cookie"];

#[tokio::test]
async fn the_document_says_what_everything_is_for() {
    let server = Server::start(Setup::saying(&[]));
    let document = document(&server).await;
    let mut used = BTreeSet::new();
    let mut silent = Vec::new();
    walk(&document, String::new(), &mut |path, node| {
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            resolve(&document, node);
            used.insert(reference.to_owned());
        }
        for (name, field) in node["properties"].as_object().into_iter().flatten() {
            let says = |node: &Value| node["description"].as_str().is_some_and(|t| !t.is_empty());
            let referred = field["anyOf"].as_array().and_then(|shapes| shapes.first());
            if !says(field) && !says(resolve(&document, referred.unwrap_or(field))) {
                silent.push(format!("{path}/{name}"));
            }
        }
        if node.get("in").is_some() && !node["description"].is_string() {
            silent.push(path.to_owned());
        }
    });
    assert!(silent.is_empty(), "without a description: {silent:#?}");
    for kind in ["schemas", "responses", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(used.contains(&reference), "{reference} is used nowhere");
        }
    }
    for (method, path, operation) in operations(&document) {
        for field in ["summary", "description"] {
            assert!(operation[field].is_string(), "{method} {path} has no {field}");
        }
        let named = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let found: BTreeSet<&str> = parameters
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, named.collect(), "{method} {path}");
    }
}

/// Whatever field a handler reads by name, and whatever its query may hold, is in the document.
#[tokio::test]
async fn the_document_has_every_field_that_handlers_read() {
    let server = Server::start(Setup::saying(&[]));
    let document = document(&server).await;
    let mut known: BTreeSet<String> = BTreeSet::new();
    walk(&document, String::new(), &mut |_, node| {
        let properties = node["properties"].as_object().into_iter().flatten();
        known.extend(properties.map(|(name, _)| name.clone()));
        if node.get("in").is_some() {
            known.extend(node["name"].as_str().map(str::to_lowercase));
        }
    });
    let mut unknown = Vec::new();
    for reader in
        ["string", "boolean", "array", "fields", "integer", "count", "number", "require", "get"]
    {
        for name in tidy::paths_given_to(reader) {
            // Paths of routes, and the single letters of a unit test, are no fields.
            let is_field = !name.starts_with('/') && name.len() > 1;
            if is_field && !known.contains(&name) {
                unknown.push(format!(".{reader}({name:?})"));
            }
        }
    }
    assert!(unknown.is_empty(), "read by handlers, not in the document: {unknown:#?}");
}

#[tokio::test]
async fn the_document_is_kept_until_it_changes() {
    let server = Server::start(Setup::saying(&[]));
    let get = async |known: &str| {
        let request = Request::get("/openapi.json").header(header::IF_NONE_MATCH, known);
        server.send(request.body(Body::empty()).unwrap()).await
    };
    let first = get("\"another\"").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), Some("application/json"));
    let tag = first.header("etag").unwrap().to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
        let again = get(&known).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{known}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
    }
}

/// What the framework refuses before a handler runs is refused in the API's own shape.
#[tokio::test]
async fn paths_queries_and_bodies_that_can_not_be_read_are_refused_in_shape() {
    let settings = "max_body = \"1KiB\"";
    let server = operated(Server::start(Setup { settings, ..Setup::saying(&[]) }));
    for route in ROUTES {
        let mut calls = Vec::new();
        if route.path.contains('{') {
            calls.push(filled(route.path, "%FF"));
        }
        if route.method == Method::GET {
            calls.push(format!("{}?limit=%FF&from=-&status=x&unheard=1", filled(route.path, "x")));
        }
        if route.method != Method::GET && route.method != Method::DELETE {
            calls.push(filled(route.path, "x"));
        }
        for secret in [server.key.as_str(), OPERATORS_KEY] {
            for uri in &calls {
                let request = Request::builder()
                    .method(&route.method)
                    .uri(uri)
                    .header(header::AUTHORIZATION, format!("Bearer {secret}"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(" ".repeat(2_000)));
                let answer = server.send(request.unwrap()).await;
                let status = answer.status.as_u16();
                assert!(status < 500, "{} {uri}: {}", route.method, answer.text);
                let is_page = answer.header("content-type") == Some("text/html; charset=utf-8");
                if status >= 400 && !is_page {
                    let message = &answer.json()["error"]["message"];
                    assert!(message.is_string(), "{} {uri}: {}", route.method, answer.text);
                }
            }
        }
    }
}

/// The pattern with `value` for what it leaves open.
fn filled(pattern: &str, value: &str) -> String {
    let segments = pattern.split('/').map(|part| if part.starts_with('{') { value } else { part });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let server = operated(Server::start(Setup {
        scopes: mizan::ledger::Scopes::ALL,
        ..Setup::saying(&["a", "b"])
    }));
    let document = document(&server).await;
    let chat = super::chat(json!({ "logprobs": true, "top_logprobs": 1 }));
    let completion = super::completion(json!({ "logprobs": 1 }));
    let (key, operator) = (server.key.clone(), OPERATORS_KEY);
    let calls = [
        ("post /v1/chat/completions", key.as_str(), chat.clone()),
        ("post /v1/completions", &key, completion),
        ("post /v1/chat/completions", &key, json!({ "model": 1 })),
        ("post /v1/chat/completions", "mz-0", json!({})),
        ("get /v1/models", &key, Value::Null),
        ("get /api/v1/models", &key, Value::Null),
        ("post /tokenize", &key, json!({ "content": "é", "with_pieces": true })),
        ("get /api/v1/key", &key, Value::Null),
        ("get /api/v1/me", &key, Value::Null),
        ("get /api/v1/me", operator, Value::Null),
        ("get /api/v1/credits", &key, Value::Null),
        ("get /api/v1/usage", &key, Value::Null),
        ("get /api/v1/generations", &key, Value::Null),
        ("get /api/v1/packs", &key, Value::Null),
        ("post /api/v1/topups", &key, json!({ "pack": "starter" })),
        ("post /api/v1/users", &key, json!({ "name": "ann", "role": "member" })),
        ("get /api/v1/users", &key, Value::Null),
        ("post /api/v1/keys", &key, json!({ "label": "more" })),
        ("get /api/v1/keys", &key, Value::Null),
        ("put /api/v1/notices/low-balance", &key, json!({ "below": 10 })),
        ("get /api/v1/admin/accounts", operator, Value::Null),
        ("post /api/v1/admin/accounts", operator, json!({ "name": "new" })),
        ("get /api/v1/admin/usage", operator, Value::Null),
        ("get /api/v1/admin/audit", operator, Value::Null),
        ("post /api/v1/admin/vouchers", operator, json!({ "batch": "b", "credits": 1 })),
        ("get /api/v1/admin/revenue", operator, Value::Null),
        ("get /api/v1/plan", &key, Value::Null),
        ("get /api/v1/admin/models", operator, Value::Null),
        ("post /api/v1/admin/models/load", operator, json!({ "model": "scripted" })),
        ("post /api/v1/admin/models/load", operator, json!({ "model": "elsewhere" })),
        ("post /api/v1/admin/models/unload", operator, json!({ "model": "scripted-premium" })),
        ("get /api/v1/admin/ledger", operator, Value::Null),
        ("post /api/v1/admin/ledger/verify", operator, Value::Null),
        ("get /api/v1/admin/reconciliation", operator, Value::Null),
    ];
    for (line, secret, body) in calls {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {secret}"));
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let answer = server.send(request.body(Body::from(body.to_string())).unwrap()).await;
        let responses = &document["paths"][path][method]["responses"];
        let response = resolve(&document, &responses[answer.status.as_str()]);
        let content = &response["content"]["application/json"];
        assert!(content.is_object(), "{line}: {} {}", answer.status, answer.text);
        let checked = check(&document, &content["schema"], &answer.json());
        checked.unwrap_or_else(|why| panic!("{line}: {why} in {}", answer.text));
        for (name, header) in response["headers"].as_object().unwrap() {
            let is_required = resolve(&document, header)["required"] == true;
            assert!(!is_required || answer.header(name).is_some(), "{line}: no {name}");
        }
    }
    // Streams: each frame by itself.
    let usage = json!({ "include_usage": true, "continuous_usage_stats": true });
    let body = super::with(chat, json!({ "stream": true, "stream_options": usage }));
    for frame in server.stream(super::CHAT, &body).await.rest().await {
        if frame != "[DONE]" {
            let schema = json!({ "$ref": "#/components/schemas/ChatCompletionChunk" });
            check(&document, &schema, &frame).unwrap_or_else(|why| panic!("{why} in {frame}"));
        }
    }
}

/// Whether `value` is as `schema` says, with fields that it names and no others. Knows the keywords
/// that the document uses.
fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    let wrong = |what: &str| Err(format!("{value} is not {what}"));
    let is_a = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    let is_right = match &schema["type"] {
        Value::String(kind) => is_a(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is_a(kind.as_str().unwrap())),
        _ => true,
    };
    if !is_right {
        return wrong(&schema["type"].to_string());
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return wrong(&schema["enum"].to_string());
    }
    if schema.get("const").is_some_and(|word| word != value) {
        return wrong(&schema["const"].to_string());
    }
    if let (Some(bound), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < bound
    {
        return wrong(&format!("at least {bound}"));
    }
    if let Some(shapes) = schema["anyOf"].as_array() {
        let tried: Vec<_> = shapes.iter().map(|shape| check(document, shape, value)).collect();
        if tried.iter().all(Result::is_err) {
            return Err(format!("{tried:?}"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], item)?;
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return Err(format!("{value} has no {name}"));
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    for (name, field) in fields {
        let Some(known) = properties.get(name) else { return Err(format!("{name} is unheard of")) };
        check(document, known, field).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}
