//! Models on demand: what is offered, what is here, and what happens when memory is short.

use std::path::Path;
use std::sync::Arc;

use mizan::catalog::Catalog;
use mizan::config::{Config, ServeFlags};
use mizan::registry::{Registry, RegistryError};
use tempfile::TempDir;

use crate::support::models;

/// A configuration whose models are `files`, each under its own id, with `[server]` settings.
fn config(folder: &Path, server: &str, files: &[(&str, &Path)]) -> Arc<Config> {
    let mut text = format!(
        "[server]\n{server}\n[tiers.standard]\ncredits_per_output_token = 1\n[plans.default]\n"
    );
    for (id, path) in files {
        text.push_str(&format!(
            "[[models]]\nid = \"{id}\"\naliases = [\"{id}-too\"]\ntier = \"standard\"\n\
             context_length = 256\nsources = [{{ path = {path:?} }}]\n"
        ));
    }
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
    let server = "model_memory = \"256MiB\"\nkv_memory = \"16MiB\"\nthreads = 1\nmax_batch = 2";
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
    drop((a, c));
    registry.get("b").await.expect("now there is room");
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
