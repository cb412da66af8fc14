//! The dashboard's side of the server: its files, browsers that sign in, and the playground.

mod cookies;
mod cross_site;
mod pages;
mod playground;
mod sign_in;

use axum::body::Body;
use axum::http::{Request, header};
use mizan::ledger::Role;
use serde_json::{Value, json};

use super::sessions::{PASSWORD, session_of};
use crate::support::server::{Answer, Server};

const SIGN_IN: &str = "POST /api/v1/sessions/cookie";
const SIGN_OUT: &str = "DELETE /api/v1/sessions/current";

/// The header that the dashboard's pages add.
const MARK: (&str, &str) = ("x-mizan-dashboard", "1");

fn request(line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}

/// A request as a page sends it, from a browser that keeps `cookie`.
async fn browse(server: &Server, cookie: &str, line: &str, body: Option<Value>) -> Answer {
    let headers = [MARK, ("sec-fetch-site", "same-origin"), ("cookie", cookie)];
    server.send(request(line, &headers, body)).await
}

/// The cookie that the answer has the browser keep, as it is sent back.
fn kept(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

async fn with_key(server: &Server, key: &str) -> String {
    let signed_in = server.send(request(SIGN_IN, &[MARK], Some(json!({ "key": key })))).await;
    kept(&signed_in)
}

/// The cookie of a new user.
async fn with_name(server: &Server, name: &str, role: Role) -> String {
    session_of(server, name, role).await;
    let body = json!({ "name": name, "password": PASSWORD });
    kept(&server.send(request(SIGN_IN, &[MARK], Some(body))).await)
}
