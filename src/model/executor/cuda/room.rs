//! What a model takes of a GPU's memory, and how many blocks of keys and values fit beside it.
//!
//! Promises: what is refused is refused before anything is loaded, with how much is missing and
//! what would fit; what is not refused fits, unless others take memory meanwhile.
//! Never knows: how an operator says it.

use kernels::cuda::{
    DENSE_TOKENS, DenseScratch, Format, GROUP, Gpu, ITEM_WORDS, KvType, MAX_GROUP, TILE,
};

use super::choose::bytes as choice_bytes;
use super::inputs::TABLE_WORDS;
use super::weights::not_run;
use super::{ExecutorLimits, kinds_of_windows, max_items};
use crate::model::batch::BLOCK_SIZE;
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use crate::model::load::Model;
use crate::model::weights::{LayerWeights, Tensor};

/// How many blocks of keys and values a model shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvBlocks {
    /// So many.
    Exactly(usize),
    /// As many as nine tenths of the memory hold that weights and a step leave, within these.
    AsFits {
        /// Those of one full context.
        least: usize,
        /// Those of a full batch of full contexts.
        most: usize,
    },
}

/// Bytes of a model on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    weights: usize,
    /// What steps work with.
    step: usize,
    /// A block of keys and values, over all layers.
    block: usize,
    /// The same, if keys and values were stored as fp8.
    fp8_block: usize,
}

/// Bytes that a block of keys and values takes over all layers.
pub fn kv_bytes_per_block(config: &ModelConfig, kv_type: KvType) -> usize {
    let position = kv_type.position_bytes(config.num_kv_heads, config.head_dim);
    2 * BLOCK_SIZE * config.num_layers * position
}

impl Room {
    /// Of a model with steps within `limits`, whatever their number of blocks.
    ///
    /// # Errors
    /// A matrix of a type that GPUs do not run.
    pub fn of(model: &Model, limits: &ExecutorLimits, kv_type: KvType) -> Result<Self, ModelError> {
        let config = &model.config;
        let dense = if limits.max_tokens < DENSE_TOKENS {
            0
        } else {
            DenseScratch::bytes(dense_matrices(model)?.into_iter(), limits.max_tokens)
        };
        Ok(Self {
            weights: weight_bytes(model)?,
            step: step_bytes(config, limits) + dense,
            block: kv_bytes_per_block(config, kv_type),
            fp8_block: kv_bytes_per_block(config, KvType::Fp8),
        })
    }

    /// Bytes with so many blocks.
    pub fn with_blocks(&self, blocks: usize) -> usize {
        (self.weights.saturating_add(self.step)).saturating_add(blocks.saturating_mul(self.block))
    }

    /// How many of the blocks fit what is free on `gpu` now.
    ///
    /// # Errors
    /// Too few fit, or the weights do not.
    pub fn blocks(&self, gpu: &dyn Gpu, wanted: KvBlocks) -> Result<usize, ModelError> {
        let free = gpu.free_memory()?;
        let fit = free.saturating_sub(self.with_blocks(0)) / self.block;
        let (least, remedy) = match wanted {
            KvBlocks::Exactly(blocks) => {
                (blocks, format!("lower kv_memory to {}", mib_below(fit * self.block)))
            }
            KvBlocks::AsFits { least, .. } => {
                (least, format!("lower the model's context_length to {}", fit * BLOCK_SIZE))
            }
        };
        if self.with_blocks(least) <= free {
            return Ok(match wanted {
                KvBlocks::Exactly(blocks) => blocks,
                KvBlocks::AsFits { least, most } => (fit / 10 * 9).clamp(least, most.max(least)),
            });
        }
        let needed = self.with_blocks(least);
        let remedy = if fit > 0 { format!("{remedy}, use ") } else { "use ".to_owned() };
        // Of a given number of bytes fp8 makes more blocks, not fewer bytes.
        let is_of_context = matches!(wanted, KvBlocks::AsFits { .. });
        let with_fp8 = least.saturating_mul(self.fp8_block).saturating_add(self.with_blocks(0));
        let fp8 = if is_of_context && with_fp8 <= free { " kv_type fp8," } else { "" };
        Err(ModelError::Executor(format!(
            "the model needs {} on {}: weights {}, a step {}, keys and values of {} tokens {}; {} \
             are free, {} too few: {remedy}fewer bits a weight,{fp8} a smaller max_step_tokens, \
             or --device cpu",
            mib(needed),
            gpu.name(),
            mib(self.weights),
            mib(self.step),
            least * BLOCK_SIZE,
            mib(least.saturating_mul(self.block)),
            mib_below(free),
            mib(needed - free),
        )))
    }
}

/// Rounded up, as what is needed is.
fn mib(bytes: usize) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Rounded down, as what there is is.
fn mib_below(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

fn weight_bytes(model: &Model) -> Result<usize, ModelError> {
    let weights = &model.weights;
    let matrices = weights.layers.iter().flat_map(|layer| {
        [&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down]
    });
    let mut matrices = matrices.chain([&weights.embedding]).chain(&weights.output);
    let vectors = weights.layers.iter().flat_map(vectors_of).chain([&weights.output_norm]);
    let vectors: usize = vectors.map(|tensor| 4 * tensor.rows * tensor.cols).sum();
    matrices.try_fold(vectors, |sum, tensor| {
        Ok(sum.saturating_add(format_of(tensor)?.packed_bytes([tensor.rows, tensor.cols])))
    })
}

fn format_of(tensor: &Tensor) -> Result<Format, ModelError> {
    Format::of(tensor.dtype).ok_or_else(|| not_run(tensor))
}

/// The matrices that the library may multiply with: formats and `[rows, columns]`. Q, K and
/// V are each as large as if all of them were one.
pub(super) fn dense_matrices(model: &Model) -> Result<Vec<(Format, [usize; 2])>, ModelError> {
    let mut matrices = Vec::new();
    for layer in &model.weights.layers {
        let qkv = [&layer.q, &layer.k, &layer.v];
        for parts in [&qkv[..], &[&layer.o], &[&layer.gate, &layer.up], &[&layer.down]] {
            let rows = parts.iter().map(|part| part.rows).sum();
            for part in parts {
                matrices.push((format_of(part)?, [rows, part.cols]));
            }
        }
    }
    Ok(matrices)
}

fn vectors_of(layer: &LayerWeights) -> impl Iterator<Item = &Tensor> {
    let biases = [&layer.q_bias, &layer.k_bias, &layer.v_bias];
    let norms = [&layer.q_norm, &layer.k_norm, &layer.post_attn_norm, &layer.post_ffn_norm];
    let optional = biases.into_iter().chain(norms).flatten();
    [&layer.attn_norm, &layer.ffn_norm].into_iter().chain(optional)
}

/// All that an executor takes beside weights, keys and values, with the longest context.
fn step_bytes(config: &ModelConfig, limits: &ExecutorLimits) -> usize {
    let ModelConfig { hidden_size, max_context, num_kv_heads, head_dim, .. } = *config;
    let max_items = max_items(max_context);
    let (windows, _) = kinds_of_windows(config);
    let (q, inner) = (config.q_size(), config.intermediate_size);
    let parts = hidden_size.div_ceil(TILE);
    let product = (q + 2 * config.kv_size()).max(hidden_size);
    let up = |len: usize| len.next_multiple_of(GROUP);
    let row_halves = up(hidden_size) + q + up(q) + up(inner);
    let row_floats = 2 * hidden_size + parts + product;
    // Five numbers of each row, rounded up, and the numbers of rows wanted.
    let row_words = 5 + num_kv_heads;
    let item_words = num_kv_heads * MAX_GROUP * (2 + head_dim) + windows.len() * ITEM_WORDS;
    let rotations: usize = config.ropes.iter().map(|rope| 2 * rope.inv_freq.len()).sum();
    let words = limits.max_tokens * (row_floats + row_words)
        + limits.max_outputs * (config.vocab_size + 1)
        + (max_items + 1) * item_words
        + max_context * rotations
        + TABLE_WORDS;
    4 * words + 2 * limits.max_tokens * row_halves + choice_bytes(limits, config.vocab_size)
}
