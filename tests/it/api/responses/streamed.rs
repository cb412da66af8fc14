//! Streamed responses, event by event.

use serde_json::{Value, json};

use super::{RESPONSES, create, events, fetch, next, path, request, text};
use crate::api::money::{check_closed, stored};
use crate::support::server::{Server, Setup};

#[tokio::test]
async fn a_stream_is_what_clients_expect() {
    let server = Server::start(Setup::saying(&["Hel", "lo"]));
    // One token at a time, so that none go out together.
    server.allow(0);
    let mut stream = server.stream(RESPONSES, &request(json!({ "stream": true }))).await;
    let created = next(&mut stream).await.unwrap();
    assert_eq!(created["type"], "response.created");
    let mut response = created["response"].clone();
    assert_eq!(response["status"], "in_progress");
    assert_eq!((&response["output"], &response["usage"]), (&json!([]), &Value::Null));
    let in_progress = json!({ "type": "response.in_progress", "response": response,
        "sequence_number": 1 });
    assert_eq!(next(&mut stream).await.unwrap(), in_progress);

    let id = response["id"].as_str().unwrap().replace("resp_", "msg_") + "_0";
    let part = |text: &str| {
        let kind = "output_text";
        json!({ "type": kind, "text": text, "annotations": [], "logprobs": [] })
    };
    let item = |status: &str, content: Value| {
        json!({ "type": "message", "id": id, "status": status, "role": "assistant",
            "content": content })
    };
    server.allow(1);
    let expected = [
        json!({ "type": "response.output_item.added", "output_index": 0,
            "item": item("in_progress", json!([])), "sequence_number": 2 }),
        json!({ "type": "response.content_part.added", "item_id": id, "output_index": 0,
            "content_index": 0, "part": part(""), "sequence_number": 3 }),
        json!({ "type": "response.output_text.delta", "item_id": id, "output_index": 0,
            "content_index": 0, "delta": "Hel", "logprobs": [], "sequence_number": 4 }),
    ];
    for expected in expected {
        assert_eq!(next(&mut stream).await.unwrap(), expected);
    }
    server.allow(3);
    response["status"] = "completed".into();
    response["output"] = json!([item("completed", json!([part("Hello")]))]);
    response["usage"] = json!({ "input_tokens": 4,
        "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
        "output_tokens": 2, "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": 6, "credits": 2, "credit_multiplier": 1, "balance": 4998,
        "credits_exhausted": false });
    let expected = [
        json!({ "type": "response.output_text.delta", "item_id": id, "output_index": 0,
            "content_index": 0, "delta": "lo", "logprobs": [], "sequence_number": 5 }),
        json!({ "type": "response.output_text.done", "item_id": id, "output_index": 0,
            "content_index": 0, "text": "Hello", "logprobs": [], "sequence_number": 6 }),
        json!({ "type": "response.content_part.done", "item_id": id, "output_index": 0,
            "content_index": 0, "part": part("Hello"), "sequence_number": 7 }),
        json!({ "type": "response.output_item.done", "output_index": 0,
            "item": item("completed", json!([part("Hello")])), "sequence_number": 8 }),
    ];
    for expected in expected {
        assert_eq!(next(&mut stream).await.unwrap(), expected);
    }
    let completed = next(&mut stream).await.unwrap();
    let completed_at = &completed["response"]["completed_at"];
    assert!(completed_at.as_i64() >= response["created_at"].as_i64(), "{completed}");
    response["completed_at"] = completed_at.clone();
    let expected =
        json!({ "type": "response.completed", "response": response, "sequence_number": 9 });
    assert_eq!(completed, expected);
    assert_eq!(next(&mut stream).await, None, "no [DONE]");
    assert_eq!(fetch(&server, &response).await.json(), response);
    server.verify_books();
}

#[tokio::test]
async fn a_stream_says_what_a_plain_response_says_and_costs_the_same() {
    for (more, credits, tokens, reason) in [
        (json!({}), 5_000, 3, "stop"),
        (json!({ "max_output_tokens": 1 }), 5_000, 1, "length"),
        (json!({ "stop": "b" }), 5_000, 1, "stop_string"),
        (json!({ "stop": "a" }), 5_000, 0, "stop_string"),
        (json!({}), 2, 2, "out_of_credits"),
        (json!({ "include": ["message.output_text.logprobs"] }), 5_000, 3, "stop"),
        (json!({ "store": false }), 5_000, 3, "stop"),
    ] {
        let server = Server::start(Setup { credits, ..Setup::saying(&["a", "b", "c"]) });
        let plain = create(&server, more.clone()).await;
        let server = Server::start(Setup { credits, ..Setup::saying(&["a", "b", "c"]) });
        let events = events(&server, more.clone()).await;
        let last = events.last().unwrap();
        let response = &last["response"];
        assert_eq!(last["type"], format!("response.{}", plain["status"].as_str().unwrap()));
        for (name, value) in plain.as_object().unwrap() {
            if !["id", "created_at", "completed_at", "output"].contains(&name.as_str()) {
                assert_eq!(response[name], *value, "{name} of {more}");
            }
        }
        assert_eq!(response["output"][0]["content"], plain["output"][0]["content"]);
        let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, text(&plain), "{more}");
        check_closed(&server, credits, tokens, reason).await;
        let kept = fetch(&server, response).await;
        assert_eq!(kept.status == 200, response["store"] == true, "{more}");
    }
}

#[tokio::test]
async fn a_stream_that_its_caller_leaves_is_charged_as_far_as_it_went_and_not_kept() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    server.allow(0);
    let mut stream = server.stream(RESPONSES, &request(json!({ "stream": true }))).await;
    let response = next(&mut stream).await.unwrap()["response"].clone();
    server.allow(1);
    while next(&mut stream).await.unwrap()["type"] != "response.output_text.delta" {}
    drop(stream);
    server.allow(usize::MAX);
    let record = server.settled().await;
    assert_eq!(record.finish_reason.as_deref(), Some("disconnect"));
    assert_eq!(stored(&record) as i64, 5_000 - server.balance());
    assert_eq!(fetch(&server, &response).await.status, 404);
    // What was paid for is there all the same.
    let id = response["id"].as_str().unwrap();
    let generation = server.get(&format!("/api/v1/generations/{id}")).await.json();
    assert!(generation["data"]["choices"][0]["text"].as_str().unwrap().starts_with('a'));
    server.verify_books();
}

#[tokio::test]
async fn a_failure_is_an_error_event_and_a_failed_response() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    server.fail_at(2);
    let events = events(&server, json!({})).await;
    let [.., error, failed] = events.as_slice() else { panic!("{events:?}") };
    let keys: Vec<_> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["type", "code", "message", "param", "sequence_number"]);
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(failed["response"]["error"]["code"], "server_error");
    let response = &failed["response"];
    assert_eq!(text(response), "ab");
    assert_eq!(response["output"][0]["status"], "incomplete");
    let ended = events.iter().find(|event| event["type"] == "response.output_item.done").unwrap();
    assert_eq!(ended["item"], response["output"][0]);
    // What was sent stays paid for, and the caller is told what it cost.
    let usage = &response["usage"];
    assert_eq!((&usage["output_tokens"], &usage["credits"]), (&json!(2), &json!(2)));
    assert_eq!(usage["balance"], server.balance());
    assert_eq!(server.get(&path(response)).await.status, 404);
}

#[tokio::test]
async fn a_failure_before_the_first_token_costs_nothing() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    server.fail_at(0);
    let events = events(&server, json!({})).await;
    let failed = &events.last().unwrap()["response"];
    assert_eq!((&failed["output"], &failed["usage"]), (&json!([]), &Value::Null));
    assert_eq!(server.balance(), 5_000);
    server.verify_books();
}
