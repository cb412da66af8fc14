//! The definition of a correct forward pass: plain candle tensor operations in f32.
//! Promises: slow and obvious. Every weight is dequantized once, when the executor is made (4 bytes
//! a weight), nothing is fused, nothing is approximated, keys and values are kept in f32.
//! Never knows: quantized arithmetic, threads of its own.

use std::sync::Arc;

use candle_core::{D, Device, Tensor};

use super::{Executor, ExecutorLimits, Outputs};
use crate::model::batch::{BLOCK_SIZE, BatchSequence, ForwardBatch};
use crate::model::config::{Activation, ModelConfig, RopeStyle};
use crate::model::error::ModelError;
use crate::model::load::Model;
use crate::model::weights;

/// Runs the steps with candle, each as it is written in the papers.
#[derive(Debug)]
pub struct ReferenceExecutor {
    config: ModelConfig,
    device: Device,
    embedding: Tensor, // [vocab_size, hidden_size]
    output: Tensor,    // [vocab_size, hidden_size]
    output_norm: Tensor,
    layers: Vec<Layer>,
    hidden: Tensor,         // [num_tokens, hidden_size]
    queries: Tensor,        // [num_tokens, num_heads, head_dim]
    attended: Tensor,       // [num_tokens, q_size]
    gated: Tensor,          // [num_tokens, intermediate_size]
    logits: Vec<f32>,       // [num_outputs, vocab_size]
    final_hidden: Vec<f32>, // [num_hidden, hidden_size]
}

/// A layer's weights, and its keys and values.
#[derive(Debug)]
struct Layer {
    attn_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: Option<Tensor>,
    k_norm: Option<Tensor>,
    o: Linear,
    post_attn_norm: Option<Tensor>,
    ffn_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    post_ffn_norm: Option<Tensor>,
    keys: Tensor,   // [num_slots, num_kv_heads, head_dim]
    values: Tensor, // [num_slots, num_kv_heads, head_dim]
}

#[derive(Debug)]
struct Linear {
    weight: Tensor, // [outputs, inputs]
    bias: Option<Tensor>,
}

impl ReferenceExecutor {
    /// Dequantizes the model. Of the limits only `num_blocks` matters: steps of any size run.
    pub fn new(model: Arc<Model>, limits: ExecutorLimits) -> Result<Self, ModelError> {
        Ok(Self::build(&model, limits, Device::Cpu)?)
    }

    fn build(model: &Model, limits: ExecutorLimits, device: Device) -> candle_core::Result<Self> {
        let config = model.config.clone();
        let weights = &model.weights;
        let embedding = matrix(&weights.embedding, &device)?;
        let output = match &weights.output {
            Some(output) => matrix(output, &device)?,
            None => embedding.clone(),
        };
        let num_slots = limits.num_blocks * BLOCK_SIZE;
        let layers = weights
            .layers
            .iter()
            .map(|layer| Layer::new(layer, &config, num_slots, &device))
            .collect::<candle_core::Result<_>>()?;
        let nothing = Tensor::zeros(0, candle_core::DType::F32, &device)?;
        Ok(Self {
            embedding,
            output,
            output_norm: vector(&weights.output_norm, &device)?,
            layers,
            hidden: nothing.clone(),
            queries: nothing.clone(),
            attended: nothing.clone(),
            gated: nothing,
            logits: Vec::new(),
            final_hidden: Vec::new(),
            config,
            device,
        })
    }

    /// Cosine and sine of each row's position. `[num_tokens, 1, head_dim / 2]` each
    fn rotations(&self, layer: usize, positions: &[u32]) -> candle_core::Result<(Tensor, Tensor)> {
        let rope = &self.config.ropes[self.config.layers[layer].rope];
        let pairs = self.config.head_dim / 2;
        let mut cos = vec![0.0; positions.len() * pairs];
        let mut sin = vec![0.0; positions.len() * pairs];
        let rows = cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs));
        for ((cos, sin), &position) in rows.zip(positions) {
            rope.fill(position, cos, sin);
        }
        let shape = (positions.len(), 1, pairs);
        Ok((
            Tensor::from_vec(cos, shape, &self.device)?,
            Tensor::from_vec(sin, shape, &self.device)?,
        ))
    }

    /// Attention of one sequence's rows. `[rows, q_size]`
    fn attend(
        &self,
        layer_index: usize,
        batch: &ForwardBatch,
        sequence: &BatchSequence,
    ) -> candle_core::Result<Tensor> {
        let (config, layer) = (&self.config, &self.layers[layer_index]);
        let (first, rows) = (sequence.rows.start as usize, sequence.rows.len());
        let table = batch.block_table(sequence);
        let slots: Vec<u32> = (0..sequence.context_len as usize)
            .map(|position| {
                table[position / BLOCK_SIZE] * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32
            })
            .collect();
        let slots = Tensor::new(slots.as_slice(), &self.device)?;
        let group = config.num_heads / config.num_kv_heads;
        let gather = |cache: &Tensor| repeat_heads(&cache.index_select(&slots, 0)?, group);
        let keys = gather(&layer.keys)?; // [num_heads, context_len, head_dim]
        let values = gather(&layer.values)?;
        let queries = self.queries.narrow(0, first, rows)?.transpose(0, 1)?.contiguous()?;
        let mut scores = queries.matmul(&keys.transpose(1, 2)?.contiguous()?)?;
        scores = (scores * f64::from(config.attention_scale))?;
        scores = soft_cap(scores, config.attention_softcap)?;
        let positions = &batch.positions[first..first + rows];
        let window = config.layers[layer_index].sliding_window;
        let mask = self.mask(positions, sequence.context_len, window)?;
        let attended = softmax(&scores.broadcast_add(&mask)?)?.matmul(&values)?;
        attended.transpose(0, 1)?.reshape((rows, config.q_size()))
    }

    /// These rows of the hidden state after the final norm. `[rows.len(), hidden_size]`
    fn normed_rows(&self, rows: &[u32]) -> candle_core::Result<Tensor> {
        let rows = Tensor::new(rows, &self.device)?;
        rms_norm(&self.hidden.index_select(&rows, 0)?, &self.output_norm, &self.config)
    }

    /// 0 where a row may read, minus infinity elsewhere. `[rows, context_len]`
    fn mask(
        &self,
        rows: &[u32],
        context_len: u32,
        window: Option<usize>,
    ) -> candle_core::Result<Tensor> {
        let may_read = |p: u32, q: u32| q <= p && window.is_none_or(|w| ((p - q) as usize) < w);
        let mask: Vec<f32> = rows
            .iter()
            .flat_map(|&p| (0..context_len).map(move |q| (p, q)))
            .map(|(p, q)| if may_read(p, q) { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        Tensor::from_vec(mask, (rows.len(), context_len as usize), &self.device)
    }
}

impl Executor for ReferenceExecutor {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        let tokens = Tensor::new(batch.tokens.as_slice(), &self.device)?;
        let rows = self.embedding.index_select(&tokens, 0)?;
        self.hidden = (rows * f64::from(self.config.embedding_scale))?;
        Ok(())
    }

    fn norm_qkv(&mut self, index: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        let (config, layer) = (&self.config, &self.layers[index]);
        let rows = batch.num_tokens();
        let x = rms_norm(&self.hidden, &layer.attn_norm, config)?;
        let heads = |linear: &Linear, count: usize| {
            linear.apply(&x)?.reshape((rows, count, config.head_dim))
        };
        let mut q = heads(&layer.q, config.num_heads)?;
        let mut k = heads(&layer.k, config.num_kv_heads)?;
        let v = heads(&layer.v, config.num_kv_heads)?;
        if let (Some(q_norm), Some(k_norm)) = (&layer.q_norm, &layer.k_norm) {
            q = rms_norm(&q, q_norm, config)?;
            k = rms_norm(&k, k_norm, config)?;
        }
        let (cos, sin) = self.rotations(index, &batch.positions)?;
        self.queries = rotate(&q, &cos, &sin, config.rope_style)?;
        let k = rotate(&k, &cos, &sin, config.rope_style)?;
        for (row, &slot) in batch.slots.iter().enumerate() {
            layer.keys.slice_set(&k.narrow(0, row, 1)?.contiguous()?, 0, slot as usize)?;
            layer.values.slice_set(&v.narrow(0, row, 1)?.contiguous()?, 0, slot as usize)?;
        }
        Ok(())
    }

    fn attention(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        let attended = batch
            .sequences
            .iter()
            .map(|sequence| self.attend(layer, batch, sequence))
            .collect::<candle_core::Result<Vec<_>>>()?;
        self.attended = Tensor::cat(&attended, 0)?;
        Ok(())
    }

    fn attention_output(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        let layer = &self.layers[layer];
        let output = layer.o.apply(&self.attended)?;
        self.hidden = add(&self.hidden, output, &layer.post_attn_norm, &self.config)?;
        Ok(())
    }

    fn gate_up(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        let layer = &self.layers[layer];
        let x = rms_norm(&self.hidden, &layer.ffn_norm, &self.config)?;
        let gate = layer.gate.apply(&x)?;
        let gate = match self.config.activation {
            Activation::Silu => gate.silu()?,
            // candle's `gelu` is the tanh approximation, `gelu_erf` the exact one.
            Activation::GeluTanh => gate.gelu()?,
        };
        self.gated = (gate * layer.up.apply(&x)?)?;
        Ok(())
    }

    fn down(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        let layer = &self.layers[layer];
        let output = layer.down.apply(&self.gated)?;
        self.hidden = add(&self.hidden, output, &layer.post_ffn_norm, &self.config)?;
        Ok(())
    }

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        (self.logits, self.final_hidden) = (Vec::new(), Vec::new());
        if !batch.outputs.is_empty() {
            let x = self.normed_rows(&batch.outputs)?;
            let logits = soft_cap(x.matmul(&self.output.t()?)?, self.config.final_softcap)?;
            self.logits = logits.flatten_all()?.to_vec1()?;
        }
        if !batch.hidden.is_empty() {
            self.final_hidden = self.normed_rows(&batch.hidden)?.flatten_all()?.to_vec1()?;
        }
        Ok(Outputs { logits: &self.logits, hidden: &self.final_hidden })
    }
}

impl Layer {
    fn new(
        layer: &weights::LayerWeights,
        config: &ModelConfig,
        num_slots: usize,
        device: &Device,
    ) -> candle_core::Result<Self> {
        let optional = |tensor: &Option<weights::Tensor>| {
            tensor.as_ref().map(|tensor| vector(tensor, device)).transpose()
        };
        let linear = |weight: &weights::Tensor, bias: &Option<weights::Tensor>| {
            let bias = optional(bias)?;
            matrix(weight, device).map(|weight| Linear { weight, bias })
        };
        let cache = (num_slots, config.num_kv_heads, config.head_dim);
        Ok(Self {
            attn_norm: vector(&layer.attn_norm, device)?,
            q: linear(&layer.q, &layer.q_bias)?,
            k: linear(&layer.k, &layer.k_bias)?,
            v: linear(&layer.v, &layer.v_bias)?,
            q_norm: optional(&layer.q_norm)?,
            k_norm: optional(&layer.k_norm)?,
            o: linear(&layer.o, &None)?,
            post_attn_norm: optional(&layer.post_attn_norm)?,
            ffn_norm: vector(&layer.ffn_norm, device)?,
            gate: linear(&layer.gate, &None)?,
            up: linear(&layer.up, &None)?,
            down: linear(&layer.down, &None)?,
            post_ffn_norm: optional(&layer.post_ffn_norm)?,
            keys: Tensor::zeros(cache, candle_core::DType::F32, device)?,
            values: Tensor::zeros(cache, candle_core::DType::F32, device)?,
        })
    }
}

impl Linear {
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

fn matrix(tensor: &weights::Tensor, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::from_vec(tensor.to_f32(), (tensor.rows, tensor.cols), device)
}

fn vector(tensor: &weights::Tensor, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::from_vec(tensor.to_f32(), tensor.cols, device)
}

/// `x / sqrt(mean(x²) + eps) * weight` over the last dimension.
fn rms_norm(x: &Tensor, weight: &Tensor, config: &ModelConfig) -> candle_core::Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    let norm = (mean_square + f64::from(config.norm_eps))?.sqrt()?;
    x.broadcast_div(&norm)?.broadcast_mul(weight)
}

/// Turns each pair of `x` (`[rows, heads, head_dim]`) by its row's angle.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, style: RopeStyle) -> candle_core::Result<Tensor> {
    let (rows, heads, head_dim) = x.dims3()?;
    let pairs = head_dim / 2;
    let (shape, pair_dim) = match style {
        RopeStyle::Interleaved => ((rows, heads, pairs, 2), 3),
        RopeStyle::Halves => ((rows, heads, 2, pairs), 2),
    };
    let x = x.reshape(shape)?;
    let (a, b) = (x.narrow(pair_dim, 0, 1)?, x.narrow(pair_dim, 1, 1)?);
    let (cos, sin) = (cos.unsqueeze(pair_dim)?, sin.unsqueeze(pair_dim)?);
    let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let turned_b = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Tensor::cat(&[turned_a, turned_b], pair_dim)?.reshape((rows, heads, head_dim))
}

/// `[positions, kv_heads, head_dim]` to `[kv_heads * group, positions, head_dim]`.
fn repeat_heads(cache: &Tensor, group: usize) -> candle_core::Result<Tensor> {
    let (positions, kv_heads, head_dim) = cache.dims3()?;
    let heads_first = cache.transpose(0, 1)?.unsqueeze(1)?;
    let repeated = heads_first.broadcast_as((kv_heads, group, positions, head_dim))?;
    repeated.contiguous()?.reshape((kv_heads * group, positions, head_dim))
}

/// `cap * tanh(x / cap)`, where there is a cap.
fn soft_cap(x: Tensor, cap: Option<f32>) -> candle_core::Result<Tensor> {
    match cap {
        Some(cap) => (x / f64::from(cap))?.tanh()? * f64::from(cap),
        None => Ok(x),
    }
}

/// Over the last dimension.
fn softmax(scores: &Tensor) -> candle_core::Result<Tensor> {
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
}

/// Adds a sub-layer's output to the hidden state, normalized first where the model has post-norms.
fn add(
    hidden: &Tensor,
    output: Tensor,
    post_norm: &Option<Tensor>,
    config: &ModelConfig,
) -> candle_core::Result<Tensor> {
    match post_norm {
        Some(weight) => hidden + rms_norm(&output, weight, config)?,
        None => hidden + output,
    }
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Executor(error.to_string())
    }
}
