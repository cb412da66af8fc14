//! Reads a GGUF file's metadata into `Declared`.
//! Promises: keys and defaults are llama.cpp's (`llama-arch.cpp`, `load_hparams`).
//! Never knows: tensors, except the rope factors handed to it.

use super::Family;
use super::declared::{Declared, SlidingLayers};
use crate::model::error::FileProblem;
use crate::model::rope::RopeScaling;
use crate::model::weights::GgufMetadata;

/// Finds the family and reads its numbers. `rope_factors` is the content of `rope_freqs.weight`.
pub(in crate::model) fn read_gguf(
    metadata: &GgufMetadata,
    rope_factors: Option<Vec<f32>>,
) -> Result<(&'static Family, Declared), FileProblem> {
    let architecture = require("general.architecture", metadata.str("general.architecture")?)?;
    let family = Family::of_gguf(architecture).ok_or_else(|| {
        let known = Family::known();
        // Encoders for embeddings are all called so; their tokens read those after them too.
        let is_encoder = architecture.contains("bert") || architecture.ends_with("embedding");
        let why = if is_encoder { ", whose attention is not causal" } else { "" };
        FileProblem::Unsupported(format!("architecture `{architecture}`{why}; known are {known}"))
    })?;
    let keys = Keys { metadata, architecture };
    keys.refuse_other_kinds()?;
    let num_heads = keys.required_size("attention.head_count")?;
    let head_dim = keys.head_dim()?;
    let sliding_window = match keys.size("attention.sliding_window")? {
        Some(0) => None,
        Some(window) => Some(window),
        None => family.sliding_window,
    };
    let declared = Declared {
        hidden_size: keys.required_size("embedding_length")?,
        intermediate_size: keys.required_size("feed_forward_length")?,
        num_layers: keys.required_size("block_count")?,
        num_heads,
        num_kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(num_heads),
        head_dim,
        max_context: keys.required_size("context_length")?,
        norm_eps: {
            let key = "attention.layer_norm_rms_epsilon";
            require(&keys.full(key), keys.float(key)?)?
        },
        norm_offset: 0.0,
        activation: family.activation,
        attention_scale: keys.float("attention.scale")?,
        attention_softcap: softcap(keys.float("attn_logit_softcapping")?, family.attention_softcap),
        final_softcap: softcap(keys.float("final_logit_softcapping")?, family.final_softcap),
        sliding_window,
        sliding_layers: keys.sliding_layers(family)?,
        rope_style: family.gguf_rope_style,
        rope_base: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: keys.rope_scaling()?,
        rope_factors,
        local_rope_base: match family.local_rope_base {
            Some(base) => Some(keys.float("rope.freq_base_swa")?.unwrap_or(base)),
            None => None,
        },
    };
    Ok((family, declared))
}

/// A cap of 0 in the file means none.
fn softcap(in_file: Option<f64>, default: Option<f64>) -> Option<f64> {
    in_file.or(default).filter(|&softcap| softcap != 0.0)
}

fn require<T>(key: &str, value: Option<T>) -> Result<T, FileProblem> {
    value.ok_or_else(|| FileProblem::setting(key, "is missing"))
}

/// The keys of one architecture, which carry its name in front.
struct Keys<'a> {
    metadata: &'a GgufMetadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn size(&self, key: &str) -> Result<Option<usize>, FileProblem> {
        Ok(self.metadata.u32(&self.full(key))?.map(|value| value as usize))
    }

    fn required_size(&self, key: &str) -> Result<usize, FileProblem> {
        require(&self.full(key), self.size(key)?)
    }

    fn float(&self, key: &str) -> Result<Option<f64>, FileProblem> {
        Ok(self.metadata.f32(&self.full(key))?.map(f64::from))
    }

    /// Refuses files that share an architecture's name but need steps the decoder does not have.
    fn refuse_other_kinds(&self) -> Result<(), FileProblem> {
        if self.size("expert_count")?.unwrap_or(0) > 0 {
            return Err(FileProblem::Unsupported("mixture of experts".to_owned()));
        }
        let parts = self.metadata.u32("split.count")?.unwrap_or(0);
        if parts > 1 {
            let what = format!("one of {parts} parts; join them with llama-gguf-split --merge");
            return Err(FileProblem::Unsupported(what));
        }
        if self.metadata.bool(&self.full("attention.causal"))? == Some(false) {
            return Err(FileProblem::Unsupported("attention that is not causal".to_owned()));
        }
        Ok(())
    }

    fn head_dim(&self) -> Result<Option<usize>, FileProblem> {
        let head_dim = self.size("attention.key_length")?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            let other = self.size(key)?;
            let expected = match head_dim {
                Some(head_dim) => head_dim,
                None => {
                    let hidden = self.required_size("embedding_length")?;
                    hidden / self.required_size("attention.head_count")?.max(1)
                }
            };
            if let Some(other) = other.filter(|&other| other != expected) {
                let what = format!("is {other}; only the head size, {expected}, is supported");
                return Err(FileProblem::setting(self.full(key), what));
            }
        }
        Ok(head_dim)
    }

    /// The pattern is either the distance between global layers or a list of booleans.
    fn sliding_layers(&self, family: &Family) -> Result<SlidingLayers, FileProblem> {
        let key = self.full("attention.sliding_window_pattern");
        if self.metadata.is_array(&key) {
            let listed = require(&key, self.metadata.bool_array(&key)?)?;
            return Ok(SlidingLayers::Listed(listed));
        }
        let every = self.metadata.u32(&key)?.map(|every| every as usize);
        Ok(SlidingLayers::AllButEvery(every.unwrap_or(family.global_every)))
    }

    fn rope_scaling(&self) -> Result<RopeScaling, FileProblem> {
        let kind_key = self.full("rope.scaling.type");
        let kind = self.metadata.str(&kind_key)?;
        // Files of 2023 have `scale_linear`. 0 and 1 mean the same, and no scaling.
        let factor = match self.float("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.float("rope.scale_linear")?,
        };
        let factor = factor.filter(|&factor| factor != 0.0).unwrap_or(1.0);
        if !(1.0..1e6).contains(&factor) {
            let what = format!("is {factor}, expected 1 or more");
            return Err(FileProblem::setting(self.full("rope.scaling.factor"), what));
        }
        match kind {
            Some("none") => Ok(RopeScaling::None),
            None | Some("linear") if factor == 1.0 => Ok(RopeScaling::None),
            None | Some("linear") => Ok(RopeScaling::Linear { factor }),
            Some("yarn") => self.yarn(factor),
            Some(other) => {
                let what = format!("is `{other}`; known are none, linear and yarn");
                Err(FileProblem::setting(kind_key, what))
            }
        }
    }

    fn yarn(&self, factor: f64) -> Result<RopeScaling, FileProblem> {
        let ext_key = "rope.scaling.yarn_ext_factor";
        // Negative means the default, which is 1 for YaRN.
        if let Some(ext) = self.float(ext_key)?.filter(|&ext| ext >= 0.0 && ext != 1.0) {
            let what = format!("is {ext}; only 1 is supported");
            return Err(FileProblem::setting(self.full(ext_key), what));
        }
        let original_context = match self.size("rope.scaling.original_context_length")? {
            Some(context) => context,
            None => self.required_size("context_length")?,
        };
        let attention_factor = self.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
        Ok(RopeScaling::Yarn {
            factor,
            original_context: original_context as f64,
            beta_fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            amplitude: Some(attention_factor * (0.1 * factor.ln() + 1.0)),
        })
    }
}
