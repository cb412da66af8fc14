//! What files say of pooling: GGUF's key, sentence-transformers' files; and embedding models that
//! would be computed wrongly, which are refused.

use std::fs;
use std::path::Path;

use mizan::model::{DeclaredPooling, Model, Pooling};
use serde_json::{Value, json};

use super::logits_of;
use crate::support::tiny_models::{self, TinyModel, TinyTensor};

fn open_gguf(pooling_type: Option<u32>) -> Model {
    let file = tiny_models::qwen3().to_gguf();
    let file = match pooling_type {
        Some(kind) => file.u32("qwen3.pooling_type", kind),
        None => file,
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, file.build()).expect("writable");
    Model::open(&path).expect("sound")
}

fn write(folder: &Path, name: &str, value: &Value) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
    fs::write(path, value.to_string()).expect("writable");
}

/// The folder of a model with sentence-transformers' files, where they are given.
fn open_folder(modules: Option<&[&str]>, modes: Option<Value>) -> Result<Model, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny_models::qwen3().write_folder(folder.path(), 1);
    if let Some(modules) = modules {
        let module =
            |kind: &&str| json!({ "type": format!("sentence_transformers.models.{kind}") });
        write(folder.path(), "modules.json", &modules.iter().map(module).collect());
    }
    if let Some(modes) = modes {
        write(folder.path(), "1_Pooling/config.json", &modes);
    }
    Model::open(folder.path()).map_err(|error| error.to_string())
}

fn unsupported(what: &str) -> DeclaredPooling {
    DeclaredPooling::Unsupported(what.to_owned())
}

#[test]
fn gguf_says_it_by_number() {
    for (kind, expected) in [
        (None, DeclaredPooling::Unsaid),
        (Some(0), DeclaredPooling::Unsaid),
        (Some(1), DeclaredPooling::By(Pooling::Mean)),
        (Some(2), DeclaredPooling::By(Pooling::First)),
        (Some(3), DeclaredPooling::By(Pooling::Last)),
        (Some(4), unsupported("it ranks texts")),
        (Some(5), unsupported("its pooling is of type 5")),
    ] {
        assert_eq!(open_gguf(kind).pooling, expected, "{kind:?}");
    }
}

#[test]
fn a_folder_says_it_as_sentence_transformers_does() {
    let check = |modules: Option<&[&str]>, modes: Option<Value>, expected: DeclaredPooling| {
        let model = open_folder(modules, modes.clone()).expect("sound");
        assert_eq!(model.pooling, expected, "{modules:?} {modes:?}");
    };
    let last = json!({
        "word_embedding_dimension": 32, "pooling_mode_cls_token": false,
        "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false,
        "pooling_mode_lasttoken": true, "include_prompt": true,
    });
    let usual = ["Transformer", "Pooling", "Normalize"];
    check(None, None, DeclaredPooling::Unsaid);
    check(Some(&usual), Some(last.clone()), DeclaredPooling::By(Pooling::Last));
    check(None, Some(last.clone()), DeclaredPooling::By(Pooling::Last));
    let mean = json!({ "pooling_mode_mean_tokens": true });
    check(Some(&usual), Some(mean), DeclaredPooling::By(Pooling::Mean));
    let cls = json!({ "pooling_mode_cls_token": true });
    check(Some(&usual), Some(cls), DeclaredPooling::By(Pooling::First));
    let max = json!({ "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true });
    let two = "its pooling is max and mean";
    let found = open_folder(None, Some(max)).expect("sound").pooling;
    assert!(found == unsupported(two) || found == unsupported("its pooling is mean and max"));
    check(None, Some(json!({})), unsupported("its pooling is of no known kind"));
    let dense = ["Transformer", "Pooling", "Dense", "Normalize"];
    let further = unsupported("its vectors pass a further module, Dense");
    check(Some(&dense), Some(last), further);
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny_models::qwen3().write_folder(folder.path(), 1);
    fs::write(folder.path().join("modules.json"), "not JSON").expect("writable");
    let error = Model::open(folder.path()).expect_err("damaged").to_string();
    assert!(error.contains("modules.json") && error.contains("not JSON"), "{error}");
}

/// Embedding models are stored without a head, and their tensors without a prefix.
#[test]
fn a_folder_without_head_and_prefix_is_the_same_model() {
    let tiny = tiny_models::qwen3();
    let bare = |(name, tensor): (&String, &TinyTensor)| {
        (name.strip_prefix("model.").unwrap_or(name).to_owned(), tensor.clone())
    };
    let bare = TinyModel { tensors: tiny.tensors.iter().map(bare).collect(), ..tiny.clone() };
    assert!(bare.tensors.contains_key("embed_tokens.weight"));
    assert_eq!(logits_of(&bare), logits_of(&tiny));
}

#[test]
fn models_whose_tokens_read_those_after_them_are_refused() {
    let open = |tiny: TinyModel, key: &str, value: Value| {
        let mut tiny = tiny;
        tiny.config[key] = value;
        let folder = tempfile::tempdir().expect("a temporary folder");
        tiny.write_folder(folder.path(), 1);
        Model::open(folder.path()).map_err(|error| error.to_string())
    };
    let both_ways = "use_bidirectional_attention";
    for (tiny, key, value) in [
        (tiny_models::gemma3(), both_ways, json!(true)),
        (tiny_models::gemma3(), both_ways, json!("all")),
        (tiny_models::qwen2(), "is_causal", json!(false)),
    ] {
        let error = open(tiny, key, value).expect_err("not causal");
        assert!(error.contains("attention that is not causal"), "{error}");
    }
    for value in [json!(null), json!(false), json!("vision")] {
        assert!(open(tiny_models::gemma3(), both_ways, value).is_ok());
    }
    // EmbeddingGemma in GGUF.
    let file = tiny_models::gemma3().to_gguf().without("general.architecture");
    let file = file.string("general.architecture", "gemma-embedding").build();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, file).expect("writable");
    let error = Model::open(&path).expect_err("another architecture").to_string();
    let expected = "architecture `gemma-embedding`, whose attention is not causal; known are";
    assert!(error.contains(expected), "{error}");
}
