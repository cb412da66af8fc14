//! What a model's steps cost at least: bytes that are read, products that are computed. What share
//! of a machine's bounds an executor reaches is judged by this.
//! Never knows: executors, machines.

use super::config::LayerConfig;
use super::load::Model;
use super::weights::Tensor;

/// Bytes of a key or value in the caches of the CPU (f16) and of GPUs (bf16).
const KV_ELEMENT_BYTES: f64 = 2.0;

impl Model {
    /// Bytes of weights that a step of few rows reads, as the file stores them: all but the
    /// embedding, of which it reads rows, unless that is the output matrix too.
    pub fn step_weight_bytes(&self) -> u64 {
        let weights = &self.weights;
        let layers = weights.layers.iter().flat_map(|layer| {
            let norms = [&layer.q_norm, &layer.k_norm, &layer.post_attn_norm, &layer.post_ffn_norm];
            let biases = [&layer.q_bias, &layer.k_bias, &layer.v_bias];
            let optional = norms.into_iter().chain(biases).flatten();
            matrices(layer).into_iter().chain([&layer.attn_norm, &layer.ffn_norm]).chain(optional)
        });
        let output = weights.output.as_ref().unwrap_or(&weights.embedding);
        let read = layers.chain([output, &weights.output_norm]);
        read.map(|tensor| tensor.bytes().len() as u64).sum()
    }

    /// Bytes of keys and values that a row reads which has `context` positions, itself among them.
    pub fn kv_bytes_read(&self, context: f64) -> f64 {
        let seen = |layer: &LayerConfig| {
            let window = layer.sliding_window.map_or(f64::INFINITY, |window| window as f64);
            context.min(window)
        };
        let positions: f64 = self.config.layers.iter().map(seen).sum();
        2.0 * KV_ELEMENT_BYTES * self.config.kv_size() as f64 * positions
    }

    /// Floating-point operations of the matrix products of a prompt: two for each weight and token,
    /// the output matrix for the last token only. Attention's are not counted.
    pub fn prompt_flops(&self, tokens: usize) -> f64 {
        let count = |tensor: &Tensor| (tensor.rows * tensor.cols) as f64;
        let layers: f64 = self.weights.layers.iter().flat_map(matrices).map(count).sum();
        2.0 * (layers * tokens as f64 + count(&self.weights.embedding))
    }
}

fn matrices(layer: &super::LayerWeights) -> [&Tensor; 7] {
    [&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down]
}
