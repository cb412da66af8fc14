//! `/api/v1/keys`: an account's own keys, what they may do, how long, and how much they may spend.

use mizan::ledger::{AccountId, Clock, Credits, NewKeyRequest, Scope, Scopes, SystemClock};
use serde_json::{Value, json};

use super::{CHAT, OPERATORS_KEY, call, chat, operated};
use crate::support::server::{Server, Setup};

fn key_with(server: &Server, account: AccountId, scopes: &[Scope]) -> String {
    let scopes = Scopes::of(scopes);
    let request = NewKeyRequest { scopes, ..NewKeyRequest::new(account, "made") };
    server.ledger.create_key(request, "test").wait().unwrap().secret
}

#[tokio::test]
async fn a_key_makes_lists_and_revokes_its_own_accounts_keys() {
    let server = operated(Server::start(Setup::saying(&["a", "b"])));
    let manager = key_with(&server, server.account, &[Scope::Keys, Scope::Inference]);
    let body = json!({
        "label": "ci", "scopes": ["inference"], "limit": 5, "limit_reset": "daily",
        "total_limit": 9, "expires_at": 4_000_000_000_i64,
    });
    let made = call(&server, &manager, "POST /keys", Some(body)).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let made = made.json();
    let secret = made["secret"].as_str().unwrap();
    for (field, value) in
        [("limit", json!(5)), ("total_limit", json!(9)), ("account", json!("team"))]
    {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(
        call(&server, secret, "POST /chat/completions", Some(chat(json!({})))).await.status,
        200
    );

    let shown = call(&server, secret, "GET /key", None).await.json();
    let shown = &shown["data"];
    assert_eq!(shown["scopes"], json!(["inference"]));
    assert_eq!(shown["expires_at"], 4_000_000_000_i64);
    assert_eq!(
        (&shown["limit_remaining"], &shown["total_limit_remaining"]),
        (&json!(3), &json!(7))
    );

    let listed = call(&server, &manager, "GET /keys", None).await;
    assert!(!listed.text.contains(secret), "a secret is shown once");
    let listed = listed.json();
    let row = listed["data"].as_array().unwrap().iter().find(|row| row["label"] == "ci").unwrap();
    assert_eq!((&row["usage"], &row["revoked"]), (&json!(2), &json!(false)));
    assert!(row["last_used_at"].is_i64() && row["user"].is_null());

    let revoke = format!("DELETE /keys/{}", made["id"]);
    assert_eq!(call(&server, &manager, &revoke, None).await.status, 200);
    assert_eq!(call(&server, secret, "GET /key", None).await.status, 401);
    server.verify_books();
}

#[tokio::test]
async fn other_accounts_keys_are_as_unknown_as_none() {
    let server = Server::start(Setup::saying(&["a"]));
    let theirs = server.key_of("others");
    let manager = key_with(&server, server.account, &[Scope::Keys]);
    let hidden = call(&server, &manager, &format!("DELETE /keys/{}", theirs.id), None).await;
    let missing = call(&server, &manager, "DELETE /keys/999999", None).await;
    assert_eq!((hidden.status.as_u16(), &hidden.text), (404, &missing.text));
    assert_eq!(call(&server, &theirs.secret, "GET /key", None).await.status, 200);
    let listed = call(&server, &manager, "GET /keys", None).await;
    assert!(!listed.text.contains(&theirs.prefix));
}

#[tokio::test]
async fn a_key_gives_no_scope_that_it_has_not() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let manager = key_with(&server, server.account, &[Scope::Keys, Scope::Usage]);
    for (scopes, status) in [
        (json!(["usage"]), 200),
        (json!("usage,keys"), 200),
        (json!(["inference"]), 403),
        (Value::Null, 403), // What keys usually have.
        (json!([]), 400),
        (json!(["root"]), 400),
        (json!("usage,"), 400),
        (json!([7]), 400),
        (json!(7), 400),
    ] {
        let body = json!({ "label": "k", "scopes": scopes });
        let made = call(&server, &manager, "POST /keys", Some(body)).await;
        assert_eq!(made.status, status, "{scopes}: {}", made.text);
    }
    let past = json!({ "label": "k", "scopes": ["usage"], "expires_at": 1 });
    assert_eq!(call(&server, &manager, "POST /keys", Some(past)).await.status, 400);
    // The operator gives what it likes, and by default what is usual.
    let create = "POST /admin/accounts/team/keys";
    let usual = call(&server, OPERATORS_KEY, create, Some(json!({ "label": "k" }))).await.json();
    assert_eq!(usual["scopes"], json!(["inference", "usage"]));
    let body = json!({ "label": "k", "scopes": ["users"], "total_limit": 0 });
    let made = call(&server, OPERATORS_KEY, create, Some(body)).await.json();
    assert_eq!((&made["scopes"], &made["total_limit"]), (&json!(["users"]), &json!(0)));
}

#[tokio::test]
async fn a_key_whose_time_is_over_opens_nothing() {
    let server = Server::start(Setup::saying(&["a"]));
    let expires_ms = SystemClock.now_ms() + 5;
    let request = NewKeyRequest {
        expires_ms: Some(expires_ms),
        ..NewKeyRequest::new(server.account, "short")
    };
    // The writer may be later than that already, and then says so.
    let Ok(key) = server.ledger.create_key(request, "test").wait() else { return };
    while SystemClock.now_ms() < expires_ms {
        std::thread::yield_now();
    }
    let refused = call(&server, &key.secret, "GET /key", None).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]["code"]),
        (401, &json!("invalid_api_key"))
    );
    assert!(server.ledger.keys(server.account).unwrap().iter().any(|key| key.expired));
}

#[tokio::test]
async fn an_answer_ends_where_the_limit_of_a_keys_life_does() {
    let mut server = Server::start(Setup::saying(&["a", "b", "c", "d", "e"]));
    let request = NewKeyRequest {
        total_limit: Some(Credits(7)),
        limit: Some(mizan::ledger::KeyLimit {
            credits: Credits(4),
            reset: Some(mizan::ledger::LimitReset::Monthly),
        }),
        ..NewKeyRequest::new(server.account, "both")
    };
    let request_of_life = NewKeyRequest { limit: None, ..request.clone() };
    for (request, answers) in [(request, vec![4]), (request_of_life, vec![5, 2])] {
        server.key = server.ledger.create_key(request, "test").wait().unwrap().secret;
        let last = answers.len() - 1;
        for (index, tokens) in answers.into_iter().enumerate() {
            let answer = server.post(CHAT, &chat(json!({}))).await.json();
            let (choice, usage) = (&answer["choices"][0], &answer["usage"]);
            assert_eq!(usage["completion_tokens"], tokens, "{answer}");
            let cut = index == last;
            assert_eq!(choice["finish_reason"], if cut { "length" } else { "stop" }, "{answer}");
            assert_eq!(usage["credits_exhausted"] == true, cut, "{answer}");
        }
        let refused = server.post(CHAT, &chat(json!({}))).await;
        assert_eq!(refused.status, 402);
        assert_eq!(refused.json()["error"]["code"], "key_limit_reached");
    }
    // A stream too, with what is paid for before it ends.
    let request = NewKeyRequest {
        total_limit: Some(Credits(3)),
        ..NewKeyRequest::new(server.account, "streamed")
    };
    server.key = server.ledger.create_key(request, "test").wait().unwrap().secret;
    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let frames = server.stream(CHAT, &body).await.rest().await;
    let text: String = frames
        .iter()
        .filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "abc");
    let ends = |frame: &Value| frame["choices"][0]["finish_reason"] == "length";
    assert!(frames.iter().any(ends), "{frames:?}");
    assert!(frames.iter().any(|frame| frame["usage"]["credits_exhausted"] == true), "{frames:?}");
    server.verify_books();
}
