//! Receipts, exports, and the health of the books, over HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use mizan::api::{self, OperatorKey};
use mizan::ledger::{PublicKey, Receipt, check_receipt};
use rusqlite::Connection;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{CHAT, chat};
use crate::support::server::{Answer, STANDARD, Server, Setup};

const OPERATOR: &str = "the operator's own secret";

async fn export(server: &Server, key: &str, query: &str) -> Answer {
    let state = server.state.clone().with_operator_key(OperatorKey::of(OPERATOR));
    let request = Request::get(format!("/api/v1/admin/export{query}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(Body::empty())
        .unwrap();
    Answer::read(api::router(state).oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn a_receipt_is_checked_with_what_the_server_publishes() {
    let server = Server::start(Setup::saying(&["Hel", "lo"]));
    let answer = server.post(CHAT, &chat(json!({}))).await.json();
    let id = answer["id"].as_str().unwrap();
    server.settled().await;
    let path = format!("/api/v1/generations/{id}/receipt");
    let receipt = server.get(&path).await;
    assert_eq!(receipt.status, 200, "{}", receipt.text);
    let request = Request::get("/api/v1/receipt-key").body(Body::empty()).unwrap();
    let published = server.send(request).await.json();
    let key: PublicKey = published["data"]["public_key"].as_str().unwrap().parse().unwrap();
    let Ok(Receipt::Charge(charge)) = check_receipt(&receipt.text, &key) else {
        panic!("{}", receipt.text)
    };
    assert_eq!((charge.model.as_str(), charge.account.as_str()), (STANDARD, "team"));
    assert_eq!((charge.output_tokens, charge.credits), (2, 2));
    assert_eq!(charge.server_key, published["data"]["id"].as_str().unwrap());
    assert!(id.ends_with(&charge.request));

    let forged = receipt.text.replace("\"credits\":2", "\"credits\":1");
    assert!(forged != receipt.text && check_receipt(&forged, &key).is_err());

    let other = server.ledger.create_account("others", "default", "test").wait().unwrap();
    let theirs = server.ledger.create_key(other, "theirs", None, "test").wait().unwrap();
    for (key, status) in [(theirs.secret.as_str(), 404), ("mz-nobody", 401)] {
        let request = Request::get(&path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(server.send(request).await.status, status);
    }
    for unknown in ["x", &"0".repeat(32)] {
        let path = format!("/api/v1/generations/{unknown}/receipt");
        assert_eq!(server.get(&path).await.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn the_operator_alone_exports() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    server.post(CHAT, &chat(json!({}))).await;
    server.settled().await;
    for (key, status) in [("mz-0000", 401), (server.key.as_str(), 403)] {
        assert_eq!(export(&server, key, "").await.status, status);
    }
    let csv = export(&server, OPERATOR, "").await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(csv.text.lines().count(), 3, "names, grant, spend: {}", csv.text);
    let query = "?account=team&format=jsonl&what=journal&from=2020-01-01&to=";
    let lines = export(&server, OPERATOR, query).await.text;
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["balance"]), (2, &json!(4_998)));
    let usage = export(&server, OPERATOR, "?what=usage&format=jsonl").await.text;
    assert_eq!(usage.lines().count(), 1);
    for (query, status, message) in [
        ("?account=nobody", 404, "nobody"),
        ("?from=yesterday", 400, "'from'"),
        ("?from=2026-03-02&to=2026-03-01", 400, "before it begins"),
        ("?format=xml", 400, "csv, jsonl"),
        ("?what=everything", 400, "journal, usage"),
        ("?accuont=team", 400, "accuont"),
    ] {
        let refused = export(&server, OPERATOR, query).await;
        assert_eq!(refused.status, status, "{query}: {}", refused.text);
        let error = refused.json()["error"]["message"].to_string();
        assert!(error.contains(message), "{query}: {error}");
    }
}

#[tokio::test]
async fn metrics_show_the_books_and_readiness_their_damage() {
    let server = Server::start(Setup::saying(&["a"]));
    server.post(CHAT, &chat(json!({}))).await;
    server.settled().await;
    let page = server.get("/metrics").await.text;
    let transfers = page.lines().find(|line| line.starts_with("mizan_ledger_transfers "));
    assert_eq!(transfers, Some("mizan_ledger_transfers 2"));
    for name in ["mizan_ledger_commits_total ", "mizan_ledger_commit_seconds_bucket{le=\"0.001\"} "]
    {
        assert!(page.lines().any(|line| line.starts_with(name)), "{name}: {page}");
    }
    assert!(!page.contains("mizan_ledger_verify_ok"), "nothing was checked yet");
    assert_eq!(server.get("/ready").await.status, 200);

    let verified = async |is_ok: bool| {
        let _watch = server.ledger.watch(Duration::ZERO, Duration::from_secs(3_600)).unwrap();
        while server.ledger.last_check().is_none_or(|check| check.is_ok != is_ok) {
            tokio::task::yield_now().await;
        }
        server.get("/metrics").await.text
    };
    assert!(verified(true).await.contains("\nmizan_ledger_verify_ok 1\n"));
    assert_eq!(server.get("/ready").await.status, 200);

    let conn = Connection::open(server.state.config.ledger_path()).unwrap();
    conn.execute_batch("UPDATE account SET balance=balance+1 WHERE kind='spent'").unwrap();
    let page = verified(false).await;
    assert!(page.contains("\nmizan_ledger_verify_ok 0\n"));
    assert!(page.contains("\nmizan_ledger_verify_timestamp_seconds "));
    let ready = server.get("/ready").await;
    assert_eq!(
        (ready.status.as_u16(), ready.json()["status"].clone()),
        (503, json!("ledger damaged"))
    );
}
