//! A provider that lies, fails, or is not who it says: no credit that was not paid for, and none
//! lost that was.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use mizan::ledger::{Credits, NewTopup};
use mizan::money::Fils;
use serde_json::json;

use super::Shop;
use crate::support::fake_provider::{Faults, Signature};

#[tokio::test]
async fn a_callback_that_is_not_signed_by_the_provider_is_not_believed() {
    for provider in ["tap", "myfatoorah"] {
        for signature in [Signature::Bad, Signature::Absent, Signature::EmptyKey] {
            let shop = Shop::open();
            let order = shop.order(provider).await;
            let id = shop.theirs(&order);
            shop.provider.approve(&id);
            let before = shop.provider.calls().fetch;
            shop.provider.faults(Faults { signature, ..Faults::default() });
            assert_eq!(shop.call_back(provider, &id).await.status, 400, "{signature:?}");
            assert_eq!(shop.provider.calls().fetch, before, "nobody is asked for a stranger");
            shop.assert_balance(0);
        }
    }
    // To an address where no such provider is.
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let id = shop.theirs(&order);
    shop.provider.approve(&id);
    for provider in ["myfatoorah", "manual"] {
        assert_eq!(shop.call_back(provider, &id).await.status, 400, "{provider}");
    }
    assert_eq!(shop.call_back("paypal", &id).await.status, 404);
    shop.assert_balance(0);
}

#[tokio::test]
async fn what_was_captured_has_to_be_the_order() {
    for provider in ["tap", "myfatoorah"] {
        let wrong = [
            Faults { fils_off: -1, ..Faults::default() },
            Faults { fils_off: 1, ..Faults::default() },
            Faults { currency: Some("USD"), ..Faults::default() },
            Faults { other_reference: true, ..Faults::default() },
        ];
        for faults in wrong {
            let shop = Shop::open();
            let order = shop.order(provider).await;
            let id = shop.theirs(&order);
            shop.provider.approve(&id);
            shop.provider.faults(faults.clone());
            let answer = shop.call_back(provider, &id).await;
            assert!(answer.status.as_u16() < 600, "{}", answer.text);
            shop.poll().await;
            shop.assert_balance(0);
            assert_ne!(shop.status(&order).await, "paid", "{provider} {faults:?}");
            // Once the provider tells the truth, the customer gets what was paid for.
            shop.provider.faults(Faults::default());
            shop.poll().await;
            shop.assert_balance(5_000);
        }
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_told_to_send_again_and_asked_again() {
    for status in [429, 500, 503] {
        let shop = Shop::open();
        let order = shop.order("tap").await;
        let id = shop.theirs(&order);
        shop.provider.approve(&id);
        shop.provider.faults(Faults { fetch_status: Some(status), ..Faults::default() });
        assert_eq!(shop.call_back("tap", &id).await.status, StatusCode::SERVICE_UNAVAILABLE);
        shop.poll().await;
        shop.assert_balance(0);
        shop.provider.faults(Faults::default());
        // It was not recorded as seen.
        assert_eq!(shop.call_back("tap", &id).await.status, StatusCode::OK);
        shop.assert_balance(5_000);
    }
    let shop = Shop::with_timeout(Duration::from_millis(200));
    let order = shop.order("tap").await;
    let id = shop.theirs(&order);
    shop.provider.approve(&id);
    shop.provider.faults(Faults { slow_fetch: Duration::from_secs(2), ..Faults::default() });
    assert_eq!(shop.call_back("tap", &id).await.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.assert_balance(0);
}

/// Tap can not look up by our name an order whose opening it refused, however often it is asked.
#[tokio::test]
async fn orders_that_can_not_be_told_do_not_keep_others_waiting() {
    let shop = Shop::open();
    shop.provider.faults(Faults { create_status: Some(400), ..Faults::default() });
    let body = json!({ "pack": "starter", "provider": "tap" });
    for _ in 0..6 {
        for _ in 0..10 {
            assert_eq!(shop.server.post("/api/v1/topups", &body).await.status, 502);
        }
        // So many orders a minute are taken.
        shop.server.advance(61_000);
    }
    shop.provider.faults(Faults::default());
    shop.server.advance(1_000);
    let order = shop.order("tap").await;
    shop.provider.approve(&shop.theirs(&order));
    for _ in 0..2 {
        shop.server.advance(30_000);
        shop.poll_after(0).await;
    }
    shop.assert_balance(5_000);
}

#[tokio::test]
async fn a_silent_provider_does_not_keep_another_ones_orders_waiting() {
    let shop = Shop::with_timeout(Duration::from_secs(1));
    for _ in 0..10 {
        shop.order("tap").await;
    }
    // So many orders a minute are taken.
    shop.server.advance(61_000);
    let order = shop.order("myfatoorah").await;
    shop.provider.approve(&shop.theirs(&order));
    // Both are the same machine here: what is counted is who was asked.
    shop.provider.faults(Faults { slow_fetch: Duration::from_secs(5), ..Faults::default() });
    let round = shop.poll_after(3_600_000).await;
    assert_eq!((round.asked, round.failed), (2, 2), "each provider once");
    shop.provider.faults(Faults::default());
    let round = shop.poll_after(3_600_000).await;
    assert_eq!((round.asked, round.paid, round.failed), (11, 1, 0));
    shop.assert_balance(5_000);
}

#[tokio::test]
async fn an_order_that_was_cut_off_can_be_made_again_in_time() {
    let shop = Shop::open();
    let account = shop.server.account;
    let order = NewTopup {
        account,
        pack: "starter".to_owned(),
        fils: Fils(2_000),
        credits: Credits(5_000),
        provider: "tap".to_owned(),
        idempotency_key: Some("mine".to_owned()),
        expires_after_ms: 1_800_000,
        actor: "test".to_owned(),
    };
    // As if the server had stopped before it asked the provider.
    shop.server.ledger.create_topup(order).wait().unwrap();
    let repeat = async || {
        let body = json!({ "pack": "starter", "provider": "tap" });
        let mut request = shop.server.request(Method::POST, "/api/v1/topups", Some(&body));
        request.headers_mut().insert("idempotency-key", "mine".parse().unwrap());
        shop.server.send(request).await
    };
    assert_eq!(repeat().await.status, 409);
    shop.server.advance(1_800_000);
    shop.poll_after(0).await;
    assert_eq!(repeat().await.json()["status"], "expired");
}

#[tokio::test]
async fn a_payment_that_was_not_opened_is_a_failed_order() {
    for (status, answered) in [(429, 503), (500, 503), (400, 502)] {
        let shop = Shop::open();
        shop.provider.faults(Faults { create_status: Some(status), ..Faults::default() });
        let body = json!({ "pack": "starter", "provider": "myfatoorah" });
        let answer = shop.server.post("/api/v1/topups", &body).await;
        assert_eq!(answer.status.as_u16(), answered, "{}", answer.text);
        let (_, listed) = shop.operator().get("/topups").await;
        assert_eq!(listed["data"][0]["status"], "failed");
        // A new order goes through at once.
        shop.provider.faults(Faults::default());
        shop.buy("myfatoorah").await;
        shop.assert_balance(5_000);
    }
}

/// The provider opened the payment, but its answer was lost; the customer paid all the same.
#[tokio::test]
async fn a_payment_whose_opening_was_lost_is_found_by_our_reference() {
    let shop = Shop::open();
    shop.provider.faults(Faults { create_status: Some(500), ..Faults::default() });
    let body = json!({ "pack": "starter", "provider": "myfatoorah" });
    assert_eq!(shop.server.post("/api/v1/topups", &body).await.status, 503);
    shop.provider.faults(Faults::default());
    let (_, listed) = shop.operator().get("/topups").await;
    let order = listed["data"][0].clone();
    shop.provider.approve(&shop.theirs(&order));
    shop.poll().await;
    shop.assert_balance(5_000);
    assert_eq!(shop.status(&order).await, "paid");
}

#[tokio::test]
async fn what_ended_otherwise_is_told_and_may_still_be_paid() {
    for provider in ["tap", "myfatoorah"] {
        let shop = Shop::open();
        let order = shop.order(provider).await;
        let id = shop.theirs(&order);
        shop.provider.expire(&id);
        shop.poll().await;
        assert_ne!(shop.status(&order).await, "paid");
        shop.assert_balance(0);
        // The bank captures late.
        shop.provider.approve(&id);
        shop.poll().await;
        assert_eq!(shop.status(&order).await, "paid");
        // And what is paid stays so, whatever comes after.
        shop.provider.decline(&id);
        shop.call_back(provider, &id).await;
        shop.poll().await;
        assert_eq!(shop.status(&order).await, "paid");
        shop.assert_balance(5_000);
    }
}

#[tokio::test]
async fn bodies_that_are_no_callbacks_do_no_harm() {
    let shop = Shop::open();
    let long = vec![b'['; 1 << 20];
    for body in [&b""[..], b"{}", b"[]", b"null", b"{\"id\":1e999}", b"\xff\xfe", &long] {
        for provider in ["tap", "myfatoorah", "manual"] {
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("/api/v1/payments/{provider}/webhook"))
                .header("hashstring", "00")
                .body(Body::from(body.to_vec()))
                .unwrap();
            let status = shop.server.send(request).await.status;
            assert!(status.is_client_error(), "{status}");
        }
    }
    shop.assert_balance(0);
}

#[tokio::test]
async fn forged_callbacks_are_refused_while_the_provider_keeps_the_real_ones_waiting() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let id = shop.theirs(&order);
    shop.provider.approve(&id);
    let slow_fetch = Duration::from_secs(3);
    shop.provider.faults(Faults { slow_fetch, ..Faults::default() });
    let before = shop.provider.calls().fetch;
    let real = || shop.call_back("tap", &id);
    // As many as are asked about at once.
    let waiting =
        async { tokio::join!(real(), real(), real(), real(), real(), real(), real(), real()) };
    tokio::pin!(waiting);
    while shop.provider.calls().fetch < before + 8 {
        tokio::select! {
            _ = &mut waiting => panic!("the provider is too fast for this test"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    shop.provider.faults(Faults { slow_fetch, signature: Signature::Bad, ..Faults::default() });
    tokio::select! {
        _ = &mut waiting => panic!("a forged callback waits for the provider"),
        answer = real() => assert_eq!(answer.status, 400),
    }
}
