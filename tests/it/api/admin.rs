//! `/api/v1/admin`: only the operator gets in, and what it does is what accounts then see.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, header};
use mizan::api::{self, OperatorKey};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{CHAT, chat};
use crate::support::server::{Answer, Server, Setup};

pub(super) const OPERATOR: &str = "the operator's own secret";

/// The server's routes as the holder of `key` sees them.
pub(super) struct Holder {
    router: Router,
    key: &'static str,
}

impl Holder {
    pub(super) fn of(server: &Server, key: &'static str) -> Self {
        let state = server.state.clone().with_operator_key(OperatorKey::of(OPERATOR));
        Self { router: api::router(state), key }
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/admin{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or(Body::empty(), |body| Body::from(body.to_string())))
            .unwrap();
        let answer = Answer::read(self.router.clone().oneshot(request).await.unwrap()).await;
        (answer.status.as_u16(), answer.json())
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }
}

#[tokio::test]
async fn only_the_operator_gets_in() {
    let server = Server::start(Setup::saying(&["ok"]));
    for (key, refusal) in [("", 401), ("the operator's own secreT", 401), ("mz-0000", 401)] {
        let stranger = Holder::of(&server, key);
        for path in ["/accounts", "/accounts/team", "/accounts/team/keys"] {
            assert_eq!(stranger.get(path).await.0, refusal, "{path}");
        }
        let grant = json!({ "credits": 1_000, "reason": "for myself" });
        assert_eq!(stranger.post("/accounts/team/grants", grant).await.0, refusal);
    }
    // An account's key opens no admin route, and without an operator's key nobody gets in.
    assert_eq!(server.get("/api/v1/admin/accounts").await.status, 403);
    let totals = server.ledger.account_totals(server.account).unwrap().unwrap();
    assert_eq!(totals.balance.0, 5_000);
}

#[tokio::test]
async fn an_account_is_made_funded_used_and_closed() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    let operator = Holder::of(&server, OPERATOR);
    let (status, made) = operator.post("/accounts", json!({ "name": "lab 1/b" })).await;
    assert_eq!((status, &made["balance"], &made["plan"]), (200, &json!(0), &json!("default")));
    let grant = json!({ "credits": 5, "reason": "trial" });
    let (_, granted) = operator.post("/accounts/lab%201%2Fb/grants", grant).await;
    assert_eq!(granted["balance"], 5);
    let limited = json!({ "label": "ci", "limit": 3, "limit_reset": "daily" });
    let (_, key) = operator.post("/accounts/lab%201%2Fb/keys", limited).await;

    let secret = key["secret"].as_str().unwrap();
    let mut request = server.request(Method::POST, CHAT, Some(&chat(json!({}))));
    let bearer = format!("Bearer {secret}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    assert_eq!(server.send(request).await.json()["usage"]["balance"], 2);

    let (_, shown) = operator.get("/accounts/lab%201%2Fb").await;
    assert_eq!((&shown["balance"], &shown["total_usage"]), (&json!(2), &json!(3)));
    let listed = &shown["keys"][0];
    assert_eq!((&listed["limit"], &listed["limit_reset"]), (&json!(3), &json!("daily")));
    assert!(listed.get("secret").is_none(), "a secret is shown once");

    let revoke = format!("/keys/{}", key["id"]);
    let (status, _) = operator.call(Method::DELETE, &revoke, None).await;
    assert_eq!(status, 200);
    let (_, closed) = operator.post("/accounts/lab%201%2Fb/close", json!({})).await;
    assert!(closed["closed_at"].is_i64());
    let (status, _) = operator
        .post("/accounts/lab%201%2Fb/grants", json!({ "credits": 1, "reason": "late" }))
        .await;
    assert!((400..500).contains(&status), "a closed account takes no credits: {status}");
    assert!(server.ledger.verify().unwrap().is_ok());
}

#[tokio::test]
async fn refusals_name_what_is_wrong() {
    let server = Server::start(Setup::saying(&["ok"]));
    let operator = Holder::of(&server, OPERATOR);
    for (path, body, status, message) in [
        ("/accounts", json!({}), 400, "'name'"),
        ("/accounts", json!({ "name": "team" }), 422, "team"),
        ("/accounts", json!({ "name": "x", "plan": "gold" }), 400, "gold"),
        ("/accounts/nobody/grants", json!({ "credits": 1, "reason": "r" }), 404, "nobody"),
        ("/accounts/team/grants", json!({ "credits": 0, "reason": "r" }), 400, "'credits'"),
        ("/accounts/team/grants", json!({ "credits": 1.5, "reason": "r" }), 400, "'credits'"),
        ("/accounts/team/grants", json!({ "credits": 1 }), 400, "'reason'"),
        ("/accounts/team/keys", json!({ "label": "k", "limit": -1 }), 400, "'limit'"),
        ("/accounts/team/keys", json!({ "label": "k", "limit_reset": "daily" }), 400, "'limit'"),
        (
            "/accounts/team/keys",
            json!({ "label": "k", "limit": 1, "limit_reset": "hourly" }),
            400,
            "hourly",
        ),
    ] {
        let (found, answer) = operator.post(path, body.clone()).await;
        let text = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(text.contains(message), "{path} {body}: {text}");
    }
    assert_eq!(operator.call(Method::DELETE, "/keys/999", None).await.0, 404);
    assert_eq!(operator.call(Method::DELETE, "/keys/x", None).await.0, 404);
}
