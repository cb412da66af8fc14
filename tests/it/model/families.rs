//! Each family with tiny random weights: ours against candle-transformers' own f32 models, which
//! share nothing with us but the file.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models;
use mizan::model::executor::reference::ReferenceExecutor;
use mizan::model::verify::{Comparison, Gates, VerifyError, oracle_logits, verify};
use mizan::model::{BLOCK_SIZE, BatchSequence, ForwardBatch, Model};

use super::{cpu_logits, decoder, limits, reference_logits};
use crate::support::random::Random;
use crate::support::tiny_models::{self, Storage, TinyModel, VOCAB_SIZE};

/// Long enough to leave Gemma 3's window of 5 and to turn the slow frequencies visibly.
const NUM_TOKENS: usize = 40;

/// The CPU executor multiplies f32 weights in f32, but keeps keys and values in 16 bits.
const HALVES_IN_CACHE: Gates =
    Gates { max_nmse: 1e-6, min_top1_agreement: 0.97, max_mean_kld: 1e-6 };

#[test]
fn llama() {
    check(&tiny_models::llama());
}

#[test]
fn llama_with_scaled_rope() {
    check(&tiny_models::llama3());
}

#[test]
fn mistral() {
    check(&tiny_models::mistral());
}

#[test]
fn qwen2() {
    check(&tiny_models::qwen2());
}

#[test]
fn qwen3() {
    check(&tiny_models::qwen3());
}

#[test]
fn gemma2() {
    check(&tiny_models::gemma2());
}

#[test]
fn gemma3() {
    check(&tiny_models::gemma3());
}

/// The folder (whole and in shards), the GGUF file and candle agree.
fn check(tiny: &TinyModel) {
    let tokens = tokens(NUM_TOKENS);
    let expected = candle_logits(tiny, &tokens);
    for (what, model) in [
        ("safetensors", open_folder(tiny, 1)),
        ("three shards", open_folder(tiny, 3)),
        ("GGUF", open_gguf(tiny)),
    ] {
        let actual = reference_logits(&model, &tokens, NUM_TOKENS);
        let comparison = Comparison::of(&expected, &actual, VOCAB_SIZE);
        assert!(comparison.is_within(&Gates::EXACT), "{what}: {comparison}");
        let cpu = cpu_logits(&model, &tokens, NUM_TOKENS);
        let comparison = Comparison::of(&expected, &cpu, VOCAB_SIZE);
        assert!(comparison.is_within(&HALVES_IN_CACHE), "{what} on the CPU: {comparison}");
        assert!(cpu_logits(&model, &tokens, 7) == cpu, "{what}: other logits in steps of 7");
    }
}

/// Folders of 16-bit weights, as nearly all are.
#[test]
fn halves() {
    let tokens = tokens(NUM_TOKENS);
    for storage in [Storage::F16, Storage::BF16] {
        let tiny = tiny_models::gemma2();
        let expected = candle_logits(&tiny.clone().rounded(storage), &tokens);
        let model = open_folder(&TinyModel { storage, ..tiny }, 1);
        let actual = reference_logits(&model, &tokens, NUM_TOKENS);
        let comparison = Comparison::of(&expected, &actual, VOCAB_SIZE);
        assert!(comparison.is_within(&Gates::EXACT), "{storage:?}: {comparison}");
    }
}

/// A weight that is not a number fails the comparison although both sides have it.
#[test]
fn oracle_fails_on_a_damaged_tensor() {
    let mut tiny = tiny_models::llama();
    let damaged = tiny.tensors.get_mut("model.layers.1.mlp.up_proj.weight").expect("it has one");
    damaged.values[77] = f32::NAN;
    let (_folder, path, model) = gguf_on_disk(&tiny);
    let tokens = tokens(NUM_TOKENS);
    let limits = limits(NUM_TOKENS, NUM_TOKENS);
    let executor = ReferenceExecutor::new(Arc::clone(&model), limits).expect("enough memory");
    let mut decoder = decoder(&model, Box::new(executor), &limits);
    let comparison = verify(&path, &model, &mut decoder, &tokens).expect("both sides run");
    assert!(!comparison.is_within(&Gates::ROUNDED_ACTIVATIONS), "{comparison}");
}

/// The verify command's oracle, on the families it knows.
#[test]
fn oracle_agrees() {
    for (name, tiny) in [
        ("llama", tiny_models::llama()),
        ("qwen2", tiny_models::qwen2()),
        ("qwen3", tiny_models::qwen3()),
        ("gemma2", tiny_models::gemma2()),
        ("gemma3", tiny_models::gemma3()),
    ] {
        let (_folder, path, model) = gguf_on_disk(&tiny);
        let tokens = tokens(NUM_TOKENS);
        let expected = oracle_logits(&path, &model, &tokens).expect("the oracle knows it");
        let actual = reference_logits(&model, &tokens, tokens.len());
        let comparison = Comparison::of(&expected, &actual, VOCAB_SIZE);
        assert!(comparison.is_within(&Gates::EXACT), "{name}: {comparison}");
    }
}

/// What candle-transformers would compute wrongly is refused, with the reason.
#[test]
fn oracle_refuses() {
    for (tiny, num_tokens, reason) in [
        (tiny_models::llama3(), 4, "rope scaling"),
        (tiny_models::mistral(), 4, "attention.key_length"),
        (tiny_models::gemma2(), 65, "65 tokens, it can take 64"),
        (tiny_models::qwen2(), 129, "129 tokens, it can take 128"),
    ] {
        let (_folder, path, model) = gguf_on_disk(&tiny);
        match oracle_logits(&path, &model, &tokens(num_tokens)) {
            Err(VerifyError::Refused(why)) => assert!(why.contains(reason), "{why}"),
            other => panic!("expected a refusal for {reason}, got {other:?}"),
        }
    }
}

/// A prompt in chunks gives the logits of the whole prompt.
#[test]
fn chunks_do_not_matter() {
    let model = open_gguf(&tiny_models::gemma3());
    let tokens = tokens(NUM_TOKENS);
    let whole = reference_logits(&model, &tokens, NUM_TOKENS);
    for step in [1, 7, BLOCK_SIZE, 33] {
        let chunked = reference_logits(&model, &tokens, step);
        let comparison = Comparison::of(&whole, &chunked, VOCAB_SIZE);
        assert!(comparison.is_within(&Gates::EXACT), "steps of {step}: {comparison}");
    }
}

/// Two sequences in one step, their blocks scattered, give what each gives alone.
#[test]
fn neighbours_do_not_matter() {
    let model = open_gguf(&tiny_models::gemma3());
    let first = tokens(20);
    let second: Vec<u32> = tokens(NUM_TOKENS)[NUM_TOKENS - 18..].to_vec();
    let tables: [&[u32]; 2] = [&[3, 0], &[1, 4]];
    let mut batch = ForwardBatch::default();
    for (tokens, table) in [&first, &second].into_iter().zip(tables) {
        let (rows, blocks) = (batch.tokens.len() as u32, batch.block_tables.len() as u32);
        for (position, &token) in tokens.iter().enumerate() {
            let block = table[position / BLOCK_SIZE];
            batch.tokens.push(token);
            batch.positions.push(position as u32);
            batch.slots.push(block * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32);
        }
        batch.block_tables.extend_from_slice(table);
        batch.sequences.push(BatchSequence {
            rows: rows..rows + tokens.len() as u32,
            blocks: blocks..blocks + table.len() as u32,
            context_len: tokens.len() as u32,
        });
    }
    batch.outputs = (0..batch.tokens.len() as u32).collect();
    let limits = limits(5 * BLOCK_SIZE, 64);
    let executor = ReferenceExecutor::new(Arc::clone(&model), limits).expect("enough memory");
    let mut decoder = decoder(&model, Box::new(executor), &limits);
    let together = decoder.forward(&batch).expect("a sound batch");
    let alone = [
        reference_logits(&model, &first, first.len()),
        reference_logits(&model, &second, second.len()),
    ];
    let comparison = Comparison::of(&alone.concat(), together, VOCAB_SIZE);
    assert!(comparison.is_within(&Gates::EXACT), "{comparison}");
}

fn tokens(count: usize) -> Vec<u32> {
    let mut random = Random(99);
    (0..count).map(|_| random.below(VOCAB_SIZE) as u32).collect()
}

fn open_folder(tiny: &TinyModel, num_shards: usize) -> Arc<Model> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny.write_folder(folder.path(), num_shards);
    // The maps outlive the names of their files.
    Arc::new(Model::open(folder.path()).expect("a sound folder"))
}

fn open_gguf(tiny: &TinyModel) -> Arc<Model> {
    gguf_on_disk(tiny).2
}

fn gguf_on_disk(tiny: &TinyModel) -> (tempfile::TempDir, std::path::PathBuf, Arc<Model>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, tiny.to_gguf().build()).expect("writable");
    let model = Arc::new(Model::open(&path).expect("a sound file"));
    (folder, path, model)
}

/// candle-transformers' logits after each token, from the same config and weights.
fn candle_logits(tiny: &TinyModel, tokens: &[u32]) -> Vec<f32> {
    let tensors: HashMap<String, Tensor> = tiny
        .tensors
        .iter()
        .map(|(name, tensor)| {
            let dims = tensor.dims.as_slice();
            let values = Tensor::from_slice(&tensor.values, dims, &Device::Cpu);
            (name.clone(), values.expect("as many values as the shape says"))
        })
        .collect();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let mut forward = candle_model(tiny, weights).expect("candle knows the family");
    let mut logits = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        let token = Tensor::new(&[[*token]], &Device::Cpu).expect("one token");
        let row = forward(&token, position).expect("candle runs");
        logits.extend(row.flatten_all().and_then(|row| row.to_vec1::<f32>()).expect("f32"));
    }
    logits
}

type Forward = Box<dyn FnMut(&Tensor, usize) -> candle_core::Result<Tensor>>;

fn candle_model(tiny: &TinyModel, weights: VarBuilder<'_>) -> candle_core::Result<Forward> {
    let config = tiny.config.clone();
    let read = "candle's config has the same fields";
    Ok(match config["model_type"].as_str().expect("a string") {
        "llama" => {
            let config: models::llama::LlamaConfig = serde_json::from_value(config).expect(read);
            let config = config.into_config(false);
            let mut cache = models::llama::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
            let model = models::llama::Llama::load(weights, &config)?;
            Box::new(move |token, position| model.forward(token, position, &mut cache))
        }
        "mistral" => {
            let config = with_flash_attention_off(config);
            let config: models::mistral::Config = serde_json::from_value(config).expect(read);
            let mut model = models::mistral::Model::new(&config, weights)?;
            Box::new(move |token, position| model.forward(token, position))
        }
        "qwen2" => {
            let config: models::qwen2::Config = serde_json::from_value(config).expect(read);
            let mut model = models::qwen2::ModelForCausalLM::new(&config, weights)?;
            Box::new(move |token, position| model.forward(token, position))
        }
        "qwen3" => {
            let config: models::qwen3::Config = serde_json::from_value(config).expect(read);
            let mut model = models::qwen3::ModelForCausalLM::new(&config, weights)?;
            Box::new(move |token, position| model.forward(token, position))
        }
        "gemma2" => {
            let config: models::gemma2::Config = serde_json::from_value(config).expect(read);
            let mut model = models::gemma2::Model::new(false, &config, weights)?;
            Box::new(move |token, position| model.forward(token, position))
        }
        "gemma3_text" => {
            let config: models::gemma3::Config = serde_json::from_value(config).expect(read);
            let mut model = models::gemma3::Model::new(false, &config, weights)?;
            Box::new(move |token, position| model.forward(token, position))
        }
        other => panic!("no candle model for {other}"),
    })
}

fn with_flash_attention_off(mut config: serde_json::Value) -> serde_json::Value {
    config["use_flash_attn"] = false.into();
    config
}
