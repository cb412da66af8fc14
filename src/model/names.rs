//! What files call the tensors of the forward pass.
//! Promises: GGUF's names are gguf-py's `tensor_mapping.py`; Hugging Face's are `modeling_*.py`'s.
//! Never knows: families; where names differ, a property of the model decides.

/// The names of one file format.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) embedding: String,
    pub(crate) output: String,
    pub(crate) output_norm: String,
    /// A layer's tensors are called `{layers}{index}.{name}`.
    pub(crate) layers: String,
    pub(crate) layer: LayerNames,
}

/// The names within a layer, without its prefix.
#[derive(Debug)]
pub(crate) struct LayerNames {
    pub(crate) attn_norm: &'static str,
    pub(crate) q: &'static str,
    pub(crate) k: &'static str,
    pub(crate) v: &'static str,
    pub(crate) q_bias: &'static str,
    pub(crate) k_bias: &'static str,
    pub(crate) v_bias: &'static str,
    pub(crate) q_norm: &'static str,
    pub(crate) k_norm: &'static str,
    pub(crate) o: &'static str,
    pub(crate) post_attn_norm: &'static str,
    pub(crate) ffn_norm: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    pub(crate) post_ffn_norm: &'static str,
    /// Tensors that hold nothing the forward pass needs.
    pub(crate) ignored: &'static [&'static str],
}

/// GGUF: the divisors of Llama 3.1's rope frequencies. `[head_dim / 2]`
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

const GGUF_LAYER: LayerNames = LayerNames {
    attn_norm: "attn_norm.weight",
    q: "attn_q.weight",
    k: "attn_k.weight",
    v: "attn_v.weight",
    q_bias: "attn_q.bias",
    k_bias: "attn_k.bias",
    v_bias: "attn_v.bias",
    q_norm: "attn_q_norm.weight",
    k_norm: "attn_k_norm.weight",
    o: "attn_output.weight",
    post_attn_norm: "post_attention_norm.weight",
    ffn_norm: "ffn_norm.weight",
    gate: "ffn_gate.weight",
    up: "ffn_up.weight",
    down: "ffn_down.weight",
    post_ffn_norm: "post_ffw_norm.weight",
    // Positions precomputed by converters of 2023.
    ignored: &["attn_rot_embd.weight"],
};

const HUGGING_FACE_LAYER: LayerNames = LayerNames {
    attn_norm: "input_layernorm.weight",
    q: "self_attn.q_proj.weight",
    k: "self_attn.k_proj.weight",
    v: "self_attn.v_proj.weight",
    q_bias: "self_attn.q_proj.bias",
    k_bias: "self_attn.k_proj.bias",
    v_bias: "self_attn.v_proj.bias",
    q_norm: "self_attn.q_norm.weight",
    k_norm: "self_attn.k_norm.weight",
    o: "self_attn.o_proj.weight",
    post_attn_norm: "",
    ffn_norm: "post_attention_layernorm.weight",
    gate: "mlp.gate_proj.weight",
    up: "mlp.up_proj.weight",
    down: "mlp.down_proj.weight",
    post_ffn_norm: "",
    ignored: &["self_attn.rotary_emb.inv_freq"],
};

/// With post-norms, the name that others use for the feed-forward's norm means what it says.
const HUGGING_FACE_LAYER_WITH_POST_NORMS: LayerNames = LayerNames {
    post_attn_norm: "post_attention_layernorm.weight",
    ffn_norm: "pre_feedforward_layernorm.weight",
    post_ffn_norm: "post_feedforward_layernorm.weight",
    ..HUGGING_FACE_LAYER
};

/// Where a language model sits in the modules of models that may also see.
/// Embedding models are stored without their head, and then mostly without a prefix.
const HUGGING_FACE_PREFIXES: [&str; 4] =
    ["model.", "language_model.model.", "model.language_model.", ""];

impl Names {
    /// GGUF's names.
    pub(crate) fn gguf() -> Self {
        Self {
            embedding: "token_embd.weight".to_owned(),
            output: "output.weight".to_owned(),
            output_norm: "output_norm.weight".to_owned(),
            layers: "blk.".to_owned(),
            layer: GGUF_LAYER,
        }
    }

    /// Hugging Face's names, under the prefix whose embedding `exists`; `None` if none does.
    pub(crate) fn hugging_face(
        has_post_norms: bool,
        exists: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let embedding = |prefix: &str| format!("{prefix}embed_tokens.weight");
        let prefix = HUGGING_FACE_PREFIXES.into_iter().find(|prefix| exists(&embedding(prefix)))?;
        // The output matrix is the language model's sibling, or stands at the very top.
        let sibling = format!("{}lm_head.weight", prefix.strip_suffix("model.").unwrap_or(""));
        let output = if exists(&sibling) { sibling } else { "lm_head.weight".to_owned() };
        Some(Self {
            embedding: embedding(prefix),
            output,
            output_norm: format!("{prefix}norm.weight"),
            layers: format!("{prefix}layers."),
            layer: if has_post_norms {
                HUGGING_FACE_LAYER_WITH_POST_NORMS
            } else {
                HUGGING_FACE_LAYER
            },
        })
    }

    /// The full name of a layer's tensor.
    pub(crate) fn in_layer(&self, layer: usize, name: &str) -> String {
        format!("{}{layer}.{name}", self.layers)
    }
}

impl LayerNames {
    /// The names that hold something, in the same order for every format.
    pub(crate) fn all(&self) -> [&'static str; 16] {
        [
            self.attn_norm,
            self.q,
            self.k,
            self.v,
            self.q_bias,
            self.k_bias,
            self.v_bias,
            self.q_norm,
            self.k_norm,
            self.o,
            self.post_attn_norm,
            self.ffn_norm,
            self.gate,
            self.up,
            self.down,
            self.post_ffn_norm,
        ]
    }
}
