//! Usage, the request log and notices over HTTP, as an account and as the operator sees them.

use axum::body::Body;
use axum::http::{Method, Request, header};
use mizan::api::{self, OperatorKey};
use serde_json::{Value, json};

use super::{CHAT, chat};
use crate::support::server::{Answer, PREMIUM, Server, Setup};

const OPERATOR: &str = "the operator's own secret";

fn server(script: &[&'static str]) -> Server {
    let mut server = Server::start(Setup::saying(script));
    server.state = server.state.clone().with_operator_key(OperatorKey::of(OPERATOR));
    server.router = api::router(server.state.clone());
    server
}

async fn operator(server: &Server, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/admin{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {OPERATOR}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_or(Body::empty(), |body| Body::from(body.to_string())));
    server.send(request.unwrap()).await
}

/// Three answers of two tokens: two of the standard model, one of the premium one.
async fn used() -> Server {
    let server = server(&["a", "b"]);
    for model in ["default", "default", PREMIUM] {
        server.post(CHAT, &chat(json!({ "model": model }))).await;
    }
    server
}

#[tokio::test]
async fn usage_is_told_by_day_model_and_key() {
    let server = used().await;
    let usage = server.get("/api/v1/usage?group_by=model,key").await.json();
    let key = &usage["data"][0]["key"];
    assert_eq!(key["label"], "first");
    let expected = json!([
        { "model": "scripted", "key": key, "requests": 2, "input_tokens": 8,
          "output_tokens": 4, "credits": 4, "reversed": 0 },
        { "model": "scripted-premium", "key": key, "requests": 1, "input_tokens": 4,
          "output_tokens": 2, "credits": 4, "reversed": 0 },
    ]);
    assert_eq!(usage["data"], expected);
    assert_eq!(usage["total"]["credits"], 8);
    let credits = server.get("/api/v1/credits").await.json();
    assert_eq!(usage["total"]["credits"], credits["data"]["total_usage"]);
    // By day, if nothing is said.
    let days = server.get("/api/v1/usage").await.json();
    assert!(days["data"][0]["day"].is_string() && days["data"][0].get("model").is_none());
    assert_eq!(days["total"], usage["total"]);
    let before = server.get("/api/v1/usage?from=2020-01-01&to=2020-12-31").await.json();
    assert_eq!((&before["data"], &before["total"]["requests"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn the_operator_sees_all_accounts_and_an_account_only_its_own() {
    let server = used().await;
    server.ledger.create_account("others", "default", "test").wait().unwrap();
    let all = operator(&server, Method::GET, "/usage?group_by=account", None).await.json();
    assert_eq!(all["data"][0]["account"], "team");
    assert_eq!(all["total"]["requests"], 3);
    let one = operator(&server, Method::GET, "/usage?account=others", None).await.json();
    assert_eq!(one["total"]["requests"], 0);
    let log = operator(&server, Method::GET, "/generations?account=team", None).await.json();
    assert_eq!(log["data"], server.get("/api/v1/generations").await.json()["data"]);
    let log = operator(&server, Method::GET, "/generations?limit=2", None).await.json();
    assert_eq!((log["data"].as_array().unwrap().len(), &log["has_more"]), (2, &json!(true)));
    let nobody = operator(&server, Method::GET, "/usage?account=nobody", None).await;
    assert_eq!(nobody.status, 404);
    for path in ["/api/v1/usage?account=others", "/api/v1/generations?account=others"] {
        assert_eq!(server.get(path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn the_log_tells_each_request_and_goes_on() {
    let server = used().await;
    let log = server.get("/api/v1/generations?limit=2").await.json();
    let first = &log["data"][0];
    assert_eq!(first["model"], PREMIUM);
    assert_eq!((&first["status"], &first["finish_reason"]), (&json!("completed"), &json!("stop")));
    assert_eq!((&first["tokens_prompt"], &first["tokens_completion"]), (&json!(4), &json!(2)));
    assert_eq!((&first["credits"], &first["credit_multiplier"]), (&json!(4), &json!(2)));
    assert_eq!((&first["streamed"], &first["key"]["label"]), (&json!(false), &json!("first")));
    let (whole, to_first) = (&first["generation_time"], &first["time_to_first_token"]);
    assert!(to_first.as_i64().unwrap() <= whole.as_i64().unwrap());
    let next = log["next"].as_str().unwrap();
    let rest = server.get(&format!("/api/v1/generations?limit=2&before={next}")).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));

    // One of them alone tells the same.
    let id = first["id"].as_str().unwrap();
    let alone = &server.get(&format!("/api/v1/generations/{id}")).await.json()["data"];
    for field in ["time_to_first_token", "generation_time", "credits", "created", "status"] {
        assert_eq!(alone[field], first[field], "{field}");
    }
    for (query, count) in [
        ("model=scripted", 2),
        ("model=nothing", 0),
        ("finish=stop", 3),
        ("finish=length", 0),
        ("key=1", 3),
        ("key=2", 0),
        ("from=2020-01-01", 3),
        ("to=2020-01-01", 0),
    ] {
        let log = server.get(&format!("/api/v1/generations?{query}")).await.json();
        assert_eq!(log["data"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn tables_are_csv_that_spreadsheets_can_not_misread() {
    let server = used().await;
    let key = server.ledger.create_key(server.account, "=cmd|' /C x'!A0", None, "test");
    let secret = key.wait().unwrap().secret;
    let request = Request::post(CHAT)
        .header(header::AUTHORIZATION, format!("Bearer {secret}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(chat(json!({})).to_string()));
    server.send(request.unwrap()).await;

    let usage = server.get("/api/v1/usage?group_by=key,model&format=csv").await;
    assert!(usage.header("content-type").unwrap().starts_with("text/csv"));
    let lines: Vec<&str> = usage.text.split("\r\n").collect();
    let names = "key_id,key_label,key_prefix,model,requests,input_tokens,output_tokens,credits,\
                 reversed";
    assert_eq!(lines[0], names);
    assert!(lines[3].starts_with("2,\"'=cmd|' /C x'!A0\",mz-"), "{}", usage.text);
    assert_eq!((lines.len(), lines[4]), (5, ""));

    let mut request = server.request(Method::GET, "/api/v1/generations?limit=3", None);
    request.headers_mut().insert(header::ACCEPT, "text/csv".parse().unwrap());
    let log = server.send(request).await;
    assert_eq!(log.text.split("\r\n").count(), 5, "{}", log.text);
    let cells = log.text.lines().next().unwrap().split(',').count();
    assert!(log.text.lines().all(|line| line.split(',').count() == cells), "{}", log.text);
    let all = server.get("/api/v1/generations?format=csv").await;
    assert_eq!(all.text.split("\r\n").count(), 6);
}

#[tokio::test]
async fn what_can_not_be_told_is_refused() {
    let server = used().await;
    for (path, message) in [
        ("usage?group_by=hour", "\"hour\""),
        ("usage?group_by=day,day", "twice"),
        ("usage?group_by=account", "one account"),
        ("usage?from=yesterday", "'from'"),
        ("usage?from=2020-01-01", "400 days"),
        ("usage?format=xml", "json or csv"),
        ("usage?fron=2020-01-01", "fron"),
        ("generations?limit=0", "1 to 1000"),
        ("generations?limit=1001", "1 to 1000"),
        ("generations?limit=x", "limit"),
    ] {
        let answer = server.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        let error = answer.json();
        let text = error["error"]["message"].as_str().unwrap();
        assert!(text.contains(message), "{path}: {text}");
    }
    for before in ["zz", "00112233445566778899aabbccddeeff"] {
        let answer = server.get(&format!("/api/v1/generations?before={before}")).await;
        assert_eq!(answer.status, 404, "{before}");
    }
}

#[tokio::test]
async fn a_low_balance_is_told_where_it_was_asked_for() {
    let server = server(&["a", "b"]);
    let path = "/accounts/team/notices/low-balance";
    let put = async |body: Value| operator(&server, Method::PUT, path, Some(body)).await;
    let set = put(json!({ "below": 4_999, "url": "https://example.com/hook" })).await.json();
    let data = &set["data"];
    assert_eq!((&data["below"], &data["is_low"]), (&json!(4_999), &json!(false)));
    assert!(data["secret"].as_str().unwrap().starts_with("whsec_"));
    let shown = operator(&server, Method::GET, path, None).await.json();
    assert!(shown["data"].get("secret").is_none(), "the secret is shown once");

    server.post(CHAT, &chat(json!({}))).await;
    let shown = operator(&server, Method::GET, path, None).await.json();
    assert!(shown["data"]["is_low"] == true && shown["data"]["told_at"].is_i64(), "{shown}");
    let list = operator(&server, Method::GET, "/accounts/team/notices", None).await.json();
    let notice = &list["data"][0];
    assert_eq!((&notice["type"], &notice["balance"]), (&json!("balance.low"), &json!(4_998)));
    assert_eq!((&notice["tries"], &notice["sent_at"]), (&json!(0), &Value::Null));
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.lines().any(|line| line == "mizan_notices_waiting 1"), "{metrics}");

    for (body, param) in [
        (json!({ "below": 0 }), "below"),
        (json!({ "below": 5, "url": "ftp://example.com" }), "url"),
        (json!({ "below": 5, "url": "http://127.0.0.1:8080/" }), "url"),
        (json!({ "below": 5, "url": "http://169.254.169.254/latest/meta-data" }), "url"),
        (json!({ "url": "https://example.com" }), "url"),
    ] {
        let refused = put(body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text);
        assert_eq!(refused.json()["error"]["param"], param, "{body}");
    }
    let off = put(json!({})).await.json();
    assert_eq!((&off["data"]["below"], &off["data"]["url"]), (&Value::Null, &Value::Null));
}
