//! Vectors of texts: both executors' against each other, of tiny models against their own logits,
//! and the real models' against llama.cpp's (`tests/data/record_embeddings.py`).
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

use std::path::PathBuf;
use std::sync::Arc;

use mizan::engine::{EmbeddingRequest, Engine, EngineOptions, Pooling, Turn};
use mizan::model::executor::cpu::CpuExecutor;
use mizan::model::executor::reference::ReferenceExecutor;
use mizan::model::{
    BLOCK_SIZE, BatchSequence, Decoder, DecoderShape, Executor, ExecutorLimits, ForwardBatch, Model,
};
use serde::Deserialize;

use crate::support::tiny_models::{self, TinyModel, VOCAB_SIZE};
use crate::support::{self, models};

/// Cosine of the angle between our vector and llama.cpp's, at least. Both round activations to 8
/// bits, each in its own way. Measured: 0.9959 and more.
const MIN_LLAMA_CPP: f64 = 0.995;
/// Between the CPU executor's and the reference's, which rounds nothing. Measured: 0.9976 and more.
const MIN_REFERENCE: f64 = 0.995;

const LIMITS: ExecutorLimits =
    ExecutorLimits { max_tokens: 64, max_outputs: 8, num_blocks: 64, threads: 2 };

#[derive(Deserialize)]
struct Fixture {
    size: usize,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    ids: Vec<u32>,
}

#[test]
fn smollm2_gives_llama_cpps_vectors() {
    check("smollm2-135m-instruct");
}

#[test]
fn gemma_3_gives_llama_cpps_vectors() {
    check("gemma-3-270m");
}

#[test]
fn qwen2_5_coder_gives_llama_cpps_vectors() {
    check("qwen2.5-coder-0.5b-instruct");
}

fn check(name: &str) {
    let _alone = support::all_cores();
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/embeddings");
    let json = std::fs::read(data.join(format!("{name}.json"))).unwrap();
    let fixture: Fixture = serde_json::from_slice(&json).unwrap();
    let recorded = std::fs::read(data.join(format!("{name}.bin"))).unwrap();
    let floats = recorded.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let recorded: Vec<f32> = floats.collect();
    let mut recorded = recorded.chunks_exact(fixture.size);

    let model = Arc::new(Model::open(&models::path(name)).unwrap());
    let texts: Vec<Vec<u32>> = fixture.texts.into_iter().map(|text| text.ids).collect();
    let pooled = |executor: Box<dyn Executor>| vectors(&model, executor, &texts);
    let cpu = pooled(Box::new(CpuExecutor::new(Arc::clone(&model), LIMITS).unwrap()));
    let reference = pooled(Box::new(ReferenceExecutor::new(Arc::clone(&model), LIMITS).unwrap()));
    let (mut of_llama_cpp, mut of_reference) = (1.0_f64, 1.0_f64);
    for (cpu, reference) in cpu.iter().zip(&reference) {
        of_llama_cpp = of_llama_cpp.min(cosine(cpu, recorded.next().unwrap()));
        of_reference = of_reference.min(cosine(cpu, reference));
    }
    assert!(recorded.next().is_none());
    let figures = format!("{name}: llama.cpp {of_llama_cpp:.5}, reference {of_reference:.5}");
    println!("{figures}");
    assert!(of_llama_cpp >= MIN_LLAMA_CPP && of_reference >= MIN_REFERENCE, "{figures}");
}

/// Of each text the mean of its hidden states, then the last of them; all made at once.
fn vectors(model: &Model, executor: Box<dyn Executor>, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let options = EngineOptions {
        max_batch: LIMITS.max_outputs,
        max_step_tokens: LIMITS.max_tokens,
        max_waiting: 100,
        num_blocks: LIMITS.num_blocks,
        prefix_cache: true,
        speculative_rows: 0,
        name: "vectors".to_owned(),
    };
    let decoder = Decoder::new(executor, DecoderShape::new(&model.config, &LIMITS));
    let (engine, mut core) = Engine::without_thread(decoder, options);
    let requests = texts.iter().flat_map(|ids| {
        [Pooling::Mean, Pooling::Last].map(|pooling| EmbeddingRequest {
            lane: 0,
            prompt: ids.clone(),
            pooling,
        })
    });
    let mut streams: Vec<_> = requests.map(|request| engine.embed(request).unwrap()).collect();
    while core.step() == Turn::Ran {}
    streams.iter_mut().map(|stream| stream.blocking_vector().unwrap()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_hidden_state_is_what_the_output_matrix_is_applied_to() {
    for (what, tiny) in [
        ("llama", tiny_models::llama()),
        ("qwen2", tiny_models::qwen2()),
        ("qwen3", tiny_models::qwen3()),
        ("gemma3", tiny_models::gemma3()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        std::fs::write(&path, tiny.to_gguf().build()).unwrap();
        let model = Arc::new(Model::open(&path).unwrap());
        let cpu = CpuExecutor::new(Arc::clone(&model), LIMITS).unwrap();
        check_outputs(&format!("{what} on the CPU"), &tiny, &model, Box::new(cpu));
        let reference = ReferenceExecutor::new(Arc::clone(&model), LIMITS).unwrap();
        check_outputs(&format!("{what} by the reference"), &tiny, &model, Box::new(reference));
    }
}

/// The same rows once with logits and once with hidden states: one times the weights is the other.
fn check_outputs(what: &str, tiny: &TinyModel, model: &Model, executor: Box<dyn Executor>) {
    let mut decoder = Decoder::new(executor, DecoderShape::new(&model.config, &LIMITS));
    // Two sequences of 20 ids: of the first, rows 3, 4, 5 and 19 have logits.
    let rows: Vec<u32> = vec![3, 4, 5, 19];
    let mut batch = ForwardBatch { outputs: rows.clone(), ..ForwardBatch::default() };
    for sequence in 0..2_u32 {
        let first_block = sequence * 2;
        for position in 0..20_u32 {
            batch.tokens.push((position * 7 + 1) % VOCAB_SIZE as u32);
            batch.positions.push(position);
            batch.slots.push(first_block * BLOCK_SIZE as u32 + position);
        }
        batch.block_tables.extend([first_block, first_block + 1]);
        batch.sequences.push(BatchSequence {
            rows: sequence * 20..sequence * 20 + 20,
            blocks: sequence * 2..sequence * 2 + 2,
            context_len: 20,
        });
    }
    // Of the second, which is the same, they have hidden states.
    batch.hidden = rows.iter().map(|row| row + 20).collect();
    let outputs = decoder.run(&batch).unwrap();
    let tensor = |name: &str| tiny.tensors.get(name);
    let weights = tensor("lm_head.weight").or(tensor("model.embed_tokens.weight")).unwrap();
    let size = model.config.hidden_size;
    let hidden = outputs.hidden.chunks_exact(size);
    assert_eq!(hidden.len(), rows.len(), "{what}");
    for (hidden, logits) in hidden.zip(outputs.logits.chunks_exact(VOCAB_SIZE)) {
        for (weights, logit) in weights.values.chunks_exact(size).zip(logits) {
            let product: f32 = weights.iter().zip(hidden).map(|(w, h)| w * h).sum();
            assert!((product - logit).abs() < 1e-4, "{what}: {product} and {logit}");
        }
    }
    // All rows at once, as for a mean: the same bits.
    let some = outputs.hidden.to_vec();
    (batch.outputs, batch.hidden) = (Vec::new(), (0..40).collect());
    let all = decoder.run(&batch).unwrap().hidden;
    for (row, hidden) in rows.iter().zip(some.chunks_exact(size)) {
        for start in [*row as usize, *row as usize + 20] {
            let again = &all[start * size..][..size];
            let is_close = hidden.iter().zip(again).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(is_close, "{what}, row {start}");
            assert!(what.ends_with("reference") || again == hidden, "{what}, row {start}");
        }
    }
}
