//! What is charged, however a request ends: tokens charged, `completion_tokens`, tokens stored and
//! tokens released are the same number, and the meter is closed once.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use mizan::engine::SPECULATIVE_ROWS;
use mizan::ledger::{GenerationRecord, MeterState};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{CHAT, chat, with};
use crate::support::scripted::Bounds;
use crate::support::server::{Frames, PREMIUM, Server, Setup};

const SCRIPT: [&str; 6] = ["one", " two", " three", " four", " five", " six"];

/// Tokens stored for a generation.
pub(super) fn stored(record: &GenerationRecord) -> usize {
    record.token_ids.iter().flat_map(|choices| choices.values()).map(Vec::len).sum()
}

/// The only meter is closed at `tokens`, all of which are stored, and nothing else was taken.
pub(super) async fn check_closed(
    server: &Server,
    credits_before: i64,
    tokens: usize,
    reason: &str,
) {
    let record = server.settled().await;
    assert_eq!(record.state, MeterState::Closed, "{record:?}");
    assert_eq!(record.finish_reason.as_deref(), Some(reason));
    assert_eq!(record.output_tokens as usize, tokens, "charged");
    assert_eq!(stored(&record), tokens, "stored");
    let spent = credits_before - server.balance();
    assert_eq!(spent, tokens as i64 * record.credits_per_token);
    assert_eq!(record.credits.0, spent);
    server.verify_books();
}

/// The only meter is reversed: nothing was taken, nothing is stored.
pub(super) async fn check_reversed(server: &Server, credits_before: i64) {
    let record = server.settled().await;
    assert_eq!(record.state, MeterState::Reversed, "{record:?}");
    assert_eq!(stored(&record), 0);
    assert_eq!(server.balance(), credits_before);
    server.verify_books();
}

/// What a stream brought: its text and, if it came to that, its usage.
pub(super) async fn read(mut stream: Frames) -> (String, Option<Value>) {
    let (mut text, mut usage) = (String::new(), None);
    while let Some(frame) = stream.next().await {
        text.push_str(frame["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        if frame["usage"].is_object() {
            usage = Some(frame["usage"].clone());
        }
    }
    (text, usage)
}

pub(super) fn streamed(more: Value) -> Value {
    chat(with(more, json!({ "stream": true, "stream_options": { "include_usage": true } })))
}

/// Runs an ending that gives an answer, streamed and not.
async fn check_answer(more: Value, credits: i64, reason: &str, tokens: usize) {
    check_answer_of(Setup { credits, ..Setup::saying(&SCRIPT) }, more, reason, tokens).await;
}

async fn check_answer_of(setup: Setup, more: Value, reason: &str, tokens: usize) {
    let credits = setup.credits;
    let exhausted = reason == "out_of_credits";

    let server = Server::start(setup.clone());
    let answer = server.post(CHAT, &chat(more.clone())).await;
    let json = answer.json();
    assert_eq!(answer.status, 200, "{json}");
    let text = json["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(server.tokens_in(text.len()), tokens, "released: {text:?}");
    assert_eq!(json["usage"]["completion_tokens"], tokens);
    assert_eq!(json["usage"]["credits"], tokens);
    assert_eq!(json["usage"]["balance"], credits - tokens as i64);
    assert_eq!(json["usage"]["credits_exhausted"], exhausted);
    let finish = if reason.starts_with("stop") { "stop" } else { "length" };
    assert_eq!(json["choices"][0]["finish_reason"], finish);
    check_closed(&server, credits, tokens, reason).await;

    let server = Server::start(setup);
    let (text, usage) = read(server.stream(CHAT, &streamed(more)).await).await;
    let usage = usage.unwrap();
    assert_eq!(server.tokens_in(text.len()), tokens, "released: {text:?}");
    assert_eq!(usage["completion_tokens"], tokens);
    assert_eq!(usage["credits"], tokens);
    assert_eq!(usage["balance"], credits - tokens as i64);
    assert_eq!(usage["credits_exhausted"], exhausted);
    check_closed(&server, credits, tokens, reason).await;
}

#[tokio::test]
async fn every_ending_with_an_answer_closes_the_meter_once() {
    check_answer(json!({}), 5_000, "stop", 6).await;
    check_answer(json!({ "stop": "four" }), 5_000, "stop_string", 4).await;
    check_answer(json!({ "max_tokens": 2 }), 5_000, "length", 2).await;
    // The balance is enough to the last credit: that is no exhaustion.
    check_answer(json!({}), 6, "stop", 6).await;
    check_answer(json!({ "max_tokens": 2 }), 2, "length", 2).await;
}

#[tokio::test]
async fn a_balance_that_ends_mid_answer_ends_the_answer_at_every_token() {
    for credits in 1..SCRIPT.len() {
        check_answer(json!({}), credits as i64, "out_of_credits", credits).await;
    }
}

#[tokio::test]
async fn drafted_tokens_are_charged_once_and_rejected_ones_never() {
    // After the second "b c", "d e f" is drafted, and it is "d" and then "x".
    let script = ["a", " b", " c", " d", " e", " f", " g", " b", " c", " d", " x", " y", " z"];
    let setup = |credits| Setup {
        credits,
        bounds: Bounds { speculative_rows: SPECULATIVE_ROWS, ..Bounds::default() },
        ..Setup::saying(&script)
    };
    check_answer_of(setup(5_000), json!({}), "stop", 13).await;
    check_answer_of(setup(5_000), json!({ "stop": "x" }), "stop_string", 11).await;
    for tokens in 1..=12 {
        let max_tokens = json!({ "max_tokens": tokens });
        check_answer_of(setup(5_000), max_tokens, "length", tokens).await;
        check_answer_of(setup(tokens as i64), json!({}), "out_of_credits", tokens).await;
    }

    let server = Server::start(setup(5_000));
    server.post(CHAT, &chat(json!({}))).await;
    let metrics = server.get("/metrics").await.text;
    for line in [
        "mizan_generation_tokens_total{model=\"scripted\"} 13",
        "mizan_draft_tokens_total{model=\"scripted\"} 3",
        "mizan_draft_tokens_accepted_total{model=\"scripted\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line:?} in\n{metrics}");
    }
}

#[tokio::test]
async fn an_odd_credit_stays_on_a_premium_model() {
    let server = Server::start(Setup { credits: 5, ..Setup::saying(&SCRIPT) });
    let json = server.post(CHAT, &chat(json!({ "model": PREMIUM }))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "one two");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["credits"], 4);
    assert_eq!(json["usage"]["balance"], 1);
    assert_eq!(json["usage"]["credits_exhausted"], true);
    check_closed(&server, 5, 2, "out_of_credits").await;
}

#[tokio::test]
async fn a_balance_that_ends_with_several_choices_charges_what_is_sent() {
    for credits in 1..=7 {
        let server = Server::start(Setup { credits, ..Setup::saying(&["a", "b", "c"]) });
        let json = server.post(CHAT, &chat(json!({ "n": 3 }))).await.json();
        let choices = json["choices"].as_array().unwrap();
        let released: usize =
            choices.iter().map(|c| c["message"]["content"].as_str().unwrap().len()).sum();
        assert_eq!(released as i64, credits);
        assert_eq!(json["usage"]["completion_tokens"], credits);
        assert_eq!(json["usage"]["credits_exhausted"], true);
        assert!(choices.iter().any(|choice| choice["finish_reason"] == "length"));
        let record = server.settled().await;
        assert_eq!((record.output_tokens as i64, stored(&record) as i64), (credits, credits));
        assert_eq!(server.balance(), 0);
        server.verify_books();
    }
}

#[tokio::test]
async fn a_keys_limit_ends_an_answer_like_a_balance() {
    let server = Server::start(Setup { key_limit: Some(2), ..Setup::saying(&SCRIPT) });
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "one two");
    assert_eq!(json["usage"]["credits_exhausted"], true);
    check_closed(&server, 5_000, 2, "out_of_credits").await;
    let refused = server.post(CHAT, &chat(json!({}))).await;
    assert_eq!(refused.status, 402);
    assert_eq!(refused.json()["error"]["code"], "key_limit_reached");
}

#[tokio::test]
async fn a_character_that_can_not_be_paid_for_whole_is_not_sent() {
    let script: [&[u8]; 3] = [b"a", b"\xF0\x9F\x98\x80", b"b"];
    let setup = Setup { script: script.to_vec(), credits: 1, ..Setup::saying(&[]) };
    let server = Server::start(setup);
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "a");
    // Two tokens of one character are paid together or not at all.
    let script: [&[u8]; 3] = [b"a", b"\xF0\x9F", b"\x98\x80"];
    let setup = Setup { script: script.to_vec(), credits: 2, ..Setup::saying(&[]) };
    let server = Server::start(setup);
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "a");
    assert_eq!(json["usage"]["balance"], 1);
    assert_eq!(json["usage"]["credits_exhausted"], true);
}

#[tokio::test]
async fn a_stream_that_is_hung_up_keeps_what_was_released_at_every_token() {
    for tokens in 0..SCRIPT.len() {
        let server = Server::start(Setup::saying(&SCRIPT));
        server.allow(0);
        let mut stream = server.stream(CHAT, &streamed(json!({}))).await;
        for (token, text) in SCRIPT[..tokens].iter().enumerate() {
            server.allow(token + 1);
            let frame = stream.next().await.unwrap();
            assert_eq!(frame["choices"][0]["delta"]["content"], *text);
        }
        drop(stream);
        if tokens == 0 {
            check_reversed(&server, 5_000).await;
        } else {
            check_closed(&server, 5_000, tokens, "disconnect").await;
        }
        check_engine_is_idle(&server).await;
    }
}

#[tokio::test]
async fn a_plain_request_that_is_hung_up_is_reversed_at_every_token() {
    for tokens in 0..SCRIPT.len() {
        let server = Server::start(Setup::saying(&SCRIPT));
        server.allow(tokens);
        let body = chat(json!({}));
        let mut request = Box::pin(server.post(CHAT, &body));
        while server.balance() != 5_000 - tokens as i64 || server.meters().is_empty() {
            let waited = tokio::time::timeout(Duration::from_millis(2), &mut request).await;
            assert!(waited.is_err(), "the script is not over");
        }
        drop(request);
        check_reversed(&server, 5_000).await;
        check_engine_is_idle(&server).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_whole_and_paid_for_but_not_taken_is_reversed() {
    let server = Server::start(Setup::saying(&SCRIPT));
    let body = chat(json!({}));
    let mut request = Box::pin(server.post(CHAT, &body));
    // On this one thread the generation's task runs only at the sleeps, so that the meter is seen
    // closed before the handler can be given the answer.
    while server.meters().first().is_none_or(|meter| meter.state == MeterState::Open) {
        let polled = poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "nobody takes the answer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(server.balance(), 4_994);
    drop(request);
    while server.balance() != 5_000 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    check_reversed(&server, 5_000).await;
}

/// Nothing runs any more, a step after the caller hung up.
pub(super) async fn check_engine_is_idle(server: &Server) {
    server.allow(usize::MAX);
    let model = server.state.registry.loaded().into_iter().find(|m| m.entry.id == "scripted");
    let engine = model.unwrap().engine.clone();
    for _ in 0..5_000 {
        let stats = engine.stats();
        let is_settled = server.meters().iter().all(|meter| meter.state != MeterState::Open);
        if is_settled && (stats.running, stats.waiting, stats.blocks.owned) == (0, 0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("still running: {:?}", engine.stats());
}

#[tokio::test]
async fn a_full_queue_refuses_before_anything_is_charged() {
    let bounds = Bounds { max_batch: 1, max_waiting: 1, ..Bounds::default() };
    for is_streamed in [false, true] {
        let server = Server::start(Setup { bounds, ..Setup::saying(&SCRIPT) });
        server.allow(0);
        let first = server.stream(CHAT, &streamed(json!({}))).await;
        let second = server.stream(CHAT, &streamed(json!({}))).await;
        let answer = server.post(CHAT, &chat(json!({ "stream": is_streamed }))).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["error"]["code"], "queue_full");
        assert!(answer.header("retry-after").is_some());
        let meters = server.meters();
        assert_eq!((meters.len(), meters[2].credits.0), (3, 0));
        assert_ne!(meters[2].state, MeterState::Open);
        drop((first, second));
        check_engine_is_idle(&server).await;
        assert_eq!(server.balance(), 5_000);
        server.verify_books();

        // Half of a request does not run: two choices do not fit beside what runs.
        let server = Server::start(Setup { bounds, ..Setup::saying(&SCRIPT) });
        server.allow(0);
        let first = server.stream(CHAT, &streamed(json!({}))).await;
        let answer = server.post(CHAT, &chat(json!({ "n": 2, "stream": is_streamed }))).await;
        assert_eq!(answer.status, 503);
        // More than fits at all is no reason to try again.
        let answer = server.post(CHAT, &chat(json!({ "n": 3 }))).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["param"]), (400, &json!("n")));
        drop(first);
        check_engine_is_idle(&server).await;
        assert_eq!(server.balance(), 5_000);
        server.verify_books();
    }
}

#[tokio::test]
async fn an_engine_that_fails_charges_a_stream_for_what_it_sent_and_a_plain_answer_nothing() {
    for tokens in 0..4 {
        let server = Server::start(Setup::saying(&SCRIPT));
        server.fail_at(tokens);
        let answer = server.post(CHAT, &chat(json!({}))).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.json()["error"]["type"], "server_error");
        check_reversed(&server, 5_000).await;

        let server = Server::start(Setup::saying(&SCRIPT));
        server.fail_at(tokens);
        let (text, usage) = read(server.stream(CHAT, &streamed(json!({}))).await).await;
        assert_eq!(server.tokens_in(text.len()), tokens);
        assert_eq!(usage, None);
        if tokens == 0 {
            check_reversed(&server, 5_000).await;
        } else {
            check_closed(&server, 5_000, tokens, "error").await;
        }
    }
}

#[tokio::test]
async fn a_charge_is_committed_before_its_text_can_be_read() {
    let script: Vec<&'static [u8]> = (0..100).map(|_| b"x".as_slice()).collect();
    let server = Server::start(Setup { script, ..Setup::saying(&[]) });
    let mut stream = server.stream(CHAT, &streamed(json!({}))).await;
    let mut received = 0;
    while let Some(frame) = stream.next().await {
        if let Some(text) = frame["choices"][0]["delta"]["content"].as_str() {
            received += text.len();
            let charged = 5_000 - server.balance();
            assert!(charged >= received as i64, "{charged} charged, {received} received");
        }
    }
    assert_eq!(received, 100);
    check_closed(&server, 5_000, 100, "stop").await;
}

#[tokio::test]
async fn the_product_pages_answer_costs_150_credits_and_twice_that_on_premium() {
    let script: Vec<&'static [u8]> = (0..150).map(|_| b" word".as_slice()).collect();
    let server = Server::start(Setup { script: script.clone(), ..Setup::saying(&[]) });
    let answer = server.post(CHAT, &chat(json!({}))).await;
    assert_eq!(answer.json()["usage"]["credits"], 150);
    assert_eq!(answer.header("x-credits-charged"), Some("150"));
    assert_eq!(answer.header("x-credits-balance"), Some("4850"));
    let credits = server.get("/api/v1/credits").await.json();
    let expected = json!({ "total_credits": 5_000, "total_usage": 150, "balance": 4_850 });
    assert_eq!(credits, json!({ "data": expected }));

    let server = Server::start(Setup { script, ..Setup::saying(&[]) });
    let body = streamed(json!({ "model": PREMIUM }));
    let (_, usage) = read(server.stream(CHAT, &body).await).await;
    let usage = usage.unwrap();
    assert_eq!((&usage["credits"], &usage["balance"]), (&json!(300), &json!(4_700)));
    assert_eq!(server.balance(), 4_700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_at_once_share_one_credit() {
    let server = std::sync::Arc::new(Server::start(Setup { credits: 1, ..Setup::saying(&SCRIPT) }));
    let mut requests = JoinSet::new();
    for index in 0..50 {
        let server = std::sync::Arc::clone(&server);
        requests.spawn(async move {
            let body = if index % 2 == 0 { chat(json!({})) } else { streamed(json!({})) };
            server.post(CHAT, &body).await
        });
    }
    let mut released = 0;
    while let Some(answer) = requests.join_next().await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            402 => assert_eq!(answer.json()["error"]["code"], "credit_balance_exhausted"),
            200 => released += usize::from(answer.text.contains("\"content\":\"one\"")),
            other => panic!("{other}: {}", answer.text),
        }
    }
    assert_eq!(released, 1);
    assert_eq!(server.balance(), 0);
    let meters = server.meters();
    let charged: u32 = meters.iter().map(|meter| meter.output_tokens).sum();
    assert_eq!((charged, meters.iter().map(stored).sum()), (1, 1));
    assert!(meters.iter().all(|meter| meter.state != MeterState::Open));
    server.verify_books();
}

#[tokio::test]
async fn a_request_is_refused_up_front_only_if_one_token_can_not_be_paid() {
    for (model, credits, status) in
        [("scripted", 0, 402), ("scripted", 1, 200), (PREMIUM, 1, 402), (PREMIUM, 2, 200)]
    {
        for is_streamed in [false, true] {
            let server = Server::start(Setup { credits, ..Setup::saying(&SCRIPT) });
            let body = chat(json!({
                "model": model,
                "stream": is_streamed,
                // A cap above the balance is no reason to refuse.
                "max_tokens": 400,
            }));
            let answer = server.post(CHAT, &body).await;
            assert_eq!(answer.status, status, "{model} {credits}");
            if status == 402 {
                let required = if model == PREMIUM { 2 } else { 1 };
                let error = &answer.json()["error"];
                assert_eq!(error["type"], "insufficient_quota");
                assert_eq!(error["metadata"]["balance"], credits);
                assert_eq!(error["metadata"]["required"], required);
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(&credits.to_string()), "{message}");
                assert!(message.contains(&required.to_string()), "{message}");
                assert!(server.meters().is_empty());
            }
        }
    }
}
