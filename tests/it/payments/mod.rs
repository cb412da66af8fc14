//! Providers of payments against one on loopback that has their language and their faults.

mod answers;
mod callbacks;
mod deliveries;
mod hostile;
mod my_fatoorah;
mod tap;

use std::time::Duration;

use mizan::money::Fils;
use mizan::payments::{
    Claim, Customer, Forged, Headers, Manual, Next, Order, Payment, PaymentKey, PaymentProvider,
    PaymentState, Reference, RefundOrder, Refunded,
};

use crate::support::fake_provider::{Callback, FakeProvider};

/// Plenty on loopback, where nothing is slow but by a fault.
const TIMEOUT: Duration = Duration::from_secs(20);

fn order(number: u8, fils: i64) -> Order {
    Order {
        reference: Reference([number; 16]),
        amount: Fils(fils),
        description: "5,000 credits".to_owned(),
        customer: Customer::default(),
        return_url: "https://pay.example/billing?topup=1".to_owned(),
        webhook_url: "https://pay.example/api/v1/payments/tap/webhook".to_owned(),
        expiry_minutes: 30,
    }
}

fn refund(number: u8, created: &str, payment: &str, fils: i64) -> RefundOrder {
    RefundOrder {
        reference: Reference([number; 16]),
        order_id: created.to_owned(),
        payment_id: payment.to_owned(),
        amount: Fils(fils),
        reason: "not used".to_owned(),
        webhook_url: None,
    }
}

/// Opens `order` and gives the provider's name for it.
fn open(provider: &dyn PaymentProvider, order: &Order) -> String {
    let created = provider.create(order).expect("opened");
    let Next::Redirect(url) = created.next else { panic!("{:?}", created.next) };
    assert!(url.ends_with(&created.order_id), "{url}");
    created.order_id
}

fn fetch(provider: &dyn PaymentProvider, id: &str) -> Payment {
    provider.fetch(&PaymentKey::Order(id.to_owned())).expect("an answer")
}

fn authenticate(provider: &dyn PaymentProvider, callback: &Callback) -> Result<Claim, Forged> {
    let (headers, body) = callback;
    let headers: Headers<'_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    provider.authenticate(&headers, body)
}

#[test]
fn a_bank_transfer_is_only_ever_confirmed_by_the_operator() {
    let manual = Manual::new("Pay {amount} KWD, say {reference}.");
    let reference = "07".repeat(16);
    let created = manual.create(&order(7, 2_000)).expect("nothing can fail");
    assert_eq!(created.order_id, reference);
    assert_eq!(created.next, Next::Instructions(format!("Pay 2.000 KWD, say {reference}.")));
    let forged = manual.authenticate(&Headers::default(), b"{}");
    assert_eq!(forged, Err(Forged::NoCallbacks { provider: "manual" }));
    for key in [PaymentKey::Order(reference), PaymentKey::Reference(Reference([7; 16]))] {
        let payment = manual.fetch(&key).expect("known");
        assert_eq!(payment.state, PaymentState::Pending);
        assert_eq!(payment.reference, Some(Reference([7; 16])));
    }
    assert!(manual.fetch(&PaymentKey::Order("x".to_owned())).is_err());
    assert_eq!(manual.refund(&refund(8, "", "", 2_000)), Ok(Refunded::ByHand));
}

/// The page in a browser: each button leads back to the shop.
#[test]
fn the_fake_page_leads_back() {
    let fake = FakeProvider::start();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().max_redirects(0).proxy(None).build().into();
    for (number, button, status) in
        [(1, "approve", "CAPTURED"), (2, "decline", "DECLINED"), (3, "abandon", "ABANDONED")]
    {
        let tap = fake.tap(TIMEOUT);
        let id = open(&tap, &order(number, 2_000));
        let page = format!("{}/page/{id}/{button}", fake.base_url());
        let answer = agent.get(&page).call().expect("a page");
        let location = answer.headers()["location"].to_str().expect("text");
        assert_eq!(location, format!("https://pay.example/billing?topup=1&tap_id={id}"));
        assert_eq!(fetch(&tap, &id).status, status);
    }
}
