//! `POST /v1/embeddings`: what it takes, how it answers, and that it costs nothing.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mizan::api;
use mizan::catalog::Catalog;
use mizan::config::{Config, ServeFlags};
use mizan::ledger::Credits;
use mizan::registry::Registry;
use serde_json::{Value, json};

use super::errors::check;
use super::with;
use crate::support::models;
use crate::support::server::{PREMIUM, STANDARD, Server, Setup};

const EMBEDDINGS: &str = "/v1/embeddings";
const INVALID: &str = "invalid_request_error";

fn body(more: Value) -> Value {
    with(json!({ "model": STANDARD, "input": "Hi" }), more)
}

fn setup() -> Setup {
    Setup::saying(&["ok"])
}

/// The scripted model's vector of a text: of its last byte and where that is.
fn expected(text: &str) -> Vec<f64> {
    let (id, position) = (f64::from(*text.as_bytes().last().unwrap()), text.len() as f64 - 1.0);
    let values = [1.0, id, position, id * (position + 1.0)];
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    values.map(|value| value / norm).to_vec()
}

fn floats(embedding: &Value) -> Vec<f64> {
    embedding.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    let is_close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(found.len() == expected.len() && is_close, "{found:?}, expected {expected:?}");
}

#[tokio::test]
async fn an_answer_has_openais_shape_and_costs_nothing() {
    let server = Server::start(setup());
    for path in [EMBEDDINGS, "/api/v1/embeddings"] {
        let answer = server.post(path, &body(json!({ "user": "x" }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut json = answer.json();
        assert_close(&floats(&json["data"][0]["embedding"].take()), &expected("Hi"));
        let shape = json!({
            "object": "list",
            "data": [{ "object": "embedding", "index": 0, "embedding": null }],
            "model": STANDARD,
            "usage": {
                "prompt_tokens": 2, "total_tokens": 2, "credits": 0, "credit_multiplier": 1,
                "balance": 5000, "credits_exhausted": false,
            },
        });
        assert_eq!(json, shape);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-credits-charged"), Some("0"));
        assert_eq!(answer.header("x-credits-balance"), Some("5000"));
    }
    assert!(server.meters().is_empty(), "nothing is sold, so the books know nothing of it");
}

#[tokio::test]
async fn base64_is_what_the_floats_are() {
    let server = Server::start(setup());
    let plain = server.post(EMBEDDINGS, &body(json!({ "encoding_format": "float" }))).await.json();
    let packed = server.post(EMBEDDINGS, &body(json!({ "encoding_format": "base64" }))).await;
    let packed = packed.json();
    let bytes = BASE64.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let chunks = bytes.as_chunks::<4>().0.iter();
    let values: Vec<f32> = chunks.map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let plain: Vec<f32> = serde_json::from_value(plain["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(values, plain, "to the bit");
}

#[tokio::test]
async fn every_form_of_input_is_taken_and_answered_in_order() {
    let server = Server::start(setup());
    let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    for (input, texts) in [
        (json!("One"), vec!["One"]),
        (json!(["One", "two"]), vec!["One", "two"]),
        (json!(ids("One")), vec!["One"]),
        (json!([ids("One"), ids("two!")]), vec!["One", "two!"]),
    ] {
        let json = server.post(EMBEDDINGS, &body(json!({ "input": input }))).await.json();
        let data = json["data"].as_array().unwrap();
        assert_eq!(data.len(), texts.len(), "{input}");
        for (index, (item, text)) in data.iter().zip(&texts).enumerate() {
            assert_eq!(item["index"], index);
            assert_close(&floats(&item["embedding"]), &expected(text));
        }
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        assert_eq!(json["usage"]["prompt_tokens"], tokens, "{input}");
    }
}

/// More texts than the engine has places for: they go through it a batch at a time.
#[tokio::test]
async fn two_thousand_texts_are_one_request() {
    let mut setup = setup();
    (setup.bounds.max_batch, setup.bounds.max_waiting) = (4, 2);
    let server = Server::start(setup);
    let texts: Vec<String> = (0..2_048).map(|number| format!("text {number}")).collect();
    let json = server.post(EMBEDDINGS, &body(json!({ "input": texts }))).await.json();
    for (item, text) in json["data"].as_array().unwrap().iter().zip(&texts) {
        assert_close(&floats(&item["embedding"]), &expected(text));
    }
    let texts = vec!["text"; 2_049];
    let answer = server.post(EMBEDDINGS, &body(json!({ "input": texts }))).await;
    let message = check(&answer, 400, INVALID, None, Some("input"));
    assert_eq!(message, "'input' has 2049 texts and may have 2048");
}

#[tokio::test]
async fn what_can_not_be_embedded_is_refused_by_name() {
    let server = Server::start(setup());
    for (more, param) in [
        (json!({ "model": null }), "model"),
        (json!({ "input": null }), "input"),
        (json!({ "input": "" }), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": ["a", ""] }), "input"),
        (json!({ "input": [[1], []] }), "input"),
        (json!({ "input": [["a"]] }), "input[0]"),
        (json!({ "input": [100_000] }), "input"),
        (json!({ "input": { "a": 1 } }), "input"),
        (json!({ "encoding_format": "int8" }), "encoding_format"),
        (json!({ "encoding_format": 5 }), "encoding_format"),
        (json!({ "dimensions": 0 }), "dimensions"),
        (json!({ "dimensions": 3 }), "dimensions"),
        (json!({ "dimensions": 5 }), "dimensions"),
        (json!({ "dimensions": "4" }), "dimensions"),
    ] {
        let answer = server.post(EMBEDDINGS, &body(more)).await;
        check(&answer, 400, INVALID, None, Some(param));
    }
    let nulls = json!({ "encoding_format": null, "dimensions": null, "user": null });
    assert_eq!(server.post(EMBEDDINGS, &body(nulls)).await.status, 200);
    let unknown = server.post(EMBEDDINGS, &body(json!({ "model": "other" }))).await;
    check(&unknown, 404, INVALID, Some("model_not_found"), Some("model"));
    // As long as the context, and one more: nothing has to follow.
    let longest = body(json!({ "input": ["a", "x".repeat(512)] }));
    assert_eq!(server.post(EMBEDDINGS, &longest).await.status, 200);
    let longer = server.post(EMBEDDINGS, &body(json!({ "input": ["a", "x".repeat(513)] }))).await;
    let message = check(&longer, 400, INVALID, Some("context_length_exceeded"), Some("input"));
    let expected = "this model's context holds 512 tokens and text 1 of 'input' has 513; shorten \
                    it, or cut it up";
    assert_eq!(message, expected);
}

#[tokio::test]
async fn shorter_vectors_come_from_models_that_were_trained_for_them() {
    let server = Server::start(setup());
    let premium = |dimensions: usize| body(json!({ "model": PREMIUM, "dimensions": dimensions }));
    let whole = floats(&server.post(EMBEDDINGS, &premium(4)).await.json()["data"][0]["embedding"]);
    assert_close(&whole, &expected("Hi"));
    for dimensions in [2, 3] {
        let json = server.post(EMBEDDINGS, &premium(dimensions)).await.json();
        let norm = whole[..dimensions].iter().map(|value| value * value).sum::<f64>().sqrt();
        let cut: Vec<f64> = whole[..dimensions].iter().map(|value| value / norm).collect();
        assert_close(&floats(&json["data"][0]["embedding"]), &cut);
    }
    for dimensions in [1, 5] {
        let answer = server.post(EMBEDDINGS, &premium(dimensions)).await;
        let message = check(&answer, 400, INVALID, None, Some("dimensions"));
        assert_eq!(message, format!("'dimensions' is {dimensions} and must be from 2 to 4"));
    }
    let standard = server.post(EMBEDDINGS, &body(json!({ "dimensions": 4 }))).await;
    assert_eq!(standard.status, 200, "all that there are");
}

#[tokio::test]
async fn a_model_that_makes_no_vectors_says_why() {
    let server = Server::start(Setup { embeds: false, ..setup() });
    let answer = server.post(EMBEDDINGS, &body(json!({}))).await;
    let message = check(&answer, 400, INVALID, None, Some("model"));
    assert_eq!(message, "'scripted' gives no vectors: it ranks texts");
}

#[tokio::test]
async fn an_empty_account_is_served_and_a_frozen_or_closed_one_is_not() {
    let server = Server::start(Setup { credits: 0, ..setup() });
    let embed = async || server.post(EMBEDDINGS, &body(json!({}))).await;
    let answer = embed().await;
    assert_eq!(answer.json()["usage"]["balance"], 0);
    server.ledger.freeze_account(server.account, "test").wait().unwrap();
    check(&embed().await, 403, "permission_error", Some("account_frozen"), None);
    server.ledger.thaw_account(server.account, "test").wait().unwrap();
    assert_eq!(embed().await.status, 200);
    server.ledger.grant(server.account, Credits(1), "to close", "test").wait().unwrap();
    server.ledger.close_account(server.account, "test").wait().unwrap();
    assert!([401, 403].contains(&embed().await.status.as_u16()));
}

#[tokio::test]
async fn the_plan_bounds_what_is_free() {
    let plan = "max_input_tokens_per_minute = 10\nmax_prompt_tokens = 6";
    let server = Server::start(Setup { plan, ..setup() });
    let embed =
        async |input: Value| server.post(EMBEDDINGS, &body(json!({ "input": input }))).await;
    let answer = embed(json!("1234567")).await;
    check(&answer, 400, INVALID, Some("context_length_exceeded"), Some("input"));
    let answer = embed(json!(["12345", "12345", "1"])).await;
    check(&answer, 400, INVALID, Some("context_length_exceeded"), Some("input"));
    assert_eq!(embed(json!(["12345", "1234"])).await.status, 200);
    let answer = embed(json!("12345")).await;
    check(&answer, 429, "rate_limit_error", Some("rate_limit_exceeded"), None);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn nothing_is_embedded_while_the_engine_is_gone() {
    let server = Server::start(setup());
    server.fail_at(0);
    // Vectors ask nothing of the script.
    assert_eq!(server.post(EMBEDDINGS, &body(json!({}))).await.status, 200);
    for model in server.state.registry.loaded() {
        model.engine.stop();
        model.engine.join();
    }
    let answer = server.post(EMBEDDINGS, &body(json!({}))).await;
    assert!(answer.status.is_server_error(), "{}", answer.text);
}

#[tokio::test]
async fn who_waits_too_long_is_told_to_come_again() {
    let server = Server::start(Setup { settings: "first_token_secs = 1", ..setup() });
    server.allow(0);
    let answer = server.post(EMBEDDINGS, &body(json!({}))).await;
    check(&answer, 503, "server_error", Some("too_busy"), None);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn the_engine_makes_no_vectors_for_one_who_has_hung_up() {
    let mut setup = setup();
    setup.bounds.max_batch = 4;
    let server = Arc::new(Server::start(setup));
    server.allow(0);
    let asking = server.clone();
    let request = tokio::spawn(async move {
        asking.post(EMBEDDINGS, &body(json!({ "input": vec!["text"; 200] }))).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    server.allow(usize::MAX);
    let model = server.state.registry.loaded().into_iter().find(|m| m.entry.id == STANDARD);
    let engine = model.unwrap().engine.clone();
    // Another's turn comes after that, and finds the engine empty.
    assert_eq!(server.post(EMBEDDINGS, &body(json!({}))).await.status, 200);
    for _ in 0..1_000 {
        let stats = engine.stats();
        // Of the two hundred, no more than were in the batch already.
        assert!(stats.prompt_tokens <= 4 * 4 + 2, "{stats:?}");
        if stats.prompt_tokens > 2 && (stats.running, stats.waiting) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the engine is still busy: {:?}", engine.stats());
}

/// The real model through the whole server, pooled as its entries say: llama.cpp's vectors.
#[tokio::test]
async fn a_real_model_gives_llama_cpps_vectors() {
    let mut server = Server::start(setup());
    let folder = tempfile::tempdir().unwrap();
    let path = models::path("smollm2-135m-instruct");
    let entry = |id: &str, more: &str| {
        format!(
            "[[models]]\nid = \"{id}\"\ntier = \"standard\"\ncontext_length = 256\n{more}\n\
             sources = [{{ path = {path:?} }}]\n"
        )
    };
    let text = format!(
        "[server]\nkv_memory = \"16MiB\"\nthreads = 2\nmax_batch = 4\n[tiers.standard]\n\
         credits_per_output_token = 1\n[plans.default]\n{}{}",
        entry("last", ""),
        entry("mean", "pooling = \"mean\""),
    );
    let catalog = Catalog::parse(&text, "models.toml", folder.path()).unwrap();
    let mut flags = ServeFlags::default();
    flags.store.data = Some(folder.path().to_owned());
    let config = Arc::new(Config::resolve(flags, catalog).unwrap());
    server.state.registry = Arc::new(Registry::new(config));
    server.router = api::router(server.state.clone());

    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/embeddings/smollm2-135m-instruct");
    let recorded = std::fs::read(format!("{data}.bin")).unwrap();
    let json: Value =
        serde_json::from_slice(&std::fs::read(format!("{data}.json")).unwrap()).unwrap();
    let size = json["size"].as_u64().unwrap() as usize;
    let texts: Vec<&Value> = json["texts"].as_array().unwrap().iter().map(|t| &t["text"]).collect();
    for (model, at) in [("mean", 0), ("last", 1)] {
        let answer = server.post(EMBEDDINGS, &json!({ "model": model, "input": texts })).await;
        let answer = answer.json();
        for (index, text) in texts.iter().enumerate() {
            let embedding = floats(&answer["data"][index]["embedding"]);
            assert_eq!(embedding.len(), size);
            let norm: f64 = embedding.iter().map(|value| value * value).sum();
            assert!((norm - 1.0).abs() < 1e-6);
            let theirs = recorded[(2 * index + at) * size * 4..][..size * 4].as_chunks::<4>().0;
            let theirs = theirs.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
            let (mut dot, mut square) = (0.0, 0.0);
            for (ours, theirs) in embedding.iter().zip(theirs) {
                dot += ours * theirs;
                square += theirs * theirs;
            }
            assert!(dot / square.sqrt() > 0.995, "{model}, {text}: {}", dot / square.sqrt());
            // Alone it is the same to the bit.
            let alone = json!({ "model": model, "input": text });
            let alone = server.post(EMBEDDINGS, &alone).await.json();
            assert_eq!(alone["data"][0]["embedding"], answer["data"][index]["embedding"]);
        }
    }
}
