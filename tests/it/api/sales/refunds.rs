//! Money back.

use axum::http::{Method, header};
use mizan::api::{self, OperatorKey};
use mizan::ledger::{Credits, NewTopup};
use mizan::money::Fils;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{OPERATOR, Shop};
use crate::support::fake_provider::Faults;
use crate::support::server::Answer;

impl Shop {
    async fn refund(&self, order: &Value, credits: Option<i64>) -> (u16, Value) {
        let path = format!("/topups/{}/refunds", order["id"].as_str().unwrap());
        self.operator().post(&path, json!({ "credits": credits, "reason": "asked for it" })).await
    }
}

#[tokio::test]
async fn what_is_not_spent_is_given_back() {
    for provider in ["tap", "myfatoorah"] {
        let shop = Shop::open();
        let order = shop.buy(provider).await;
        let id = shop.theirs(&order);
        let (status, refund) = shop.refund(&order, Some(1_000)).await;
        assert_eq!(status, 200, "{refund}");
        assert_eq!((&refund["status"], &refund["amount_kwd"]), (&json!("done"), &json!("0.400")));
        shop.assert_balance(4_000);
        assert_eq!(shop.provider.refunded_fils(&id), 400);
        assert_eq!(shop.status(&order).await, "partially_refunded");

        // Three tokens are spent, and what they cost is not given back.
        shop.server.post(super::super::CHAT, &super::super::chat(json!({}))).await;
        assert_eq!(shop.refund(&order, Some(4_000)).await.0, 422);
        let (_, rest) = shop.refund(&order, None).await;
        assert_eq!((&rest["credits"], &rest["amount_kwd"]), (&json!(3_997), &json!("1.598")));
        shop.assert_balance(0);
        assert_eq!(shop.provider.refunded_fils(&id), 1_998);
        assert_eq!(shop.refund(&order, None).await.0, 422);

        let (_, revenue) = shop.operator().get("/revenue").await;
        assert_eq!(revenue["total"]["revenue_kwd"], "0.002", "{revenue}");
    }
}

#[tokio::test]
async fn a_refund_that_is_asked_for_again_is_made_once() {
    let shop = Shop::open();
    let order = shop.buy("tap").await;
    let refund = async |credits: i64, key: &str| {
        let path = format!("/api/v1/admin/topups/{}/refunds", order["id"].as_str().unwrap());
        let body = json!({ "credits": credits, "reason": "asked for it" });
        let mut request = shop.server.request(Method::POST, &path, Some(&body));
        let bearer = format!("Bearer {OPERATOR}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        let state = shop.server.state.clone().with_operator_key(OperatorKey::of(OPERATOR));
        Answer::read(api::router(state).oneshot(request).await.unwrap()).await
    };
    let first = refund(1_000, "one").await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(refund(1_000, "one").await.json(), first.json());
    assert_eq!(refund(2_000, "one").await.status, 422);
    assert_eq!(shop.provider.calls().refund, 1);
    shop.assert_balance(4_000);
    assert_eq!(refund(1_000, "two").await.status, 200);
    shop.assert_balance(3_000);
}

#[tokio::test]
async fn a_refund_that_the_provider_refused_gives_the_credits_back() {
    let shop = Shop::open();
    let order = shop.buy("tap").await;
    shop.provider.faults(Faults { refund_status: Some(400), ..Faults::default() });
    assert_eq!(shop.refund(&order, None).await.0, 502);
    shop.assert_balance(5_000);
    assert_eq!(shop.status(&order).await, "paid");
    shop.provider.faults(Faults::default());
    assert_eq!(shop.refund(&order, None).await.0, 200);
    shop.assert_balance(0);
    assert_eq!(shop.status(&order).await, "refunded");
}

/// The provider did it and its answer was lost: the operator looks it up and says so.
#[tokio::test]
async fn a_refund_of_unknown_fate_waits_for_the_operator() {
    for (http, outcome, balance) in [(500, "done", 0), (408, "failed", 5_000)] {
        let shop = Shop::open();
        let order = shop.buy("tap").await;
        shop.provider.faults(Faults { refund_status: Some(http), ..Faults::default() });
        let (status, refused) = shop.refund(&order, None).await;
        assert_eq!(status, 502, "{refused}");
        shop.assert_balance(0);
        let (_, pending) = shop.operator().get("/refunds").await;
        let id = pending["data"][0]["id"].as_str().unwrap();
        assert_eq!(shop.provider.calls().refund, 1, "it is not sent twice");
        let path = format!("/refunds/{id}/settle");
        let settle = json!({ "outcome": outcome, "reference": "looked it up" });
        for _ in 0..2 {
            let (status, settled) = shop.operator().post(&path, settle.clone()).await;
            assert_eq!((status, &settled["status"]), (200, &json!(outcome)), "{settled}");
            shop.assert_balance(balance);
        }
        let (_, audit) = shop.operator().get("/audit?limit=1").await;
        let entry = &audit["data"][0];
        assert_eq!(
            (&entry["actor"], &entry["action"]),
            (&json!("operator"), &json!(format!("refund.{outcome}")))
        );
        let other = if outcome == "done" { "failed" } else { "done" };
        assert_eq!(shop.operator().post(&path, json!({ "outcome": other })).await.0, 422);
        shop.assert_balance(balance);
    }
}

#[tokio::test]
async fn a_bank_transfer_is_given_back_by_hand() {
    let shop = Shop::open();
    let order = shop.order("manual").await;
    let path = format!("/topups/{}/confirm", order["id"].as_str().unwrap());
    let body = json!({ "amount_kwd": "2.000", "reference": "NBK 7" });
    assert_eq!(shop.operator().post(&path, body).await.0, 200);
    let (status, refund) = shop.refund(&order, None).await;
    assert_eq!((status, &refund["status"]), (200, &json!("pending")), "{refund}");
    shop.assert_balance(0);
    let path = format!("/refunds/{}/settle", refund["id"].as_str().unwrap());
    let (status, settled) = shop.operator().post(&path, json!({ "outcome": "done" })).await;
    assert_eq!((status, &settled["status"]), (200, &json!("done")));
    shop.assert_balance(0);
}

/// The server stopped before the customer was told how to pay, who knew how all the same.
#[tokio::test]
async fn a_bank_transfer_of_an_order_that_was_cut_off_is_given_back_by_hand() {
    let shop = Shop::open();
    let new = NewTopup {
        account: shop.server.account,
        pack: "starter".to_owned(),
        fils: Fils(2_000),
        credits: Credits(5_000),
        provider: "manual".to_owned(),
        idempotency_key: None,
        expires_after_ms: 1_800_000,
        actor: "test".to_owned(),
    };
    let id = shop.server.ledger.create_topup(new).wait().unwrap().topup.id;
    let order = json!({ "id": id.to_string() });
    let body = json!({ "amount_kwd": "2.000", "reference": "NBK 8" });
    assert_eq!(shop.operator().post(&format!("/topups/{id}/confirm"), body).await.0, 200);
    let (status, refund) = shop.refund(&order, None).await;
    assert_eq!((status, &refund["status"]), (200, &json!("pending")), "{refund}");
    shop.assert_balance(0);
}

#[tokio::test]
async fn what_was_not_paid_is_not_given_back() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    assert_eq!(shop.refund(&order, None).await.0, 422);
    assert_eq!(shop.provider.calls().refund, 0);
    let path = "/topups/00000000000000000000000000000000/refunds";
    assert_eq!(shop.operator().post(path, json!({ "reason": "none" })).await.0, 404);
    assert_eq!(
        shop.operator().post("/refunds/x/settle", json!({ "outcome": "done" })).await.0,
        404
    );
    shop.assert_balance(0);
}
