//! Tiny models with random weights, one of each family, as a Hugging Face folder or a GGUF file.
//!
//! The weights are drawn in Hugging Face's layout. The way to GGUF follows `convert_hf_to_gguf.py`:
//! Llama's Q and K rows are permuted, Gemma's norms get their 1, Llama 3.1's scaling becomes a
//! tensor.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use serde_json::{Value, json};

use super::gguf::GgufBuilder;
use super::random::Random;

/// One model: `config.json` and f32 tensors under Hugging Face's names.
#[derive(Debug, Clone)]
pub(crate) struct TinyModel {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, TinyTensor>,
    /// How safetensors files store the values.
    pub(crate) storage: Storage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    F16,
    BF16,
}

#[derive(Debug, Clone)]
pub(crate) struct TinyTensor {
    /// Outermost first; one entry for norms and biases.
    pub(crate) dims: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

pub(crate) const VOCAB_SIZE: usize = 48;

/// What the families' files have in common.
fn base(model_type: &str) -> Value {
    json!({
        "model_type": model_type,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
    })
}

fn with(mut config: Value, more: Value) -> Value {
    let (Value::Object(config_fields), Value::Object(more)) = (&mut config, more) else {
        panic!("both are objects");
    };
    config_fields.extend(more);
    config
}

/// Llama 2 and 3, and Mistral from version 0.2 on.
pub(crate) fn llama() -> TinyModel {
    TinyModel::random(base("llama"), 1)
}

/// Llama 3.1 and later: frequencies scaled by the rule of that name, embedding tied as in 3.2.
pub(crate) fn llama3() -> TinyModel {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    let more = json!({ "rope_scaling": scaling, "rope_theta": 500.0, "tie_word_embeddings": true });
    TinyModel::random(with(base("llama"), more), 2)
}

/// Mistral, with heads that are not hidden_size / num_heads wide (as in Nemo).
pub(crate) fn mistral() -> TinyModel {
    let more = json!({ "head_dim": 16, "hidden_act": "silu", "sliding_window": null });
    TinyModel::random(with(base("mistral"), more), 3)
}

/// Qwen 2 and 2.5: QKV biases.
pub(crate) fn qwen2() -> TinyModel {
    let more = json!({
        "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4,
        "max_window_layers": 2, "rope_theta": 1000000.0,
    });
    TinyModel::random(with(base("qwen2"), more), 4)
}

/// Qwen 3: q/k norms, heads wider than hidden_size / num_heads.
pub(crate) fn qwen3() -> TinyModel {
    let more = json!({
        "hidden_act": "silu", "use_sliding_window": false, "sliding_window": null,
        "max_window_layers": 2, "rope_theta": 1000000.0, "head_dim": 16, "attention_bias": false,
        "tie_word_embeddings": true,
    });
    TinyModel::random(with(base("qwen3"), more), 5)
}

/// Gemma 2: soft caps small enough to matter, post-norms, every second layer slides.
pub(crate) fn gemma2() -> TinyModel {
    let more = json!({
        "hidden_activation": "gelu_pytorch_tanh", "head_dim": 16, "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "sliding_window": 64,
        "attention_bias": false, "num_hidden_layers": 3, "tie_word_embeddings": true,
    });
    TinyModel::random(with(base("gemma2"), more), 6)
}

/// Gemma 3: q/k norms, five of six layers slide over 5 positions with a rope base of their own.
pub(crate) fn gemma3() -> TinyModel {
    let more = json!({
        "hidden_activation": "gelu_pytorch_tanh", "head_dim": 16, "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": null, "final_logit_softcapping": null, "sliding_window": 5,
        "sliding_window_pattern": 6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
        "attention_bias": false, "num_hidden_layers": 7, "tie_word_embeddings": true,
    });
    TinyModel::random(with(base("gemma3_text"), more), 7)
}

impl TinyModel {
    fn random(config: Value, seed: u64) -> Self {
        let mut model = Self { config, tensors: BTreeMap::new(), storage: Storage::F32 };
        let mut random = Random(seed);
        let hidden = model.number("hidden_size");
        let inner = model.number("intermediate_size");
        let head_dim = model.head_dim();
        let q = model.number("num_attention_heads") * head_dim;
        let kv = model.number("num_key_value_heads") * head_dim;
        let family = model.family().to_owned();
        let gemma = family.starts_with("gemma");
        let mut matrix = |model: &mut Self, name: String, rows: usize, cols: usize| {
            let bound = 1.7 / (cols as f32).sqrt();
            model.put(name, vec![rows, cols], || random.within(bound));
        };
        matrix(&mut model, "model.embed_tokens.weight".to_owned(), VOCAB_SIZE, hidden);
        if !model.is_tied() {
            matrix(&mut model, "lm_head.weight".to_owned(), VOCAB_SIZE, hidden);
        }
        for layer in 0..model.number("num_hidden_layers") {
            let name = |name: &str| format!("model.layers.{layer}.{name}.weight");
            matrix(&mut model, name("self_attn.q_proj"), q, hidden);
            matrix(&mut model, name("self_attn.k_proj"), kv, hidden);
            matrix(&mut model, name("self_attn.v_proj"), kv, hidden);
            matrix(&mut model, name("self_attn.o_proj"), hidden, q);
            matrix(&mut model, name("mlp.gate_proj"), inner, hidden);
            matrix(&mut model, name("mlp.up_proj"), inner, hidden);
            matrix(&mut model, name("mlp.down_proj"), hidden, inner);
        }
        // Gemma's norms are stored without their 1.
        let center = if gemma { 0.0 } else { 1.0 };
        let mut norm = |model: &mut Self, name: String, len: usize| {
            model.put(name, vec![len], || center + random.within(0.5));
        };
        norm(&mut model, "model.norm.weight".to_owned(), hidden);
        for layer in 0..model.number("num_hidden_layers") {
            let name = |name: &str| format!("model.layers.{layer}.{name}.weight");
            norm(&mut model, name("input_layernorm"), hidden);
            norm(&mut model, name("post_attention_layernorm"), hidden);
            if gemma {
                norm(&mut model, name("pre_feedforward_layernorm"), hidden);
                norm(&mut model, name("post_feedforward_layernorm"), hidden);
            }
            if family == "qwen3" || family == "gemma3" {
                norm(&mut model, name("self_attn.q_norm"), head_dim);
                norm(&mut model, name("self_attn.k_norm"), head_dim);
            }
            if family == "qwen2" {
                for (part, len) in [("q", q), ("k", kv), ("v", kv)] {
                    let name = format!("model.layers.{layer}.self_attn.{part}_proj.bias");
                    norm(&mut model, name, len);
                }
            }
        }
        model
    }

    /// A model of this family with wider heads; weights are bf16 values.
    pub(crate) fn with_heads_of(self, head_dim: usize) -> Self {
        let config = with(self.config, json!({ "head_dim": head_dim }));
        Self::random(config, 8).rounded(Storage::BF16)
    }

    fn put(&mut self, name: String, dims: Vec<usize>, mut next: impl FnMut() -> f32) {
        let values = (0..dims.iter().product()).map(|_| next()).collect();
        self.tensors.insert(name, TinyTensor { dims, values });
    }

    fn number(&self, key: &str) -> usize {
        self.config[key].as_u64().expect("a number") as usize
    }

    fn head_dim(&self) -> usize {
        let default = || self.number("hidden_size") / self.number("num_attention_heads");
        self.config["head_dim"].as_u64().map_or_else(default, |head_dim| head_dim as usize)
    }

    fn is_tied(&self) -> bool {
        self.config["tie_word_embeddings"].as_bool().expect("a boolean")
    }

    /// GGUF's name of the family.
    fn family(&self) -> &str {
        match self.config["model_type"].as_str().expect("a string") {
            "mistral" => "llama",
            "gemma3_text" => "gemma3",
            other => other,
        }
    }

    /// Writes `config.json` and `num_shards` safetensors files.
    pub(crate) fn write_folder(&self, folder: &Path, num_shards: usize) {
        fs::write(folder.join("config.json"), self.config.to_string()).expect("writable");
        if num_shards == 1 {
            let all: Vec<_> = self.tensors.iter().collect();
            fs::write(folder.join("model.safetensors"), self.safetensors(&all)).expect("writable");
            return;
        }
        let mut weight_map = serde_json::Map::new();
        for shard in 0..num_shards {
            let file = format!("model-{:05}-of-{num_shards:05}.safetensors", shard + 1);
            let part: Vec<_> = self.tensors.iter().skip(shard).step_by(num_shards).collect();
            fs::write(folder.join(&file), self.safetensors(&part)).expect("writable");
            for (name, _) in part {
                weight_map.insert(name.clone(), json!(file));
            }
        }
        let index = json!({ "metadata": {}, "weight_map": weight_map });
        fs::write(folder.join("model.safetensors.index.json"), index.to_string())
            .expect("writable");
    }

    /// One safetensors file.
    fn safetensors(&self, tensors: &[(&String, &TinyTensor)]) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, tensor) in tensors {
            let start = data.len();
            for &value in &tensor.values {
                match self.storage {
                    Storage::F32 => data.extend(value.to_le_bytes()),
                    Storage::F16 => data.extend(f16::from_f32(value).to_le_bytes()),
                    Storage::BF16 => data.extend(bf16::from_f32(value).to_le_bytes()),
                }
            }
            let entry = json!({
                "dtype": format!("{:?}", self.storage),
                "shape": tensor.dims,
                "data_offsets": [start, data.len()],
            });
            header.insert((*name).clone(), entry);
        }
        let header = Value::Object(header).to_string().into_bytes();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend(data);
        file
    }

    /// The same model with its weights rounded to halves, still stored as f32.
    pub(crate) fn rounded(mut self, storage: Storage) -> Self {
        for value in self.tensors.values_mut().flat_map(|tensor| &mut tensor.values) {
            *value = match storage {
                Storage::F32 => *value,
                Storage::F16 => f16::from_f32(*value).to_f32(),
                Storage::BF16 => bf16::from_f32(*value).to_f32(),
            };
        }
        self
    }

    /// The model as a GGUF file of f32 tensors.
    pub(crate) fn to_gguf(&self) -> GgufBuilder {
        let mut builder = self.gguf_metadata();
        if self.config["rope_scaling"].is_object() {
            let factors = self.llama3_factors();
            builder = builder.f32_tensor("rope_freqs.weight", &[factors.len() as u64], &factors);
        }
        for (name, tensor) in &self.tensors {
            let mut values = tensor.values.clone();
            let is_norm = name.ends_with("norm.weight");
            if is_norm && self.family().starts_with("gemma") {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
            if self.family() == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
                values = permute(&values, self.head_dim(), tensor.dims[1]);
            }
            let dims: Vec<u64> = tensor.dims.iter().map(|&dim| dim as u64).collect();
            builder = builder.f32_tensor(&self.gguf_name(name), &dims, &values);
        }
        builder
    }

    fn gguf_metadata(&self) -> GgufBuilder {
        let family = self.family();
        let key = |key: &str| format!("{family}.{key}");
        let size = |name: &str| self.number(name) as u32;
        let float = |name: &str| self.config[name].as_f64().map(|value| value as f32);
        let mut builder = GgufBuilder::default()
            .string("general.architecture", family)
            .u32(&key("block_count"), size("num_hidden_layers"))
            .u32(&key("context_length"), size("max_position_embeddings"))
            .u32(&key("embedding_length"), size("hidden_size"))
            .u32(&key("feed_forward_length"), size("intermediate_size"))
            .u32(&key("attention.head_count"), size("num_attention_heads"))
            .u32(&key("attention.head_count_kv"), size("num_key_value_heads"))
            .f32(&key("attention.layer_norm_rms_epsilon"), float("rms_norm_eps").expect("given"))
            .f32(&key("rope.freq_base"), float("rope_theta").expect("given"));
        if self.config["head_dim"].is_u64() {
            builder = builder
                .u32(&key("attention.key_length"), size("head_dim"))
                .u32(&key("attention.value_length"), size("head_dim"));
        }
        if family.starts_with("gemma") {
            builder = builder.u32(&key("attention.sliding_window"), size("sliding_window"));
        }
        if let Some(cap) = float("attn_logit_softcapping") {
            builder = builder.f32(&key("attn_logit_softcapping"), cap);
        }
        if let Some(cap) = float("final_logit_softcapping") {
            builder = builder.f32(&key("final_logit_softcapping"), cap);
        }
        builder
    }

    /// The divisors that `generate_extra_tensors` of the converter writes for Llama 3.1.
    fn llama3_factors(&self) -> Vec<f32> {
        let scaling = |key: &str| self.config["rope_scaling"][key].as_f64().expect("a number");
        let (factor, original) = (scaling("factor"), scaling("original_max_position_embeddings"));
        let (low, high) = (scaling("low_freq_factor"), scaling("high_freq_factor"));
        let base = self.config["rope_theta"].as_f64().expect("a number");
        let head_dim = self.head_dim();
        let divisor = |pair: usize| {
            let wavelength = std::f64::consts::TAU * base.powf(2.0 * pair as f64 / head_dim as f64);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..head_dim / 2).map(|pair| divisor(pair) as f32).collect()
    }

    fn gguf_name(&self, name: &str) -> String {
        let gemma = self.family().starts_with("gemma");
        let Some(in_layer) = name.strip_prefix("model.layers.") else {
            return match name {
                "model.embed_tokens.weight" => "token_embd.weight",
                "model.norm.weight" => "output_norm.weight",
                "lm_head.weight" => "output.weight",
                other => panic!("no GGUF name for {other}"),
            }
            .to_owned();
        };
        let (layer, rest) = in_layer.split_once('.').expect("a layer number");
        let (module, kind) = rest.rsplit_once('.').expect("weight or bias");
        let module = match module {
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" if gemma => "post_attention_norm",
            "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            other => panic!("no GGUF name for {other}"),
        };
        format!("blk.{layer}.{module}.{kind}")
    }
}

/// The converter's `permute`: within each head, row `i` of the first half and row `i` of the second
/// become neighbours.
fn permute(values: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let rows = values.len() / cols;
    let source = |row: usize| {
        let (head, within) = (row / head_dim, row % head_dim);
        head * head_dim + (within % 2) * half + within / 2
    };
    (0..rows).flat_map(|row| values[source(row) * cols..][..cols].iter().copied()).collect()
}
