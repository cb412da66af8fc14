//! A payment provider on loopback that speaks both Tap's and MyFatoorah's language: it keeps
//! orders, has a page to pay at, signs callbacks as each of them does, and has every fault that
//! they were seen or feared to have.

mod my_fatoorah;
mod serve;
mod tap;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use mizan::payments::{MyFatoorah, MyFatoorahSettings, Secret, Tap, TapSettings};
use sha2::Sha256;

/// What opens the Tap side and signs its callbacks.
pub(crate) const TAP_SECRET_KEY: &str = "sk_test_fake";
/// What opens the MyFatoorah side.
pub(crate) const MYFATOORAH_TOKEN: &str = "token-fake";
/// What signs its callbacks.
pub(crate) const MYFATOORAH_WEBHOOK_SECRET: &str = "webhook-secret-fake";

/// When callbacks are delivered, once [`FakeProvider::deliver_to`] says where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Webhooks {
    #[default]
    Once,
    Never,
    Thrice,
    /// The customer is so quick, or the answer so slow, that the callback is there first.
    BeforeCreateReply,
    /// Only once the customer's browser is back.
    AfterRedirect,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Signature {
    #[default]
    Good,
    Bad,
    Absent,
    /// What anybody can make.
    EmptyKey,
}

/// What goes wrong from now on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) webhooks: Webhooks,
    pub(crate) signature: Signature,
    /// MyFatoorah's callbacks are of version 1 instead of 2.
    pub(crate) first_version: bool,
    /// So much more than ordered was taken, as far as answers go.
    pub(crate) fils_off: i64,
    /// The currency in answers.
    pub(crate) currency: Option<&'static str>,
    /// Answers have another order's reference of ours.
    pub(crate) other_reference: bool,
    /// Answers are about another order than the one that was asked for.
    pub(crate) other_order: bool,
    /// Status answers are from before anybody paid.
    pub(crate) is_stale: bool,
    /// HTTP statuses instead of answers; a call that changes something does it all the same if
    /// the status is 500.
    pub(crate) create_status: Option<u16>,
    pub(crate) fetch_status: Option<u16>,
    pub(crate) refund_status: Option<u16>,
    /// How long answers take, after what was asked is done.
    pub(crate) slow_create: Duration,
    pub(crate) slow_fetch: Duration,
    pub(crate) slow_refund: Duration,
}

/// How often each thing was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) create: usize,
    pub(crate) fetch: usize,
    pub(crate) refund: usize,
    /// With another secret, or none.
    pub(crate) unauthorized: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    Captured,
    Declined,
    Abandoned,
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Tap,
    MyFatoorah,
}

#[derive(Clone, Debug)]
struct Refund {
    reference: String,
    fils: i64,
}

/// An order as the provider has it.
#[derive(Clone, Debug)]
struct Order {
    shape: Shape,
    id: String,
    payment_id: String,
    reference: String,
    fils: i64,
    status: Status,
    return_url: String,
    webhook_path: String,
    refunds: Vec<Refund>,
}

#[derive(Debug, Default)]
struct State {
    orders: Vec<Order>,
    faults: Faults,
    calls: Calls,
    /// Bodies of calls that create, as they came.
    created: Vec<String>,
    target: Option<String>,
    deliveries: Vec<u16>,
}

impl State {
    fn order(&mut self, id: &str) -> Option<&mut Order> {
        self.orders.iter_mut().find(|order| order.id == id)
    }
}

/// Runs until the test program ends.
#[derive(Clone, Debug)]
pub(crate) struct FakeProvider {
    base_url: String,
    state: Arc<Mutex<State>>,
}

/// Headers and body of a callback.
pub(crate) type Callback = (Vec<(String, String)>, Vec<u8>);

impl FakeProvider {
    pub(crate) fn start() -> FakeProvider {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        let fake = FakeProvider { base_url, state: Arc::default() };
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        fake
    }

    /// Scheme, host and port, for `base_url` of either provider.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Ours for it, as Tap.
    pub(crate) fn tap(&self, timeout: Duration) -> Tap {
        Tap::new(TapSettings {
            base_url: self.base_url.clone(),
            timeout,
            source: "src_all".to_owned(),
            merchant: None,
            secret_key: Secret::new(TAP_SECRET_KEY).expect("a secret"),
        })
    }

    /// Ours for it, as MyFatoorah.
    pub(crate) fn my_fatoorah(&self, timeout: Duration) -> MyFatoorah {
        MyFatoorah::new(MyFatoorahSettings {
            base_url: self.base_url.clone(),
            timeout,
            method: "kn".to_owned(),
            token: Secret::new(MYFATOORAH_TOKEN).expect("a secret"),
            webhook_secret: Secret::new(MYFATOORAH_WEBHOOK_SECRET).expect("a secret"),
        })
    }

    /// Callbacks go to this server (`http://127.0.0.1:PORT`): to the path of the address that an
    /// order gave (Tap), or that was set in the portal (MyFatoorah).
    pub(crate) fn deliver_to(&self, origin: &str) {
        self.lock().target = Some(origin.to_owned());
    }

    /// These faults instead of those before.
    pub(crate) fn faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub(crate) fn calls(&self) -> Calls {
        self.lock().calls
    }

    /// Bodies of the calls that opened orders.
    pub(crate) fn created(&self) -> Vec<String> {
        self.lock().created.clone()
    }

    /// How the server answered each delivered callback.
    pub(crate) fn deliveries(&self) -> Vec<u16> {
        self.lock().deliveries.clone()
    }

    /// The orders that were opened for our `reference`, by the provider's ids.
    pub(crate) fn orders_of(&self, reference: &str) -> Vec<String> {
        let state = self.lock();
        let orders = state.orders.iter().filter(|order| order.reference == reference);
        orders.map(|order| order.id.clone()).collect()
    }

    /// What was given back of an order.
    pub(crate) fn refunded_fils(&self, id: &str) -> i64 {
        let mut state = self.lock();
        state.order(id).expect("an order").refunds.iter().map(|refund| refund.fils).sum()
    }

    /// The customer pays; also after the time for it is over.
    pub(crate) fn approve(&self, id: &str) {
        self.decide(id, Status::Captured);
    }

    /// The bank says no; also after it said yes.
    pub(crate) fn decline(&self, id: &str) {
        self.decide(id, Status::Declined);
    }

    /// The customer closes the window. No callback tells.
    pub(crate) fn abandon(&self, id: &str) {
        self.decide(id, Status::Abandoned);
    }

    /// The time to pay is over. No callback tells.
    pub(crate) fn expire(&self, id: &str) {
        self.decide(id, Status::Expired);
    }

    fn decide(&self, id: &str, status: Status) {
        let webhooks = {
            let mut state = self.lock();
            state.order(id).expect("an order").status = status;
            state.faults.webhooks
        };
        let deliveries = match webhooks {
            Webhooks::Once | Webhooks::BeforeCreateReply => 1,
            Webhooks::Thrice => 3,
            Webhooks::Never | Webhooks::AfterRedirect => 0,
        };
        self.deliver(id, deliveries);
    }

    /// Where the customer's browser is sent afterwards.
    pub(crate) fn return_url(&self, id: &str) -> String {
        let is_late = {
            let state = self.lock();
            state.faults.webhooks == Webhooks::AfterRedirect
        };
        if is_late {
            self.deliver(id, 1);
        }
        let order = self.lock().order(id).expect("an order").clone();
        let separator = if order.return_url.contains('?') { '&' } else { '?' };
        match order.shape {
            Shape::Tap => format!("{}{separator}tap_id={}", order.return_url, order.id),
            Shape::MyFatoorah => {
                format!("{}{separator}paymentId={}", order.return_url, order.payment_id)
            }
        }
    }

    /// The callback about an order as it is now, with the faults that are set.
    pub(crate) fn webhook(&self, id: &str) -> Callback {
        let mut state = self.lock();
        let faults = state.faults.clone();
        let order = state.order(id).expect("an order");
        match order.shape {
            Shape::Tap => tap::callback(order, &faults),
            Shape::MyFatoorah => my_fatoorah::callback(order, &faults),
        }
    }

    /// Sends the callback about an order `times` times, if there is where to.
    pub(crate) fn deliver(&self, id: &str, times: usize) {
        let (target, order) = {
            let mut state = self.lock();
            (state.target.clone(), state.order(id).expect("an order").clone())
        };
        let is_told = matches!(order.status, Status::Captured | Status::Declined);
        let Some(target) = target.filter(|_| is_told) else { return };
        for _ in 0..times {
            let (headers, body) = self.webhook(id);
            let url = format!("{target}{}", order.webhook_path);
            let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
            let mut request = ureq::Agent::from(agent.build()).post(url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let status = request.send(&body).map_or(0, |answer| answer.status().as_u16());
            self.lock().deliveries.push(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// HMAC-SHA-256 of `text`, or what a fault makes of it; `None` leaves the header away.
fn signature(text: &str, secret: &str, fault: Signature) -> Option<[u8; 32]> {
    let secret = if fault == Signature::EmptyKey { "" } else { secret };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(text.as_bytes());
    let mut bytes: [u8; 32] = mac.finalize().into_bytes().into();
    if fault == Signature::Bad {
        bytes[31] ^= 1;
    }
    (fault != Signature::Absent).then_some(bytes)
}

/// A JSON number as these providers write it: no more decimals than it takes.
fn number(fils: i64) -> String {
    let text = format!("{}.{:03}", fils / 1000, fils % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Thousandths of a JSON number or text, by its digits.
fn thousandths(json: &serde_json::value::RawValue) -> i64 {
    let text = json.get().trim_matches('"');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 3, "an amount of {text}");
    format!("{whole}{fraction:0<3}").parse().expect("an amount")
}
