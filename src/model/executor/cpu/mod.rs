//! The fast executor: packed weights, 8-bit activations, keys and values as halves, all threads.
//! Promises: the same bits for a row whatever else is in the batch, and for any number of threads.
//! Memory is taken when it is made; a step takes none.
//! Never knows: how a product or a softmax is computed; that is `kernels`.

mod weights;

use std::sync::Arc;

use kernels::cpu::{
    Activations, AddProduct, Attention, AttentionScratch, AttentionSequence, BLOCK_POSITIONS, Cpu,
    GateActivation, GateUp, Isa, KvCache, KvShape, Logits, Normed, ProjectHeads, rms_norm_in_place,
};
use kernels::reference::RopePairs;

pub use self::weights::weight_bytes;
use self::weights::{Embedding, LayerWeights, PackedWeights};
use super::{Executor, ExecutorLimits, Outputs};
use crate::model::batch::{BLOCK_SIZE, ForwardBatch};
use crate::model::config::{Activation, ModelConfig, RopeStyle};
use crate::model::error::ModelError;
use crate::model::load::Model;

const _: () = assert!(BLOCK_SIZE == BLOCK_POSITIONS, "blocks of the engine are blocks of kernels");

/// Runs the steps with [`kernels::cpu`].
#[derive(Debug)]
pub struct CpuExecutor {
    config: ModelConfig,
    cpu: Cpu,
    weights: PackedWeights,
    cache: KvCache,
    activations: Activations,
    attention: AttentionScratch,
    /// The batch's sequences as kernels take them; in the last layer, one for each run of rows
    /// whose outputs are wanted.
    sequences: Vec<AttentionSequence>,
    /// Rows that the present step computes: from the last layer's attention on, those whose outputs
    /// are wanted.
    rows: usize,
    rotations: Vec<Rotation>, // One for each of the model's ropes.
    hidden: Vec<f32>,         // [rows, hidden_size]
    queries: Vec<f32>,        // [rows, q_size]
    attended: Vec<f32>,       // [rows, q_size]
    gated: Vec<f32>,          // [rows, intermediate_size]
    product: Vec<f32>,        // [rows, hidden_size], what a post-norm normalizes
    logits: Vec<f32>,         // [num_outputs, vocab_size]
}

/// Cosines and sines of each row's position. `[rows, head_dim / 2]` each
#[derive(Debug)]
struct Rotation {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl CpuExecutor {
    /// Packs the weights on all threads and takes the memory for the largest step.
    ///
    /// Fails with [`ModelError::Executor`] when memory or threads are refused, or the model has
    /// sizes that the kernels do not take.
    pub fn new(model: Arc<Model>, limits: ExecutorLimits) -> Result<Self, ModelError> {
        let config = model.config.clone();
        let (rows, hidden) = (limits.max_tokens, config.hidden_size);
        if !config.head_dim.is_multiple_of(kernels::cpu::GROUP) {
            let message = format!("heads of {} values, not a multiple of 8", config.head_dim);
            return Err(ModelError::Executor(message));
        }
        let refused =
            |what: &str, error: std::io::Error| ModelError::Executor(format!("no {what}: {error}"));
        let mut cpu = Cpu::new(limits.threads, Isa::detect(), hidden.max(config.head_dim))
            .map_err(|error| refused("threads", error))?;
        let weights = PackedWeights::new(&model, &mut cpu)?;
        let cache = KvCache::new(KvShape {
            layers: config.num_layers,
            blocks: limits.num_blocks,
            heads: config.num_kv_heads,
            head_dim: config.head_dim,
        })
        .map_err(|error| refused("memory for keys and values", error))?;
        let widest = hidden.max(config.q_size()).max(config.intermediate_size);
        let sequences = rows.max(limits.max_outputs);
        let rotation = || Rotation {
            cos: vec![0.0; rows * config.head_dim / 2],
            sin: vec![0.0; rows * config.head_dim / 2],
        };
        Ok(Self {
            activations: Activations::new(rows * widest, weights.kinds()),
            attention: AttentionScratch::new(&cpu, &cache, config.num_heads, sequences),
            sequences: Vec::with_capacity(sequences),
            rows: 0,
            rotations: config.ropes.iter().map(|_| rotation()).collect(),
            hidden: vec![0.0; rows * hidden],
            queries: vec![0.0; rows * config.q_size()],
            attended: vec![0.0; rows * config.q_size()],
            gated: vec![0.0; rows * config.intermediate_size],
            product: vec![0.0; if config.has_post_norms { rows * hidden } else { 0 }],
            logits: vec![0.0; limits.max_outputs * config.vocab_size],
            config,
            cpu,
            weights,
            cache,
        })
    }

    /// Adds `weight * input` to the hidden state, normalized first where the model has post-norms.
    fn add_product(&mut self, index: usize, step: AddStep) {
        let layer = &self.weights.layers[index];
        let (matrix, post_norm, input) = match step {
            AddStep::Attention => (&layer.o, &layer.post_attn_norm, &self.attended),
            AddStep::FeedForward => (&layer.down, &layer.post_ffn_norm, &self.gated),
        };
        let eps = self.config.norm_eps;
        AddProduct {
            input: &input[..self.rows * matrix.cols()],
            matrix,
            post_norm: post_norm.as_deref().map(|norm| (norm, eps, &mut self.product[..])),
            activations: &mut self.activations,
            hidden: &mut self.hidden[..self.rows * self.config.hidden_size],
        }
        .run(&mut self.cpu);
    }

    /// From here on only the rows whose outputs are wanted: moves them to the front, those of
    /// `batch.outputs` first.
    fn keep_outputs(&mut self, batch: &ForwardBatch) {
        let (hidden, q) = (self.config.hidden_size, self.config.q_size());
        // Ascending, so no row is overwritten that is still to be moved.
        for (to, from) in wanted(batch).enumerate() {
            self.hidden.copy_within(from * hidden..(from + 1) * hidden, to * hidden);
            self.attended.copy_within(from * q..(from + 1) * q, to * q);
        }
        self.rows = batch.outputs.len() + batch.hidden.len();
    }
}

/// The steps that add to the hidden state.
#[derive(Clone, Copy)]
enum AddStep {
    Attention,
    FeedForward,
}

impl Executor for CpuExecutor {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        let config = &self.config;
        self.rows = batch.num_tokens();
        let rows = self.hidden.chunks_exact_mut(config.hidden_size);
        for (row, token) in rows.zip(&batch.tokens) {
            match &self.weights.embedding {
                Embedding::Output => self.weights.output.dequantize_row(*token as usize, row),
                Embedding::File(tensor) => tensor.dequantize_row(*token as usize, row),
            }
            if config.embedding_scale != 1.0 {
                row.iter_mut().for_each(|x| *x *= config.embedding_scale);
            }
        }
        let pairs = config.head_dim / 2;
        for (rope, Rotation { cos, sin }) in config.ropes.iter().zip(&mut self.rotations) {
            let rows = cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs));
            for ((cos, sin), position) in rows.zip(&batch.positions) {
                rope.fill(*position, cos, sin);
            }
        }
        Ok(())
    }

    fn norm_qkv(&mut self, index: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        let (config, rows) = (&self.config, self.rows);
        let LayerWeights { q, k, v, attn_norm, .. } = &self.weights.layers[index];
        let angles = &self.rotations[config.layers[index].rope];
        let values = rows * (config.head_dim / 2);
        ProjectHeads {
            input: Normed {
                hidden: &self.hidden[..rows * config.hidden_size],
                weight: attn_norm,
                eps: config.norm_eps,
            },
            q: q.projection(),
            k: k.projection(),
            v: v.projection(),
            head_dim: config.head_dim,
            cos: &angles.cos[..values],
            sin: &angles.sin[..values],
            pairs: match config.rope_style {
                RopeStyle::Interleaved => RopePairs::Adjacent,
                RopeStyle::Halves => RopePairs::Halves,
            },
            slots: &batch.slots,
            cache: &mut self.cache,
            layer: index,
            activations: &mut self.activations,
            queries: &mut self.queries[..rows * config.q_size()],
        }
        .run(&mut self.cpu);
        Ok(())
    }

    fn attention(&mut self, index: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        let is_last = index + 1 == self.config.num_layers;
        list_sequences(batch, is_last, &mut self.sequences);
        let values = batch.num_tokens() * self.config.q_size();
        Attention {
            queries: &self.queries[..values],
            cache: &self.cache,
            layer: index,
            heads: self.config.num_heads,
            sequences: &self.sequences,
            block_tables: &batch.block_tables,
            scale: self.config.attention_scale,
            softcap: self.config.attention_softcap,
            window: self.config.layers[index].sliding_window,
            scratch: &mut self.attention,
            out: &mut self.attended[..values],
        }
        .run(&mut self.cpu);
        if is_last {
            self.keep_outputs(batch);
        }
        Ok(())
    }

    fn attention_output(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.add_product(index, AddStep::Attention);
        Ok(())
    }

    fn gate_up(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        let (config, rows) = (&self.config, self.rows);
        let layer = &self.weights.layers[index];
        GateUp {
            input: Normed {
                hidden: &self.hidden[..rows * config.hidden_size],
                weight: &layer.ffn_norm,
                eps: config.norm_eps,
            },
            gate: &layer.gate,
            up: &layer.up,
            activation: match config.activation {
                Activation::Silu => GateActivation::Silu,
                Activation::GeluTanh => GateActivation::GeluTanh,
            },
            activations: &mut self.activations,
            out: &mut self.gated[..rows * config.intermediate_size],
        }
        .run(&mut self.cpu);
        Ok(())
    }

    fn down(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.add_product(index, AddStep::FeedForward);
        Ok(())
    }

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        let (config, rows) = (&self.config, batch.outputs.len());
        let (hidden, len) = (config.hidden_size, rows * config.vocab_size);
        let (of_logits, of_hidden) = self.hidden[..self.rows * hidden].split_at_mut(rows * hidden);
        for row in of_hidden.chunks_exact_mut(hidden) {
            rms_norm_in_place(self.cpu.isa(), row, &self.weights.output_norm, config.norm_eps);
        }
        Logits {
            input: Normed {
                hidden: of_logits,
                weight: &self.weights.output_norm,
                eps: config.norm_eps,
            },
            rows,
            matrix: &self.weights.output,
            softcap: config.final_softcap,
            activations: &mut self.activations,
            out: &mut self.logits[..len],
        }
        .run(&mut self.cpu);
        Ok(Outputs { logits: &self.logits[..len], hidden: of_hidden })
    }
}

/// The rows whose outputs are wanted, ascending.
fn wanted(batch: &ForwardBatch) -> impl Iterator<Item = usize> {
    batch.outputs.iter().chain(&batch.hidden).map(|row| *row as usize)
}

/// The batch's sequences; or of each, the runs of rows whose outputs are wanted.
fn list_sequences(
    batch: &ForwardBatch,
    is_wanted_only: bool,
    sequences: &mut Vec<AttentionSequence>,
) {
    sequences.clear();
    let mut wanted = wanted(batch).peekable();
    for sequence in &batch.sequences {
        let rows = sequence.rows.start as usize..sequence.rows.end as usize;
        let blocks = sequence.blocks.start as usize..sequence.blocks.end as usize;
        if !is_wanted_only {
            let context_len = sequence.context_len as usize;
            sequences.push(AttentionSequence { rows, blocks, context_len });
            continue;
        }
        while let Some(first) = wanted.next_if(|row| rows.contains(row)) {
            let mut end = first + 1;
            while end < rows.end && wanted.next_if_eq(&end).is_some() {
                end += 1;
            }
            let context_len = batch.positions[end - 1] as usize + 1;
            let blocks = blocks.clone();
            sequences.push(AttentionSequence { rows: first..end, blocks, context_len });
        }
    }
}
