//! What an operator corrects, changes and looks at.

use axum::body::Body;
use axum::http::{Method, Request};
use mizan::ledger::{NewKeyRequest, Scopes};
use serde_json::json;

use super::super::{CHAT, chat};
use super::Shop;

#[tokio::test]
async fn a_correction_is_a_new_entry_and_never_overdraws() {
    let shop = Shop::open();
    let operator = shop.operator();
    let correct = async |credits: i64| {
        let body = json!({ "credits": credits, "reason": "was wrong" });
        operator.post("/accounts/team/corrections", body).await
    };
    assert_eq!(correct(100).await.1["balance"], 100);
    assert_eq!(correct(-40).await.1["balance"], 60);
    assert_eq!(correct(-61).await.0, 422);
    assert_eq!(correct(0).await.0, 400);
    assert_eq!(operator.post("/accounts/team/corrections", json!({ "credits": 1 })).await.0, 400);
    shop.assert_balance(60);
    let totals = shop.server.get("/api/v1/credits").await.json();
    assert_eq!(totals["data"]["total_credits"], 60);
}

#[tokio::test]
async fn a_frozen_account_generates_nothing_until_it_is_thawed() {
    let shop = Shop::open();
    shop.buy("tap").await;
    let set = async |frozen: bool| {
        let body = Some(json!({ "frozen": frozen }));
        shop.operator().call(Method::PATCH, "/accounts/team", body).await
    };
    assert!(set(true).await.1["frozen_at"].is_i64());
    let refused = shop.server.post(CHAT, &chat(json!({}))).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["code"], "account_frozen");
    // It still sees what it has, and may pay.
    assert_eq!(shop.server.get("/api/v1/credits").await.status, 200);
    shop.buy("tap").await;
    assert!(set(false).await.1["frozen_at"].is_null());
    assert_eq!(shop.server.post(CHAT, &chat(json!({}))).await.status, 200);
    shop.assert_balance(9_997);
}

#[tokio::test]
async fn plans_are_those_of_the_catalog_and_all_is_in_the_audit() {
    let shop = Shop::open();
    let operator = shop.operator();
    let (_, plans) = operator.get("/plans").await;
    assert_eq!(plans["data"][0]["name"], "default");
    let change = async |body| operator.call(Method::PATCH, "/accounts/team", Some(body)).await;
    assert_eq!(change(json!({ "plan": "default" })).await.0, 200);
    assert_eq!(change(json!({ "plan": "gold" })).await.0, 400);
    assert_eq!(change(json!({})).await.0, 400);
    assert_eq!(change(json!({ "frozen": true })).await.0, 200);
    assert_eq!(change(json!({ "frozen": false })).await.0, 200);
    operator
        .post("/accounts/team/corrections", json!({ "credits": 5, "reason": "seen in the audit" }))
        .await;
    let (_, audit) = operator.get("/audit?limit=2").await;
    let last = &audit["data"][0];
    assert_eq!(last["actor"], "operator");
    assert!(last["detail"].as_str().unwrap().contains("seen in the audit"), "{audit}");
    assert_eq!(audit["has_more"], true);
    let before = audit["data"][1]["id"].as_i64().unwrap();
    assert_eq!(audit["next"], before);
    let (_, earlier) = operator.get(&format!("/audit?before={before}")).await;
    assert!(earlier["data"].as_array().unwrap().iter().all(|e| e["id"].as_i64() < Some(before)));
    assert_eq!((&earlier["has_more"], &earlier["next"]), (&json!(false), &json!(null)));
    let actions = async |query: &str| -> Vec<String> {
        let (status, audit) = operator.get(&format!("/audit?{query}")).await;
        assert_eq!(status, 200, "{audit}");
        let entries = audit["data"].as_array().unwrap().iter();
        entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(actions("actor=operator").await, ["correct", "account.thaw", "account.freeze"]);
    let all = ["account.thaw", "account.freeze", "account.create"];
    assert_eq!(actions("action=account").await, all);
    assert_eq!(actions("action=account.thaw&actor=").await, all[..1]);
    for nothing in ["action=acc", "action=account.", "action=%25", "actor=oper"] {
        assert!(actions(nothing).await.is_empty(), "{nothing}");
    }
}

#[tokio::test]
async fn an_order_is_its_accounts_alone() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let path = format!("/api/v1/topups/{}", order["id"].as_str().unwrap());
    let ledger = &shop.server.ledger;
    let account = ledger.create_account("others", "default", "test").wait().unwrap();
    let key = NewKeyRequest { scopes: Scopes::ALL, ..NewKeyRequest::new(account, "theirs") };
    let other = ledger.create_key(key, "test").wait().unwrap().secret;
    let request = |path: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {other}"));
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(shop.server.send(request(&path)).await.status, 404);
    let listed = shop.server.send(request("/api/v1/topups")).await.json();
    assert_eq!(listed["data"], json!([]));
    assert_eq!(shop.server.get(&path).await.status, 200);
}

#[tokio::test]
async fn orders_are_found_by_account_status_and_provider() {
    let shop = Shop::open();
    shop.buy("tap").await;
    shop.order("myfatoorah").await;
    let count = async |query: &str| {
        let (status, listed) = shop.operator().get(&format!("/topups?{query}")).await;
        assert_eq!(status, 200, "{listed}");
        listed["data"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count("status=paid").await, 1);
    assert_eq!(count("status=pending&provider=tap").await, 0);
    assert_eq!(count("account=team&provider=myfatoorah").await, 1);
    assert_eq!(shop.operator().get("/topups?status=gold").await.0, 400);
    assert_eq!(shop.operator().get("/topups?account=nobody").await.0, 404);
}
