//! MyFatoorah: an order from its opening to its refund, and what goes wrong on the way.

use std::time::Duration;

use mizan::money::Fils;
use mizan::payments::{
    Captured, MyFatoorah, MyFatoorahSettings, Payment, PaymentKey, PaymentProvider, PaymentState,
    ProviderError, Reference, Refunded, Secret,
};

use super::{TIMEOUT, fetch, open, order, refund};
use crate::support::fake_provider::{
    Calls, FakeProvider, Faults, MYFATOORAH_TOKEN, MYFATOORAH_WEBHOOK_SECRET,
};

fn with_method(fake: &FakeProvider, method: &str, token: &str) -> MyFatoorah {
    MyFatoorah::new(MyFatoorahSettings {
        base_url: fake.base_url().to_owned(),
        timeout: TIMEOUT,
        method: method.to_owned(),
        token: Secret::new(token).expect("a secret"),
        webhook_secret: Secret::new(MYFATOORAH_WEBHOOK_SECRET).expect("a secret"),
    })
}

#[test]
fn an_order_is_opened_paid_and_refunded() {
    let fake = FakeProvider::start();
    let fatoorah = fake.my_fatoorah(TIMEOUT);
    let id = open(&fatoorah, &order(1, 2_000));
    let sent = &fake.created()[0];
    assert!(sent.starts_with("{\"InvoiceValue\":2.000,\"PaymentMethodId\":1,"), "{sent}");
    let payment = |state, status: &str| Payment {
        order_id: id.clone(),
        reference: Some(Reference([1; 16])),
        state,
        status: status.to_owned(),
    };
    assert_eq!(fetch(&fatoorah, &id), payment(PaymentState::Pending, "Pending"));
    // An attempt that failed leaves the invoice to be paid.
    fake.decline(&id);
    assert_eq!(fetch(&fatoorah, &id), payment(PaymentState::Pending, "Pending"));
    fake.approve(&id);
    let payment_id = format!("10000000000{id}");
    let captured = Captured {
        payment_id: payment_id.clone(),
        amount: Fils(2_000),
        currency: "KWD".to_owned(),
    };
    assert_eq!(fetch(&fatoorah, &id), payment(PaymentState::Paid(captured), "Paid"));
    assert!(fake.return_url(&id).ends_with(&format!("&paymentId={payment_id}")));

    let part = fatoorah.refund(&refund(9, &id, &payment_id, 500)).expect("in part");
    assert!(matches!(part, Refunded::Accepted { .. }));
    let refused = fatoorah.refund(&refund(10, &id, &payment_id, 1_501)).expect_err("too much");
    assert_eq!(
        refused.to_string(),
        "myfatoorah refused with 200: Invalid data; Key: Refund amount is more than the paid \
         amount"
    );
    assert!(!refused.may_have_happened());
    assert_eq!(fake.refunded_fils(&id), 500);
    assert_eq!(fake.calls(), Calls { create: 1, fetch: 3, refund: 2, unauthorized: 0 });
}

#[test]
fn the_way_to_pay_is_the_one_that_is_set() {
    let fake = FakeProvider::start();
    open(&with_method(&fake, "vm", MYFATOORAH_TOKEN), &order(1, 2_000));
    assert!(fake.created()[0].contains("\"PaymentMethodId\":2,"));
    let none = with_method(&fake, "ap", MYFATOORAH_TOKEN).create(&order(2, 2_000));
    assert_eq!(
        none.expect_err("no such method").to_string(),
        "myfatoorah refused with 200: the account has no payment method \"ap\""
    );
}

#[test]
fn a_lost_answer_is_found_by_our_reference() {
    let fake = FakeProvider::start();
    fake.faults(Faults { slow_create: Duration::from_secs(4), ..Faults::default() });
    let lost = fake.my_fatoorah(Duration::from_secs(1)).create(&order(1, 2_000));
    assert!(lost.expect_err("too slow").may_have_happened());
    fake.faults(Faults::default());
    let fatoorah = fake.my_fatoorah(TIMEOUT);
    let found = fatoorah.fetch(&PaymentKey::Reference(Reference([1; 16]))).expect("found");
    assert_eq!(fake.orders_of(&"01".repeat(16)), [found.order_id]);
    assert_eq!(
        fatoorah.fetch(&PaymentKey::Reference(Reference([2; 16]))),
        Err(ProviderError::NotFound { provider: "myfatoorah" })
    );
}

#[test]
fn answers_tell_what_was_taken_and_from_whom() {
    let fake = FakeProvider::start();
    let fatoorah = fake.my_fatoorah(TIMEOUT);
    let id = open(&fatoorah, &order(1, 1_234_567));
    fake.approve(&id);
    let captured = |faults: Faults| {
        fake.faults(faults);
        match fetch(&fatoorah, &id) {
            Payment { state: PaymentState::Paid(captured), reference, .. } => (captured, reference),
            other => panic!("{other:?}"),
        }
    };
    let (off, _) = captured(Faults { fils_off: 1, ..Faults::default() });
    assert_eq!(off.amount, Fils(1_234_568));
    let (dollars, _) = captured(Faults { currency: Some("USD"), ..Faults::default() });
    assert_eq!(dollars.currency, "USD");
    let (_, other) = captured(Faults { other_reference: true, ..Faults::default() });
    assert_eq!(other, Some(Reference([0xff; 16])));
    for faults in [
        Faults { other_order: true, ..Faults::default() },
        Faults { fetch_status: Some(302), ..Faults::default() },
    ] {
        fake.faults(faults);
        let error = fatoorah.fetch(&PaymentKey::Order(id.clone())).expect_err("not that");
        assert!(matches!(error, ProviderError::Malformed { .. }), "{error:?}");
    }
    fake.faults(Faults { is_stale: true, ..Faults::default() });
    assert_eq!(fetch(&fatoorah, &id).state, PaymentState::Pending);
    fake.faults(Faults::default());
    fake.abandon(&id);
    assert_eq!(fetch(&fatoorah, &id).state, PaymentState::Cancelled);
}

#[test]
fn trouble_is_told_apart() {
    let fake = FakeProvider::start();
    let fatoorah = fake.my_fatoorah(TIMEOUT);
    let id = open(&fatoorah, &order(1, 2_000));
    fake.approve(&id);
    for (status, may_have_happened) in [(429, false), (500, true)] {
        fake.faults(Faults {
            fetch_status: Some(status),
            refund_status: Some(status),
            ..Faults::default()
        });
        let fetched = fatoorah.fetch(&PaymentKey::Order(id.clone()));
        assert_eq!(fetched, Err(ProviderError::Busy { provider: "myfatoorah", status }));
        let error = fatoorah.refund(&refund(9, &id, &format!("10000000000{id}"), 500));
        assert_eq!(error.expect_err("busy").may_have_happened(), may_have_happened);
    }
    // The one with status 500 did happen.
    assert_eq!(fake.refunded_fils(&id), 500);
    fake.faults(Faults::default());
    let refused = with_method(&fake, "kn", "wrong-zzz").create(&order(2, 2_000)).expect_err("401");
    assert_eq!(refused.to_string(), "myfatoorah refused with 401: no such key: Bearer ***");
}
