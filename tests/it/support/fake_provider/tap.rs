//! The fake provider as Tap.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::serve::Answer;
use super::{
    Callback, FakeProvider, Faults, Order, Refund, Shape, Status, TAP_SECRET_KEY, Webhooks, number,
    signature, thousandths,
};

#[derive(Deserialize)]
struct NewCharge {
    amount: Box<RawValue>,
    currency: String,
    reference: References,
    redirect: Url,
    post: Url,
    source: Id,
    transaction: Times,
    customer: Customer,
}

#[derive(Deserialize)]
struct Customer {
    first_name: String,
    email: String,
}

#[derive(Deserialize)]
struct References {
    order: String,
    idempotent: String,
}

#[derive(Deserialize)]
struct Url {
    url: String,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Times {
    expiry: Expiry,
}

#[derive(Deserialize)]
struct Expiry {
    period: u32,
    r#type: String,
}

#[derive(Deserialize)]
struct NewRefund {
    charge_id: String,
    amount: Box<RawValue>,
    currency: String,
    reason: String,
    reference: Merchant,
}

#[derive(Deserialize)]
struct Merchant {
    merchant: String,
}

impl FakeProvider {
    pub(super) fn tap_create(&self, body: &str) -> Answer {
        let charge: NewCharge = match serde_json::from_str(body) {
            Ok(charge) => charge,
            Err(error) => return refusal("1101", &error.to_string()),
        };
        let fils = thousandths(&charge.amount);
        if charge.currency != "KWD" || fils < 100 {
            return refusal("1102", "Amount is invalid");
        }
        let Expiry { period, r#type } = charge.transaction.expiry;
        let is_customer =
            !charge.customer.first_name.is_empty() && !charge.customer.email.is_empty();
        if !(5..=60).contains(&period) || r#type != "MINUTE" || !is_customer {
            return refusal("1103", "Expiry or customer is invalid");
        }
        if !["src_all", "src_card", "src_kw.knet"].contains(&charge.source.id.as_str()) {
            return refusal("1104", "Source is invalid");
        }
        let (id, faults) = {
            let mut state = self.lock();
            state.calls.create += 1;
            state.created.push(body.to_owned());
            let faults = state.faults.clone();
            if let Some(status @ 400..500) = faults.create_status {
                return Answer::new(status, "{}");
            }
            let known = state.orders.iter().find(|order| {
                order.shape == Shape::Tap && order.reference == charge.reference.idempotent
            });
            let id = match known {
                Some(order) => order.id.clone(),
                None => {
                    let id = format!("chg_TEST{:020}", state.orders.len() + 1);
                    let path = charge.post.url.splitn(4, '/').nth(3).unwrap_or_default();
                    state.orders.push(Order {
                        shape: Shape::Tap,
                        payment_id: id.clone(),
                        id: id.clone(),
                        reference: charge.reference.order,
                        fils,
                        status: Status::Open,
                        return_url: charge.redirect.url,
                        webhook_path: format!("/{path}"),
                        refunds: Vec::new(),
                    });
                    id
                }
            };
            (id, faults)
        };
        if faults.webhooks == Webhooks::BeforeCreateReply {
            self.approve(&id);
        }
        if let Some(status) = faults.create_status {
            return Answer::new(status, "oops").after(faults.slow_create);
        }
        let order = self.lock().order(&id).expect("just made").clone();
        let page = format!("{}/page/{id}", self.base_url);
        Answer::new(200, charge_json(&order, &Faults::default(), Some(&page)))
            .after(faults.slow_create)
    }

    pub(super) fn tap_fetch(&self, id: &str) -> Answer {
        let mut state = self.lock();
        state.calls.fetch += 1;
        let faults = state.faults.clone();
        if let Some(status) = faults.fetch_status {
            return Answer::new(status, "oops");
        }
        let Some(order) = state.order(id) else {
            return Answer { status: 404, ..refusal("1143", "Charge id is invalid") };
        };
        Answer::new(200, charge_json(order, &faults, None)).after(faults.slow_fetch)
    }

    pub(super) fn tap_refund(&self, body: &str) -> Answer {
        let refund: NewRefund = match serde_json::from_str(body) {
            Ok(refund) => refund,
            Err(error) => return refusal("1201", &error.to_string()),
        };
        let fils = thousandths(&refund.amount);
        let mut state = self.lock();
        state.calls.refund += 1;
        let faults = state.faults.clone();
        if let Some(status @ 400..500) = faults.refund_status {
            return Answer::new(status, "{}");
        }
        let Some(order) = state.order(&refund.charge_id) else {
            return refusal("1143", "Charge id is invalid");
        };
        let reference = refund.reference.merchant;
        let known = order.refunds.iter().position(|known| known.reference == reference);
        let number = match known {
            Some(number) => number,
            None => {
                let given_back: i64 = order.refunds.iter().map(|refund| refund.fils).sum();
                let is_paid = order.status == Status::Captured && refund.currency == "KWD";
                if !is_paid || refund.reason.is_empty() || given_back + fils > order.fils {
                    return refusal("1202", "Refund amount exceeds the charge");
                }
                order.refunds.push(Refund { reference, fils });
                order.refunds.len() - 1
            }
        };
        if let Some(status) = faults.refund_status {
            return Answer::new(status, "oops");
        }
        let id = format!("re_{}_{number}", order.id);
        let body = json!({"id": id, "status": "PENDING", "charge_id": order.id});
        Answer::new(200, body.to_string()).after(faults.slow_refund)
    }
}

fn refusal(code: &str, description: &str) -> Answer {
    let body = json!({"errors": [{"code": code, "description": description}]});
    Answer::new(400, body.to_string())
}

/// A charge as answers and callbacks have it; with `page` it still is to be paid.
fn charge_json(order: &Order, faults: &Faults, page: Option<&str>) -> String {
    let status = match order.status {
        _ if faults.is_stale => "INITIATED",
        Status::Open => "INITIATED",
        Status::Captured => "CAPTURED",
        Status::Declined => "DECLINED",
        Status::Abandoned => "ABANDONED",
        Status::Expired => "TIMEDOUT",
    };
    let amount = number(order.fils + faults.fils_off);
    let currency = faults.currency.unwrap_or("KWD");
    let id = if faults.other_order { format!("{}9", order.id) } else { order.id.clone() };
    let reference = if faults.other_reference { "f".repeat(32) } else { order.reference.clone() };
    let url = page.map_or("null".to_owned(), |page| format!("\"{page}\""));
    let references = match order.status {
        Status::Captured => ",\"gateway\":\"123456789012345\",\"payment\":\"0000000000000001\"",
        _ => "",
    };
    format!(
        "{{\"id\":\"{id}\",\"object\":\"charge\",\"live_mode\":false,\"api_version\":\"V2\",\
         \"amount\":{amount},\"currency\":\"{currency}\",\"status\":\"{status}\",\
         \"reference\":{{\"track\":\"tck_1\",\"transaction\":\"{reference}\",\
         \"order\":\"{reference}\"{references}}},\
         \"transaction\":{{\"url\":{url},\"created\":\"1760000000000\",\"currency\":\"KWD\"}},\
         \"response\":{{\"code\":\"000\",\"message\":\"{status}\"}}}}"
    )
}

pub(super) fn callback(order: &Order, faults: &Faults) -> Callback {
    let faults = &Faults { is_stale: false, ..faults.clone() };
    let body = charge_json(order, faults, None);
    let charge: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let text_of = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let fils = order.fils + faults.fils_off;
    let text = format!(
        "x_id{}x_amount{}.{:03}x_currency{}x_gateway_reference{}x_payment_reference{}x_status{}\
         x_created{}",
        text_of(&charge["id"]),
        fils / 1000,
        fils % 1000,
        text_of(&charge["currency"]),
        text_of(&charge["reference"]["gateway"]),
        text_of(&charge["reference"]["payment"]),
        text_of(&charge["status"]),
        text_of(&charge["transaction"]["created"]),
    );
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if let Some(bytes) = signature(&text, TAP_SECRET_KEY, faults.signature) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        headers.push(("hashstring".to_owned(), hex));
    }
    (headers, body.into_bytes())
}
