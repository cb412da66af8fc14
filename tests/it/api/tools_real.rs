//! Required calls of real models: small ones, which would hardly ever write a call that fits.

use std::sync::Arc;

use mizan::api::{self, AppState};
use mizan::catalog::Catalog;
use mizan::config::{Config, ServeFlags, StoreFlags};
use mizan::ledger::{Credits, Ledger, LedgerOptions, NewKeyRequest, SystemClock};
use mizan::registry::Registry;
use serde_json::{Value, json};

use super::CHAT;
use crate::support::models;
use crate::support::server::Answer;

/// Asks the shipped model `id`, each body in turn.
async fn ask(id: &str, bodies: &[Value]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = models::path(id);
    let text = format!(
        "[server]\nkv_memory = \"32MiB\"\nmax_batch = 2\n[tiers.standard]\n\
         credits_per_output_token = 1\n[plans.default]\n[[models]]\nid = \"m\"\n\
         tier = \"standard\"\ncontext_length = 2048\nsources = [{{ path = {path:?} }}]\n"
    );
    let catalog = Catalog::parse(&text, "models.toml", folder.path()).unwrap();
    let store = StoreFlags { config: None, data: Some(folder.path().to_owned()) };
    let config = Arc::new(Config::resolve(ServeFlags::from(store), catalog).unwrap());
    let ledger = Ledger::open(&config.ledger_path(), LedgerOptions::default()).unwrap();
    let account = ledger.create_account("team", "default", "test").wait().unwrap();
    ledger.grant(account, Credits(5_000), "to test", "test").wait().unwrap();
    let request = NewKeyRequest::new(account, "first");
    let key = ledger.create_key(request, "test").wait().unwrap().secret;
    let registry = Arc::new(Registry::new(config.clone()));
    let state = AppState::new(config, registry, ledger.clone(), Arc::new(SystemClock));
    let router = api::router(state);
    let mut answers = Vec::new();
    for body in bodies {
        let request = axum::http::Request::post(CHAT)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
        answers.push(Answer::read(response).await.json());
    }
    assert!(ledger.verify().unwrap().findings.is_empty());
    answers
}

fn tools() -> Value {
    json!([
        { "type": "function", "function": {
            "name": "book_table",
            "description": "Books a table in a restaurant.",
            "parameters": {
                "type": "object",
                "properties": {
                    "day": { "enum": ["sunday", "monday"] },
                    "guests": { "type": "integer", "minimum": 1, "maximum": 8 },
                    "outside": { "type": "boolean" },
                },
                "required": ["day", "guests", "outside"],
                "additionalProperties": false,
            },
        } },
        { "type": "function", "function": { "name": "get_time" } },
    ])
}

fn body(choice: Value, more: Value) -> Value {
    let user = json!([{ "role": "user", "content": "A table for two, Sunday, inside." }]);
    let body = json!({
        "model": "m", "messages": user, "tools": tools(), "tool_choice": choice,
        "temperature": 0, "max_tokens": 200, "parallel_tool_calls": false,
    });
    super::with(body, more)
}

fn check(json: &Value, name: Option<&str>) {
    let message = &json["choices"][0]["message"];
    let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{json}"));
    assert_eq!(calls.len(), 1, "{json}");
    assert_eq!(message["content"], Value::Null, "{json}");
    assert_eq!(json["choices"][0]["finish_reason"], "tool_calls");
    let function = &calls[0]["function"];
    assert!(name.is_none_or(|name| function["name"] == name), "{json}");
    let arguments = function["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    if function["name"] == "get_time" {
        assert_eq!(arguments, json!({}));
        return;
    }
    assert_eq!(arguments.as_object().unwrap().len(), 3, "{arguments}");
    assert!(["sunday", "monday"].contains(&arguments["day"].as_str().unwrap()));
    assert!((1..=8).contains(&arguments["guests"].as_i64().unwrap()));
    assert!(arguments["outside"].is_boolean());
}

async fn check_model(id: &str) {
    let named = json!({ "type": "function", "function": { "name": "book_table" } });
    let hot = json!({ "temperature": 1.5, "seed": 7 });
    let bodies = [
        body(named.clone(), json!({})),
        body(named, hot),
        body(json!("required"), json!({})),
        body(json!({ "type": "function", "function": { "name": "get_time" } }), json!({})),
    ];
    let answers = ask(id, &bodies).await;
    check(&answers[0], Some("book_table"));
    check(&answers[1], Some("book_table"));
    check(&answers[2], None);
    check(&answers[3], Some("get_time"));
}

#[tokio::test]
async fn qwen_calls_what_is_required() {
    check_model("qwen2.5-coder-0.5b-instruct").await;
}

/// Its template knows no tools.
#[tokio::test]
async fn smollm_calls_what_is_required() {
    check_model("smollm2-135m-instruct").await;
}
