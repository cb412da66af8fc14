//! candle-transformers as the second opinion.
//! Promises: its known faults (read off its sources, version 0.11) are refused, not compared
//! against; the file has passed our own reader before candle's sees it.
//! Never knows: executors.
//!
//! Llama and Qwen run as candle's quantized models. Gemma runs as its dense ones on weights that
//! candle dequantizes (4 bytes a weight): its quantized Gemma 3 has SiLU where Gemma has GELU, and
//! there is no quantized Gemma 2.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{
    gemma2, gemma3, quantized_llama, quantized_qwen2, quantized_qwen3,
};

use super::VerifyError;
use crate::model::config::{LayerConfig, ModelConfig};
use crate::model::load::Model;
use crate::model::names::Names;
use crate::model::rope::{RopeScaling, RopeTable};

/// candle's models of the families that it can run from GGUF.
enum Oracle {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
    Gemma2(gemma2::Model),
    Gemma3(gemma3::Model),
}

/// candle-transformers' logits after each token of a sequence. `[tokens.len(), vocab_size]`
///
/// `path` is the GGUF file that `model` was opened from; it is read into memory anew. Computes
/// token by token: candle's models give out the last position's logits only.
pub fn oracle_logits(
    path: &Path,
    model: &Model,
    tokens: &[u32],
) -> std::result::Result<Vec<f32>, VerifyError> {
    if let Some(reason) = refusal(model, tokens) {
        return Err(VerifyError::Refused(reason));
    }
    let file = File::open(path).map_err(|error| VerifyError::Oracle(error.into()))?;
    let mut reader = BufReader::new(file);
    // An unknown tensor type fails here, even of a tensor that nobody needs.
    let content =
        Content::read(&mut reader).map_err(|error| VerifyError::Refused(error.to_string()))?;
    Oracle::load(content, &mut reader, model, tokens.len())
        .and_then(|mut oracle| oracle.logits(tokens))
        .map_err(VerifyError::Oracle)
}

/// Why candle-transformers would not compute this correctly, if so.
fn refusal(model: &Model, tokens: &[u32]) -> Option<String> {
    let config = &model.config;
    if model.metadata.is_none() {
        return Some("it is not a GGUF file".to_owned());
    }
    if tokens.is_empty() {
        return Some("there are no tokens".to_owned());
    }
    let fault = |holds: bool, reason: &str| holds.then(|| reason.to_owned());
    let limit = |limit: usize| {
        (tokens.len() > limit).then(|| format!("{} tokens, it can take {limit}", tokens.len()))
    };
    let plain_head_dim = config.num_heads * config.head_dim == config.hidden_size;
    let plain_scale = (config.attention_scale.powi(-2) - config.head_dim as f32).abs() < 1e-3;
    let of_family = match config.architecture.as_str() {
        "llama" => fault(!plain_head_dim, "its llama ignores `attention.key_length`")
            .or_else(|| fault(config.has_qkv_bias, "its llama ignores the QKV biases"))
            .or_else(|| limit(quantized_llama::MAX_SEQ_LEN)),
        "qwen2" => fault(!plain_head_dim, "its qwen2 ignores `attention.key_length`")
            .or_else(|| fault(!config.has_qkv_bias, "its qwen2 wants QKV biases")),
        "qwen3" => fault(config.has_qkv_bias, "its qwen3 ignores the QKV biases"),
        // Token by token its gemma2 leaves the window out, so tokens must not reach beyond it.
        "gemma2" => fault(!config.tied, "its gemma2 has no output matrix").or_else(|| {
            config.layers.iter().find_map(|layer| layer.sliding_window).and_then(limit)
        }),
        "gemma3" => fault(!config.tied, "its gemma3 has no output matrix")
            .or_else(|| fault(!has_usual_gemma3_layers(config), "its sliding layers are fixed")),
        other => Some(format!("it has no {other}")),
    };
    of_family
        .or_else(|| fault(!config.ropes[0].is_unscaled(), "it ignores rope scaling"))
        .or_else(|| fault(!plain_scale, "it ignores the attention scale"))
        .or_else(|| limit(config.max_context))
}

/// Five layers of six slide, with a rope base of 10000.
fn has_usual_gemma3_layers(config: &ModelConfig) -> bool {
    let local_rope = RopeTable::new(config.head_dim, 10_000.0, RopeScaling::None, None);
    let slides = |layer: &LayerConfig| layer.sliding_window.is_some();
    config.ropes.get(1) == Some(&local_rope)
        && config.layers.iter().enumerate().all(|(i, layer)| slides(layer) == (i % 6 != 5))
}

impl Oracle {
    fn load(
        mut content: Content,
        reader: &mut BufReader<File>,
        model: &Model,
        num_tokens: usize,
    ) -> Result<Self> {
        let config = &model.config;
        // candle wants keys that llama.cpp lets a file leave out, and its qwen3 would compute rope
        // angles in f16 unless told otherwise.
        let head_dim = config.head_dim as u32;
        let mut complete = |key: &str, value: u32| {
            content.metadata.entry(key.to_owned()).or_insert(Value::U32(value));
        };
        complete("llama.rope.dimension_count", head_dim);
        complete("llama.attention.head_count_kv", config.num_kv_heads as u32);
        complete("qwen2.attention.head_count_kv", config.num_kv_heads as u32);
        complete("qwen3.attention.head_count_kv", config.num_kv_heads as u32);
        complete("qwen3.attention.key_length", head_dim);
        complete("general.dtype", 0);
        let device = &Device::Cpu;
        Ok(match config.architecture.as_str() {
            "llama" => {
                Self::Llama(quantized_llama::ModelWeights::from_gguf(content, reader, device)?)
            }
            "qwen2" => {
                Self::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, reader, device)?)
            }
            "qwen3" => {
                Self::Qwen3(quantized_qwen3::ModelWeights::from_gguf(content, reader, device)?)
            }
            "gemma2" => {
                let weights = dense_gemma_weights(&content, reader, config)?;
                Self::Gemma2(gemma2::Model::new(false, &gemma2_config(model, num_tokens), weights)?)
            }
            "gemma3" => {
                let weights = dense_gemma_weights(&content, reader, config)?;
                Self::Gemma3(gemma3::Model::new(false, &gemma3_config(model, num_tokens), weights)?)
            }
            other => candle_core::bail!("no {other}"),
        })
    }

    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut logits = Vec::new();
        for (position, token) in tokens.iter().enumerate() {
            let token = Tensor::new(&[[*token]], &Device::Cpu)?; // [1 sequence, 1 token]
            let row = match self {
                Self::Llama(model) => model.forward(&token, position)?,
                Self::Qwen2(model) => model.forward(&token, position)?,
                Self::Qwen3(model) => model.forward(&token, position)?,
                Self::Gemma2(model) => model.forward(&token, position)?,
                Self::Gemma3(model) => model.forward(&token, position)?,
            };
            logits.extend(row.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(logits)
    }
}

/// The file's tensors, dequantized by candle, under the names and with the norms of Hugging Face.
fn dense_gemma_weights(
    content: &Content,
    reader: &mut BufReader<File>,
    config: &ModelConfig,
) -> Result<VarBuilder<'static>> {
    let gguf = Names::gguf();
    let hugging_face = Names::hugging_face(true, |name| name == "model.embed_tokens.weight")
        .expect("the first prefix has this embedding");
    let mut pairs = vec![
        (gguf.embedding.clone(), hugging_face.embedding.clone()),
        (gguf.output_norm.clone(), hugging_face.output_norm.clone()),
    ];
    for layer in 0..config.num_layers {
        for (theirs, ours) in gguf.layer.all().into_iter().zip(hugging_face.layer.all()) {
            pairs.push((gguf.in_layer(layer, theirs), hugging_face.in_layer(layer, ours)));
        }
    }
    let mut tensors = HashMap::new();
    for (theirs, ours) in pairs {
        if !content.tensor_infos.contains_key(&theirs) {
            continue;
        }
        let tensor = content.tensor(reader, &theirs, &Device::Cpu)?.dequantize(&Device::Cpu)?;
        // candle adds the 1 that GGUF's norms already have.
        let tensor = if theirs.ends_with("norm.weight") { (tensor - 1.0)? } else { tensor };
        tensors.insert(ours, tensor);
    }
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

/// `num_tokens` bounds the rope tables, of which candle makes one a layer.
fn gemma2_config(model: &Model, num_tokens: usize) -> gemma2::Config {
    let config = &model.config;
    gemma2::Config {
        attention_bias: config.has_qkv_bias,
        head_dim: config.head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.num_heads,
        num_hidden_layers: config.num_layers,
        num_key_value_heads: config.num_kv_heads,
        rms_norm_eps: f64::from(config.norm_eps),
        rope_theta: rope_base(model),
        vocab_size: config.vocab_size,
        final_logit_softcapping: config.final_softcap.map(f64::from),
        attn_logit_softcapping: config.attention_softcap.map(f64::from),
        query_pre_attn_scalar: config.head_dim,
        sliding_window: None,
        max_position_embeddings: num_tokens,
    }
}

/// See [`gemma2_config`].
fn gemma3_config(model: &Model, num_tokens: usize) -> gemma3::Config {
    let config = &model.config;
    gemma3::Config {
        attention_bias: config.has_qkv_bias,
        head_dim: config.head_dim,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.num_heads,
        num_hidden_layers: config.num_layers,
        num_key_value_heads: config.num_kv_heads,
        rms_norm_eps: f64::from(config.norm_eps),
        rope_theta: rope_base(model),
        rope_local_base_freq: 10_000.0,
        vocab_size: config.vocab_size,
        final_logit_softcapping: config.final_softcap.map(f64::from),
        attn_logit_softcapping: config.attention_softcap.map(f64::from),
        query_pre_attn_scalar: config.head_dim,
        sliding_window: config.layers[0].sliding_window.unwrap_or(num_tokens),
        sliding_window_pattern: 6,
        max_position_embeddings: num_tokens,
    }
}

fn rope_base(model: &Model) -> f64 {
    let key = format!("{}.rope.freq_base", model.config.architecture);
    let base = model.metadata.as_ref().and_then(|metadata| metadata.f32(&key).ok().flatten());
    f64::from(base.unwrap_or(10_000.0))
}
