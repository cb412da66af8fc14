//! Streamed answers, frame by frame, against the rules that OpenAI's clients rely on.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, chat, completion, with};
use crate::support::server::{Server, Setup};

/// All frames of a stream.
async fn frames(server: &Server, path: &str, body: Value) -> Vec<Value> {
    server.stream(path, &with(body, json!({ "stream": true }))).await.rest().await
}

/// The text that choice `index` adds up to, as clients join it.
fn joined(frames: &[Value], index: usize) -> String {
    let choices = frames.iter().flat_map(|frame| frame["choices"].as_array().into_iter().flatten());
    let of_index = choices.filter(|choice| choice["index"] == index);
    of_index
        .filter_map(|choice| choice["delta"]["content"].as_str().or(choice["text"].as_str()))
        .collect()
}

/// Section 3 of the wire's rules, for a chat stream of `n` choices that ended well.
fn check_chat_rules(frames: &[Value], n: usize, include_usage: bool) {
    let (done, chunks) = frames.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let first = &chunks[0];
    let mut state = vec!["before"; n];
    for (position, chunk) in chunks.iter().enumerate() {
        let is_usage = include_usage && position == chunks.len() - 1;
        for name in ["id", "created", "model", "system_fingerprint"] {
            assert_eq!(chunk[name], first[name], "the same in all chunks");
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert!(chunk.get("error").is_none());
        match chunk.get("usage") {
            None => assert!(!include_usage),
            Some(usage) => {
                assert!(include_usage, "no usage key unless asked for");
                assert_eq!(usage.is_null(), !is_usage, "null until the end");
            }
        }
        let choices = chunk["choices"].as_array().unwrap();
        assert_eq!(choices.is_empty(), is_usage);
        for choice in choices {
            let keys: Vec<_> = choice.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["index", "delta", "logprobs", "finish_reason"]);
            let state = &mut state[choice["index"].as_u64().unwrap() as usize];
            let delta = choice["delta"].as_object().unwrap();
            match choice["finish_reason"].as_str() {
                None => {
                    assert_eq!(delta.contains_key("role"), *state == "before", "the role once");
                    assert_ne!(*state, "finished");
                    if *state == "open" {
                        assert_ne!(delta["content"], "", "no empty content");
                    }
                    *state = "open";
                }
                Some(reason) => {
                    assert!(["stop", "length"].contains(&reason));
                    assert!(delta.is_empty(), "a finish has no delta");
                    assert_eq!(*state, "open", "a finish comes once, after the role");
                    *state = "finished";
                }
            }
        }
    }
    assert!(state.iter().all(|state| *state == "finished"), "{state:?}");
}

#[tokio::test]
async fn a_stream_is_what_clients_expect() {
    let server = Server::start(Setup::saying(&["Hel", "lo", " there"]));
    // One token at a time, so that none go out together.
    server.allow(0);
    let mut stream = server.stream(CHAT, &chat(json!({ "stream": true }))).await;
    for (tokens, delta) in [
        (1, json!({ "role": "assistant", "content": "Hel" })),
        (2, json!({ "content": "lo" })),
        (3, json!({ "content": " there" })),
    ] {
        server.allow(tokens);
        let frame = stream.next().await.unwrap();
        let choice = json!([
            { "index": 0, "delta": delta, "logprobs": null, "finish_reason": null },
        ]);
        assert_eq!(frame["choices"], choice);
        assert!(frame.get("usage").is_none());
    }
    server.allow(4);
    let last = json!([{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop" }]);
    assert_eq!(stream.next().await.unwrap()["choices"], last);
    assert_eq!(stream.next().await.unwrap(), "[DONE]");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn the_rules_hold_for_all_kinds_of_answers() {
    let options = json!({ "include_usage": true });
    for (script, more, n) in [
        (&["a", "b", "c"][..], json!({}), 1),
        (&["a", "b", "c"], json!({ "max_tokens": 1 }), 1),
        (&["a", "b", "c"], json!({ "n": 3 }), 3),
        (&["a", "b", "c"], json!({ "stop": "b" }), 1),
        (&[], json!({}), 1),
        (&[], json!({ "n": 2 }), 2),
    ] {
        let server = Server::start(Setup::saying(script));
        let plain = server.post(CHAT, &chat(more.clone())).await.json();
        let without = frames(&server, CHAT, chat(more.clone())).await;
        check_chat_rules(&without, n, false);
        let body = with(chat(more), json!({ "stream_options": options }));
        let with_usage = frames(&server, CHAT, body).await;
        check_chat_rules(&with_usage, n, true);
        for index in 0..n {
            let content = &plain["choices"][index]["message"]["content"];
            assert_eq!(joined(&without, index), content.as_str().unwrap());
            assert_eq!(joined(&with_usage, index), content.as_str().unwrap());
        }
        let usage = &with_usage[with_usage.len() - 2]["usage"];
        for counter in ["prompt_tokens", "completion_tokens", "total_tokens", "credits"] {
            assert_eq!(usage[counter], plain["usage"][counter], "{counter}");
        }
        assert_eq!(usage["balance"], server.balance());
        server.verify_books();
    }
}

#[tokio::test]
async fn headers_keep_proxies_from_holding_frames_back() {
    let server = Server::start(Setup::saying(&["a"]));
    let answer = server.post(CHAT, &chat(json!({ "stream": true }))).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.header("x-credits-charged"), None);
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    for line in answer.text.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("data: ") && !line.starts_with("data:  "), "{line}");
    }
}

#[tokio::test]
async fn continuous_usage_counts_up_in_every_chunk() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    let options = json!({ "include_usage": true, "continuous_usage_stats": true });
    let body = chat(json!({ "stream_options": options }));
    let frames = frames(&server, CHAT, body).await;
    let (usage, chunks) = frames[..frames.len() - 1].split_last().unwrap();
    let mut last = 0;
    for chunk in chunks {
        let keys: Vec<_> = chunk["usage"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["prompt_tokens", "completion_tokens", "total_tokens"]);
        let tokens = chunk["usage"]["completion_tokens"].as_u64().unwrap();
        assert!(tokens >= last);
        last = tokens;
    }
    assert_eq!(last, 3);
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert_eq!(usage["usage"]["credits"], 3);

    // Alone it asks for nothing: running usage would be added up.
    let body = chat(json!({ "stream_options": { "continuous_usage_stats": true } }));
    let frames = self::frames(&server, CHAT, body).await;
    assert!(frames.iter().all(|frame| frame.get("usage").is_none()));
}

#[tokio::test]
async fn a_text_completion_streams_in_its_own_shape() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    let body = completion(json!({ "stream_options": { "include_usage": true }, "logprobs": 0 }));
    let frames = frames(&server, COMPLETIONS, body).await;
    assert_eq!(joined(&frames, 0), "abc");
    let [.., finish, usage, done] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!(frames[0]["object"], "text_completion");
    let offsets =
        frames.iter().filter_map(|f| f["choices"][0]["logprobs"]["text_offset"].as_array());
    let offsets: Vec<_> = offsets.flatten().cloned().collect();
    assert_eq!(offsets, [0, 1, 2]);
    let end = json!([{ "text": "", "index": 0, "logprobs": null, "finish_reason": "stop" }]);
    assert_eq!(finish["choices"], end);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert_eq!(done, "[DONE]");
}

#[tokio::test]
async fn logprobs_arrive_with_the_frames_of_their_tokens() {
    let script: [&[u8]; 4] = [b"a", b"\xF0\x9F", b"\x98\x80", b"b"];
    let server = Server::start(Setup { script: script.to_vec(), ..Setup::saying(&[]) });
    let frames = frames(&server, CHAT, chat(json!({ "logprobs": true }))).await;
    assert_eq!(joined(&frames, 0), "a\u{1F600}b");
    let tokens = frames.iter().filter_map(|f| f["choices"][0]["logprobs"]["content"].as_array());
    let bytes = tokens.flatten().flat_map(|token| token["bytes"].as_array().unwrap());
    let bytes: Vec<u8> = bytes.map(|byte| byte.as_u64().unwrap() as u8).collect();
    assert_eq!(bytes, "a\u{1F600}b".as_bytes());
}

#[tokio::test]
async fn a_failure_is_an_error_frame_and_the_stream_ends_without_done() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    server.fail_at(2);
    let frames = frames(&server, CHAT, chat(json!({}))).await;
    let (error, chunks) = frames.split_last().unwrap();
    assert_eq!(joined(chunks, 0), "ab");
    let keys: Vec<_> = error["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"]);
    assert_eq!(error["error"]["type"], "server_error");
}

#[tokio::test]
async fn silence_is_broken_by_comments_if_at_all() {
    let settings = "keep_alive_secs = 1";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    server.allow(0);
    let mut stream = server.stream(CHAT, &chat(json!({ "stream": true }))).await;
    assert_eq!(stream.next_raw().await.unwrap(), ": ping");
    assert_eq!(stream.next_raw().await.unwrap(), ": ping");
    server.allow(2);
    assert_eq!(stream.next().await.unwrap()["choices"][0]["delta"]["content"], "a");
    assert_eq!(stream.rest().await.len(), 2);

    let settings = "keep_alive_secs = 0";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    server.allow(0);
    let mut stream = server.stream(CHAT, &chat(json!({ "stream": true }))).await;
    let silent = tokio::time::timeout(Duration::from_millis(1_200), stream.next_raw()).await;
    assert!(silent.is_err());
}

#[tokio::test]
async fn a_reader_that_stalls_is_taken_for_gone() {
    let settings = "stall_secs = 1";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a", "b", "c", "d"]) });
    server.allow(0);
    let stream = server.stream(CHAT, &chat(json!({ "stream": true }))).await;
    server.allow(1);
    // One release waits in the channel, unread, and nothing is charged beyond it.
    while server.balance() == 5_000 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.allow(5);
    let record = server.settled().await;
    assert_eq!(record.finish_reason.as_deref(), Some("disconnect"));
    assert_eq!((record.output_tokens, record.credits.0), (1, 1));
    drop(stream);
    server.verify_books();
}
