//! From files to a `Model`: reads the configuration, takes each tensor at its place.
//! Promises: a model that loads has every tensor its configuration implies, in the right shape, and
//! its layers have no tensor that the forward pass would silently ignore.
//! Never knows: executors, tokens.

use std::path::Path;

use super::config::{Declared, Family, ModelConfig, Observed, read_gguf, read_hugging_face};
use super::error::{FileProblem, ModelError};
use super::names::{Names, ROPE_FACTORS};
use super::pooling::{DeclaredPooling, pooling_of_folder, pooling_of_gguf};
use super::weights::{
    GgufFile, GgufMetadata, LayerWeights, Tensor, TensorTable, Weights, open_safetensors, read_text,
};

/// A model's configuration and weights, borrowed from memory-mapped files.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its shape and constants.
    pub config: ModelConfig,
    /// Its tensors.
    pub weights: Weights,
    /// The metadata of a GGUF file: tokenizer, chat template. `None` for safetensors.
    pub metadata: Option<GgufMetadata>,
    /// What its files say of how it makes vectors of texts.
    pub pooling: DeclaredPooling,
    file_bytes: u64,
}

impl Model {
    /// Opens a `.gguf` file, or a folder with `config.json` and safetensors.
    ///
    /// Reads no weights but norms and biases: the rest is mapped, and comes from disk when it is
    /// first touched. The files must not change while the model is in use.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() {
            Self::open_folder(path)
        } else {
            Self::open_gguf(path).map_err(|problem| problem.at(path))
        }
    }

    /// Size of the files that hold the weights.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn open_gguf(path: &Path) -> Result<Self, FileProblem> {
        let GgufFile { metadata, mut tensors, file_bytes } = GgufFile::open(path)?;
        let rope_factors = take_rope_factors(&mut tensors)?;
        let (family, declared) = read_gguf(&metadata, rope_factors)?;
        let names = Names::gguf();
        let tied = !tensors.contains(&names.output);
        let (config, weights) = assemble(family, declared, &names, tensors, tied)?;
        if let Some(tokens) = metadata.array_len("tokenizer.ggml.tokens")
            && tokens != config.vocab_size
        {
            let what = format!("has {tokens} entries, the embedding {} rows", config.vocab_size);
            return Err(FileProblem::setting("tokenizer.ggml.tokens", what));
        }
        let pooling = pooling_of_gguf(&metadata)?;
        Ok(Self { config, weights, metadata: Some(metadata), pooling, file_bytes })
    }

    fn open_folder(folder: &Path) -> Result<Self, ModelError> {
        let config_path = folder.join("config.json");
        let in_config = |problem: FileProblem| problem.at(&config_path);
        let json = read_json(&config_path).map_err(in_config)?;
        let (family, declared, declared_tied) = read_hugging_face(&json).map_err(in_config)?;
        let (tensors, file_bytes) = open_safetensors(folder)?;
        let names = Names::hugging_face(family.has_post_norms, |name| tensors.contains(name))
            .ok_or_else(|| FileProblem::tensor("embed_tokens.weight", "is missing").at(folder))?;
        let tied = declared_tied || !tensors.contains(&names.output);
        let (config, weights) = assemble(family, declared, &names, tensors, tied)
            .map_err(|problem| problem.at(folder))?;
        let pooling = pooling_of_folder(folder)?;
        Ok(Self { config, weights, metadata: None, pooling, file_bytes })
    }
}

fn read_json(path: &Path) -> Result<serde_json::Value, FileProblem> {
    serde_json::from_slice(&read_text(path)?)
        .map_err(|error| FileProblem::damaged(0, format!("not JSON: {error}")))
}

/// Llama 3.1's frequency divisors; positive, as frequencies are divided by them.
fn take_rope_factors(tensors: &mut TensorTable) -> Result<Option<Vec<f32>>, FileProblem> {
    if !tensors.contains(ROPE_FACTORS) {
        return Ok(None);
    }
    let len = tensors.rows(ROPE_FACTORS)?;
    let factors = tensors.vector(ROPE_FACTORS, len, 0.0)?.to_f32();
    match factors.iter().find(|&&factor| factor <= 0.0) {
        None => Ok(Some(factors)),
        Some(factor) => Err(FileProblem::tensor(ROPE_FACTORS, format!("holds {factor}"))),
    }
}

/// Completes the configuration with what only the tensors tell, then takes the tensors.
fn assemble(
    family: &'static Family,
    declared: Declared,
    names: &Names,
    mut tensors: TensorTable,
    tied: bool,
) -> Result<(ModelConfig, Weights), FileProblem> {
    let observed = Observed {
        vocab_size: tensors.rows(&names.embedding)?,
        num_tensors: tensors.len(),
        has_qkv_bias: tensors.contains(&names.in_layer(0, names.layer.q_bias)),
        tied,
    };
    let config = declared.resolve(family, observed)?;
    let hidden = config.hidden_size;
    let vocabulary = [config.vocab_size, hidden];
    let weights = Weights {
        embedding: tensors.matrix(&names.embedding, vocabulary)?,
        output: if tied { None } else { Some(tensors.matrix(&names.output, vocabulary)?) },
        output_norm: tensors.vector(&names.output_norm, hidden, config.norm_offset)?,
        layers: (0..config.num_layers)
            .map(|layer| {
                LayerReader { layer, names, config: &config, tensors: &mut tensors }.read()
            })
            .collect::<Result<_, _>>()?,
    };
    refuse_leftovers(names, &tensors)?;
    Ok((config, weights))
}

/// Takes one layer's tensors from the table.
struct LayerReader<'a> {
    layer: usize,
    names: &'a Names,
    config: &'a ModelConfig,
    tensors: &'a mut TensorTable,
}

impl LayerReader<'_> {
    fn read(mut self) -> Result<LayerWeights, FileProblem> {
        let (config, names) = (self.config, &self.names.layer);
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.q_size(), config.kv_size());
        let (bias, qk, post) = (config.has_qkv_bias, config.has_qk_norm, config.has_post_norms);
        Ok(LayerWeights {
            attn_norm: self.norm(names.attn_norm, hidden)?,
            q: self.matrix(names.q, [q, hidden])?,
            k: self.matrix(names.k, [kv, hidden])?,
            v: self.matrix(names.v, [kv, hidden])?,
            q_bias: bias.then(|| self.bias(names.q_bias, q)).transpose()?,
            k_bias: bias.then(|| self.bias(names.k_bias, kv)).transpose()?,
            v_bias: bias.then(|| self.bias(names.v_bias, kv)).transpose()?,
            q_norm: qk.then(|| self.norm(names.q_norm, config.head_dim)).transpose()?,
            k_norm: qk.then(|| self.norm(names.k_norm, config.head_dim)).transpose()?,
            o: self.matrix(names.o, [hidden, q])?,
            post_attn_norm: post.then(|| self.norm(names.post_attn_norm, hidden)).transpose()?,
            ffn_norm: self.norm(names.ffn_norm, hidden)?,
            gate: self.matrix(names.gate, [inner, hidden])?,
            up: self.matrix(names.up, [inner, hidden])?,
            down: self.matrix(names.down, [hidden, inner])?,
            post_ffn_norm: post.then(|| self.norm(names.post_ffn_norm, hidden)).transpose()?,
        })
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor, FileProblem> {
        self.tensors.matrix(&self.names.in_layer(self.layer, name), shape)
    }

    fn bias(&mut self, name: &str, len: usize) -> Result<Tensor, FileProblem> {
        self.tensors.vector(&self.names.in_layer(self.layer, name), len, 0.0)
    }

    fn norm(&mut self, name: &str, len: usize) -> Result<Tensor, FileProblem> {
        let offset = self.config.norm_offset;
        self.tensors.vector(&self.names.in_layer(self.layer, name), len, offset)
    }
}

/// A layer's tensor that nobody took is a step that nobody would run: a wrong answer.
fn refuse_leftovers(names: &Names, tensors: &TensorTable) -> Result<(), FileProblem> {
    let leftover = tensors
        .names()
        .filter(|name| name.starts_with(&names.layers))
        .find(|name| !names.layer.ignored.iter().any(|ignored| name.ends_with(ignored)));
    match leftover {
        None => Ok(()),
        Some(name) => Err(FileProblem::tensor(name, "is not part of this kind of model")),
    }
}
