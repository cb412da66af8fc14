//! The way of an order that goes well, whoever brings the news.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::Shop;
use crate::support::fake_provider::{Faults, Webhooks};

#[tokio::test]
async fn packs_are_listed_as_the_price_list_has_them() {
    let shop = Shop::open();
    let packs = shop.server.get("/api/v1/packs").await.json();
    let pack = |id, credits: i64, fils: i64, kwd, each| {
        json!({ "id": id, "credits": credits, "price_fils": fils, "price_kwd": kwd,
                "currency": "KWD", "price_per_credit_kwd": each })
    };
    let expected = json!([
        pack("starter", 5_000, 2_000, "2.000", "0.0004"),
        pack("value", 15_000, 5_000, "5.000", "0.00033"),
    ]);
    assert_eq!(packs["data"], expected);
    assert_eq!(packs["providers"], json!(["tap", "myfatoorah", "manual"]));
}

#[tokio::test]
async fn a_callback_of_each_provider_credits_once() {
    for provider in ["tap", "myfatoorah"] {
        let shop = Shop::open();
        let order = shop.order(provider).await;
        assert_eq!((&order["status"], &order["price_kwd"]), (&json!("pending"), &json!("2.000")));
        assert_eq!(order["next"]["type"], "redirect", "{order}");
        shop.assert_balance(0);
        let id = shop.theirs(&order);
        shop.provider.approve(&id);
        for _ in 0..3 {
            assert_eq!(shop.call_back(provider, &id).await.status, StatusCode::OK);
            shop.assert_balance(5_000);
        }
        let path = format!("/api/v1/topups/{}", order["id"].as_str().unwrap());
        let paid = shop.server.get(&path).await.json();
        assert_eq!((&paid["status"], &paid["next"]), (&json!("paid"), &Value::Null));
        let credits = shop.server.get("/api/v1/credits").await.json();
        assert_eq!(credits["data"]["total_credits"], 5_000);
        let listed = shop.server.get("/api/v1/topups").await.json();
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_purchase_has_a_signed_receipt_and_an_unpaid_order_none() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let path = format!("/api/v1/topups/{}/receipt", order["id"].as_str().unwrap());
    assert_eq!(shop.server.get(&path).await.status, 422);
    let id = shop.theirs(&order);
    shop.provider.approve(&id);
    shop.call_back("tap", &id).await;
    let receipt = shop.server.get(&path).await;
    assert_eq!(receipt.status, StatusCode::OK, "{}", receipt.text);
    for said in ["\"2.000\"", "\"signature\"", "\"starter\"", "\"tap\""] {
        assert!(receipt.text.replace(": ", ":").contains(said), "{said} in {}", receipt.text);
    }
    let unknown = "/api/v1/topups/00000000000000000000000000000000/receipt";
    assert_eq!(shop.server.get(unknown).await.status, 404);
}

/// The worked example of the price list: 150 tokens leave 4,850 credits, or 4,700 on Premium.
#[tokio::test]
async fn a_pack_pays_for_answers() {
    for (model, left) in [("scripted", 4_850), ("scripted-premium", 4_700)] {
        let shop = Shop::open();
        shop.buy("tap").await;
        for _ in 0..50 {
            let body = super::super::chat(json!({ "model": model }));
            let answer = shop.server.post(super::super::CHAT, &body).await;
            assert_eq!(answer.json()["usage"]["completion_tokens"], 3);
        }
        shop.assert_balance(left);
    }
}

#[tokio::test]
async fn without_a_callback_the_return_the_page_or_the_poller_finds_out() {
    for bring in ["return", "show", "poll", "operator"] {
        let shop = Shop::open();
        shop.provider.faults(Faults { webhooks: Webhooks::Never, ..Faults::default() });
        let order = shop.order("tap").await;
        let id = order["id"].as_str().unwrap();
        shop.provider.approve(&shop.theirs(&order));
        // An order is asked about when it has not just been.
        shop.server.advance(10_000);
        match bring {
            "return" => {
                let page = Request::get(format!("/topups/{id}/return")).body(Body::empty());
                let page = shop.server.send(page.unwrap()).await;
                assert_eq!(page.status, StatusCode::OK);
                assert!(page.text.contains("5000 credits for 2.000 KWD"), "{}", page.text);
                assert!(page.text.contains(&format!("href=\"/#/billing?order={id}\"")));
                assert!(page.header("content-security-policy").unwrap().contains("'none'"));
            }
            "show" => {
                let shown = shop.server.get(&format!("/api/v1/topups/{id}")).await.json();
                assert_eq!(shown["status"], "paid");
            }
            "poll" => shop.poll().await,
            _ => {
                let path = format!("/topups/{id}/check");
                let (status, checked) = shop.operator().post(&path, json!({})).await;
                assert_eq!((status, &checked["status"]), (200, &json!("paid")), "{checked}");
            }
        }
        shop.assert_balance(5_000);
    }
}

#[tokio::test]
async fn a_callback_may_overtake_the_answer_that_opened_the_payment() {
    for provider in ["tap", "myfatoorah"] {
        let shop = Shop::open();
        shop.provider.faults(Faults {
            slow_create: std::time::Duration::from_millis(300),
            ..Faults::default()
        });
        let body = json!({ "pack": "starter", "provider": provider });
        let ordering = shop.server.post("/api/v1/topups", &body);
        let paying = async {
            // The provider has the order before its answer is here.
            let id = loop {
                let (_, listed) = shop.operator().get("/topups").await;
                let ours = listed["data"][0]["id"].as_str().unwrap_or_default().to_owned();
                match shop.provider.orders_of(&ours).first() {
                    Some(id) if !ours.is_empty() => break id.clone(),
                    _ => tokio::task::yield_now().await,
                }
            };
            shop.provider.approve(&id);
            shop.call_back(provider, &id).await
        };
        let (ordered, called) = tokio::join!(ordering, paying);
        assert_eq!(called.status, StatusCode::OK, "{}", called.text);
        let ordered = ordered.json();
        assert_eq!((&ordered["status"], &ordered["next"]), (&json!("paid"), &Value::Null));
        shop.assert_balance(5_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callback_return_and_poller_at_once_credit_once() {
    let shop = Arc::new(Shop::open());
    for round in 1..=8 {
        let order = shop.order(if round % 2 == 0 { "tap" } else { "myfatoorah" }).await;
        let id = shop.theirs(&order);
        shop.provider.approve(&id);
        shop.server.advance(10_000);
        let ours = order["id"].as_str().unwrap().to_owned();
        let mut racing = Vec::new();
        for racer in 0..12 {
            let (shop, id, ours, order) = (shop.clone(), id.clone(), ours.clone(), order.clone());
            racing.push(tokio::spawn(async move {
                match racer % 3 {
                    0 => {
                        let provider = order["provider"].as_str().unwrap();
                        assert_eq!(shop.call_back(provider, &id).await.status, StatusCode::OK);
                    }
                    1 => {
                        let page = Request::get(format!("/topups/{ours}/return"));
                        shop.server.send(page.body(Body::empty()).unwrap()).await;
                    }
                    _ => shop.poll().await,
                }
            }));
        }
        for racer in racing {
            racer.await.unwrap();
        }
        shop.assert_balance(5_000 * round);
    }
}

#[tokio::test]
async fn the_same_order_again_is_the_same_order() {
    let shop = Shop::open();
    let order = async |pack: &str, key: &str| {
        let body = json!({ "pack": pack, "provider": "tap" });
        let mut request =
            shop.server.request(axum::http::Method::POST, "/api/v1/topups", Some(&body));
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        shop.server.send(request).await
    };
    let first = order("starter", "one").await.json();
    let again = order("starter", "one").await.json();
    assert_eq!(first, again);
    assert_eq!(shop.provider.calls().create, 1);
    assert_eq!(order("value", "one").await.status, 422);
    assert_ne!(order("starter", "two").await.json()["id"], first["id"]);
}

#[tokio::test]
async fn a_bank_transfer_is_confirmed_by_the_operator() {
    let shop = Shop::open();
    let order = shop.order("manual").await;
    let id = order["id"].as_str().unwrap();
    let text = format!("Transfer 2.000 KWD with the reference {id}");
    assert_eq!(order["next"], json!({ "type": "instructions", "text": text }));
    shop.poll().await;
    shop.assert_balance(0);
    let operator = shop.operator();
    let path = format!("/topups/{id}/confirm");
    for (amount, status) in [("2.001", 422), ("1.999", 422), ("2.0001", 400), ("two", 400)] {
        let body = json!({ "amount_kwd": amount, "reference": "NBK 1" });
        assert_eq!(operator.post(&path, body).await.0, status, "{amount}");
        shop.assert_balance(0);
    }
    let body = json!({ "amount_kwd": "2.000", "reference": "NBK 1" });
    for _ in 0..2 {
        let (status, paid) = operator.post(&path, body.clone()).await;
        assert_eq!((status, &paid["status"]), (200, &json!("paid")), "{paid}");
        shop.assert_balance(5_000);
    }
    // One transfer pays one order.
    let other = shop.order("manual").await;
    let path = format!("/topups/{}/confirm", other["id"].as_str().unwrap());
    assert_eq!(operator.post(&path, body).await.0, 422);
    // What a provider says itself nobody confirms.
    let tap = shop.order("tap").await;
    let path = format!("/topups/{}/confirm", tap["id"].as_str().unwrap());
    let body = json!({ "amount_kwd": "2.000", "reference": "NBK 2" });
    assert_eq!(operator.post(&path, body).await.0, 422);
    shop.assert_balance(5_000);
}

#[tokio::test]
async fn an_order_that_nobody_decides_is_given_up_and_may_still_be_paid() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let transfer = shop.order("manual").await;
    shop.poll().await;
    assert_eq!(shop.status(&order).await, "pending");
    shop.server.advance(2 * 3_600_000);
    for _ in 0..3 {
        shop.poll().await;
        assert_eq!(shop.status(&order).await, "expired");
    }
    assert_eq!(shop.status(&transfer).await, "pending", "a bank transfer takes days");
    shop.provider.approve(&shop.theirs(&order));
    shop.poll().await;
    shop.assert_balance(5_000);
}

#[tokio::test]
async fn orders_are_bounded() {
    let shop = Shop::open();
    for _ in 0..10 {
        shop.order("manual").await;
    }
    let body = json!({ "pack": "starter", "provider": "manual" });
    let refused = shop.server.post("/api/v1/topups", &body).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    shop.server.advance(61_000);
    shop.order("manual").await;
}

#[tokio::test]
async fn what_is_not_for_sale_is_refused() {
    let shop = Shop::open();
    for (body, param) in [
        (json!({}), "pack"),
        (json!({ "pack": "gold" }), "pack"),
        (json!({ "pack": "starter", "provider": "paypal" }), "provider"),
        (json!({ "pack": "starter", "email": "nobody" }), "email"),
    ] {
        let answer = shop.server.post("/api/v1/topups", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    for id in ["x", "00000000000000000000000000000000"] {
        assert_eq!(shop.server.get(&format!("/api/v1/topups/{id}")).await.status, 404);
        let page = Request::get(format!("/topups/{id}/return")).body(Body::empty()).unwrap();
        assert_eq!(shop.server.send(page).await.status, 404);
    }
    assert_eq!(shop.provider.calls().create, 0);
}
