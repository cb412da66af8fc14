//! The families: one row of values each, as far as they do not come from the file.
//! Promises: adding a family that needs no new step is adding a row here (and its oracle test).
//! Never knows: how files are read; a value in the file wins over a row's default.
//!
//! Sources: llama.cpp's `llama-model.cpp` (`load_hparams`) and Hugging Face's `configuration_*.py`.

use super::{Activation, RopeStyle};

/// What the models of a family have in common.
#[derive(Debug)]
pub(crate) struct Family {
    /// `general.architecture` in GGUF.
    pub(crate) gguf: &'static str,
    /// `model_type` in `config.json`.
    pub(crate) hugging_face: &'static [&'static str],
    /// The style GGUF's Q and K rows are ordered for. Hugging Face's are always `Halves`.
    pub(crate) gguf_rope_style: RopeStyle,
    /// The activation, where the file does not name it.
    pub(crate) activation: Activation,
    /// Embedding rows are multiplied by √hidden_size.
    pub(crate) scales_embedding: bool,
    /// What Hugging Face's norm weights lack. GGUF's already have it.
    pub(crate) norm_offset: f32,
    /// Q and K heads are normalized.
    pub(crate) has_qk_norm: bool,
    /// Outputs of attention and feed-forward are normalized.
    pub(crate) has_post_norms: bool,
    /// Soft cap of attention scores, where the file is silent.
    pub(crate) attention_softcap: Option<f64>,
    /// Soft cap of logits, where the file is silent.
    pub(crate) final_softcap: Option<f64>,
    /// Sliding window, where the file is silent.
    pub(crate) sliding_window: Option<usize>,
    /// `config.json` states a window that counts only if `use_sliding_window` says so.
    pub(crate) window_needs_switch: bool,
    /// With a window: layer `i` is global when `i % n == n - 1`; 0: no layer is.
    pub(crate) global_every: usize,
    /// Rope base of the sliding layers, where it is not that of the others.
    pub(crate) local_rope_base: Option<f64>,
    /// The layer count of the one size whose attention scale is 1/√(hidden_size / num_heads)
    /// instead of 1/√head_dim. GGUF does not store the scale; llama.cpp knows the 27B so too.
    pub(crate) wide_attention_layers: Option<usize>,
    /// Embedding and output are one matrix, where `config.json` does not say.
    pub(crate) tied: bool,
    /// Fields that `config.json` may leave out, and what they then are.
    pub(crate) hugging_face_defaults: &'static [(&'static str, f64)],
}

const LLAMA: Family = Family {
    gguf: "llama",
    hugging_face: &["llama", "mistral"],
    gguf_rope_style: RopeStyle::Interleaved,
    activation: Activation::Silu,
    scales_embedding: false,
    norm_offset: 0.0,
    has_qk_norm: false,
    has_post_norms: false,
    attention_softcap: None,
    final_softcap: None,
    sliding_window: None,
    window_needs_switch: false,
    global_every: 0,
    local_rope_base: None,
    wide_attention_layers: None,
    tied: false,
    hugging_face_defaults: &[("rope_theta", 10_000.0)],
};

const QWEN2: Family = Family {
    gguf: "qwen2",
    hugging_face: &["qwen2"],
    gguf_rope_style: RopeStyle::Halves,
    window_needs_switch: true,
    ..LLAMA
};

const QWEN3: Family =
    Family { gguf: "qwen3", hugging_face: &["qwen3"], has_qk_norm: true, ..QWEN2 };

const GEMMA2: Family = Family {
    gguf: "gemma2",
    hugging_face: &["gemma2"],
    gguf_rope_style: RopeStyle::Halves,
    activation: Activation::GeluTanh,
    scales_embedding: true,
    norm_offset: 1.0,
    has_qk_norm: false,
    has_post_norms: true,
    attention_softcap: Some(50.0),
    final_softcap: Some(30.0),
    sliding_window: Some(4096),
    window_needs_switch: false,
    global_every: 2,
    local_rope_base: None,
    wide_attention_layers: Some(46),
    tied: true,
    hugging_face_defaults: &[("rope_theta", 10_000.0)],
};

const GEMMA3: Family = Family {
    gguf: "gemma3",
    hugging_face: &["gemma3", "gemma3_text"],
    has_qk_norm: true,
    attention_softcap: None,
    final_softcap: None,
    sliding_window: None,
    global_every: 6,
    local_rope_base: Some(10_000.0),
    wide_attention_layers: Some(62),
    // The 4B's file leaves out whatever equals `Gemma3TextConfig`'s defaults.
    hugging_face_defaults: &[
        ("max_position_embeddings", 131_072.0),
        ("num_attention_heads", 8.0),
        ("num_key_value_heads", 4.0),
        ("head_dim", 256.0),
        ("query_pre_attn_scalar", 256.0),
        ("rms_norm_eps", 1e-6),
        ("rope_theta", 1_000_000.0),
        ("rope_local_base_freq", 10_000.0),
        ("sliding_window", 4096.0),
    ],
    ..GEMMA2
};

const FAMILIES: [&Family; 5] = [&LLAMA, &QWEN2, &QWEN3, &GEMMA2, &GEMMA3];

impl Family {
    /// The family of a GGUF file's `general.architecture`.
    pub(crate) fn of_gguf(architecture: &str) -> Option<&'static Family> {
        FAMILIES.into_iter().find(|family| family.gguf == architecture)
    }

    /// The family of a `config.json`'s `model_type`.
    pub(crate) fn of_hugging_face(model_type: &str) -> Option<&'static Family> {
        FAMILIES.into_iter().find(|family| family.hugging_face.contains(&model_type))
    }

    /// The names a message can offer instead of an unknown one.
    pub(crate) fn known() -> String {
        FAMILIES.map(|family| family.gguf).join(", ")
    }
}
