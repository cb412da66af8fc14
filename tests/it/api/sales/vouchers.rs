//! Vouchers over HTTP.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Shop;
use crate::support::server::Answer;

impl Shop {
    async fn vouchers(&self, batch: &str, count: usize, expire_days: Option<i64>) -> Vec<String> {
        let body = json!({
            "batch": batch, "credits": 500, "count": count, "expire_days": expire_days,
        });
        let (status, made) = self.operator().post("/vouchers", body).await;
        assert_eq!(status, 200, "{made}");
        serde_json::from_value(made["codes"].clone()).unwrap()
    }

    async fn redeem(&self, code: &str) -> Answer {
        self.server.post("/api/v1/vouchers/redeem", &json!({ "code": code })).await
    }
}

fn code_of(answer: &Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

#[tokio::test]
async fn a_voucher_is_redeemed_once_however_it_is_typed() {
    let shop = Shop::open();
    let codes = shop.vouchers("fair", 3, None).await;
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), 3);
    let typed = format!(" {} ", codes[0].to_lowercase().replace('-', " "));
    let answer = shop.redeem(&typed).await;
    assert_eq!(answer.json(), json!({ "credits": 500, "balance": 500 }), "{}", answer.text);
    for _ in 0..2 {
        let again = shop.redeem(&codes[0]).await;
        assert_eq!((again.status.as_u16(), code_of(&again)), (422, json!("voucher_used")));
    }
    shop.assert_balance(500);
    let (_, listed) = shop.operator().get("/vouchers").await;
    let batch = &listed["data"][0];
    assert_eq!((&batch["count"], &batch["redeemed"]), (&json!(3), &json!(1)));
    assert!(batch.get("codes").is_none(), "codes are shown once");
}

#[tokio::test]
async fn what_is_worth_nothing_says_why() {
    let shop = Shop::open();
    let expired = shop.vouchers("short", 1, Some(1)).await;
    let voided = shop.vouchers("void", 1, None).await;
    assert_eq!(shop.operator().post("/vouchers/void/void", json!({})).await.0, 200);
    assert_eq!(shop.operator().post("/vouchers/none/void", json!({})).await.0, 404);
    shop.server.advance(2 * 86_400_000);
    for (code, status, why) in [
        (expired[0].as_str(), 422, "voucher_expired"),
        (voided[0].as_str(), 422, "voucher_void"),
        ("AAAA-AAAA-AAAA-AAAA", 404, "voucher_unknown"),
        ("nonsense", 404, "voucher_unknown"),
    ] {
        let answer = shop.redeem(code).await;
        assert_eq!((answer.status.as_u16(), code_of(&answer)), (status, json!(why)), "{code}");
    }
    shop.assert_balance(0);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let shop = Shop::open();
    let codes = shop.vouchers("fair", 1, None).await;
    for _ in 0..10 {
        assert_eq!(shop.redeem("AAAA-AAAA-AAAA-AAAA").await.status, 404);
    }
    let refused = shop.redeem(&codes[0]).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() <= 61);
    shop.server.advance(61_000);
    assert_eq!(shop.redeem(&codes[0]).await.status, 200);
    shop.assert_balance(500);
}

#[tokio::test]
async fn a_batch_has_bounds() {
    let shop = Shop::open();
    shop.vouchers("fair", 1, None).await;
    for (body, status) in [
        (json!({ "batch": "fair", "credits": 1 }), 422),
        (json!({ "batch": "x", "credits": 0 }), 400),
        (json!({ "batch": "x", "credits": 1, "count": 0 }), 400),
        (json!({ "batch": "x", "credits": 1, "count": 10_001 }), 400),
        (json!({ "batch": "x", "credits": 1, "expire_days": 0 }), 400),
        (json!({ "batch": "", "credits": 1 }), 400),
        (json!({ "credits": 1 }), 400),
    ] {
        assert_eq!(shop.operator().post("/vouchers", body.clone()).await.0, status, "{body}");
    }
}
