//! Models on demand: what is offered, what is here, and what happens when memory is short.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mizan::catalog::Catalog;
use mizan::config::{Config, ServeFlags};
use mizan::engine::Pooling;
use mizan::registry::{Registry, RegistryError};
use mizan::text::{ChatMessage, TemplateOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{models, tiny_models};

/// A configuration whose models are `files`, each under its own id, with `[server]` settings.
fn config(folder: &Path, server: &str, files: &[(&str, &Path)]) -> Arc<Config> {
    let mut models = String::new();
    for (id, path) in files {
        models.push_str(&format!(
            "[[models]]\nid = \"{id}\"\naliases = [\"{id}-too\"]\ntier = \"standard\"\n\
             context_length = 256\nsources = [{{ path = {path:?} }}]\n"
        ));
    }
    config_of(folder, server, &models)
}

/// A configuration with these `[[models]]`.
fn config_of(folder: &Path, server: &str, models: &str) -> Arc<Config> {
    let tiers = "[tiers.standard]\ncredits_per_output_token = 1\n[plans.default]\n";
    let text = format!("[server]\n{server}\n{tiers}{models}");
    let catalog = Catalog::parse(&text, "models.toml", folder).expect("a sound catalog");
    let mut flags = ServeFlags::default();
    flags.store.data = Some(folder.join("data"));
    Arc::new(Config::resolve(flags, catalog).expect("sound settings"))
}

#[tokio::test]
async fn a_model_is_loaded_once_and_the_least_recently_used_leaves() {
    let folder = TempDir::new().expect("a folder");
    let file = models::path("smollm2-135m-instruct");
    // Each takes about 98 MB of weights and 16 MiB for keys and values: two fit, three do not.
    let server = "model_memory = \"256MiB\"\nkv_memory = \"16MiB\"\nthreads = 1\nmax_batch = 2\n\
                  model_wait_secs = 1";
    let files = [("a", file.as_path()), ("b", &file), ("c", &file)];
    let registry = Arc::new(Registry::new(config(folder.path(), server, &files)));

    let (first, again) = tokio::join!(registry.get("a"), registry.get("a-too"));
    let (first, again) = (first.expect("it loads"), again.expect("it loads"));
    assert!(Arc::ptr_eq(&first, &again), "loaded twice");
    assert_eq!(first.context_length, 256);
    drop((first, again));

    let b = registry.get("b").await.expect("two fit");
    drop(registry.get("a").await.expect("still here"));
    drop(b);
    let c = registry.get("c").await.expect("b leaves: a was used later");
    let mut here: Vec<String> = registry.loaded().iter().map(|m| m.entry.id.clone()).collect();
    here.sort();
    assert_eq!(here, ["a", "c"]);

    let a = registry.get("a").await.expect("still here");
    match registry.get("b").await {
        Err(RegistryError::OutOfMemory { id, .. }) => assert_eq!(id, "b"),
        other => panic!("both others are in use, and got {other:?}"),
    }
    // Whoever waits gets the room that another leaves.
    let waiting = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move { registry.get("b").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "both others are in use, and a second is not over");
    drop(a);
    waiting.await.expect("no panic").expect("now there is room");
    let mut here: Vec<String> = registry.loaded().iter().map(|m| m.entry.id.clone()).collect();
    here.sort();
    assert_eq!(here, ["b", "c"]);
    drop(c);
}

#[tokio::test]
async fn what_cannot_be_loaded_says_why() {
    let folder = TempDir::new().expect("a folder");
    let damaged = folder.path().join("damaged.gguf");
    std::fs::write(&damaged, b"GGUF\x03\0\0\0").expect("a file");
    let missing = folder.path().join("missing.gguf");
    let files = [("damaged", damaged.as_path()), ("missing", &missing)];
    let registry = Arc::new(Registry::new(config(folder.path(), "", &files)));

    assert!(matches!(registry.get("other").await, Err(RegistryError::UnknownModel(_))));
    assert!(matches!(registry.get("missing").await, Err(RegistryError::NotFetched(_))));
    let failed = registry.get("damaged").await.expect_err("it is eight bytes long");
    assert!(matches!(failed, RegistryError::Failed { .. }), "{failed}");
    let offered: Vec<&str> = registry.entries().map(|entry| entry.id.as_str()).collect();
    assert_eq!(offered, ["damaged", "missing"]);
    let available: Vec<String> = registry.available().into_iter().map(|entry| entry.id).collect();
    assert_eq!(available, ["damaged"], "what is not here is not listed");
}

/// A folder as Hugging Face's library writes it: tiny random weights, and a vocabulary of a few
/// letters.
pub(crate) fn write_folder(folder: &Path, settings: &Value) {
    tiny_models::llama().write_folder(folder, 1);
    let tokenizer = json!({
        "added_tokens": [{ "id": 0, "content": "<|end|>", "special": true }],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false },
        "model": { "type": "BPE", "vocab": { "a": 1, "b": 2, "ab": 3 }, "merges": ["a b"] },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("writable");
    std::fs::write(folder.join("tokenizer_config.json"), settings.to_string()).expect("writable");
}

/// Little of everything, which is plenty for tiny models.
const SMALL: &str = "kv_memory = \"1MiB\"\nthreads = 1\nmax_batch = 2";

/// What a folder's template makes of a message `ab`; `None`: it is a model without a template.
async fn prompt_of(settings: Value, jinja: Option<&str>) -> Option<String> {
    let folder = TempDir::new().expect("a folder");
    write_folder(folder.path(), &settings);
    if let Some(source) = jinja {
        std::fs::write(folder.path().join("chat_template.jinja"), source).expect("writable");
    }
    let data = TempDir::new().expect("a folder");
    let config = config(data.path(), SMALL, &[("tiny", folder.path())]);
    let model = Arc::new(Registry::new(config)).get("tiny").await.expect("a sound folder");
    let template = model.chat_template.as_ref()?;
    let messages = [ChatMessage::new("user", "ab")];
    let segments = template.render(&messages, &TemplateOptions::default()).expect("it renders");
    Some(segments.iter().map(|segment| segment.text()).collect())
}

#[tokio::test]
async fn a_folders_template_is_where_hugging_face_puts_it() {
    let source = |name: &str| format!("{name}: {{{{ messages[0].content }}}}{{{{ eos_token }}}}");
    let settings = |template: Value| json!({ "eos_token": "<|end|>", "chat_template": template });
    let named = |name: &str| json!({ "name": name, "template": source(name) });
    let check = async |template: Value, jinja: Option<&str>, expected: Option<&str>| {
        let prompt = prompt_of(settings(template.clone()), jinja).await;
        assert_eq!(prompt.as_deref(), expected, "{template}");
    };
    check(json!(source("only")), None, Some("only: ab<|end|>")).await;
    // Several, by name: tools are not offered to the model, so it is the default one.
    let several = json!([named("tool_use"), named("default"), named("rag")]);
    check(several.clone(), None, Some("default: ab<|end|>")).await;
    // Hugging Face's library refuses to choose here.
    check(json!([named("tool_use"), named("rag")]), None, None).await;
    check(json!([]), None, None).await;
    check(Value::Null, None, None).await;
    // The newer place wins.
    check(several, Some(&source("file")), Some("file: ab<|end|>")).await;
    check(Value::Null, Some(&source("file")), Some("file: ab<|end|>")).await;
}

#[tokio::test]
async fn a_model_whose_engine_has_ended_is_loaded_again() {
    let folder = TempDir::new().expect("a folder");
    write_folder(folder.path(), &json!({}));
    let data = TempDir::new().expect("a folder");
    let registry = Registry::new(config(data.path(), SMALL, &[("tiny", folder.path())]));
    let registry = Arc::new(registry);
    let first = registry.get("tiny").await.expect("a sound folder");
    first.engine.stop(); // A panic leaves it so too.
    let (again, too) = tokio::join!(registry.get("tiny"), registry.get("tiny-too"));
    let (again, too) = (again.expect("a sound folder"), too.expect("a sound folder"));
    assert!(!Arc::ptr_eq(&first, &again) && again.engine.is_running());
    assert!(Arc::ptr_eq(&again, &too), "loaded twice");
    assert_eq!(registry.loaded().len(), 1);
}

#[tokio::test]
async fn a_status_request_reads_no_weights_and_a_refused_file_is_read_once() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, "other weights").expect("a file");
    let time = std::fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
    let models = format!(
        "[[models]]\nid = \"model\"\ntier = \"standard\"\nsha256 = \"{}\"\n\
         sources = [{{ path = {file:?} }}]\n",
        "0".repeat(64)
    );
    let registry = Arc::new(Registry::new(config_of(folder.path(), "", &models)));
    assert_eq!(registry.available().len(), 1, "nobody has read it yet");

    let refused = registry.get("model").await.expect_err("other weights").to_string();
    assert!(refused.contains(" instead of 000"), "{refused}");
    assert!(registry.available().is_empty(), "it was found wrong");
    // Same size, same time: who reads it again sees another digest.
    std::fs::write(&file, "OTHER WEIGHTS").expect("written");
    let written = std::fs::File::options().append(true).open(&file).expect("the file");
    written.set_modified(time).expect("set");
    let again = registry.get("model").await.expect_err("other weights").to_string();
    assert_eq!(again, refused);
}

#[tokio::test]
async fn a_load_that_fails_is_told_to_all_who_wait_and_tried_again_for_the_next() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.gguf");
    // Nobody can read this to its end before somebody writes.
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("it runs").success());
    let models = format!(
        "[[models]]\nid = \"model\"\ntier = \"standard\"\nsha256 = \"{}\"\n\
         sources = [{{ path = {file:?} }}]\n",
        "0".repeat(64)
    );
    let registry = Arc::new(Registry::new(config_of(folder.path(), "", &models)));
    let ask = || {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move { registry.get("model").await.map(drop) })
    };
    let asked = [(); 5].map(|()| ask());
    while registry.status()[0].waiting < asked.len() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let write = move || {
        let mut pipe = std::fs::File::options().write(true).open(&file).expect("its reader");
        // Whoever reads now has the pipe; whoever opens the file from now on finds other weights.
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, "other weights").expect("written");
        std::io::Write::write_all(&mut pipe, b"weights").expect("read");
    };
    tokio::task::spawn_blocking(write).await.expect("no panic");
    let mut told = Vec::new();
    for asked in asked {
        told.push(asked.await.expect("no panic").expect_err("it is damaged").to_string());
    }
    assert!(told.iter().all(|why| *why == told[0]), "{told:#?}");
    let next = registry.get("model").await.expect_err("other weights").to_string();
    assert!(next.contains(" instead of 000") && next != told[0], "{next}");
}

#[tokio::test]
async fn vectors_are_pooled_as_the_operator_says_or_the_files_or_by_the_last_token() {
    let check = async |lines: &str, file: Option<Value>, expected: Result<Pooling, &str>| {
        let folder = TempDir::new().expect("a folder");
        write_folder(folder.path(), &json!({}));
        if let Some(file) = &file {
            let pooling = folder.path().join("1_Pooling");
            std::fs::create_dir(&pooling).expect("writable");
            std::fs::write(pooling.join("config.json"), file.to_string()).expect("writable");
        }
        let models = format!(
            "[[models]]\nid = \"tiny\"\ntier = \"standard\"\n{lines}\n\
             sources = [{{ path = {:?} }}]\n",
            folder.path()
        );
        let data = TempDir::new().expect("a folder");
        let registry = Arc::new(Registry::new(config_of(data.path(), SMALL, &models)));
        let embedding = registry.get("tiny").await.expect("sound").embedding.clone();
        let found = embedding.as_ref().map(|e| e.pooling).map_err(String::as_str);
        assert_eq!(found, expected, "{lines} {file:?}");
        assert!(embedding.is_err() || embedding.is_ok_and(|e| e.size == 32));
    };
    let mean = || Some(json!({ "pooling_mode_mean_tokens": true }));
    let max = || Some(json!({ "pooling_mode_max_tokens": true }));
    check("", None, Ok(Pooling::Last)).await;
    check("", mean(), Ok(Pooling::Mean)).await;
    check("pooling = \"last\"", mean(), Ok(Pooling::Last)).await;
    check("pooling = \"cls\"", None, Ok(Pooling::First)).await;
    check("", max(), Err("its pooling is max")).await;
    check("pooling = \"mean\"\nmin_dimensions = 8", max(), Ok(Pooling::Mean)).await;
}

#[tokio::test]
async fn a_model_has_no_shorter_vectors_than_its_own_are_long() {
    let folder = TempDir::new().expect("a folder");
    write_folder(folder.path(), &json!({}));
    let models = format!(
        "[[models]]\nid = \"tiny\"\ntier = \"standard\"\nmin_dimensions = 33\n\
         sources = [{{ path = {:?} }}]\n",
        folder.path()
    );
    let data = TempDir::new().expect("a folder");
    let registry = Arc::new(Registry::new(config_of(data.path(), SMALL, &models)));
    let error = registry.get("tiny").await.expect_err("its vectors have 32 values");
    assert!(error.to_string().contains("min_dimensions is 33, and its vectors have 32"), "{error}");
}
