//! A model's tensors: where they lie in its files, and which is which.
//! Promises: nothing is copied but norms and biases; a tensor's shape has been checked against the
//! configuration and its bytes against the file before anyone reads them.
//! Never knows: how tensors are multiplied, packed or placed on a device.

mod file_map;
mod gguf;
mod metadata;
mod safetensors;
mod table;
mod tensor;

pub use metadata::GgufMetadata;
pub use tensor::Tensor;

pub(super) use file_map::read_text;
pub(super) use gguf::GgufFile;
pub(super) use safetensors::open_safetensors;
pub(super) use table::TensorTable;

/// Every tensor of the forward pass.
///
/// A matrix is `[rows = outputs, cols = inputs]`; a norm or bias is one row, always `F32`.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `[vocab_size, hidden_size]`
    pub embedding: Tensor,
    /// `[vocab_size, hidden_size]`; `None`: the embedding serves as output matrix too.
    pub output: Option<Tensor>,
    /// `[1, hidden_size]`
    pub output_norm: Tensor,
    /// One entry a layer.
    pub layers: Vec<LayerWeights>,
}

/// The tensors of one layer.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// `[1, hidden_size]`
    pub attn_norm: Tensor,
    /// `[q_size, hidden_size]`
    pub q: Tensor,
    /// `[kv_size, hidden_size]`
    pub k: Tensor,
    /// `[kv_size, hidden_size]`
    pub v: Tensor,
    /// `[1, q_size]`
    pub q_bias: Option<Tensor>,
    /// `[1, kv_size]`
    pub k_bias: Option<Tensor>,
    /// `[1, kv_size]`
    pub v_bias: Option<Tensor>,
    /// `[1, head_dim]`, the same for every query head.
    pub q_norm: Option<Tensor>,
    /// `[1, head_dim]`, the same for every key head.
    pub k_norm: Option<Tensor>,
    /// `[hidden_size, q_size]`
    pub o: Tensor,
    /// `[1, hidden_size]`, on the attention output before it joins the hidden state.
    pub post_attn_norm: Option<Tensor>,
    /// `[1, hidden_size]`
    pub ffn_norm: Tensor,
    /// `[intermediate_size, hidden_size]`
    pub gate: Tensor,
    /// `[intermediate_size, hidden_size]`
    pub up: Tensor,
    /// `[hidden_size, intermediate_size]`
    pub down: Tensor,
    /// `[1, hidden_size]`, on the feed-forward output before it joins the hidden state.
    pub post_ffn_norm: Option<Tensor>,
}
