//! Credits bought, given back, redeemed and corrected: the whole server with a provider that is
//! one for real but for the money.

mod buying;
mod hostile_provider;
mod operator;
mod reconciliation;
mod refunds;
mod vouchers;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use mizan::billing::Round;
use mizan::ledger::Scopes;
use mizan::payments::{Manual, PaymentProvider};
use serde_json::{Value, json};

use super::admin::{Holder, OPERATOR};
use crate::support::fake_provider::FakeProvider;
use crate::support::server::{Answer, Server, Setup};

const TIMEOUT: Duration = Duration::from_secs(5);

const INSTRUCTIONS: &str = "Transfer {amount} KWD with the reference {reference}";

/// A server that sells through a provider which the test plays.
struct Shop {
    server: Server,
    provider: FakeProvider,
}

impl Shop {
    fn open() -> Self {
        Self::with_timeout(TIMEOUT)
    }

    fn with_timeout(timeout: Duration) -> Self {
        let provider = FakeProvider::start();
        let providers: Vec<Arc<dyn PaymentProvider>> = vec![
            Arc::new(provider.tap(timeout)),
            Arc::new(provider.my_fatoorah(timeout)),
            Arc::new(Manual::new(INSTRUCTIONS)),
        ];
        let scopes = Scopes::ALL;
        let setup = Setup { credits: 0, scopes, providers, ..Setup::saying(&["a", "b", "c"]) };
        Self { server: Server::start(setup), provider }
    }

    fn operator(&self) -> Holder {
        Holder::of(&self.server, OPERATOR)
    }

    /// Orders the pack of 5,000 credits.
    async fn order(&self, provider: &str) -> Value {
        let body = json!({ "pack": "starter", "provider": provider });
        let answer = self.server.post("/api/v1/topups", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    /// The provider's name for an order of ours.
    fn theirs(&self, order: &Value) -> String {
        let orders = self.provider.orders_of(order["id"].as_str().unwrap());
        assert_eq!(orders.len(), 1, "{order}");
        orders[0].clone()
    }

    /// Brings the provider's callback about an order to the server.
    async fn call_back(&self, provider: &str, id: &str) -> Answer {
        let (headers, body) = self.provider.webhook(id);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/api/v1/payments/{provider}/webhook"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.server.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Orders, pays, and has the provider say so.
    async fn buy(&self, provider: &str) -> Value {
        let order = self.order(provider).await;
        let id = self.theirs(&order);
        self.provider.approve(&id);
        let answer = self.call_back(provider, &id).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        order
    }

    /// How the books have an order.
    async fn status(&self, order: &Value) -> String {
        let id = order["id"].as_str().unwrap();
        let (status, shown) = self.operator().get(&format!("/topups/{id}")).await;
        assert_eq!(status, 200, "{shown}");
        shown["status"].as_str().unwrap().to_owned()
    }

    /// Asks about every order that is waiting, as the poller does after a while.
    async fn poll(&self) {
        self.poll_after(3_600_000).await;
    }

    /// Asks about the orders that are due in so long.
    async fn poll_after(&self, ms: i64) -> Round {
        let billing = self.server.state.billing.clone();
        let at_ms = self.server.state.clock.now_ms() + ms;
        let poll = move || billing.poll(at_ms).unwrap();
        tokio::task::spawn_blocking(poll).await.unwrap()
    }

    #[track_caller]
    fn assert_balance(&self, credits: i64) {
        assert_eq!(self.server.balance(), credits);
        self.server.verify_books();
    }
}
