//! Signing in and out, invitations, and what a session opens.

use axum::http::header;
use mizan::ledger::{NewUser, Reach, Role, UserId};
use serde_json::{Value, json};

use super::{OPERATORS_KEY, call, chat, operated};
use crate::support::server::{Answer, Server, Setup};

pub(super) const PASSWORD: &str = "a good long password";

/// A user of the server's account (or an operator), with its invitation.
pub(super) fn invited(server: &Server, name: &str, role: Role) -> (UserId, String) {
    let account = Some(server.account).filter(|_| role != Role::Operator);
    let new = NewUser { account, name: name.to_owned(), role };
    let user = server.ledger.create_user(new, Reach::Everyone, "test").wait().unwrap();
    let invitation = server.ledger.invite(user, Reach::Everyone, "test").wait().unwrap();
    (user, invitation.secret)
}

async fn accept(server: &Server, invitation: &str, password: &str) -> Answer {
    let body = json!({ "invitation": invitation, "password": password });
    call(server, "", "POST /invitations/accept", Some(body)).await
}

async fn sign_in(server: &Server, name: &str, password: &str) -> Answer {
    let body = json!({ "name": name, "password": password });
    call(server, "", "POST /sessions", Some(body)).await
}

/// A user who is signed in.
pub(super) async fn session_of(server: &Server, name: &str, role: Role) -> (UserId, String) {
    let (user, invitation) = invited(server, name, role);
    assert_eq!(accept(server, &invitation, PASSWORD).await.status, 200);
    let answer = sign_in(server, name, PASSWORD).await.json();
    (user, answer["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_invited_user_sets_a_password_signs_in_and_out() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (_, invitation) = invited(&server, "ann@example.com", Role::Owner);
    assert_eq!(sign_in(&server, "ann@example.com", PASSWORD).await.status, 401);
    let short = accept(&server, &invitation, "too short").await;
    assert_eq!((short.status.as_u16(), &short.json()["error"]["param"]), (400, &json!("password")));
    let accepted = accept(&server, &invitation, PASSWORD).await;
    assert_eq!((accepted.status.as_u16(), &accepted.json()["has_password"]), (200, &json!(true)));
    let again = accept(&server, &invitation, PASSWORD).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["error"]["param"]),
        (400, &json!("invitation"))
    );

    // Whether nobody has the name, or the password is another, is one answer.
    let wrong = sign_in(&server, "ann@example.com", "a good long passwore").await;
    let nobody = sign_in(&server, "nobody@example.com", PASSWORD).await;
    assert_eq!((wrong.status.as_u16(), nobody.status.as_u16()), (401, 401));
    assert_eq!(wrong.text, nobody.text);

    let session = sign_in(&server, "Ann@Example.com", PASSWORD).await.json();
    let token = session["token"].as_str().unwrap();
    assert!(token.starts_with("ms-"));
    assert_eq!((&session["role"], &session["account"]), (&json!("owner"), &json!("team")));
    assert!(session["expires_at"].is_i64());
    let me = call(&server, token, "GET /me", None).await.json();
    assert_eq!(
        (&me["data"]["kind"], &me["data"]["name"]),
        (&json!("user"), &json!("ann@example.com"))
    );
    assert_eq!(me["data"]["scopes"].as_array().unwrap().len(), 5);

    // A session shows what the account has, and spends nothing of it.
    for path in ["GET /credits", "GET /models", "GET /keys", "GET /users"] {
        assert_eq!(call(&server, token, path, None).await.status, 200, "{path}");
    }
    let refused = call(&server, token, "POST /chat/completions", Some(chat(json!({})))).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("an API key"), "{}", refused.text);
    assert_eq!(call(&server, token, "GET /key", None).await.status, 403);
    assert_eq!(call(&server, token, "GET /admin/accounts", None).await.status, 403);

    assert_eq!(call(&server, token, "DELETE /sessions/current", None).await.status, 200);
    assert_eq!(call(&server, token, "GET /me", None).await.status, 401);
    assert_eq!(call(&server, &server.key, "DELETE /sessions/current", None).await.status, 403);
    let key = call(&server, &server.key, "GET /me", None).await.json();
    assert_eq!((&key["data"]["kind"], &key["data"]["role"]), (&json!("key"), &Value::Null));
    let operator = call(&server, OPERATORS_KEY, "GET /me", None).await.json();
    assert_eq!(operator["data"]["kind"], "operator");
    server.verify_books();
}

#[tokio::test]
async fn of_two_who_accept_at_once_one_does() {
    let server = Server::start(Setup::saying(&["a"]));
    let (_, invitation) = invited(&server, "ann", Role::Member);
    let other = "another good password";
    let (one, two) =
        tokio::join!(accept(&server, &invitation, PASSWORD), accept(&server, &invitation, other));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    let right = if statuses[0] == 200 { PASSWORD } else { other };
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(sign_in(&server, "ann", right).await.status, 200);
}

#[tokio::test]
async fn tries_to_sign_in_are_few() {
    let server = Server::start(Setup::saying(&["a"]));
    for number in 0..10 {
        let wrong = sign_in(&server, "ann", &format!("guess number {number}")).await;
        assert_eq!(wrong.status, 401, "{number}");
    }
    let refused = sign_in(&server, "ANN", PASSWORD).await;
    assert_eq!(refused.status, 429);
    let wait: u32 = refused.header(header::RETRY_AFTER.as_str()).unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(sign_in(&server, "bob", PASSWORD).await.status, 401);
}

#[tokio::test]
async fn what_becomes_of_a_user_counts_at_once() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (user, token) = session_of(&server, "ann", Role::Owner).await;
    let (_, boss) = session_of(&server, "boss", Role::Owner).await;
    assert_eq!(call(&server, &token, "GET /users", None).await.status, 200);
    let role = |role: &str| Some(json!({ "role": role }));
    let set = call(&server, &boss, &format!("POST /users/{user}/role"), role("member")).await;
    assert_eq!((set.status.as_u16(), &set.json()["role"]), (200, &json!("member")));
    assert_eq!(call(&server, &token, "GET /users", None).await.status, 403);
    assert_eq!(call(&server, &token, "GET /credits", None).await.status, 200);
    let gone = call(&server, &boss, &format!("DELETE /users/{user}"), None).await;
    assert_eq!((gone.status.as_u16(), &gone.json()["disabled"]), (200, &json!(true)));
    assert_eq!(call(&server, &token, "GET /credits", None).await.status, 401);
    assert_eq!(sign_in(&server, "ann", PASSWORD).await.status, 401);
}

#[tokio::test]
async fn an_operator_signs_in_too() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (_, token) = session_of(&server, "root", Role::Operator).await;
    let grant = json!({ "credits": 5, "reason": "why" });
    let granted = call(&server, &token, "POST /admin/accounts/team/grants", Some(grant)).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    assert_eq!(call(&server, &token, "GET /credits", None).await.status, 403);
    let me = call(&server, &token, "GET /me", None).await.json();
    assert_eq!((&me["data"]["role"], &me["data"]["account"]), (&json!("operator"), &Value::Null));
    assert_eq!(
        server.text_column("SELECT actor FROM transfer ORDER BY seq DESC LIMIT 1"),
        "operator root"
    );
    assert_eq!(call(&server, &token, "DELETE /sessions/current", None).await.status, 200);
    assert_eq!(call(&server, &token, "GET /admin/accounts", None).await.status, 401);
}
