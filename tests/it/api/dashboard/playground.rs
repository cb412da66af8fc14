//! The playground: users in a browser spend through a key of their own.

use mizan::ledger::{Credits, KeyInfo, KeyLimit, NewKeyRequest, Role, Scope, Scopes, UserId};
use serde_json::{Value, json};

use super::super::sessions::session_of;
use super::super::{CHAT, call, chat};
use super::{browse, with_key, with_name};
use crate::support::server::{Answer, Server, Setup};

async fn ask(server: &Server, cookie: &str) -> Answer {
    browse(server, cookie, &format!("POST {CHAT}"), Some(chat(json!({})))).await
}

async fn me(server: &Server, cookie: &str) -> Value {
    browse(server, cookie, "GET /api/v1/me", None).await.json()["data"].clone()
}

fn playgrounds(server: &Server) -> Vec<KeyInfo> {
    let keys = server.ledger.keys(server.account).unwrap();
    keys.into_iter().filter(|key| key.label == "Playground").collect()
}

#[tokio::test]
async fn a_member_spends_through_a_key_that_shows_like_any_other() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let member = with_name(&server, "ann", Role::Member).await;
    let owner = with_name(&server, "boss", Role::Owner).await;
    let data = me(&server, &member).await;
    assert_eq!(data["playground"], true);
    assert!(playgrounds(&server).is_empty(), "asking who one is makes no key");
    for _ in 0..2 {
        let answer = ask(&server, &member).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("x-credits-charged"), Some("2"));
    }
    assert_eq!(server.balance(), 4_996);
    let [key] = playgrounds(&server).try_into().unwrap();
    assert_eq!(key.user.map(|user| json!(user.0)), Some(data["id"].clone()));
    assert_eq!(key.scopes, NewKeyRequest::DEFAULT_SCOPES);
    assert_eq!((key.used, key.limit, key.expires_ms), (Credits(4), None, None));
    // The owner sees it among the keys and in the usage.
    let keys = browse(&server, &owner, "GET /api/v1/keys", None).await.json();
    let keys = keys["data"].as_array().unwrap();
    let shown = keys.iter().find(|key| key["label"] == "Playground").unwrap();
    assert_eq!((&shown["usage"], &shown["user"]), (&json!(4), &data["id"]));
    let usage = browse(&server, &owner, "GET /api/v1/usage?group_by=key", None).await;
    assert!(usage.text.contains("Playground"), "{}", usage.text);
    let made = "SELECT actor FROM audit WHERE action='key.create' ORDER BY id DESC LIMIT 1";
    assert_eq!(server.text_column(made), "user ann");
    // Each user has one of its own.
    assert_eq!(ask(&server, &owner).await.status, 200);
    assert_eq!(playgrounds(&server).len(), 2);
    for line in ["POST /tokenize", "POST /apply-template", "POST /v1/embeddings"] {
        let mut body = chat(json!({ "content": "a" }));
        body["input"] = json!("a");
        assert_eq!(browse(&server, &member, line, Some(body)).await.status, 200, "{line}");
    }
    // What tells of a key still needs one.
    assert_eq!(browse(&server, &member, "GET /api/v1/key", None).await.status, 403);
    server.verify_books();
}

#[tokio::test]
async fn many_first_requests_make_one_key() {
    let server = Server::start(Setup::saying(&["a"]));
    let member = with_name(&server, "ann", Role::Member).await;
    let answers = (0..40).map(|_| {
        let (router, member) = (server.router.clone(), member.clone());
        tokio::spawn(async move {
            let headers = [super::MARK, ("cookie", member.as_str())];
            let body = Some(json!({ "content": "a" }));
            let request = super::request("POST /tokenize", &headers, body);
            tower::ServiceExt::oneshot(router, request).await.unwrap().status()
        })
    });
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), 200);
    }
    assert_eq!(playgrounds(&server).len(), 1);
}

#[tokio::test]
async fn a_session_without_a_browser_spends_nothing() {
    let server = Server::start(Setup::saying(&["a"]));
    let (_, token) = session_of(&server, "ann", Role::Owner).await;
    let refused = call(&server, &token, "POST /chat/completions", Some(chat(json!({})))).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("an API key"), "{}", refused.text);
    assert_eq!(call(&server, &token, "GET /me", None).await.json()["data"]["playground"], false);
    assert!(playgrounds(&server).is_empty());
}

#[tokio::test]
async fn revoked_is_revoked_unless_one_may_make_keys() {
    let server = Server::start(Setup::saying(&["a"]));
    let owner = with_name(&server, "boss", Role::Owner).await;
    let member = with_name(&server, "ann", Role::Member).await;
    assert_eq!(ask(&server, &member).await.status, 200);
    let [key] = playgrounds(&server).try_into().unwrap();
    let line = format!("DELETE /api/v1/keys/{}", key.id.0);
    assert_eq!(browse(&server, &owner, &line, None).await.status, 200);
    assert_eq!(me(&server, &member).await["playground"], false);
    let before = server.balance();
    let refused = ask(&server, &member).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["code"], "playground_revoked");
    assert_eq!((server.balance(), playgrounds(&server).len()), (before, 1));

    // An owner revokes its own, and has another at the next request: it could make one anyway.
    assert_eq!(ask(&server, &owner).await.status, 200);
    let own = playgrounds(&server).pop().unwrap();
    server.ledger.revoke_key(own.id, "test").wait().unwrap();
    assert_eq!(me(&server, &owner).await["playground"], true);
    assert_eq!(ask(&server, &owner).await.status, 200);
    let all = playgrounds(&server);
    assert_eq!((all.len(), all.iter().filter(|key| !key.revoked).count()), (3, 1));
    server.verify_books();
}

#[tokio::test]
async fn what_bounds_keys_bounds_the_playground() {
    let plan = "max_requests_per_minute = 3";
    let server = Server::start(Setup { plan, ..Setup::saying(&["a", "b"]) });
    let owner = with_name(&server, "boss", Role::Owner).await;
    let user = UserId(me(&server, &owner).await["id"].as_i64().unwrap());
    // An owner may make its own key by this name beforehand, with a limit.
    let limit = Some(KeyLimit { credits: Credits(3), reset: None });
    let request = NewKeyRequest {
        limit,
        user: Some(user),
        ..NewKeyRequest::new(server.account, "Playground")
    };
    server.ledger.create_key(request, "user boss").wait().unwrap();
    let first = ask(&server, &owner).await;
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("2"));
    let second = ask(&server, &owner).await.json();
    assert_eq!(second["usage"]["credits_exhausted"], true, "{second}");
    let third = ask(&server, &owner).await;
    assert_eq!(
        (third.status.as_u16(), &third.json()["error"]["code"]),
        (402, &json!("key_limit_reached"))
    );
    assert_eq!(ask(&server, &owner).await.status, 429);
    assert_eq!(playgrounds(&server).len(), 1);
    // The account's other keys are counted by the same plan.
    assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 429);
    assert_eq!(server.balance(), 4_997);
}

#[tokio::test]
async fn without_credits_or_account_nothing_is_played() {
    let server = Server::start(Setup { credits: 1, ..Setup::saying(&["a", "b"]) });
    let member = with_name(&server, "ann", Role::Member).await;
    assert_eq!(ask(&server, &member).await.json()["usage"]["credits_exhausted"], true);
    let refused = ask(&server, &member).await;
    assert_eq!(refused.json()["error"]["code"], "credit_balance_exhausted");
    let key = with_key(&server, &server.key).await;
    server.ledger.freeze_account(server.account, "test").wait().unwrap();
    for cookie in [&member, &key] {
        assert_eq!(me(&server, cookie).await["playground"], false);
        assert_eq!(ask(&server, cookie).await.status, 403);
    }
}

#[tokio::test]
async fn an_account_that_was_closed_gets_no_playground() {
    let server = Server::start(Setup::saying(&["a"]));
    let member = with_name(&server, "ann", Role::Member).await;
    server.ledger.close_account(server.account, "test").wait().unwrap();
    assert_eq!(ask(&server, &member).await.status, 403);
    assert!(playgrounds(&server).is_empty());
    assert_eq!(me(&server, &member).await["playground"], false);
}

#[tokio::test]
async fn a_key_of_that_name_that_is_not_good_is_left_alone() {
    let server = Server::start(Setup::saying(&["a"]));
    let owner = with_name(&server, "boss", Role::Owner).await;
    let user = Some(UserId(me(&server, &owner).await["id"].as_i64().unwrap()));
    let new = NewKeyRequest { user, ..NewKeyRequest::new(server.account, "Playground") };
    let expires_ms = Some(server.state.clock.now_ms() + 1_000);
    let others = [
        NewKeyRequest { scopes: Scopes::of(&[Scope::Usage]), ..new.clone() },
        NewKeyRequest { expires_ms, ..new.clone() },
        // The operator's.
        NewKeyRequest { user: None, ..new.clone() },
    ];
    for other in others {
        server.ledger.create_key(other, "test").wait().unwrap();
    }
    server.advance(2_000);
    for _ in 0..2 {
        assert_eq!(ask(&server, &owner).await.status, 200);
    }
    let used: Vec<i64> = playgrounds(&server).iter().map(|key| key.used.0).collect();
    assert_eq!(used, [0, 0, 0, 2]);
}
