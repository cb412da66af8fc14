//! What runs: plans and what is left of them, models in memory, the state of the books.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use mizan::api::{self, AppState, OperatorKey};
use mizan::catalog::Catalog;
use mizan::config::{Config, ServeFlags};
use mizan::ledger::{Ledger, LedgerOptions, SystemClock};
use mizan::registry::Registry;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::admin::{Holder, OPERATOR};
use super::{CHAT, chat};
use crate::registry::write_folder;
use crate::support::binary;
use crate::support::server::{Answer, PREMIUM, STANDARD, Server, Setup};

#[tokio::test]
async fn a_plan_tells_what_is_left_of_it() {
    let plan = "max_requests_per_minute = 6\nmax_prompt_tokens = 100\nmax_concurrent_requests = 2";
    let server = Server::start(Setup { plan, ..Setup::saying(&["a", "b"]) });
    let shown = async || server.get("/api/v1/plan").await.json()["data"].clone();
    let fresh = shown().await;
    let left = json!({ "requests": 6, "input_tokens": null, "concurrent_requests": 2 });
    assert_eq!(fresh["name"], "default");
    assert_eq!(fresh["max_requests_per_minute"], 6);
    assert_eq!(fresh["max_input_tokens_per_minute"], Value::Null);
    assert_eq!((&fresh["max_prompt_tokens"], &fresh["remaining"]), (&json!(100), &left));
    assert_eq!(fresh["reset_ms"], json!({ "requests": 0, "input_tokens": null }));
    server.allow(0);
    let stream = server.stream(CHAT, &chat(json!({ "stream": true }))).await;
    let used = shown().await;
    let left = json!({ "requests": 5, "input_tokens": null, "concurrent_requests": 1 });
    assert_eq!(used["remaining"], left);
    assert!((1..=10_000).contains(&used["reset_ms"]["requests"].as_u64().unwrap()), "{used}");
    server.allow(usize::MAX);
    stream.rest().await;

    // A plan that has left the file: the default's limits are in force.
    server.ledger.set_plan(server.account, "gone", "test").wait().unwrap();
    assert_eq!(shown().await["name"], "default");
}

/// The entry of a model in the list.
async fn entry(operator: &Holder, id: &str) -> Value {
    let (status, list) = operator.get("/models").await;
    assert_eq!(status, 200, "{list}");
    let found = list["data"].as_array().unwrap().iter().find(|model| model["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {list}")).clone()
}

#[tokio::test]
async fn models_show_how_they_run_and_leave_when_nobody_uses_them() {
    let server = Server::start(Setup::saying(&["a", "b", "c"]));
    let operator = Holder::of(&server, OPERATOR);
    let states = async || {
        let (_, list) = operator.get("/models").await;
        let models = list["data"].as_array().unwrap().iter();
        let row = |m: &Value| format!("{} {} {}", m["id"], m["state"], m["default"]);
        models.map(row).collect::<Vec<_>>()
    };
    let row = |id: &str, state: &str, is_default| format!("{id:?} {state:?} {is_default}");
    let all = [
        row(STANDARD, "loaded", true),
        row(PREMIUM, "loaded", false),
        row("elsewhere", "missing", false),
    ];
    assert_eq!(states().await, all);
    server.post(CHAT, &chat(json!({}))).await;
    server.settled().await;
    let standard = entry(&operator, STANDARD).await;
    assert_eq!(
        (&standard["aliases"], &standard["tier"]),
        (&json!(["default"]), &json!("standard"))
    );
    assert_eq!((&standard["error"], &standard["waiting"]), (&Value::Null, &json!(0)));
    assert!(standard["engine"]["generated_tokens"].as_u64() >= Some(3), "{standard}");
    assert!(standard["engine"]["prompt_tokens"].as_u64() > Some(0), "{standard}");
    assert_eq!(standard["engine"]["block_tokens"], 16);
    let premium = entry(&operator, PREMIUM).await;
    assert_eq!(
        (&premium["credit_multiplier"], &premium["engine"]["steps"]),
        (&json!(2), &json!(0))
    );

    // An answer runs on the one, nobody uses the other.
    server.allow(0);
    let body = chat(json!({ "stream": true, "n": 2 }));
    let stream = server.stream(CHAT, &body).await;
    let unload = |model: &str| operator.post("/models/unload", json!({ "model": model }));
    let (status, refused) = unload("default").await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("model_in_use")), "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("on it: 2)"), "{message}");
    let (status, unloaded) = unload(PREMIUM).await;
    assert_eq!((status, &unloaded["state"]), (200, &json!("missing")), "{unloaded}");
    assert_eq!((&unloaded["engine"], &unloaded["memory"]), (&Value::Null, &Value::Null));
    assert_eq!(unload(PREMIUM).await.0, 200, "it is out already");

    server.allow(usize::MAX);
    stream.rest().await;
    // The answer's task lets go of the model shortly after its last frame.
    assert_eq!(unload(STANDARD).await.0, 200);
    assert_eq!(entry(&operator, STANDARD).await["state"], "missing");
    let (_, audit) = operator.get("/audit?action=model").await;
    let entries = audit["data"].as_array().unwrap().iter();
    let done: Vec<String> = entries.map(|e| format!("{} {}", e["action"], e["detail"])).collect();
    let unloaded =
        |id: &str| format!("{} {}", json!("model.unload"), json!(format!("model {id:?}")));
    assert_eq!(done, [unloaded(STANDARD), unloaded(PREMIUM)]);
    assert_eq!(audit["data"][0]["actor"], "operator");

    for (line, body, status) in [
        ("/models/unload", json!({}), 400),
        ("/models/unload", json!({ "model": "nobody" }), 404),
        ("/models/load", json!({ "model": "nobody" }), 404),
        ("/models/load", json!({ "model": "elsewhere" }), 503),
    ] {
        let (found, answer) = operator.post(line, body).await;
        assert_eq!(found, status, "{line}: {answer}");
    }
    server.verify_books();
}

/// A server whose models are files, for real.
struct Machine {
    registry: Arc<Registry>,
    state: AppState,
    data: TempDir,
    _files: [TempDir; 2],
}

impl Machine {
    /// Two models of which one fits into memory, one whose file is no model, and one without.
    fn start() -> Self {
        let files = [(); 2].map(|()| TempDir::new().unwrap());
        files.iter().for_each(|folder| write_folder(folder.path(), &json!({})));
        let data = TempDir::new().unwrap();
        let damaged = data.path().join("damaged.gguf");
        std::fs::write(&damaged, b"GGUF\x03\0\0\0").unwrap();
        let mut text = "[server]\nkv_memory = \"9MiB\"\nmodel_memory = \"16MiB\"\nthreads = 1\n\
             max_batch = 2\n[tiers.standard]\ncredits_per_output_token = 1\n"
            .to_owned();
        let paths = [
            ("one", files[0].path()),
            ("two", files[1].path()),
            ("damaged", &damaged),
            ("missing", Path::new("none.gguf")),
        ];
        for (id, path) in paths {
            text += &format!(
                "[[models]]\nid = \"{id}\"\naliases = [\"{id}-too\"]\ntier = \"standard\"\n\
                 sources = [{{ path = {path:?} }}]\n"
            );
        }
        let catalog = Catalog::parse(&text, "models.toml", data.path()).unwrap();
        let mut flags = ServeFlags::default();
        flags.store.data = Some(data.path().to_owned());
        let config = Arc::new(Config::resolve(flags, catalog).unwrap());
        let ledger = Ledger::open(&config.ledger_path(), LedgerOptions::default()).unwrap();
        let registry = Arc::new(Registry::new(Arc::clone(&config)));
        let state = AppState::new(config, Arc::clone(&registry), ledger, Arc::new(SystemClock))
            .with_operator_key(OperatorKey::of(OPERATOR));
        Self { registry, state, data, _files: files }
    }

    fn router(&self) -> Router {
        api::router(self.state.clone())
    }
}

async fn call(router: Router, line: &str, body: Value) -> (u16, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/admin{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {OPERATOR}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    let answer = Answer::read(router.oneshot(request.unwrap()).await.unwrap()).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn models_are_loaded_used_and_unloaded() {
    let machine = Machine::start();
    let list = async || call(machine.router(), "GET /models", Value::Null).await.1;
    let load = async |model: &str| {
        call(machine.router(), "POST /models/load", json!({ "model": model })).await
    };
    let unload = async |model: &str| {
        call(machine.router(), "POST /models/unload", json!({ "model": model })).await
    };
    let states = async || {
        let list = list().await;
        list["data"].as_array().unwrap().iter().map(|m| m["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["available", "available", "available", "missing"]);

    let (status, one) = load("one-too").await;
    assert_eq!(
        (status, &one["id"], &one["state"]),
        (200, &json!("one"), &json!("loaded")),
        "{one}"
    );
    let memory = one["memory"].as_u64().unwrap();
    assert!(one["loaded_at"].is_i64() && memory > 9 << 20, "{one}");
    assert_eq!(load("one").await.1["loaded_at"], one["loaded_at"], "it is left as it is");
    let listed = list().await;
    assert_eq!((&listed["memory_used"], &listed["queue"]), (&json!(memory), &json!(0)));
    assert_eq!(listed["memory_budget"], 16 << 20);

    // A request has it, and another model waits for its memory.
    let used = machine.registry.get("one").await.unwrap();
    assert_eq!(unload("one").await.0, 409);
    let registry = Arc::clone(&machine.registry);
    let waiting = tokio::spawn(async move { registry.get("two").await.map(drop) });
    while states().await[1] != "loading" {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let listed = list().await;
    assert_eq!((&listed["queue"], &listed["data"][1]["waiting"]), (&json!(1), &json!(1)));
    let (status, refused) = unload("two").await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("is being loaded"), "{refused}");
    drop(used);
    waiting.await.unwrap().expect("there is room now");
    assert_eq!(states().await, ["available", "loaded", "available", "missing"]);

    let (status, two) = unload("two").await;
    assert_eq!((status, &two["state"]), (200, &json!("available")));
    assert_eq!(list().await["memory_used"], 0);
    assert_eq!(load("two").await.1["state"], "loaded");

    // What is wrong is told, and stays in mind.
    let (status, refused) = load("damaged").await;
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(status == 503 && why.contains("damaged.gguf"), "{status} {why}");
    let damaged = list().await["data"][2].clone();
    assert!(damaged["error"].as_str().unwrap().contains("damaged.gguf"), "{damaged}");
    let (status, refused) = load("missing").await;
    assert!(status == 503 && refused.to_string().contains("mizan pull missing"), "{refused}");
    let (_, audit) = call(machine.router(), "GET /audit?action=model", Value::Null).await;
    let actions = audit["data"].as_array().unwrap().iter().map(|entry| entry["action"].clone());
    let actions: Vec<Value> = actions.collect();
    assert_eq!(actions, ["model.load", "model.unload", "model.load"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_loads_into_the_server_that_runs() {
    let machine = Machine::start();
    let folder = machine.data.path().to_owned();
    let shell = async |line: &'static str| {
        let mut command = binary(&folder);
        command.args(line.split(' '));
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.success(), text(ran.stdout), text(ran.stderr))
    };
    let (worked, _, errors) = shell("models load one").await;
    assert!(!worked && errors.contains("no server runs on"), "{errors}");

    let listener = tokio::net::UnixListener::bind(folder.join("control.sock")).unwrap();
    tokio::spawn(api::serve_control(listener, machine.state.clone(), std::future::pending()));
    let (worked, told, errors) = shell("models load one").await;
    assert!(worked && told.starts_with("one is loaded and takes 9 MB"), "{told}{errors}");
    let (_, told, _) = shell("models unload one --json").await;
    let model: Value = serde_json::from_str(&told).expect("JSON and nothing else");
    assert_eq!((&model["id"], &model["state"]), (&json!("one"), &json!("available")));
    let (worked, _, errors) = shell("models load damaged").await;
    assert!(!worked && errors.contains("damaged.gguf"), "{errors}");
    let (_, told, _) = shell("audit").await;
    assert!(told.contains("model.unload") && told.contains("operator on this machine"), "{told}");
}

#[tokio::test]
async fn the_books_are_checked_now_and_damage_is_told() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let operator = Holder::of(&server, OPERATOR);
    server.post(CHAT, &chat(json!({}))).await;
    server.settled().await;
    let shown = async || operator.get("/ledger").await.1["data"].clone();
    let books = shown().await;
    assert_eq!(books["verify"]["state"], "never", "{books}");
    assert_eq!((&books["healthy"], &books["chain"]["seq"]), (&json!(true), &json!(2)));
    let head = server.ledger.chain_head().unwrap();
    let hash: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(books["chain"]["hash"], hash);
    assert_eq!((&books["open_meters"], &books["accounts"]), (&json!(0), &json!(1)));
    for figure in ["schema_version", "commits", "commands", "commit_p50_us", "file_bytes", "now_ms"]
    {
        assert!(books[figure].as_u64() > Some(0), "{figure}: {books}");
    }

    let checked = async || {
        let (status, begun) = operator.post("/ledger/verify", json!({})).await;
        assert_eq!(status, 202, "{begun}");
        assert!(begun["data"]["verify"]["state"].is_string(), "{begun}");
        loop {
            let verify = shown().await["verify"].clone();
            if verify["state"] != "running" {
                return verify;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let right = checked().await;
    assert_eq!((&right["state"], &right["transfers"]), (&json!("ok"), &json!(2)), "{right}");
    assert_eq!((&right["damages"], &right["problem"]), (&json!(0), &Value::Null));
    assert!(right["at"].is_i64() && right["duration_ms"].is_u64(), "{right}");

    let conn = Connection::open(server.state.config.ledger_path()).unwrap();
    conn.execute_batch("UPDATE account SET balance=balance+7 WHERE kind='spent'").unwrap();
    let wrong = checked().await;
    assert_eq!(wrong["state"], "failed");
    assert!(wrong["damages"].as_u64() > Some(0) && wrong["problem"].is_string(), "{wrong}");
    assert_eq!(server.get("/ready").await.json()["status"], "ledger damaged");
    conn.execute_batch("UPDATE account SET balance=balance-7 WHERE kind='spent'").unwrap();
    assert_eq!(checked().await["state"], "ok");
    assert_eq!(server.get("/ready").await.status, 200);
}
