//! Tap: an order from its opening to its refund, and what goes wrong on the way.

use std::time::{Duration, Instant};

use mizan::money::Fils;
use mizan::payments::{
    Captured, Payment, PaymentKey, PaymentProvider, PaymentState, ProviderError, Reference,
    Refunded, Secret, Tap, TapSettings,
};

use super::{TIMEOUT, fetch, open, order, refund};
use crate::support::fake_provider::{Calls, FakeProvider, Faults};
use crate::support::random::Random;

fn key(id: &str) -> PaymentKey {
    PaymentKey::Order(id.to_owned())
}

#[test]
fn an_order_is_opened_paid_and_refunded() {
    let fake = FakeProvider::start();
    let tap = fake.tap(TIMEOUT);
    let id = open(&tap, &order(1, 2_000));
    let payment = |state, status: &str| Payment {
        order_id: id.clone(),
        reference: Some(Reference([1; 16])),
        state,
        status: status.to_owned(),
    };
    assert_eq!(fetch(&tap, &id), payment(PaymentState::Pending, "INITIATED"));
    fake.approve(&id);
    let captured =
        Captured { payment_id: id.clone(), amount: Fils(2_000), currency: "KWD".to_owned() };
    assert_eq!(fetch(&tap, &id), payment(PaymentState::Paid(captured), "CAPTURED"));

    let refunded = tap.refund(&refund(9, &id, &id, 500)).expect("in part");
    assert!(matches!(&refunded, Refunded::Accepted { status, .. } if status == "PENDING"));
    // The same refund again is the same refund.
    assert_eq!(tap.refund(&refund(9, &id, &id, 500)), Ok(refunded));
    assert_eq!(fake.refunded_fils(&id), 500);
    let refused = tap.refund(&refund(10, &id, &id, 1_501)).expect_err("more than is left");
    assert_eq!(refused.to_string(), "tap refused with 400: 1202 Refund amount exceeds the charge");
    assert!(!refused.may_have_happened() && !refused.is_passing());
    tap.refund(&refund(11, &id, &id, 1_500)).expect("the rest");
    assert_eq!(fake.refunded_fils(&id), 2_000);
    assert_eq!(fake.calls(), Calls { create: 1, fetch: 2, refund: 4, unauthorized: 0 });
}

#[test]
fn every_status_has_its_meaning() {
    let fake = FakeProvider::start();
    let tap = fake.tap(TIMEOUT);
    let id = open(&tap, &order(1, 2_000));
    let state = || fetch(&tap, &id).state;
    fake.decline(&id);
    assert_eq!(state(), PaymentState::Failed);
    fake.abandon(&id);
    assert_eq!(state(), PaymentState::Cancelled);
    fake.expire(&id);
    assert_eq!(state(), PaymentState::Expired);
    // Late, but paid.
    fake.approve(&id);
    assert!(matches!(state(), PaymentState::Paid(_)));
    fake.faults(Faults { is_stale: true, ..Faults::default() });
    assert_eq!(state(), PaymentState::Pending);
}

#[test]
fn what_was_asked_for_is_what_is_sent() {
    let fake = FakeProvider::start();
    let tap = Tap::new(TapSettings {
        base_url: fake.base_url().to_owned(),
        timeout: TIMEOUT,
        source: "src_kw.knet".to_owned(),
        merchant: Some("1124340".to_owned()),
        secret_key: Secret::new("sk_test_fake").expect("a secret"),
    });
    let mut order = order(1, 2_000);
    order.customer.name = Some("فريق".to_owned());
    order.customer.email = Some("team@company.example".to_owned());
    order.expiry_minutes = 600;
    open(&tap, &order);
    let sent = &fake.created()[0];
    assert!(sent.starts_with("{\"amount\":2.000,"), "{sent}");
    let sent: serde_json::Value = serde_json::from_str(sent).expect("JSON");
    let reference = "01".repeat(16);
    assert_eq!(sent["reference"]["idempotent"], reference.as_str());
    assert_eq!(sent["reference"]["transaction"], reference.as_str());
    assert_eq!(sent["currency"], "KWD");
    assert_eq!(sent["merchant"]["id"], "1124340");
    assert_eq!(sent["source"]["id"], "src_kw.knet");
    assert_eq!(sent["customer"]["first_name"], "فريق");
    assert_eq!(sent["receipt"]["email"], true);
    assert_eq!(sent["transaction"]["expiry"]["period"], 60);
    assert_eq!(sent["redirect"]["url"], order.return_url.as_str());
    assert_eq!(sent["post"]["url"], order.webhook_url.as_str());
}

#[test]
fn the_same_order_again_is_the_same_charge() {
    let fake = FakeProvider::start();
    fake.faults(Faults { slow_create: Duration::from_secs(4), ..Faults::default() });
    let hasty = fake.tap(Duration::from_secs(1));
    let lost = hasty.create(&order(1, 2_000)).expect_err("too slow");
    assert!(matches!(lost, ProviderError::Unanswered { .. }), "{lost:?}");
    assert!(lost.may_have_happened() && lost.is_passing());

    fake.faults(Faults::default());
    let tap = fake.tap(TIMEOUT);
    let id = open(&tap, &order(1, 2_000));
    assert_eq!(open(&tap, &order(1, 2_000)), id);
    assert_ne!(open(&tap, &order(2, 2_000)), id);
    assert_eq!(fake.orders_of(&"01".repeat(16)), [id]);
    // Tap is not asked for what it can not look up.
    let nothing = tap.fetch(&PaymentKey::Reference(Reference([1; 16])));
    assert_eq!(nothing, Err(ProviderError::NotFound { provider: "tap" }));
    assert_eq!(fake.calls().fetch, 0);
}

#[test]
fn answers_tell_what_was_taken_and_from_whom() {
    let fake = FakeProvider::start();
    let tap = fake.tap(TIMEOUT);
    let id = open(&tap, &order(1, 2_000));
    fake.approve(&id);
    let captured = |faults: Faults| {
        fake.faults(faults);
        match fetch(&tap, &id) {
            Payment { state: PaymentState::Paid(captured), reference, .. } => (captured, reference),
            other => panic!("{other:?}"),
        }
    };
    let (off, _) = captured(Faults { fils_off: -1, ..Faults::default() });
    assert_eq!(off.amount, Fils(1_999));
    let (dollars, _) = captured(Faults { currency: Some("USD"), ..Faults::default() });
    assert_eq!(dollars.currency, "USD");
    let (_, other) = captured(Faults { other_reference: true, ..Faults::default() });
    assert_eq!(other, Some(Reference([0xff; 16])));
    fake.faults(Faults { other_order: true, ..Faults::default() });
    let other = tap.fetch(&key(&id)).expect_err("another charge");
    assert!(matches!(other, ProviderError::Malformed { .. }), "{other:?}");
}

#[test]
fn trouble_is_told_apart() {
    let fake = FakeProvider::start();
    let tap = fake.tap(TIMEOUT);
    let id = open(&tap, &order(1, 2_000));
    for (status, may_have_happened) in [(429, false), (500, true), (503, true)] {
        let faults = || Faults { fetch_status: Some(status), ..Faults::default() };
        fake.faults(Faults {
            create_status: Some(status),
            refund_status: Some(status),
            ..faults()
        });
        let busy = Err(ProviderError::Busy { provider: "tap", status });
        assert_eq!(tap.fetch(&key(&id)), busy);
        let error = tap.create(&order(2, 2_000)).expect_err("busy");
        assert!(error.is_passing());
        assert_eq!(error.may_have_happened(), may_have_happened);
    }
    fake.faults(Faults::default());
    let not_found = Err(ProviderError::NotFound { provider: "tap" });
    for wrong in ["chg_nobody", "../refunds", "", "a/b", "chg 1", "chg_1?x"] {
        assert_eq!(tap.fetch(&key(wrong)), not_found, "{wrong}");
    }

    fake.faults(Faults { slow_fetch: Duration::from_secs(8), ..Faults::default() });
    let start = Instant::now();
    let slow = fake.tap(Duration::from_secs(1)).fetch(&key(&id)).expect_err("too slow");
    assert!(matches!(slow, ProviderError::Unanswered { .. }), "{slow:?}");
    assert!(start.elapsed() < Duration::from_secs(5));

    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let nobody = Tap::new(TapSettings {
        base_url: format!("http://{}", port.expect("an address")),
        timeout: TIMEOUT,
        source: "src_all".to_owned(),
        merchant: None,
        secret_key: Secret::new("sk_test_fake").expect("a secret"),
    });
    let away = nobody.create(&order(1, 2_000)).expect_err("nobody there");
    assert!(matches!(away, ProviderError::Unreachable { .. }), "{away:?}");
    assert!(!away.may_have_happened() && away.is_passing());
}

#[test]
fn secrets_never_reach_an_error() {
    let fake = FakeProvider::start();
    let tap = Tap::new(TapSettings {
        base_url: fake.base_url().to_owned(),
        timeout: TIMEOUT,
        source: "src_all".to_owned(),
        merchant: None,
        secret_key: Secret::new("sk_live_zzz").expect("a secret"),
    });
    let refused = tap.create(&order(1, 2_000)).expect_err("the wrong key");
    assert_eq!(refused.to_string(), "tap refused with 401: 2107 no such key: Bearer ***");
    assert!(!format!("{refused:?} {tap:?}").contains("zzz"));
    assert_eq!(fake.calls().unauthorized, 1);
}

#[test]
fn amounts_round_trip() {
    let fake = FakeProvider::start();
    let tap = fake.tap(TIMEOUT);
    let mut random = Random(7);
    for number in 1..=60 {
        let fils = 100 + random.below(10_usize.pow(2 + u32::from(number) % 8)) as i64;
        let id = open(&tap, &order(number, fils));
        fake.approve(&id);
        let PaymentState::Paid(captured) = fetch(&tap, &id).state else { panic!("not paid") };
        assert_eq!(captured.amount, Fils(fils));
    }
}
