//! Who may call what: every row of the table, called by every kind of caller; and the table against
//! the router.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use mizan::api::{self, Access, OperatorKey, ROUTES, Route};
use mizan::ledger::{NewKeyRequest, NewUser, Reach, Role, Scope, Scopes, SignIn, UserId};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use super::{CHAT, chat, completion};
use crate::support::server::{Answer, Server, Setup};
use crate::tidy;

const OPERATOR: &str = "the operator's own secret";

/// Somebody at the door.
#[derive(Debug)]
struct Principal {
    name: String,
    secret: Option<String>,
    is_at_socket: bool,
    /// Whether it shows what it has as a browser does.
    by_cookie: bool,
    /// Who signs in anew for each call, as one of the routes is to sign out.
    user: Option<UserId>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Nobody,
    /// It shows something that is no key, or none any more.
    Pretender,
    Key(Scopes),
    User(Role),
    Operator,
}

impl Principal {
    fn new(name: &str, secret: impl Into<Option<String>>, kind: Kind) -> Self {
        let (name, secret) = (name.to_owned(), secret.into());
        Self { name, secret, is_at_socket: false, by_cookie: false, user: None, kind }
    }

    fn at_socket(name: &str, secret: Option<String>, kind: Kind) -> Self {
        Self { is_at_socket: true, ..Self::new(name, secret, kind) }
    }

    fn user(user: UserId, role: Role) -> Self {
        Self { user: Some(user), ..Self::new(role.as_str(), None, Kind::User(role)) }
    }

    /// The same, in a browser that has signed in.
    fn in_browser(self) -> Self {
        Self { name: format!("{} in a browser", self.name), by_cookie: true, ..self }
    }

    /// Whether it may spend the credits of the server's first account.
    fn spends(&self, house: &House) -> bool {
        let plays = self.by_cookie && matches!(self.kind, Kind::User(Role::Owner | Role::Member));
        plays || self.secret.as_ref() == Some(&house.server.key)
    }

    /// The status with which `access` refuses it, if it does.
    fn refused(&self, access: Access) -> Option<u16> {
        // Who can open the socket is the operator there, whatever it shows.
        if self.is_at_socket && access == Access::Operator {
            return None;
        }
        match (access, self.kind) {
            (Access::Public, _) => None,
            (_, Kind::Nobody | Kind::Pretender) => Some(401),
            (Access::Known, _) | (Access::SignedIn, Kind::User(_)) => None,
            (Access::SignedIn, Kind::Key(_) | Kind::Operator) if self.by_cookie => None,
            (Access::Operator, Kind::Operator | Kind::User(Role::Operator)) => None,
            (Access::Key | Access::Account, Kind::Key(_)) => None,
            (Access::Account, Kind::User(Role::Owner | Role::Member)) => None,
            (Access::Scope(scope), Kind::Key(scopes)) if scopes.contains(scope) => None,
            (Access::Scope(scope), Kind::User(role))
                if (scope != Scope::Inference || self.by_cookie)
                    && Scopes::of_role(role).contains(scope) =>
            {
                None
            }
            _ => Some(403),
        }
    }
}

/// A server, its control socket, and everybody who may come to it.
struct House {
    server: Server,
    _folder: tempfile::TempDir,
    socket: std::path::PathBuf,
    generation: String,
}

impl House {
    async fn open() -> Self {
        let mut server = Server::start(Setup::saying(&["a", "b"]));
        server.state = server.state.clone().with_operator_key(OperatorKey::of(OPERATOR));
        server.router = api::router(server.state.clone());
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(api::serve_control(listener, server.state.clone(), std::future::pending()));
        let answer = server.post(CHAT, &chat(json!({}))).await.json();
        let generation = answer["id"].as_str().unwrap().to_owned();
        for name in ["subject", "closing"] {
            server.ledger.create_account(name, "default", "test").wait().unwrap();
        }
        Self { server, _folder: folder, socket, generation }
    }

    /// A user who has set a password.
    fn user(&self, name: &str, role: Role) -> UserId {
        let account = Some(self.server.account).filter(|_| role != Role::Operator);
        let new = NewUser { account, name: name.to_owned(), role };
        let ledger = &self.server.ledger;
        let user = ledger.create_user(new, Reach::Everyone, "test").wait().unwrap();
        let invitation = ledger.invite(user, Reach::Everyone, "test").wait().unwrap();
        ledger.accept_invitation(&invitation.secret, "hash").wait().unwrap();
        user
    }

    fn session(&self, user: UserId) -> String {
        let checked = SignIn { user, password_hash: "hash".to_owned() };
        self.server.ledger.start_session(checked).wait().unwrap().secret
    }

    /// What a browser keeps that signs in with this key.
    async fn cookie(&self, key: &str) -> Option<String> {
        let request = Request::post("/api/v1/sessions/cookie")
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-mizan-dashboard", "1")
            .body(Body::from(json!({ "key": key }).to_string()));
        let answer = self.server.send(request.unwrap()).await;
        let cookie = answer.header("set-cookie")?.strip_prefix("mizan_session=")?;
        cookie.split(';').next().map(str::to_owned)
    }

    async fn everybody(&self) -> Vec<Principal> {
        // Number one is whom samples of routes name.
        self.user("one", Role::Member);
        let signed_out = self.session(self.user("gone", Role::Owner));
        self.server.ledger.end_session(&signed_out).wait().unwrap();
        let all = NewKeyRequest {
            scopes: Scopes::ALL,
            ..NewKeyRequest::new(self.server.account_of("others"), "all")
        };
        let all = self.server.ledger.create_key(all, "test").wait().unwrap().secret;

        let signed_out = signed_out.as_str();
        let usual = Kind::Key(Scopes::of(&[Scope::Inference, Scope::Usage]));
        let revoked = self.server.key_of("team");
        let its_ticket = self.cookie(&revoked.secret).await.expect("it is good");
        self.server.ledger.revoke_key(revoked.id, "test").wait().unwrap();
        let (key, other) = (self.server.key.clone(), self.server.key_of("others").secret);
        let users = [Role::Owner, Role::Member, Role::Operator];
        let users = users.map(|role| (self.user(role.as_str(), role), role));
        let mut all_of_them = vec![
            Principal::new("no credentials", None, Kind::Nobody),
            Principal::new("a made up key", "mz-0000".to_owned(), Kind::Pretender),
            Principal::new("no key at all", "ключ".to_owned(), Kind::Pretender),
            Principal::new("almost the operator", OPERATOR.to_uppercase(), Kind::Pretender),
            Principal::new("a revoked key", revoked.secret, Kind::Pretender),
            Principal::new("a key", key.clone(), usual),
            Principal::new("another account's key", other.clone(), usual),
            Principal::new("the operator's key", OPERATOR.to_owned(), Kind::Operator),
            Principal::new("a key for everything", all.clone(), Kind::Key(Scopes::ALL)),
            Principal::new("a session that ended", signed_out.to_owned(), Kind::Pretender),
            Principal::new("a made up session", "ms-0000".to_owned(), Kind::Pretender),
            Principal::new("a key", key.clone(), usual).in_browser(),
            Principal::new("another account's key", other, usual).in_browser(),
            Principal::new("a key for everything", all, Kind::Key(Scopes::ALL)).in_browser(),
            Principal::new("the operator's key", OPERATOR.to_owned(), Kind::Operator).in_browser(),
            Principal::new("a revoked key's ticket", its_ticket, Kind::Pretender).in_browser(),
            Principal::new("a made up ticket", "mt-0000".to_owned(), Kind::Pretender).in_browser(),
            Principal::new("an ended session", signed_out.to_owned(), Kind::Pretender).in_browser(),
            Principal::at_socket("the control socket", None, Kind::Nobody),
            Principal::at_socket("a made up key there", Some("x".to_owned()), Kind::Pretender),
            Principal::at_socket("a key there", Some(key.clone()), usual),
            Principal::at_socket("a key there", Some(key), usual).in_browser(),
            Principal::at_socket("x there", Some("x".to_owned()), Kind::Pretender).in_browser(),
        ];
        for (user, role) in users {
            all_of_them.push(Principal::user(user, role));
            all_of_them.push(Principal::user(user, role).in_browser());
            let there = Principal { is_at_socket: true, ..Principal::user(user, role) };
            all_of_them.push(there.in_browser());
        }
        all_of_them
    }

    async fn call(&self, principal: &Principal, route: &Route, sample: &Sample) -> Answer {
        let mut request = Request::builder()
            .method(&route.method)
            .uri(&sample.uri)
            .header(header::HOST, "localhost")
            .header("x-mizan-dashboard", "1")
            .header(header::CONTENT_TYPE, "application/json");
        let session = principal.user.map(|user| self.session(user));
        let mut shown = session.or(principal.secret.clone());
        // A key is signed in with each time, as one of the routes ends that; what is none is shown.
        if let (Some(secret), true, None) = (&shown, principal.by_cookie, principal.user) {
            shown = self.cookie(secret).await.or(shown);
        }
        if let Some(shown) = shown {
            request = match principal.by_cookie {
                true => request.header(header::COOKIE, format!("mizan_session={shown}")),
                false => request.header(header::AUTHORIZATION, format!("Bearer {shown}")),
            };
        }
        let body = sample.body.as_ref().map_or(Body::empty(), |b| Body::from(b.to_string()));
        let request = request.body(body).unwrap();
        if !principal.is_at_socket {
            return self.server.send(request).await;
        }
        let stream = TokioIo::new(UnixStream::connect(&self.socket).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer::read(Response::from_parts(parts, Body::from(bytes))).await
    }

    fn balance(&self) -> i64 {
        self.server.balance()
    }
}

/// A small valid request of a route.
struct Sample {
    uri: String,
    body: Option<Value>,
    /// The status for whoever is let in; without one, any but 401 and 403.
    status: Option<u16>,
}

/// `number` differs from call to call.
fn sample(house: &House, route: &Route, number: usize) -> Sample {
    let end = route.path.trim_start_matches("/api").trim_start_matches("/v1");
    let (uri, body, status) = match (route.method.as_str(), end) {
        ("POST", "/chat/completions") => (route.path.to_owned(), chat(json!({})), Some(200)),
        ("POST", "/embeddings") => {
            let body = json!({ "model": "scripted", "input": "Hi" });
            (route.path.to_owned(), body, Some(200))
        }
        ("POST", "/completions") => (route.path.to_owned(), completion(json!({})), Some(200)),
        ("POST", "/responses") => {
            (route.path.to_owned(), json!({ "model": "scripted", "input": "Hi" }), Some(200))
        }
        ("POST", "/messages" | "/messages/count_tokens") => {
            (route.path.to_owned(), chat(json!({ "max_tokens": 9 })), Some(200))
        }
        ("POST", "/tokenize") => (route.path.to_owned(), json!({ "content": "a" }), Some(200)),
        ("POST", "/detokenize") => (route.path.to_owned(), json!({ "tokens": [1] }), Some(200)),
        ("POST", "/apply-template") => (route.path.to_owned(), chat(json!({})), Some(200)),
        ("GET", "/models/{*id}") => (filled(route.path, "scripted"), Value::Null, Some(200)),
        // Its own account is shown it, another is not: see below.
        ("GET", "/generations/{id}") => (filled(route.path, &house.generation), Value::Null, None),
        ("POST", "/admin/models/load") => {
            (route.path.to_owned(), json!({ "model": "scripted" }), Some(200))
        }
        ("POST", "/admin/models/unload") => {
            (route.path.to_owned(), json!({ "model": "elsewhere" }), Some(200))
        }
        ("POST", "/admin/ledger/verify") => (route.path.to_owned(), Value::Null, Some(202)),
        ("POST", "/admin/accounts") => {
            (route.path.to_owned(), json!({ "name": format!("new {number}") }), Some(200))
        }
        ("POST", "/admin/accounts/{name}/close") => {
            (filled(route.path, "closing"), json!({}), Some(200))
        }
        ("POST", "/admin/accounts/{name}/keys") => {
            (filled(route.path, "subject"), json!({ "label": "k" }), Some(200))
        }
        ("POST", "/admin/accounts/{name}/grants") => {
            let body = json!({ "credits": 1, "reason": "test" });
            (filled(route.path, "subject"), body, Some(200))
        }
        ("DELETE", "/keys/{id}") => (filled(route.path, "999999"), Value::Null, Some(404)),
        ("DELETE", "/admin/keys/{id}") => (filled(route.path, "999999"), Value::Null, Some(404)),
        ("GET", path) if !path.contains('{') => (route.path.to_owned(), Value::Null, Some(200)),
        ("GET", path) if path.starts_with("/admin/accounts/{name}") => {
            (filled(route.path, "subject"), Value::Null, Some(200))
        }
        // A new route works without a line here; with one, its success is tested too.
        ("GET" | "DELETE", _) => (filled(route.path, "1"), Value::Null, None),
        _ => (filled(route.path, "1"), json!({}), None),
    };
    Sample { uri, body: Some(body).filter(|body| !body.is_null()), status }
}

/// The pattern with `value` for what it leaves open.
fn filled(pattern: &str, value: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.starts_with('{') {
        true => value,
        false => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_row_lets_in_whom_it_names_and_nobody_else() {
    let house = House::open().await;
    let everybody = house.everybody().await;
    let mut number = 0;
    for route in ROUTES {
        for principal in &everybody {
            number += 1;
            let sample = sample(&house, route, number);
            let before = house.balance();
            let answer = house.call(principal, route, &sample).await;
            let status = answer.status.as_u16();
            let what =
                format!("{} {} by {}: {}", route.method, route.path, principal.name, answer.text);
            match principal.refused(route.access) {
                Some(refusal) => {
                    assert_eq!(status, refusal, "{what}");
                    check_refusal(&answer, route);
                    assert_eq!(house.balance(), before, "{what}");
                }
                None => {
                    assert!(![401, 403].contains(&status), "{what}");
                    assert!(sample.status.is_none_or(|expected| expected == status), "{what}");
                }
            }
            if principal.by_cookie && route.access != Access::Public {
                let kept = (principal.is_at_socket && route.access == Access::Operator)
                    || answer.header("cache-control") == Some("no-store");
                assert!(kept, "{what} may be kept");
            }
            if !principal.spends(&house) {
                assert_eq!(house.balance(), before, "{what} spent another's credits");
            }
        }
    }
    house.server.verify_books();
}

/// The shape of the route's clients, nothing of any account, and what would help.
fn check_refusal(answer: &Answer, route: &Route) {
    let error = &answer.json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(!message.contains("team") && !message.contains("mz-"), "{message}");
    assert!(answer.header("x-request-id").is_some() && answer.header("x-ratelimit").is_none());
    if answer.status == 401 {
        match route.path.contains("/messages") {
            true => assert_eq!(error["type"], "authentication_error"),
            false => assert_eq!(error["code"], "invalid_api_key"),
        }
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        return;
    }
    assert_eq!(error["type"], "permission_error");
    if let Access::Scope(scope) = route.access {
        let names_it = message.contains(&format!("'{scope}'"));
        let names_who = message.contains("operator's key") || message.contains("an API key");
        assert!(names_it || names_who, "{message}");
    }
}

#[tokio::test]
async fn an_account_sees_its_own_rows_only() {
    let house = House::open().await;
    let other = house.server.key_of("others").secret;
    let get = async |path: &str, secret: &str| {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {secret}"));
        house.server.send(request.body(Body::empty()).unwrap()).await
    };
    let path = format!("/api/v1/generations/{}", house.generation);
    assert_eq!(get(&path, &house.server.key).await.status, 200);
    let hidden = get(&path, &other).await;
    let missing = get("/api/v1/generations/chatcmpl-00", &other).await;
    assert_eq!((hidden.status.as_u16(), missing.status.as_u16()), (404, 404));
    // Whether another account has such a row does not show.
    let without_id = |answer: &Answer, id: &str| answer.text.replace(id, "");
    assert_eq!(without_id(&hidden, &house.generation), without_id(&missing, "chatcmpl-00"));
    let used = |answer: &Answer| answer.json()["data"]["total_usage"].as_i64();
    assert_eq!(used(&get("/api/v1/credits", &house.server.key).await), Some(2));
    assert_eq!(used(&get("/api/v1/credits", &other).await), Some(0));
    let key_use = |answer: &Answer| answer.json()["data"]["usage"].as_i64();
    assert_eq!(key_use(&get("/api/v1/key", &other).await), Some(0));
    // Nor does another account's idempotency key fetch its answer.
    let send = async |secret: &str| {
        let request = Request::post(CHAT)
            .header(header::AUTHORIZATION, format!("Bearer {secret}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "shared")
            .body(Body::from(chat(json!({})).to_string()));
        house.server.send(request.unwrap()).await.header("idempotent-replayed").is_some()
    };
    let replayed = [send(&house.server.key).await, send(&other).await, send(&other).await];
    assert_eq!(replayed, [false, false, true]);
}

#[tokio::test]
async fn the_table_and_the_router_hold_the_same_routes() {
    let house = House::open().await;
    let rows: BTreeSet<(String, &str)> =
        ROUTES.iter().map(|route| (route.method.to_string(), route.path)).collect();
    assert_eq!(rows.len(), ROUTES.len(), "a route has two rows");
    for (method, path) in &rows {
        assert!(is_routed(&house, method, path).await, "no route for the row {method} {path}");
    }
    // Every path that the source spells out, under every prefix that it does.
    let nests = tidy::paths_given_to("nest");
    let mut prefixes = BTreeSet::from([String::new()]);
    for nest in &nests {
        prefixes.insert(nest.clone());
        prefixes.extend(nests.iter().map(|inner| format!("{nest}{inner}")));
    }
    let mut found = 0;
    for route in tidy::paths_given_to("route") {
        for path in prefixes.iter().map(|prefix| format!("{prefix}{route}")) {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                // Under another prefix it may be what a row's `{*id}` stands for.
                let is_caught = |(its, pattern): &(String, &str)| {
                    let prefix = pattern.split_once("{*").map(|(prefix, _)| prefix);
                    its == method
                        && *pattern != path
                        && prefix.is_some_and(|prefix| path.starts_with(prefix))
                };
                if !rows.iter().any(is_caught) && is_routed(&house, method, &path).await {
                    found += 1;
                    let row = (method.to_owned(), path.as_str());
                    assert!(rows.contains(&row), "no row for the route {method} {path}");
                }
            }
        }
    }
    assert_eq!(found, rows.len(), "a row's route is spelled out nowhere in the source");
}

/// Whether the router has a handler, whoever it may be for.
async fn is_routed(house: &House, method: &str, path: &str) -> bool {
    let request = Request::builder().method(method).uri(filled(path, "x"));
    let answer = house.server.send(request.body(Body::empty()).unwrap()).await;
    let is_unknown = answer.status == 404 && answer.text.contains("there is nothing at");
    !is_unknown && answer.status != 405
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_told_to_everybody() {
    let house = House::open().await;
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/api/v1/admin/nothing", 404),
        ("PUT", "/v1/models", 405),
        ("GET", CHAT, 405),
        ("HEAD", "/v1/models", 401),
        ("HEAD", "/health", 200),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = house.server.send(request).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    let models = house.server.request(Method::HEAD, "/v1/models", None);
    assert_eq!(house.server.send(models).await.status, 200);
}
