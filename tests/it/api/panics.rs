//! Bugs and lost devices: whatever panics or fails, the caller is told in OpenAI's shape, the meter
//! is closed once, and the server goes on.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use axum::http::Method;
use mizan::api;
use mizan::ledger::{Clock, MeterState, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::errors::check;
use super::money::{check_closed, check_engine_is_idle, check_reversed, read, stored, streamed};
use super::{CHAT, COMPLETIONS, chat, completion};
use crate::support::server::{Answer, PREMIUM, Server, Setup};

const SCRIPT: [&str; 4] = ["one", " two", " three", " four"];

/// A clock that panics once. It is what a chat request asks first in its handler, once its prompt
/// is rendered, and then in its generation, once the meter is open and the sequences run; a text
/// completion does only the latter.
#[derive(Debug)]
pub(super) struct BrokenClock {
    /// Readings left until then.
    left: AtomicUsize,
}

impl BrokenClock {
    /// Puts one into `server`; it does not panic yet.
    pub(super) fn put_into(server: &mut Server) -> Arc<Self> {
        let clock = Arc::new(Self { left: AtomicUsize::new(usize::MAX) });
        server.set_clock(clock.clone());
        clock
    }

    pub(super) fn panic_after(&self, readings: usize) {
        self.left.store(readings, SeqCst);
    }
}

impl Clock for BrokenClock {
    fn now_ms(&self) -> i64 {
        // Below 0 it wraps round: it breaks once.
        assert_ne!(self.left.fetch_sub(1, SeqCst), 0, "this is a test of panics");
        SystemClock.now_ms()
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_server_goes_on() {
    for is_streamed in [false, true] {
        let mut server = Server::start(Setup::saying(&SCRIPT));
        BrokenClock::put_into(&mut server).panic_after(0);
        let body = chat(json!({ "stream": is_streamed }));
        check(&server.post(CHAT, &body).await, 500, "server_error", None, None);
        assert!(server.meters().is_empty(), "it panicked before it could open one");
        assert_eq!(server.post(CHAT, &body).await.status, 200);
        check_closed(&server, 5_000, 4, "stop").await;
    }
}

/// A page could not read an error that lacks the origin's header.
#[tokio::test]
async fn a_page_is_told_of_a_panic_too() {
    let settings = "cors_origins = [\"https://a.example\"]";
    let mut server = Server::start(Setup { settings, ..Setup::saying(&SCRIPT) });
    BrokenClock::put_into(&mut server).panic_after(0);
    let mut request = server.request(Method::POST, CHAT, Some(&chat(json!({}))));
    request.headers_mut().insert("origin", "https://a.example".parse().unwrap());
    let answer = server.send(request).await;
    check(&answer, 500, "server_error", None, None);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
}

#[tokio::test]
async fn a_panic_in_a_generation_is_a_500_and_gives_its_meter_back_once() {
    let stream = json!({ "stream": true });
    for (path, body, readings) in [
        (CHAT, chat(json!({})), 1),
        (CHAT, chat(stream.clone()), 1),
        (COMPLETIONS, completion(json!({})), 0),
        (COMPLETIONS, completion(stream), 0),
    ] {
        let mut server = Server::start(Setup::saying(&SCRIPT));
        BrokenClock::put_into(&mut server).panic_after(readings);
        check(&send(&server, path, &body).await, 500, "server_error", None, None);
        check_reversed(&server, 5_000).await;
        check_engine_is_idle(&server).await;

        // The idempotency key is free, and its answer is paid for once.
        let answer = send(&server, path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.header("idempotent-replayed")), (200, None));
        let again = send(&server, path, &body).await;
        assert_eq!(
            (again.status.as_u16(), again.header("idempotent-replayed")),
            (200, Some("true"))
        );
        let ended: Vec<_> = server.meters().iter().map(|m| (m.state, m.output_tokens)).collect();
        assert_eq!(ended, [(MeterState::Reversed, 0), (MeterState::Closed, 4)]);
        assert_eq!(server.balance(), 4_996);
        server.verify_books();
        check_stops_at_once(&server).await;
    }
}

/// Sends `body` under always the same idempotency key.
async fn send(server: &Server, path: &str, body: &Value) -> Answer {
    let mut request = server.request(Method::POST, path, Some(body));
    request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
    server.send(request).await
}

/// Nothing counts as in flight any more: a shutdown waits for nobody.
async fn check_stops_at_once(server: &Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = api::serve(listener, server.state.clone(), async {});
    timeout(Duration::from_secs(4), serving).await.expect("nothing runs");
}

#[tokio::test]
async fn a_model_that_panics_or_is_lost_fails_its_answers_and_no_others() {
    let ends = [Server::panic_at, Server::lose_at];
    for (end, tokens) in ends.iter().flat_map(|end| (0..SCRIPT.len()).map(move |at| (end, at))) {
        let server = Server::start(Setup::saying(&SCRIPT));
        end(&server, tokens);
        check(&server.post(CHAT, &chat(json!({}))).await, 500, "server_error", None, None);
        check_reversed(&server, 5_000).await;
        let other = server.post(CHAT, &chat(json!({ "model": PREMIUM }))).await;
        assert_eq!((other.status.as_u16(), server.balance()), (200, 4_992));

        let server = Server::start(Setup::saying(&SCRIPT));
        end(&server, tokens);
        let frames = server.stream(CHAT, &streamed(json!({}))).await.rest().await;
        let (error, released) = frames.split_last().unwrap();
        assert_eq!(error["error"]["type"], "server_error", "{error}");
        let text = |frame: &Value| frame["choices"][0]["delta"]["content"].as_str().map(str::len);
        let bytes = released.iter().filter_map(text).sum();
        assert_eq!(server.tokens_in(bytes), tokens, "{released:?}");
        match tokens {
            0 => check_reversed(&server, 5_000).await,
            _ => check_closed(&server, 5_000, tokens, "error").await,
        }
    }
}

#[tokio::test]
async fn all_answers_of_a_model_that_panics_are_settled() {
    check_all_are_settled(Server::panic_at).await;
}

#[tokio::test]
async fn all_answers_of_a_model_whose_device_is_lost_are_settled() {
    check_all_are_settled(Server::lose_at).await;
}

async fn check_all_are_settled(end: fn(&Server, usize)) {
    let server = Server::start(Setup::saying(&SCRIPT));
    end(&server, 2);
    server.allow(0);
    let body = streamed(json!({}));
    let streams = [server.stream(CHAT, &body).await, server.stream(CHAT, &body).await];
    server.allow(usize::MAX);
    let mut charged = 0;
    for (number, stream) in streams.into_iter().enumerate() {
        let (text, usage) = read(stream).await;
        assert_eq!(usage, None, "it has no end");
        // The error frame is sent once the meter is closed.
        let meter = &server.meters()[number];
        assert_ne!(meter.state, MeterState::Open);
        assert_eq!(server.tokens_in(text.len()), stored(meter));
        charged += stored(meter);
    }
    assert!((2..=4).contains(&charged), "{charged}");
    assert_eq!(server.balance(), 5_000 - charged as i64);
    server.verify_books();
}

/// A generation's task that is dropped where it stands leaves what one leaves that panics there.
#[test]
fn a_stream_that_is_dropped_stays_paid_for_as_far_as_it_went() {
    for tokens in 0..=SCRIPT.len() {
        let server = Server::start(Setup::saying(&SCRIPT));
        server.allow(0);
        let serving = runtime();
        let stream = serving.block_on(async {
            let mut stream = server.stream(CHAT, &streamed(json!({}))).await;
            for (token, text) in SCRIPT[..tokens].iter().enumerate() {
                server.allow(token + 1);
                let frame = stream.next().await.unwrap();
                assert_eq!(frame["choices"][0]["delta"]["content"], *text);
            }
            stream
        });
        drop(serving);
        runtime().block_on(async {
            match tokens {
                0 => check_reversed(&server, 5_000).await,
                _ => check_closed(&server, 5_000, tokens, "dropped").await,
            }
            check_engine_is_idle(&server).await;
            let (text, usage) = read(stream).await;
            assert_eq!((text.as_str(), usage), ("", None), "there is no more of it");
        });
    }
}

/// As above, of an answer that is sent whole.
#[test]
fn a_plain_answer_that_is_dropped_is_given_back() {
    for tokens in 1..=SCRIPT.len() {
        let server = Server::start(Setup::saying(&SCRIPT));
        server.allow(tokens);
        let serving = runtime();
        serving.block_on(async {
            let body = chat(json!({}));
            let mut request = Box::pin(server.post(CHAT, &body));
            while server.balance() != 5_000 - tokens as i64 {
                let waited = timeout(Duration::from_millis(2), &mut request).await;
                assert!(waited.is_err(), "the script is not over");
            }
        });
        drop(serving);
        runtime().block_on(async {
            check_reversed(&server, 5_000).await;
            check_engine_is_idle(&server).await;
        });
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
