//! Money that needs a look: found by the operator, settled once, and never credited by that.

use mizan::ledger::{PaidProof, TopupId};
use mizan::money::Fils;
use serde_json::{Value, json};

use super::Shop;
use crate::support::fake_provider::Faults;

/// The orders that need something, and what.
async fn needs(shop: &Shop) -> Vec<(String, String, Value)> {
    let (status, list) = shop.operator().get("/reconciliation").await;
    assert_eq!(status, 200, "{list}");
    let orders = list["data"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    orders.map(|o| (text(&o["id"]), text(&o["needs"]), o["problem"].clone())).collect()
}

fn id_of(order: &Value) -> String {
    order["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_payment_that_does_not_fit_waits_until_it_is_settled() {
    for (provider, is_called_back) in [("tap", true), ("tap", false), ("myfatoorah", true)] {
        let shop = Shop::open();
        let order = shop.order(provider).await;
        let theirs = shop.theirs(&order);
        shop.provider.approve(&theirs);
        shop.provider.faults(Faults { fils_off: -1, ..Faults::default() });
        if is_called_back {
            shop.call_back(provider, &theirs).await;
        }
        shop.poll().await;
        shop.poll().await;
        let problem = json!("amount 1.999 instead of 2.000");
        assert_eq!(needs(&shop).await, [(id_of(&order), "settlement".to_owned(), problem)]);

        let path = format!("/topups/{}/settle", id_of(&order));
        assert_eq!(shop.operator().post(&path, json!({})).await.0, 400);
        assert_eq!(shop.operator().post(&path, json!({ "note": "" })).await.0, 400);
        let note = json!({ "note": "refunded at the provider" });
        let (status, settled) = shop.operator().post(&path, note.clone()).await;
        assert_eq!((status, &settled["id"]), (200, &order["id"]), "{settled}");
        let (_, audit) = shop.operator().get("/audit?action=topup.settle").await;
        assert!(audit["data"][0]["detail"].as_str().unwrap().contains("refunded at the provider"));
        assert_eq!(shop.operator().post(&path, note).await.0, 422, "nothing waits any more");
        // Whoever asks again is told the same, which is settled.
        shop.poll().await;
        let left = needs(&shop).await;
        assert!(left.iter().all(|(_, what, _)| what == "payment"), "{left:?}");
        shop.assert_balance(0);
        shop.server.verify_books();
    }
}

#[tokio::test]
async fn a_payment_that_fits_after_all_needs_nothing() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let theirs = shop.theirs(&order);
    shop.provider.approve(&theirs);
    shop.provider.faults(Faults { currency: Some("USD"), ..Faults::default() });
    shop.call_back("tap", &theirs).await;
    assert_eq!(needs(&shop).await[0].2, "currency USD");
    shop.provider.faults(Faults::default());
    shop.poll().await;
    shop.assert_balance(5_000);
    assert_eq!(needs(&shop).await, []);
    let path = format!("/topups/{}/settle", id_of(&order));
    assert_eq!(shop.operator().post(&path, json!({ "note": "n" })).await.0, 422);
    assert_eq!(shop.operator().post("/topups/x/settle", json!({ "note": "n" })).await.0, 404);
}

#[tokio::test]
async fn a_second_payment_of_an_order_is_money_to_give_back() {
    let shop = Shop::open();
    let order = shop.order("tap").await;
    let theirs = shop.theirs(&order);
    shop.provider.approve(&theirs);
    let first = PaidProof {
        provider: "tap".to_owned(),
        provider_order_id: Some(theirs.clone()),
        provider_payment_id: "another payment".to_owned(),
        fils: Fils(2_000),
        event: None,
        actor: "test".to_owned(),
        reason: None,
    };
    let id: TopupId = id_of(&order).parse().unwrap();
    shop.server.ledger.pay_topup(id, first).wait().unwrap();
    for _ in 0..2 {
        assert_eq!(shop.call_back("tap", &theirs).await.status, 200);
    }
    let found = needs(&shop).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let problem = found[0].2.as_str().unwrap();
    assert!(problem.contains("paid by \"another payment\" already"), "{problem}");
    shop.assert_balance(5_000);
    let path = format!("/topups/{}/settle", id_of(&order));
    assert_eq!(shop.operator().post(&path, json!({ "note": "given back" })).await.0, 200);
    assert_eq!(needs(&shop).await, []);
    shop.server.verify_books();
}

#[tokio::test]
async fn what_waits_is_told_by_what_it_needs() {
    let shop = Shop::open();
    let waits = shop.order("tap").await;
    let transfer = shop.order("manual").await;
    shop.buy("myfatoorah").await;
    let expected = [(&transfer, "confirmation"), (&waits, "payment")];
    let expected = expected.map(|(order, what)| (id_of(order), what.to_owned(), Value::Null));
    assert_eq!(needs(&shop).await, expected);
    let body = json!({ "amount_kwd": "2.000", "reference": "bank 1" });
    let path = format!("/topups/{}/confirm", id_of(&transfer));
    assert_eq!(shop.operator().post(&path, body).await.0, 200);
    assert_eq!(needs(&shop).await, expected[1..]);
    // Money of a transfer goes back by hand, so it waits for the operator.
    let path = format!("/topups/{}/refunds", id_of(&transfer));
    let (_, refund) = shop.operator().post(&path, json!({ "reason": "asked" })).await;
    let (_, list) = shop.operator().get("/reconciliation").await;
    assert_eq!(list["refunds"], json!([refund]));
}
