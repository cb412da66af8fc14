//! The model: files read and refused, the forward pass of each family against candle-transformers,
//! the real models on both executors.

mod batch;
mod config;
mod cuda;
mod cuda_text;
mod damage;
mod families;
mod hashed;
mod pooling;
mod real;
mod storage_types;

use std::sync::Arc;

use mizan::model::executor::cpu::CpuExecutor;
use mizan::model::executor::reference::ReferenceExecutor;
use mizan::model::verify::logits_of_each_position;
use mizan::model::{BLOCK_SIZE, Decoder, DecoderShape, Executor, ExecutorLimits, Model};

use crate::support::tiny_models::TinyModel;

/// Limits for one sequence of `context` tokens, in steps of `step`.
fn limits(context: usize, step: usize) -> ExecutorLimits {
    let num_blocks = context.div_ceil(BLOCK_SIZE);
    ExecutorLimits { max_tokens: step, max_outputs: step, num_blocks, threads: 2 }
}

fn decoder(model: &Model, executor: Box<dyn Executor>, limits: &ExecutorLimits) -> Decoder {
    Decoder::new(executor, DecoderShape::new(&model.config, limits))
}

/// The CPU executor's logits after each token, computed in steps of `step`.
fn cpu_logits(model: &Arc<Model>, tokens: &[u32], step: usize) -> Vec<f32> {
    let limits = limits(tokens.len(), step);
    let executor = CpuExecutor::new(Arc::clone(model), limits).expect("enough memory");
    let mut decoder = decoder(model, Box::new(executor), &limits);
    logits_of_each_position(&mut decoder, tokens).expect("sound batches")
}

/// The reference executor's logits after each token, computed in steps of `step`.
fn reference_logits(model: &Arc<Model>, tokens: &[u32], step: usize) -> Vec<f32> {
    let limits = limits(tokens.len(), step);
    let executor = ReferenceExecutor::new(Arc::clone(model), limits).expect("enough memory");
    let mut decoder = decoder(model, Box::new(executor), &limits);
    logits_of_each_position(&mut decoder, tokens).expect("sound batches")
}

/// The reference executor's logits of a few tokens, of a model as a folder.
fn logits_of(tiny: &TinyModel) -> Vec<f32> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny.write_folder(folder.path(), 1);
    let model = Arc::new(Model::open(folder.path()).expect("sound"));
    reference_logits(&model, &[1, 5, 2, 7], 4)
}
