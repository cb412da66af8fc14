//! Browsers that sign in: with a name, with a key, and with neither.

use mizan::api::{self, AppState, OperatorKey};
use mizan::ledger::{NewKeyRequest, Role};
use serde_json::{Value, json};

use super::super::sessions::{PASSWORD, session_of};
use super::super::{OPERATORS_KEY, call, operated};
use super::{MARK, SIGN_IN, SIGN_OUT, browse, kept, request, with_key, with_name};
use crate::support::server::{Answer, Server, Setup};

const HOUR_MS: i64 = 3_600_000;

async fn sign_in(server: &Server, headers: &[(&str, &str)], body: Value) -> Answer {
    let headers = [&[MARK], headers].concat();
    server.send(request(SIGN_IN, &headers, Some(body))).await
}

async fn me(server: &Server, cookie: &str) -> Answer {
    browse(server, cookie, "GET /api/v1/me", None).await
}

/// What all `Set-Cookie` headers say.
fn cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_user_signs_in_by_name_and_out() {
    let server = Server::start(Setup::saying(&["a"]));
    session_of(&server, "ann@example.com", Role::Owner).await;
    let body = json!({ "name": "Ann@Example.com", "password": PASSWORD });
    let signed_in = sign_in(&server, &[], body).await;
    let cookie = kept(&signed_in);
    let secret = cookie.strip_prefix("mizan_session=").unwrap();
    assert!(secret.starts_with("ms-") && !signed_in.text.contains("ms-"), "{}", signed_in.text);
    let set = cookies(&signed_in);
    let attributes = "HttpOnly; SameSite=Strict; Path=/; Max-Age=";
    let age = set[0].strip_prefix(&format!("{cookie}; {attributes}")).unwrap();
    assert!((43_190..=43_200).contains(&age.parse::<i64>().unwrap()), "{age}");
    assert_eq!(set.len(), 1);
    assert_eq!(signed_in.header("cache-control"), Some("no-store"));

    let answer = me(&server, &cookie).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, signed_in.json()));
    let data = &answer.json()["data"];
    assert_eq!((&data["kind"], &data["role"]), (&json!("user"), &json!("owner")));
    assert_eq!((&data["playground"], &data["plan"]), (&json!(true), &json!("default")));
    // The session is one of the ledger's: it works as such too, and ends as such.
    assert_eq!(call(&server, secret, "GET /me", None).await.json()["data"]["playground"], false);
    let out = browse(&server, &cookie, SIGN_OUT, None).await;
    assert_eq!((out.status.as_u16(), out.json()), (200, json!({ "ended": true })));
    assert_eq!(cookies(&out), [format!("mizan_session=; {attributes}0")]);
    assert_eq!(me(&server, &cookie).await.status, 401);
    assert_eq!(call(&server, secret, "GET /me", None).await.status, 401);
}

/// A cookie that a browser no longer has could be ended by nobody.
#[tokio::test]
async fn signing_in_over_somebody_ends_what_was_there() {
    let server = Server::start(Setup::saying(&["a"]));
    let key = json!({ "key": server.key });
    let ann = with_name(&server, "ann@example.com", Role::Owner).await;
    let elsewhere = sign_in(&server, &[], key.clone()).await;
    // A try that fails changes nothing.
    let wrong = json!({ "key": "mk-wrong" });
    assert_eq!(sign_in(&server, &[("cookie", &ann)], wrong).await.status, 401);
    assert_eq!(me(&server, &ann).await.status, 200);
    let with_key = kept(&sign_in(&server, &[("cookie", &ann)], key).await);
    assert_eq!(me(&server, &ann).await.status, 401);
    let body = json!({ "name": "ann@example.com", "password": PASSWORD });
    let again = kept(&sign_in(&server, &[("cookie", &with_key)], body).await);
    assert_eq!(me(&server, &with_key).await.status, 401);
    assert_eq!(me(&server, &again).await.status, 200);
    assert_eq!(me(&server, &kept(&elsewhere)).await.status, 200);
}

#[tokio::test]
async fn a_key_signs_in_and_the_browser_holds_nothing_of_it() {
    let server = Server::start(Setup::saying(&["a"]));
    let signed_in = sign_in(&server, &[], json!({ "key": format!(" {} ", server.key) })).await;
    let cookie = kept(&signed_in);
    let value = cookie.strip_prefix("mizan_session=").unwrap();
    assert!(value.starts_with("mt-") && value.len() == 67, "{value}");
    assert!(!value.contains(&server.key[3..11]) && !signed_in.text.contains(&server.key));
    assert_eq!(signed_in.json(), call(&server, &server.key, "GET /me", None).await.json());
    assert_eq!(me(&server, &cookie).await.json(), signed_in.json());
    assert_eq!(signed_in.json()["data"]["playground"], true);
    assert_eq!(signed_in.json()["data"]["plan"], "default");
    // What only keys may ask, and what a browser may: signing out.
    assert_eq!(browse(&server, &cookie, "GET /api/v1/key", None).await.status, 200);
    assert_eq!(browse(&server, &cookie, SIGN_OUT, None).await.status, 200);
    assert_eq!(me(&server, &cookie).await.status, 401);
    // The key itself has not signed out.
    assert_eq!(server.get("/api/v1/me").await.status, 200);
    // A ticket is for browsers: it is no key.
    let cookie = with_key(&server, &server.key).await;
    let ticket = cookie.strip_prefix("mizan_session=").unwrap();
    assert_eq!(call(&server, ticket, "GET /me", None).await.status, 401);
}

#[tokio::test]
async fn what_becomes_of_the_key_counts_at_once() {
    let server = Server::start(Setup::saying(&["a"]));
    let key = server.key_of("team");
    let (one, two) = (with_key(&server, &key.secret).await, with_key(&server, &key.secret).await);
    assert_ne!(one, two);
    assert_eq!(browse(&server, &one, SIGN_OUT, None).await.status, 200);
    assert_eq!(me(&server, &one).await.status, 401);
    assert_eq!(me(&server, &two).await.status, 200);
    server.ledger.revoke_key(key.id, "test").wait().unwrap();
    assert_eq!(me(&server, &two).await.status, 401);
    assert_eq!(sign_in(&server, &[], json!({ "key": key.secret })).await.status, 401);

    // The cookie ends with the key, or after twelve hours.
    let expires_ms = Some(server.state.clock.now_ms() + HOUR_MS);
    let request = NewKeyRequest { expires_ms, ..NewKeyRequest::new(server.account, "short") };
    let short = server.ledger.create_key(request, "test").wait().unwrap();
    let signed_in = sign_in(&server, &[], json!({ "key": short.secret })).await;
    let (_, age) = cookies(&signed_in)[0].split_once("Max-Age=").unwrap();
    assert!((3_590..=3_600).contains(&age.parse::<i64>().unwrap()), "{age}");
    let (short, long) = (kept(&signed_in), with_key(&server, &server.key).await);
    server.advance(HOUR_MS);
    assert_eq!(me(&server, &short).await.status, 401);
    assert_eq!(me(&server, &long).await.status, 200);
    server.advance(11 * HOUR_MS + 1_000);
    assert_eq!(me(&server, &long).await.status, 401);
}

#[tokio::test]
async fn what_becomes_of_the_user_counts_at_once() {
    let server = Server::start(Setup::saying(&["a"]));
    let owner = with_name(&server, "owner", Role::Owner).await;
    let member = with_name(&server, "member", Role::Member).await;
    let id = me(&server, &member).await.json()["data"]["id"].clone();
    assert_eq!(browse(&server, &member, "GET /api/v1/users", None).await.status, 403);
    let role = Some(json!({ "role": "owner" }));
    let line = format!("POST /api/v1/users/{id}/role");
    assert_eq!(browse(&server, &owner, &line, role).await.status, 200);
    assert_eq!(browse(&server, &member, "GET /api/v1/users", None).await.status, 200);
    let line = format!("DELETE /api/v1/users/{id}");
    assert_eq!(browse(&server, &owner, &line, None).await.status, 200);
    assert_eq!(me(&server, &member).await.status, 401);
    server.advance(12 * HOUR_MS + 1_000);
    assert_eq!(me(&server, &owner).await.status, 401);
}

#[tokio::test]
async fn the_operator_signs_in_and_a_restart_ends_tickets_only() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let ticket = with_key(&server, OPERATORS_KEY).await;
    let user = with_name(&server, "root", Role::Operator).await;
    for cookie in [&ticket, &user] {
        let data = me(&server, cookie).await.json()["data"].clone();
        assert_eq!((&data["role"], &data["playground"]), (&json!("operator"), &json!(false)));
        let accounts = browse(&server, cookie, "GET /api/v1/admin/accounts", None).await;
        assert_eq!(accounts.status, 200);
        assert_eq!(browse(&server, cookie, "GET /api/v1/credits", None).await.status, 403);
    }
    let grant = Some(json!({ "credits": 5, "reason": "why" }));
    let line = "POST /api/v1/admin/accounts/team/grants";
    assert_eq!(browse(&server, &ticket, line, grant).await.status, 200);
    let actor = "SELECT actor FROM transfer ORDER BY seq DESC LIMIT 1";
    assert_eq!(server.text_column(actor), "operator");

    let old = &server.state;
    let (config, registry) = (old.config.clone(), old.registry.clone());
    let state = AppState::new(config, registry, server.ledger.clone(), old.clock.clone())
        .with_operator_key(OperatorKey::of(OPERATORS_KEY));
    let mut server = server;
    server.router = api::router(state);
    assert_eq!(me(&server, &ticket).await.status, 401);
    assert_eq!(me(&server, &user).await.status, 200);
}

#[tokio::test]
async fn who_is_wrong_gets_no_cookie_and_few_tries() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let (_, session) = session_of(&server, "ann", Role::Owner).await;
    let wrong = json!({ "name": "ann", "password": "a good long passwore" });
    let by_cookie = sign_in(&server, &[], wrong.clone()).await;
    let by_token = call(&server, "", "POST /sessions", Some(wrong.clone())).await;
    assert_eq!((by_cookie.status, &by_cookie.text), (by_token.status, &by_token.text));
    let key = sign_in(&server, &[], json!({ "key": "mz-0000" })).await;
    let header = call(&server, "mz-0000", "GET /me", None).await;
    assert_eq!((key.status, &key.text), (header.status, &header.text));
    // Neither a session nor a ticket is a key.
    let ticket = with_key(&server, &server.key).await;
    let ticket = ticket.strip_prefix("mizan_session=").unwrap();
    for other in [session.as_str(), ticket, "", &"x".repeat(100_000)] {
        let refused = sign_in(&server, &[], json!({ "key": other })).await;
        assert_eq!(refused.status, 401, "{other:.9}");
        assert!(cookies(&refused).is_empty());
    }
    for body in [
        json!({}),
        json!({ "name": "ann" }),
        json!({ "password": PASSWORD }),
        json!({ "key": 1 }),
        json!({ "key": server.key, "name": "ann" }),
        json!({ "key": server.key, "password": PASSWORD }),
    ] {
        let refused = sign_in(&server, &[], body.clone()).await;
        assert_eq!((refused.status.as_u16(), cookies(&refused).len()), (400, 0), "{body}");
    }
    for _ in 0..7 {
        assert_eq!(sign_in(&server, &[], wrong.clone()).await.status, 401);
    }
    let right = json!({ "name": "ANN ", "password": PASSWORD });
    let refused = sign_in(&server, &[], right.clone()).await;
    assert_eq!((refused.status.as_u16(), cookies(&refused).len()), (429, 0));
    assert!(refused.header("retry-after").is_some());
    server.advance(61_000);
    assert_eq!(sign_in(&server, &[], right).await.status, 200);
}

#[tokio::test]
async fn over_https_the_cookie_is_the_hosts_own() {
    let settings = "public_url = \"https://credits.example.com\"";
    let public = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    let local = Server::start(Setup::saying(&["a"]));
    let here = "public_url = \"http://localhost:8080\"";
    let here = Server::start(Setup { settings: here, ..Setup::saying(&["a"]) });
    for (server, proto, is_secure) in [
        (&public, None, true),
        (&local, None, false),
        (&here, None, false),
        (&local, Some("https"), true),
        (&local, Some("HTTPS, http"), true),
        (&local, Some("http"), false),
        (&local, Some("http, https"), false),
    ] {
        let headers: Vec<_> = proto.map(|proto| ("x-forwarded-proto", proto)).into_iter().collect();
        let answer = sign_in(server, &headers, json!({ "key": server.key })).await;
        let cookie = kept(&answer);
        assert_eq!(cookie.starts_with("__Host-mizan_session=mt-"), is_secure, "{proto:?}");
        assert_eq!(cookies(&answer)[0].ends_with("; Secure"), is_secure);
        assert!(!cookies(&answer)[0].contains("Domain"));
        assert_eq!(me(server, &cookie).await.status, 200);
        let out = browse(server, &cookie, SIGN_OUT, None).await;
        let (name, _) = cookie.split_once('=').unwrap();
        let secure = if is_secure { "; Secure" } else { "" };
        let attributes = "HttpOnly; SameSite=Strict; Path=/; Max-Age=0";
        assert_eq!(cookies(&out), [format!("{name}=; {attributes}{secure}")]);
        assert_eq!(me(server, &cookie).await.status, 401);
        // What was kept under the other name goes when the next one is kept.
        let (other, end) = match is_secure {
            true => ("mizan_session=x", format!("mizan_session=; {attributes}")),
            false => {
                ("__Host-mizan_session=x", format!("__Host-mizan_session=; {attributes}; Secure"))
            }
        };
        let headers = [&headers[..], &[("cookie", other)]].concat();
        let again = sign_in(server, &headers, json!({ "key": server.key })).await;
        assert_eq!(cookies(&again)[0], end);
        assert!(cookies(&again)[1].starts_with(&format!("{name}=mt-")));
    }
}

#[tokio::test]
async fn many_sign_ins_with_one_key_end_its_own_oldest() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let operator = with_key(&server, OPERATORS_KEY).await;
    let first = with_key(&server, &server.key).await;
    for _ in 0..15 {
        with_key(&server, &server.key).await;
    }
    assert_eq!(me(&server, &first).await.status, 200);
    with_key(&server, &server.key).await;
    assert_eq!(me(&server, &first).await.status, 401);
    assert_eq!(me(&server, &operator).await.status, 200);
}

#[tokio::test]
async fn an_invitation_is_a_link_to_where_the_inviter_came() {
    let local = operated(Server::start(Setup::saying(&["a"])));
    let settings = "public_url = \"https://credits.example.com\"";
    let public = operated(Server::start(Setup { settings, ..Setup::saying(&["a"]) }));
    for (number, (server, headers, base)) in [
        (&public, vec![("host", "10.0.0.7:8080")], "https://credits.example.com"),
        (&local, vec![("host", "10.0.0.7:8080")], "http://10.0.0.7:8080"),
        (&local, vec![("host", "box"), ("x-forwarded-proto", "https")], "https://box"),
        (&local, vec![("host", "box/evil?")], "http://127.0.0.1:8080"),
        (&local, vec![], "http://127.0.0.1:8080"),
    ]
    .into_iter()
    .enumerate()
    {
        let bearer = format!("Bearer {OPERATORS_KEY}");
        let headers = [&headers[..], &[("authorization", bearer.as_str())]].concat();
        let body = json!({ "name": format!("n{number}"), "account": "team", "role": "member" });
        let made = server.send(request("POST /api/v1/admin/users", &headers, Some(body))).await;
        let made = made.json();
        let link = format!("{base}/#/invitation/{}", made["invitation"].as_str().unwrap());
        assert_eq!(made["invitation_url"], json!(link));
        let line = format!("POST /api/v1/admin/users/{}/invite", made["id"]);
        let again = server.send(request(&line, &headers, Some(json!({})))).await.json();
        let link = format!("{base}/#/invitation/{}", again["invitation"].as_str().unwrap());
        assert_eq!(again["invitation_url"], json!(link));
    }
}
