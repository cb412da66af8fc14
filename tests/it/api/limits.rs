//! A plan's limits: what is let in, what is told on every answer, and when a place is free again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use axum::http::{Method, Request, header};
use mizan::ledger::{Clock, NewKeyRequest};
use serde_json::{Value, json};

use super::errors::check;
use super::panics::BrokenClock;
use super::{CHAT, COMPLETIONS, chat, completion};
use crate::support::server::{Answer, Server, Setup};

/// A clock that tests turn.
#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Hand {
    fn put_into(server: &mut Server) -> Arc<Self> {
        let hand = Arc::new(Self::default());
        server.set_clock(hand.clone());
        hand
    }

    fn pass(&self, ms: i64) {
        self.0.fetch_add(ms, SeqCst);
    }
}

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(SeqCst)
    }
}

fn server(plan: &'static str) -> Server {
    Server::start(Setup { plan, ..Setup::saying(&["a", "b"]) })
}

/// Limit, remaining and reset, as headers have them.
fn told(answer: &Answer, what: &str) -> [Option<String>; 3] {
    ["limit", "remaining", "reset"]
        .map(|figure| answer.header(&format!("x-ratelimit-{figure}-{what}")).map(str::to_owned))
}

fn figures(limit: &str, remaining: &str, reset: &str) -> [Option<String>; 3] {
    [limit, remaining, reset].map(|figure| Some(figure.to_owned()))
}

const NONE: [Option<String>; 3] = [None, None, None];

/// A refusal for now: OpenAI's shape, and when to come again.
fn check_limited(answer: &Answer, retry_after: &str) -> String {
    assert_eq!(answer.header("retry-after"), Some(retry_after));
    check(answer, 429, "rate_limit_error", Some("rate_limit_exceeded"), None)
}

/// Sends `body` under an idempotency key.
async fn send_once(server: &Server, key: &str, body: &Value) -> Answer {
    let mut request = server.request(Method::POST, CHAT, Some(body));
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    server.send(request).await
}

#[tokio::test]
async fn every_answer_says_where_the_caller_stands() {
    let plan = "max_requests_per_minute = 6\nmax_input_tokens_per_minute = 150_000";
    let mut server = server(plan);
    let hand = Hand::put_into(&mut server);
    // A whole answer, a stream, and a request that fails once its tokens are counted.
    let mut answers = Vec::new();
    answers.push(server.post(CHAT, &chat(json!({}))).await);
    answers.push(server.post(CHAT, &chat(json!({ "stream": true }))).await);
    server.fail_at(0);
    answers.push(server.post(CHAT, &chat(json!({}))).await);
    server.fail_at(usize::MAX);
    // Requests that are wrong count, their tokens never do; so do the text helpers.
    answers.push(server.post(CHAT, &json!({})).await);
    answers.push(server.post("/tokenize", &json!({ "content": "abc" })).await);
    answers.push(server.post(COMPLETIONS, &json!([])).await);
    answers.push(server.post(CHAT, &chat(json!({}))).await);
    let expected = [
        (200, ["5", "10s"], ["149996", "2ms"]),
        (200, ["4", "20s"], ["149992", "4ms"]),
        (500, ["3", "30s"], ["149988", "5ms"]),
        (400, ["2", "40s"], ["149988", "5ms"]),
        (200, ["1", "50s"], ["149988", "5ms"]),
        (400, ["0", "1m0s"], ["149988", "5ms"]),
        (429, ["0", "1m0s"], ["149988", "5ms"]),
    ];
    for (answer, (status, [requests, wait], [tokens, reset])) in answers.iter().zip(expected) {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert_eq!(told(answer, "requests"), figures("6", requests, wait));
        assert_eq!(told(answer, "tokens"), figures("150000", tokens, reset));
    }
    let message = check_limited(&answers[6], "10");
    assert_eq!(message, "this account's plan allows 6 requests a minute; try again in 10s");

    // A millisecond before its time it is refused, and told to wait a whole second.
    hand.pass(9_999);
    check_limited(&server.post(CHAT, &chat(json!({}))).await, "1");
    hand.pass(1);
    assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200);
    check_limited(&server.post("/detokenize", &json!({ "tokens": [] })).await, "10");
    // Other routes are neither limited nor told of.
    for path in ["/v1/models", "/api/v1/credits", "/health"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), told(&answer, "requests")), (200, NONE));
    }
    assert_eq!(server.balance(), 5_000 - 3 * 2);
    server.verify_books();
}

#[tokio::test]
async fn a_limit_that_the_plan_has_not_got_is_not_told() {
    let answer = server("").post(CHAT, &chat(json!({}))).await;
    assert_eq!((told(&answer, "requests"), told(&answer, "tokens")), (NONE, NONE));
    let answer = server("max_requests_per_minute = 2").post(CHAT, &chat(json!({}))).await;
    assert_eq!((told(&answer, "requests")[0].is_some(), told(&answer, "tokens")), (true, NONE));
    let answer = server("max_input_tokens_per_minute = 8").post(CHAT, &chat(json!({}))).await;
    assert_eq!((told(&answer, "requests"), told(&answer, "tokens")[0].is_some()), (NONE, true));
}

#[tokio::test]
async fn accounts_have_their_own_limits_and_their_keys_share_them() {
    let mut server = server("max_requests_per_minute = 2");
    let _hand = Hand::put_into(&mut server);
    let status = async |key: &str| {
        let request = Request::post("/tokenize")
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(json!({ "content": "" }).to_string().into());
        server.send(request.unwrap()).await.status.as_u16()
    };
    let (second, other) = (server.key_of("team").secret, server.key_of("others").secret);
    assert_eq!((status(&server.key).await, status(&second).await), (200, 200));
    assert_eq!((status(&server.key).await, status(&second).await), (429, 429));
    assert_eq!(status(&other).await, 200);
    // An account whose plan has left the file has the default one.
    let odd = server.ledger.create_account("odd", "gone", "test").wait().unwrap();
    let odd =
        server.ledger.create_key(NewKeyRequest::new(odd, "odd"), "test").wait().unwrap().secret;
    assert_eq!((status(&odd).await, status(&odd).await, status(&odd).await), (200, 200, 429));
}

#[tokio::test]
async fn input_is_counted_once_a_prompt() {
    let mut server = server("max_input_tokens_per_minute = 12");
    let hand = Hand::put_into(&mut server);
    // Five answers to one prompt of 4 tokens, then two prompts of 3.
    let answer = server.post(CHAT, &chat(json!({ "n": 5 }))).await;
    assert_eq!(told(&answer, "tokens"), figures("12", "8", "20s"));
    let two = completion(json!({ "prompt": ["Go\n", "So\n"], "n": 2, "max_tokens": 1 }));
    let answer = server.post(COMPLETIONS, &two).await;
    assert_eq!(told(&answer, "tokens"), figures("12", "2", "50s"));
    let meters = server.meters().len();
    for body in [chat(json!({})), chat(json!({ "stream": true }))] {
        let answer = server.post(CHAT, &body).await;
        let message = check_limited(&answer, "10");
        assert_eq!(
            message,
            "this account's plan allows 12 input tokens a minute; 2 are left now and this request \
             has 4; try again in 10s"
        );
        assert_eq!(told(&answer, "tokens"), figures("12", "2", "50s"));
    }
    assert_eq!(server.meters().len(), meters, "who is refused does not reach the books");
    hand.pass(10_000);
    assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200);
    server.verify_books();
}

#[tokio::test]
async fn what_never_fits_is_told_so_and_counts_for_nothing() {
    let mut server = server("max_input_tokens_per_minute = 12\nmax_prompt_tokens = 8");
    let _hand = Hand::put_into(&mut server);
    let refused = |answer: &Answer, param| {
        assert_eq!(told(answer, "tokens"), figures("12", "12", "0s"));
        assert_eq!(answer.header("retry-after"), None);
        check(answer, 400, "invalid_request_error", Some("context_length_exceeded"), Some(param))
    };
    let long = json!({ "messages": [{ "role": "user", "content": "seven .." }] });
    let message = refused(&server.post(CHAT, &chat(long)).await, "messages");
    assert_eq!(
        message,
        "this account's plan takes prompts of at most 8 tokens, and this one has 10; shorten the \
         prompt"
    );
    let many = completion(json!({ "prompt": ["12345\n", "12345\n", "1"] }));
    let message = refused(&server.post(COMPLETIONS, &many).await, "prompt");
    assert_eq!(
        message,
        "this account's plan allows 12 input tokens a minute, and this request alone has 13; \
         waiting will not help: send less at once"
    );
    // What just fits is taken, and is all there is.
    let fits = completion(json!({ "prompt": ["12345\n", "12345\n"], "max_tokens": 1 }));
    let answer = server.post(COMPLETIONS, &fits).await;
    assert_eq!(
        (answer.status.as_u16(), told(&answer, "tokens")),
        (200, figures("12", "0", "1m0s"))
    );
}

#[tokio::test]
async fn a_replay_is_a_request_without_input() {
    let mut server = server("max_requests_per_minute = 6\nmax_input_tokens_per_minute = 6");
    let hand = Hand::put_into(&mut server);
    let body = chat(json!({}));
    let first = send_once(&server, "k", &body).await;
    assert_eq!(told(&first, "tokens"), figures("6", "2", "40s"));
    let again = send_once(&server, "k", &body).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(told(&again, "requests"), figures("6", "4", "20s"));
    assert_eq!(told(&again, "tokens"), figures("6", "2", "40s"));
    // One that is refused leaves its key free.
    check_limited(&send_once(&server, "other", &body).await, "20");
    hand.pass(20_000);
    let later = send_once(&server, "other", &body).await;
    assert_eq!((later.status.as_u16(), later.header("idempotent-replayed")), (200, None));
    assert_eq!(server.balance(), 5_000 - 2 * 2);
    server.verify_books();
}

const ONE_AT_A_TIME: &str = "max_concurrent_requests = 1";

/// The account's only place is free, at the latest soon.
async fn check_free(server: &Server) {
    server.allow(usize::MAX);
    for _ in 0..5_000 {
        if server.post("/tokenize", &json!({ "content": "" })).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the place is not free after ten seconds");
}

#[tokio::test]
async fn a_running_answer_has_a_place_until_it_ends_or_is_left() {
    let server = server(ONE_AT_A_TIME);
    let streamed = chat(json!({ "stream": true }));
    for leaves in [false, true] {
        server.allow(1);
        let mut stream = server.stream(CHAT, &streamed).await;
        stream.next().await.unwrap();
        let message = check_limited(&server.post(CHAT, &chat(json!({}))).await, "1");
        assert!(message.contains("1 requests at the same time"), "{message}");
        check_limited(&server.post("/tokenize", &json!({ "content": "" })).await, "1");
        if leaves {
            drop(stream);
        } else {
            server.allow(usize::MAX);
            // Who has read the end can come again at once.
            assert_eq!(stream.rest().await.last(), Some(&Value::from("[DONE]")));
            assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200);
        }
        check_free(&server).await;
    }
    // A caller who leaves while its plain answer is made.
    server.allow(1);
    let body = chat(json!({}));
    let request = server.post(CHAT, &body);
    assert!(tokio::time::timeout(Duration::from_millis(50), request).await.is_err());
    check_free(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_one_after_the_other_never_meets_itself() {
    let server = server(ONE_AT_A_TIME);
    for round in 0..60 {
        let answer = match round % 3 {
            0 => server.post(CHAT, &chat(json!({}))).await,
            1 => server.post(CHAT, &chat(json!({ "stream": true }))).await,
            _ => send_once(&server, "again", &chat(json!({ "stream": true }))).await,
        };
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text);
    }
}

#[tokio::test]
async fn every_end_frees_the_place() {
    let mut server = server(ONE_AT_A_TIME);
    for (body, status) in [
        (chat(json!({ "temperature": 9 })), 400),
        (chat(json!({ "model": "nobody" })), 404),
        (chat(json!({ "messages": [{ "role": "user", "content": "x".repeat(600) }] })), 400),
        (chat(json!({ "n": 2 })), 200),
    ] {
        assert_eq!(server.post(CHAT, &body).await.status, status);
    }
    // The engine fails, midway and from the start, plain and streamed.
    for (at, stream) in [(0, false), (1, false), (0, true), (1, true)] {
        server.fail_at(at);
        let answer = server.post(CHAT, &chat(json!({ "stream": stream }))).await;
        assert!(answer.text.contains("server_error"), "{}", answer.text);
        server.fail_at(usize::MAX);
        assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200);
    }
    // A handler panics, then a generation.
    for readings in [0, 1] {
        BrokenClock::put_into(&mut server).panic_after(readings);
        assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 500);
        check_free(&server).await;
    }
    // There is nothing to pay with.
    let poor = Server::start(Setup { credits: 0, plan: ONE_AT_A_TIME, ..Setup::saying(&["a"]) });
    for _ in 0..3 {
        assert_eq!(poor.post(CHAT, &chat(json!({}))).await.status, 402);
    }
    server.verify_books();
}

#[tokio::test]
async fn an_answer_that_panicked_says_where_the_caller_stands_too() {
    let mut server = server("max_requests_per_minute = 6");
    // The limiter reads the clock first, then the handler.
    BrokenClock::put_into(&mut server).panic_after(1);
    let answer = server.post(CHAT, &chat(json!({}))).await;
    check(&answer, 500, "server_error", None, None);
    assert_eq!(told(&answer, "requests")[1].as_deref(), Some("5"));
    // And when it is the limiter that panics, the next caller finds it whole.
    BrokenClock::put_into(&mut server).panic_after(0);
    check(&server.post(CHAT, &chat(json!({}))).await, 500, "server_error", None, None);
    assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200);
}
