//! `/api/v1/users` and `/api/v1/admin/users`: who may manage whom.

use mizan::ledger::{NewKeyRequest, NewUser, Reach, Role, Scope, Scopes};
use serde_json::{Value, json};

use super::sessions::{invited, session_of};
use super::{OPERATORS_KEY, call, operated};
use crate::support::server::{Server, Setup};

fn user(name: &str, role: &str) -> Option<Value> {
    Some(json!({ "name": name, "role": role }))
}

#[tokio::test]
async fn an_owner_manages_its_own_accounts_users() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (owner, token) = session_of(&server, "owner", Role::Owner).await;
    let made = call(&server, &token, "POST /users", user("new@example.com", "member")).await.json();
    assert!(made["invitation"].as_str().unwrap().starts_with("mi-"));
    assert_eq!((&made["account"], &made["has_password"]), (&json!("team"), &json!(false)));
    let id = &made["id"];
    let again = call(&server, &token, &format!("POST /users/{id}/invite"), Some(json!({}))).await;
    assert_ne!(again.json()["invitation"], made["invitation"]);
    let listed = call(&server, &token, "GET /users", None).await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 2);
    assert!(!listed.text.contains("mi-") && !listed.text.contains("argon2"), "{}", listed.text);
    for (body, status) in [
        (user("new@example.com", "owner"), 422),
        (user("root", "operator"), 403),
        (user("x", "boss"), 400),
        (user("a b", "member"), 400),
        (Some(json!({ "name": "x", "role": "member", "account": "others" })), 400),
        (Some(json!({ "name": "x" })), 400),
    ] {
        let refused = call(&server, &token, "POST /users", body.clone()).await;
        assert_eq!(refused.status, status, "{body:?}: {}", refused.text);
    }
    let last = call(&server, &token, &format!("DELETE /users/{owner}"), None).await;
    assert_eq!(last.status, 422, "{}", last.text);
    let actor = "SELECT actor FROM audit WHERE action='user.create' ORDER BY id DESC LIMIT 1";
    assert_eq!(server.text_column(actor), "user owner");
}

#[tokio::test]
async fn other_accounts_users_are_as_unknown_as_none() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (_, token) = session_of(&server, "owner", Role::Owner).await;
    let new = NewUser {
        account: Some(server.account_of("others")),
        name: "stranger".to_owned(),
        role: Role::Member,
    };
    let stranger = server.ledger.create_user(new, Reach::Everyone, "test").wait().unwrap();
    let (operator, _) = invited(&server, "root", Role::Operator);
    assert!(!call(&server, &token, "GET /users", None).await.text.contains("stranger"));
    for route in ["DELETE /users/{id}", "POST /users/{id}/invite", "POST /users/{id}/role"] {
        let body = route.starts_with("POST").then(|| json!({ "role": "member" }));
        let at = |id: String| route.replace("{id}", &id);
        let missing = call(&server, &token, &at("999".to_owned()), body.clone()).await;
        assert_eq!(missing.status, 404, "{route}");
        for id in [stranger, operator] {
            let hidden = call(&server, &token, &at(id.to_string()), body.clone()).await;
            assert_eq!((hidden.status, &hidden.text), (missing.status, &missing.text), "{route}");
        }
    }
}

#[tokio::test]
async fn a_key_for_users_makes_nobody_who_may_do_more() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (owner, _) = invited(&server, "owner", Role::Owner);
    let scopes = Scopes::of(&[Scope::Users, Scope::Inference, Scope::Usage]);
    let request = NewKeyRequest { scopes, ..NewKeyRequest::new(server.account, "users") };
    let key = server.ledger.create_key(request, "test").wait().unwrap();
    assert_eq!(call(&server, &key.secret, "POST /users", user("m", "member")).await.status, 200);
    let actor = "SELECT actor FROM audit WHERE action='user.create' ORDER BY id DESC LIMIT 1";
    assert_eq!(server.text_column(actor), format!("key {}", key.prefix));
    assert_eq!(call(&server, &key.secret, "POST /users", user("o", "owner")).await.status, 403);
    // Else an invitation were a way to be the owner.
    let invite = format!("POST /users/{owner}/invite");
    assert_eq!(call(&server, &key.secret, &invite, Some(json!({}))).await.status, 403);
    let disable = format!("DELETE /users/{owner}");
    assert_eq!(call(&server, &key.secret, &disable, None).await.status, 403);
}

#[tokio::test]
async fn the_operator_manages_everybody() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let create =
        async |body: Value| call(&server, OPERATORS_KEY, "POST /admin/users", Some(body)).await;
    let owner = json!({ "name": "o", "role": "owner", "account": "team" });
    let made = create(owner).await.json();
    assert_eq!((&made["role"], &made["account"]), (&json!("owner"), &json!("team")));
    let operator = create(json!({ "name": "root", "role": "operator" })).await.json();
    assert_eq!(operator["account"], Value::Null);
    for (body, status) in [
        (json!({ "name": "x", "role": "member" }), 400),
        (json!({ "name": "x", "role": "operator", "account": "team" }), 400),
        (json!({ "name": "x", "role": "member", "account": "nobody" }), 404),
    ] {
        assert_eq!(create(body.clone()).await.status, status, "{body}");
    }
    let listed = call(&server, OPERATORS_KEY, "GET /admin/users", None).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let disable = format!("DELETE /admin/users/{}", operator["id"]);
    assert_eq!(call(&server, OPERATORS_KEY, &disable, None).await.json()["disabled"], true);
    assert_eq!(call(&server, OPERATORS_KEY, "DELETE /admin/users/x", None).await.status, 404);
}
