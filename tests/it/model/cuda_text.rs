//! Real models on a GPU: what the CPU says greedily, token by token. On an emulated one a few
//! tokens of the smallest; on a real one all, a token a step, as they are served.

use std::sync::Arc;

use kernels::cuda::{Gpu, Order};
use mizan::model::executor::cuda::{CudaExecutor, KvType};
use mizan::model::verify::logits_of_each_position;
use mizan::model::{Executor, Model};

use super::{cpu_logits, decoder, limits, real};
use crate::support::gpu::gpu;
use crate::support::models;

/// The CPU rounds activations to 8 bits and the GPU to bf16, which moves logits by up to 0.5
/// (`real::smollm2` and `cuda::a_real_quantized_file` print by how much): where the best is ahead
/// by more, it is the best on both.
const CLEARLY: f32 = 1.0;

#[test]
fn a_real_smollm2_says_what_it_says_on_the_cpu() {
    check("smollm2-135m-instruct", &real::SMOLLM2);
}

#[cfg(feature = "cuda")]
#[test]
fn a_real_qwen2_5_coder_says_what_it_says_on_the_cpu() {
    check("qwen2.5-coder-0.5b-instruct", &real::QWEN2_5_CODER);
}

#[cfg(feature = "cuda")]
#[test]
fn a_real_gemma_3_says_what_it_says_on_the_cpu() {
    check("gemma-3-270m", &real::GEMMA_3);
}

fn check(id: &str, prompt: &[u32]) {
    let gpu = gpu(Order::Forwards);
    let is_emulated = gpu.name() == "emulated GPU";
    if is_emulated && id != "smollm2-135m-instruct" {
        println!("{id}: not run, there is no GPU");
        return;
    }
    let (prompt, count, step) = if is_emulated { (&prompt[..4], 4, 8) } else { (prompt, 64, 1) };
    let model = Arc::new(Model::open(&models::path(id)).expect("a sound file"));
    let vocab = model.config.vocab_size;
    let mut tokens = prompt.to_vec();
    let mut margins = Vec::new();
    for _ in 0..count {
        let logits = cpu_logits(&model, &tokens, tokens.len());
        let (token, margin) = best(&logits[(tokens.len() - 1) * vocab..]);
        tokens.push(token);
        margins.push(margin);
    }
    let found = cuda_logits(gpu, &model, &tokens[..tokens.len() - 1], step);
    let found: Vec<u32> = found.chunks_exact(vocab).map(|logits| best(logits).0).collect();
    let (said, found) = (&tokens[prompt.len()..], &found[prompt.len() - 1..]);
    let clear = margins.iter().filter(|margin| **margin > CLEARLY).count();
    println!("{id}: {clear} of {count} tokens are clear");
    for (nth, margin) in margins.iter().enumerate() {
        let is_equal = found[nth] == said[nth];
        assert!(is_equal || *margin <= CLEARLY, "{id}, token {nth}, ahead by {margin}");
    }
    assert!(clear >= count / 2, "a prompt that leaves the model in doubt shows little");
}

fn cuda_logits(gpu: Box<dyn Gpu>, model: &Arc<Model>, tokens: &[u32], step: usize) -> Vec<f32> {
    let limits = limits(tokens.len(), step);
    let executor =
        CudaExecutor::new(gpu, Arc::clone(model), limits, KvType::Bf16).expect("it fits");
    let executor: Box<dyn Executor> = Box::new(executor);
    let mut decoder = decoder(model, executor, &limits);
    logits_of_each_position(&mut decoder, tokens).expect("sound batches")
}

/// The highest logit's id, and how far the next one is below it.
fn best(logits: &[f32]) -> (u32, f32) {
    let id = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("logits");
    let others = logits.iter().enumerate().filter(|(other, _)| *other != id);
    let next = others.fold(f32::NEG_INFINITY, |next, (_, logit)| next.max(*logit));
    (id as u32, logits[id] - next)
}
