//! `GET /openapi.json`: the whole API as one OpenAPI 3.1 document, for people, tools and tests.
//!
//! Paths, methods and who may call come from the table of `access`; a file for each group of
//! routes says what they take and answer. Bounds and words are the constants that handlers check
//! with, so that the document can not say otherwise.
//!
//! Promises: every route has an operation and every operation a route, or there is no document and
//! a test fails; it is made once.
//! Never knows: callers, settings, models: the document is the same on every server.

mod account;
mod admin;
mod admin_models;
mod admin_sales;
mod billing;
mod chat;
mod completions;
mod embeddings;
mod errors;
mod generation;
mod keys;
mod messages;
mod models;
mod native;
mod notices;
mod operation;
mod operations;
mod people;
mod responses;
mod schema;
mod usage;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::access::{ROUTES, Route};
use super::etag;
use operation::{Group, Operation};

/// The document as it is sent.
struct Document {
    text: Bytes,
    etag: HeaderValue,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let document = build(ROUTES, &groups()).expect("a test builds the same document");
    let text = document.to_string();
    let etag = etag::of_digest(&Sha256::digest(&text));
    Document { text: text.into(), etag }
});

/// `GET /openapi.json`
pub(super) async fn document(headers: HeaderMap) -> Response {
    let Document { text, etag } = &*DOCUMENT;
    // It changes with the program only; whoever keeps it asks whether it did.
    let mut response = ([(header::CACHE_CONTROL, "no-cache")], ()).into_response();
    response.headers_mut().insert(header::ETAG, etag.clone());
    if etag::is_known(&headers, etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    *response.body_mut() = text.clone().into();
    response
}

/// The chapters, in the order in which a reader needs them.
fn groups() -> Vec<Group> {
    vec![
        chat::group(),
        completions::group(),
        responses::group(),
        messages::group(),
        embeddings::group(),
        generation::group(),
        native::group(),
        models::group(),
        account::group(),
        usage::group(),
        billing::group(),
        notices::group(),
        keys::group(),
        people::group(),
        admin::group(),
        admin_sales::group(),
        admin_models::group(),
        operations::group(),
    ]
}

/// The table of routes and the operations do not go together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("routes without an operation: {undocumented:?}; operations without a route: {unrouted:?}")]
struct Mismatch {
    undocumented: Vec<String>,
    unrouted: Vec<String>,
}

/// The document of these routes.
fn build(routes: &[Route], groups: &[Group]) -> Result<Value, Mismatch> {
    let mut documented: BTreeMap<(&str, &str), (&Group, &Operation)> = BTreeMap::new();
    for group in groups {
        for operation in &group.operations {
            let rows = operation.paths.iter().map(|path| (operation.method, *path));
            documented.extend(rows.map(|row| (row, (group, operation))));
        }
    }
    let mut paths: Map<String, Value> = Map::new();
    let mut undocumented = Vec::new();
    for route in routes {
        let Some((group, operation)) = documented.remove(&(route.method.as_str(), route.path))
        else {
            undocumented.push(format!("{} {}", route.method, route.path));
            continue;
        };
        let path = paths.entry(public_path(route.path)).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation.json(route, group.tag);
    }
    let unrouted: Vec<String> =
        documented.keys().map(|(method, path)| format!("{method} {path}")).collect();
    if !undocumented.is_empty() || !unrouted.is_empty() {
        return Err(Mismatch { undocumented, unrouted });
    }
    let tags = groups.iter().filter(|group| !group.operations.is_empty());
    let tags = tags.map(|group| json!({ "name": group.tag, "description": group.about }));
    let schemas = groups.iter().flat_map(|group| &group.schemas);
    let mut schemas: Map<String, Value> =
        schemas.map(|(name, schema)| ((*name).to_owned(), schema.clone().json())).collect();
    schemas.insert("Error".to_owned(), errors::schema().json());
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mizan",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This server." }],
        "tags": tags.collect::<Vec<Value>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": errors::responses(),
            "headers": errors::headers(),
            "securitySchemes": security_schemes(),
        },
    }))
}

const ABOUT: &str = "An LLM inference server with built-in credits. The routes under `/v1` are \
    OpenAI's, and answer under `/api/v1` alike; the others are this server's own.\n\nEvery output \
    token costs `credit_multiplier` credits and is charged before it is sent; input is free. In \
    request bodies an explicit `null` is as good as a field that is left out, and fields that are \
    not listed are ignored. Times are Unix seconds unless they say otherwise, days are Kuwait's \
    (UTC+03:00), money is in Kuwaiti dinars (KWD) of 1000 fils. Answers of `HEAD` are those of \
    `GET` without a body.";

/// The path without the router's mark for the rest of a path.
fn public_path(pattern: &str) -> String {
    pattern.replace("{*", "{")
}

fn security_schemes() -> Value {
    let bearer = |about: &str| json!({ "type": "http", "scheme": "bearer", "description": about });
    json!({
        "accountKey": bearer(
            "A key of an account, `mz-...`: it spends the account's credits as far as its scopes \
             and limits allow. It may also be sent in a header `x-api-key`."
        ),
        "session": bearer("The secret of a session, `ms-...`, that signing in gave to a user."),
        "operatorKey": bearer("The key of whoever runs the server."),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;

    use super::*;
    use crate::api::Access;

    #[test]
    fn routes_and_operations_go_together() {
        assert!(build(ROUTES, &groups()).is_ok_and(|document| document["paths"].is_object()));
        let (first, rest) = ROUTES.split_first().expect("there are routes");
        let missing = build(rest, &groups()).expect_err("one operation is too many");
        assert_eq!(missing.unrouted, [format!("{} {}", first.method, first.path)]);
        let mut more = ROUTES.to_vec();
        let (method, access) = (Method::GET, Access::Public);
        more.push(Route { method, path: "/unheard/of", access });
        let unknown = build(&more, &groups()).expect_err("one operation is missing");
        assert_eq!(unknown.undocumented, ["GET /unheard/of"]);
    }

    #[test]
    fn a_group_says_each_thing_once() {
        let groups = groups();
        let mut rows = BTreeSet::new();
        let mut names = BTreeSet::from(["Error"]);
        for group in &groups {
            for operation in &group.operations {
                let once = |path: &&str| rows.insert((operation.method, path.to_string()));
                assert!(operation.paths.iter().all(once), "{operation:?} twice");
            }
            assert!(group.schemas.iter().all(|(name, _)| names.insert(name)), "{}", group.tag);
        }
    }
}
