//! What a model is, in numbers: everything the decoder and the executors need to know of a family.
//! Promises: sizes are non-zero, consistent with each other and with the file's tensors; floats are
//! finite. A family is a row of values (`family.rs`), never a branch in the forward pass.
//! Never knows: how a step is computed, tokens, text.

mod declared;
mod family;
mod gguf;
mod hugging_face;

pub(super) use declared::{Declared, Observed};
pub(super) use family::Family;
pub(super) use gguf::read_gguf;
pub(super) use hugging_face::read_hugging_face;

use super::batch::BLOCK_SIZE;
use super::rope::RopeTable;

/// The activation between gate and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU in its tanh approximation.
    GeluTanh,
}

/// Which values of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// `2i` and `2i + 1`: Llama in GGUF, whose Q and K rows are permuted for it (ggml's NORM).
    Interleaved,
    /// `i` and `i + head_dim / 2` (ggml's NEOX).
    Halves,
}

/// What differs between the layers of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// `Some(w)`: a row at position `p` reads positions `q` with `p - q < w` only.
    pub sliding_window: Option<usize>,
    /// Index into [`ModelConfig::ropes`].
    pub rope: usize,
}

/// A model's shape and constants.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family's name as the file gives it. For messages only.
    pub architecture: String,
    /// Rows of the embedding; logits per output.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Width between gate/up and down.
    pub intermediate_size: usize,
    /// Layers; the length of `layers`.
    pub num_layers: usize,
    /// Query heads; a multiple of `num_kv_heads`.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Values in a head; even.
    pub head_dim: usize,
    /// Positions the model was made for.
    pub max_context: usize,
    /// Added to the mean square in every RMS norm.
    pub norm_eps: f32,
    /// What the file's norm weights lack: 1 for Gemma in safetensors, else 0.
    /// Already added to the loaded weights; executors must not add it again.
    pub norm_offset: f32,
    /// Factor on the embedding rows.
    pub embedding_scale: f32,
    /// The activation on the gate.
    pub activation: Activation,
    /// Q, K and V have biases.
    pub has_qkv_bias: bool,
    /// Q and K heads are normalized before rope.
    pub has_qk_norm: bool,
    /// Attention and feed-forward outputs are normalized before they join the hidden state.
    pub has_post_norms: bool,
    /// Factor on Q·K.
    pub attention_scale: f32,
    /// `Some(c)`: scores become `c * tanh(score / c)`, before the mask.
    pub attention_softcap: Option<f32>,
    /// `Some(c)`: logits become `c * tanh(logit / c)`.
    pub final_softcap: Option<f32>,
    /// One entry a layer.
    pub layers: Vec<LayerConfig>,
    /// The kinds of rotary positions that layers choose from.
    pub ropes: Vec<RopeTable>,
    /// Which values of a head turn together.
    pub rope_style: RopeStyle,
    /// The embedding is also the output matrix.
    pub tied: bool,
}

impl ModelConfig {
    /// Width of all query heads together.
    pub fn q_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Width of all key heads together; of the value heads too.
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Bytes that one block of keys and values takes over all layers, at `elem_bytes` a value.
    /// Heads are padded to whole vectors of 16 values.
    pub fn kv_bytes_per_block(&self, elem_bytes: usize) -> usize {
        let head = self.head_dim.next_multiple_of(16);
        2 * BLOCK_SIZE * self.num_layers * self.num_kv_heads * head * elem_bytes
    }
}
