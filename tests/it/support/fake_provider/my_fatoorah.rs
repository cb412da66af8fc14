//! The fake provider as MyFatoorah.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::serve::Answer;
use super::{
    Callback, FakeProvider, Faults, MYFATOORAH_WEBHOOK_SECRET, Order, Refund, Shape, Status,
    Webhooks, number, signature, thousandths,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewInvoice {
    payment_method_id: u32,
    invoice_value: Box<RawValue>,
    customer_name: String,
    display_currency_iso: String,
    call_back_url: String,
    error_url: String,
    customer_reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    key: String,
    key_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewRefund {
    key: String,
    key_type: String,
    amount: Box<RawValue>,
    comment: String,
}

impl FakeProvider {
    pub(super) fn fatoorah_methods() -> Answer {
        success(
            &json!({"PaymentMethods": [
                {"PaymentMethodId": 1, "PaymentMethodEn": "KNET", "PaymentMethodCode": "kn"},
                {"PaymentMethodId": 2, "PaymentMethodEn": "VISA/MASTER", "PaymentMethodCode": "vm"},
            ]})
            .to_string(),
        )
    }

    pub(super) fn fatoorah_create(&self, body: &str) -> Answer {
        let invoice: NewInvoice = match serde_json::from_str(body) {
            Ok(invoice) => invoice,
            Err(error) => return refusal(400, &error.to_string()),
        };
        let is_sound = invoice.display_currency_iso == "KWD"
            && (1..=2).contains(&invoice.payment_method_id)
            && !invoice.customer_name.is_empty()
            && invoice.call_back_url == invoice.error_url;
        if !is_sound {
            return refusal(400, "Invalid data");
        }
        let (id, faults) = {
            let mut state = self.lock();
            state.calls.create += 1;
            state.created.push(body.to_owned());
            let faults = state.faults.clone();
            if let Some(status @ 400..500) = faults.create_status {
                return refusal(status, "Too many requests");
            }
            // There is no idempotency key: the same order again is another invoice.
            let number = 1_000_001 + state.orders.len();
            let id = number.to_string();
            state.orders.push(Order {
                shape: Shape::MyFatoorah,
                id: id.clone(),
                payment_id: format!("10000000000{number}"),
                reference: invoice.customer_reference,
                fils: thousandths(&invoice.invoice_value),
                status: Status::Open,
                return_url: invoice.call_back_url,
                webhook_path: "/api/v1/payments/myfatoorah/webhook".to_owned(),
                refunds: Vec::new(),
            });
            (id, faults)
        };
        if faults.webhooks == Webhooks::BeforeCreateReply {
            self.approve(&id);
        }
        if let Some(status) = faults.create_status {
            return Answer::new(status, "oops").after(faults.slow_create);
        }
        let page = format!("{}/page/{id}", self.base_url);
        success(&format!(
            "{{\"InvoiceId\":{id},\"IsDirectPayment\":false,\"PaymentURL\":\"{page}\"}}"
        ))
        .after(faults.slow_create)
    }

    pub(super) fn fatoorah_fetch(&self, body: &str) -> Answer {
        let asked: Asked = serde_json::from_str(body).expect("a question");
        let mut state = self.lock();
        state.calls.fetch += 1;
        let faults = state.faults.clone();
        if let Some(status) = faults.fetch_status {
            return Answer::new(status, "oops");
        }
        let order = state.orders.iter().find(|order| {
            order.shape == Shape::MyFatoorah
                && match asked.key_type.as_str() {
                    "InvoiceId" => order.id == asked.key,
                    "PaymentId" => order.payment_id == asked.key,
                    "CustomerReference" => order.reference == asked.key,
                    _ => false,
                }
        });
        match order {
            Some(order) => success(&invoice_json(order, &faults)).after(faults.slow_fetch),
            None => refusal(404, "No such invoice"),
        }
    }

    pub(super) fn fatoorah_refund(&self, body: &str) -> Answer {
        let refund: NewRefund = serde_json::from_str(body).expect("a refund");
        let fils = thousandths(&refund.amount);
        let mut state = self.lock();
        state.calls.refund += 1;
        let faults = state.faults.clone();
        if let Some(status @ 400..500) = faults.refund_status {
            return refusal(status, "Too many requests");
        }
        let is_meant = |order: &&mut Order| match refund.key_type.as_str() {
            "PaymentId" => order.payment_id == refund.key,
            "InvoiceId" => order.id == refund.key,
            _ => false,
        };
        let Some(order) = state.orders.iter_mut().find(is_meant) else {
            return refusal(400, "No such payment");
        };
        let given_back: i64 = order.refunds.iter().map(|refund| refund.fils).sum();
        if order.status != Status::Captured || given_back + fils > order.fils {
            // With status 200, as it often does.
            return refusal(200, "Refund amount is more than the paid amount");
        }
        order.refunds.push(Refund { reference: refund.comment, fils });
        let id = order.refunds.len();
        if let Some(status) = faults.refund_status {
            return Answer::new(status, "oops");
        }
        success(&json!({"Key": refund.key, "RefundId": id, "RefundReference": "r1"}).to_string())
            .after(faults.slow_refund)
    }
}

fn success(data: &str) -> Answer {
    let rest = "\"IsSuccess\":true,\"Message\":\"\",\"ValidationErrors\":null";
    Answer::new(200, format!("{{{rest},\"Data\":{data}}}"))
}

fn refusal(status: u16, error: &str) -> Answer {
    let body = json!({
        "IsSuccess": false, "Message": "Invalid data", "Data": null,
        "ValidationErrors": [{"Name": "Key", "Error": error}],
    });
    Answer::new(status, body.to_string())
}

/// The data of a status answer, with MyFatoorah's own spelling.
fn invoice_json(order: &Order, faults: &Faults) -> String {
    let status = if faults.is_stale { Status::Open } else { order.status };
    let invoice_status = match status {
        Status::Captured => "Paid",
        Status::Abandoned => "Canceled",
        Status::Open | Status::Declined | Status::Expired => "Pending",
    };
    let fils = order.fils + faults.fils_off;
    let value = format!("{}.{:03}", fils / 1000, fils % 1000);
    let currency = faults.currency.unwrap_or("KD");
    let payment_id = &order.payment_id;
    let transaction = |status: &str| {
        format!(
            "{{\"PaymentGateway\":\"KNET\",\"PaymentId\":\"{payment_id}\",\
             \"TransactionStatus\":\"{status}\",\"TransationValue\":\"{value}\",\
             \"PaidCurrency\":\"{currency}\",\"PaidCurrencyValue\":\"{value}\",\
             \"Currency\":\"{currency}\",\"Error\":null}}"
        )
    };
    let transactions = match status {
        // The first attempt seldom is the one.
        Status::Captured => format!("{},{}", transaction("Failed"), transaction("Succss")),
        Status::Declined => transaction("Failed"),
        _ => String::new(),
    };
    let id = if faults.other_order { format!("{}9", order.id) } else { order.id.clone() };
    let reference = if faults.other_reference { "f".repeat(32) } else { order.reference.clone() };
    format!(
        "{{\"InvoiceId\":{id},\"InvoiceStatus\":\"{invoice_status}\",\
         \"CustomerReference\":\"{reference}\",\"InvoiceValue\":{},\
         \"InvoiceDisplayValue\":\"{value} {currency}\",\
         \"InvoiceTransactions\":[{transactions}],\"Suppliers\":[]}}",
        number(fils),
    )
}

pub(super) fn callback(order: &Order, faults: &Faults) -> Callback {
    let (text, body) = match faults.first_version {
        true => first_version(order, faults),
        false => second_version(order),
    };
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if let Some(bytes) = signature(&text, MYFATOORAH_WEBHOOK_SECRET, faults.signature) {
        headers.push(("MyFatoorah-Signature".to_owned(), STANDARD.encode(bytes)));
    }
    (headers, body.into_bytes())
}

/// The signed text and the body. Fields are in another order than that of the signature.
fn first_version(order: &Order, faults: &Faults) -> (String, String) {
    let status = if order.status == Status::Captured { "SUCCESS" } else { "FAILED" };
    let (id, payment_id, reference) = (&order.id, &order.payment_id, &order.reference);
    let value = number(order.fils + faults.fils_off);
    let text = format!(
        "CreatedDate=01012026120000,CustomerReference={reference},InvoiceId={id},\
         InvoiceValueInBaseCurrency={value},PaymentId={payment_id},PaymentMethod=KNET,\
         TransactionStatus={status},UserDefinedField="
    );
    let body = format!(
        "{{\"EventType\":1,\"Event\":\"TransactionsStatusChanged\",\
         \"DateTime\":\"01012026120001\",\"CountryIsoCode\":\"KWT\",\"Data\":{{\
         \"InvoiceId\":{id},\"PaymentId\":\"{payment_id}\",\"PaymentMethod\":\"KNET\",\
         \"CustomerReference\":\"{reference}\",\"TransactionStatus\":\"{status}\",\
         \"UserDefinedField\":null,\"CreatedDate\":\"01012026120000\",\
         \"InvoiceValueInBaseCurrency\":{value}}}}}"
    );
    (text, body)
}

fn second_version(order: &Order) -> (String, String) {
    let (invoice_status, status) = match order.status {
        Status::Captured => ("PAID", "SUCCESS"),
        _ => ("PENDING", "FAILED"),
    };
    let (id, payment_id, reference) = (&order.id, &order.payment_id, &order.reference);
    let text = format!(
        "Invoice.Id={id},Invoice.Status={invoice_status},Transaction.Status={status},\
         Transaction.PaymentId={payment_id},Invoice.ExternalIdentifier={reference}"
    );
    let body = format!(
        "{{\"Event\":{{\"Code\":1,\"Name\":\"PAYMENT_STATUS_CHANGED\",\"CountryIsoCode\":\"KWT\"}},\
         \"Data\":{{\"Invoice\":{{\"Id\":\"{id}\",\"Status\":\"{invoice_status}\",\
         \"ExternalIdentifier\":\"{reference}\",\"UserDefinedField\":null}},\
         \"Transaction\":{{\"Status\":\"{status}\",\"PaymentId\":\"{payment_id}\"}},\
         \"Amount\":{{\"BaseCurrency\":\"KWD\",\"ValueInBaseCurrency\":\"2.000\"}}}}}}"
    );
    (text, body)
}
