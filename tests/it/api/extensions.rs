//! The field's extensions of a request, and the bounds on its time and place.

use serde_json::json;
use tempfile::TempDir;

use super::errors::check;
use super::money::{check_closed, check_reversed, read, streamed};
use super::{CHAT, COMPLETIONS, chat};
use crate::registry::write_folder;
use crate::support::server::{PREMIUM, STANDARD, Server, Setup};

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn max_credits_ends_an_answer_when_it_has_cost_as_much() {
    for (max, text, finish, reason) in [
        (1, "one", "length", "max_credits"),
        (2, "one two", "length", "max_credits"),
        // Enough to the last credit, and more than enough.
        (3, "one two three", "stop", "stop"),
        (1_000_000, "one two three", "stop", "stop"),
    ] {
        let tokens = text.split(' ').count();
        let more = json!({ "max_credits": max });
        let server = Server::start(Setup::saying(&["one", " two", " three"]));
        let json = server.post(CHAT, &chat(more.clone())).await.json();
        assert_eq!(json["choices"][0]["message"]["content"], text, "{max}");
        assert_eq!(json["choices"][0]["finish_reason"], finish, "{max}");
        assert_eq!(json["usage"]["credits_exhausted"], false, "the balance is not what ended it");
        check_closed(&server, 5_000, tokens, reason).await;

        let server = Server::start(Setup::saying(&["one", " two", " three"]));
        let (found, usage) = read(server.stream(CHAT, &streamed(more)).await).await;
        assert_eq!((found.as_str(), &usage.unwrap()["credits"]), (text, &json!(tokens)));
        check_closed(&server, 5_000, tokens, reason).await;
    }
}

#[tokio::test]
async fn max_credits_counts_credits_not_tokens_and_all_choices_together() {
    let server = Server::start(Setup::saying(&["one", " two", " three"]));
    // 5 credits pay for 2 tokens of a model that takes 2 for each.
    let body = chat(json!({ "model": PREMIUM, "max_credits": 5 }));
    let json = server.post(CHAT, &body).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "one two");
    assert_eq!(json["usage"]["credits"], 4);
    let body = chat(json!({ "model": PREMIUM, "max_credits": 1 }));
    let message = check(&server.post(CHAT, &body).await, 400, INVALID, None, Some("max_credits"));
    assert!(message.contains("is 1") && message.contains("costs 2"), "{message}");

    let body = chat(json!({ "model": STANDARD, "n": 3, "max_credits": 4 }));
    let json = server.post(CHAT, &body).await.json();
    assert_eq!(json["usage"]["credits"], 4, "of the nine that three answers would cost");
    assert_eq!(json["usage"]["completion_tokens"], 4);
    server.verify_books();
}

#[tokio::test]
async fn stop_token_ids_end_an_answer_and_are_no_part_of_it() {
    let server = Server::start(Setup::saying(&["one", "!", " two"]));
    let ids = server.post("/tokenize", &json!({ "model": STANDARD, "content": "!" })).await.json();
    let id = &ids["tokens"][0];
    let json = server.post(CHAT, &chat(json!({ "stop_token_ids": [id] }))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "one");
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(json["usage"]["completion_tokens"], 1);
    for wrong in [json!(5), json!(["x"]), json!([-1]), json!([1.5])] {
        let body = chat(json!({ "stop_token_ids": wrong }));
        check(&server.post(CHAT, &body).await, 400, INVALID, None, Some("stop_token_ids"));
    }
}

#[tokio::test]
async fn an_assistants_last_message_is_gone_on_with() {
    let server = Server::start(Setup::saying(&["H", "e", "l", "lo"]));
    let ask = |last: &str, more| {
        let messages = json!([
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": last },
        ]);
        super::with(chat(json!({ "messages": messages })), more)
    };
    // The prompt ends within the assistant's turn: the script goes on from there.
    let json = server.post(CHAT, &ask("He", json!({}))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "llo", "{json}");
    assert_eq!(json["usage"]["completion_tokens"], 2);
    let explicit = json!({ "continue_final_message": true, "add_generation_prompt": false });
    let json = server.post(CHAT, &ask("He", explicit)).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "llo");
    // Asked for, a turn of its own.
    for own in
        [json!({ "continue_final_message": false }), json!({ "add_generation_prompt": true })]
    {
        let json = server.post(CHAT, &ask("He", own)).await.json();
        assert_eq!(json["choices"][0]["message"]["content"], "Hello");
    }
    let contradiction = json!({ "continue_final_message": true, "add_generation_prompt": true });
    let param = Some("continue_final_message");
    check(&server.post(CHAT, &ask("He", contradiction)).await, 400, INVALID, None, param);
    let body = chat(json!({ "continue_final_message": true }));
    check(&server.post(CHAT, &body).await, 400, INVALID, None, param);
}

#[tokio::test]
async fn a_request_that_is_not_begun_in_time_is_refused_and_costs_nothing() {
    let settings = "first_token_secs = 1";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a", "b"]) });
    server.allow(0);
    let answer = server.post(CHAT, &chat(json!({}))).await;
    check(&answer, 503, "server_error", Some("too_busy"), None);
    assert!(answer.header("retry-after").is_some());
    check_reversed(&server, 5_000).await;
    // Begun in time, it takes as long as it takes.
    server.allow(1);
    let mut stream = server.stream(CHAT, &streamed(json!({}))).await;
    assert_eq!(stream.next().await.unwrap()["choices"][0]["delta"]["content"], "a");
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    server.allow(usize::MAX);
    let rest = stream.rest().await;
    assert_eq!(rest[0]["choices"][0]["delta"]["content"], "b");
}

#[tokio::test]
async fn a_first_token_has_no_longer_than_the_answer() {
    let settings = "first_token_secs = 600\nrequest_secs = 1";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    server.allow(0);
    let answer = server.post(CHAT, &chat(json!({}))).await;
    let message = check(&answer, 503, "server_error", Some("too_busy"), None);
    assert!(message.contains("within 1 second"), "{message}");
    check_reversed(&server, 5_000).await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_ends_and_what_there_is_is_given() {
    let settings = "request_secs = 1";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a", "b"]) });
    server.allow(1);
    let json = server.post(CHAT, &chat(json!({}))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "a");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["credits_exhausted"], false);
    check_closed(&server, 5_000, 1, "deadline").await;
}

#[tokio::test]
async fn who_waits_for_a_model_gets_it_and_only_so_many_wait() {
    let folder = TempDir::new().unwrap();
    write_folder(folder.path(), &json!({}));
    // Room for one of them at a time.
    let settings = "queue = 1\nmodel_memory = \"16MiB\"\nkv_memory = \"12MiB\"\nthreads = 1";
    let of = |id: &str| {
        let path = folder.path();
        format!(
            "[[models]]\nid = \"{id}\"\ntier = \"standard\"\nsources = [{{ path = {path:?} }}]\n"
        )
    };
    let plan = String::leak(of("first") + &of("second"));
    let server = Server::start(Setup { settings, plan, ..Setup::saying(&["ok"]) });
    let in_use = server.state.registry.get("first").await.unwrap();

    let body = json!({ "model": "second", "prompt": "ab", "max_tokens": 1 });
    let waiting = server.post(COMPLETIONS, &body);
    tokio::pin!(waiting);
    let refused = async {
        // The one that waits has been there first.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        server.post(COMPLETIONS, &body).await
    };
    tokio::select! {
        answer = &mut waiting => panic!("there is no room, and got {}", answer.text),
        answer = refused => {
            check(&answer, 503, "server_error", Some("queue_full"), None);
        }
    }
    // A model that is in memory waits for nobody.
    assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200);
    drop(in_use);
    let answer = waiting.await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["model"], "second");
}
