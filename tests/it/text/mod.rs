//! Tokenizers and chat templates against their oracles: llama.cpp and Python's Jinja.
#![allow(clippy::unwrap_used, reason = "in tests, a panic that names the line is enough")]

mod answers;
mod hostile;
mod templates;
mod tokenize;
mod tokenizer_json;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use mizan::model::Model;
use mizan::text::{Tokenizer, Vocabulary};

use crate::support::{models, random::Random};

const MODELS: [&str; 3] = ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m"];

fn vocabulary(model: &str) -> Vocabulary {
    let model = Model::open(&models::path(model)).unwrap();
    mizan::registry::vocabulary(&model.metadata.unwrap()).unwrap()
}

/// The tokenizer of a real model, built once.
fn tokenizer(model: &str) -> Arc<Tokenizer> {
    static BUILT: LazyLock<Mutex<HashMap<String, Arc<Tokenizer>>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap();
    let build = || Arc::new(Tokenizer::from_vocabulary(vocabulary(model)).unwrap());
    built.entry(model.to_owned()).or_insert_with(build).clone()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn json(name: &str) -> serde_json::Value {
    let path = data(name);
    let text = std::fs::read_to_string(&path);
    serde_json::from_str(&text.unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// Text of characters from all of Unicode, those of ASCII as often as the others.
fn random_text(random: &mut Random, max_chars: usize) -> String {
    let length = random.below(max_chars + 1);
    let mut character = || match random.below(2) {
        0 => char::from(random.below(128) as u8),
        _ => char::from_u32(random.below(0x11_0000) as u32).unwrap_or('\u{FFFD}'),
    };
    (0..length).map(|_| character()).collect()
}
