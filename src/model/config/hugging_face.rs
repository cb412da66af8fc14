//! Reads a Hugging Face `config.json` into `Declared`.
//! Promises: fields and defaults are those of transformers' `configuration_*.py`, versions 4 and 5.
//! Never knows: tensors, file formats of weights.

use serde_json::Value;

use super::declared::{Declared, SlidingLayers};
use super::{Activation, Family, RopeStyle};
use crate::model::error::FileProblem;
use crate::model::rope::RopeScaling;

/// Finds the family and reads its numbers. Also says whether the file calls the embedding tied.
pub(in crate::model) fn read_hugging_face(
    config: &Value,
) -> Result<(&'static Family, Declared, bool), FileProblem> {
    let outer = Fields { object: config, defaults: &[] };
    let model_type = outer.required("model_type", Value::as_str)?;
    let family = Family::of_hugging_face(model_type).ok_or_else(|| {
        let known = Family::known();
        FileProblem::Unsupported(format!("model_type `{model_type}`; known are {known}"))
    })?;
    if outer.object.get("quantization_config").is_some_and(|value| !value.is_null()) {
        let what = "quantized safetensors; use a GGUF file of this model".to_owned();
        return Err(FileProblem::Unsupported(what));
    }
    refuse_both_ways(config)?;
    // Models that also see keep their language half's numbers one level down.
    let fields = Fields {
        object: config.get("text_config").filter(|value| value.is_object()).unwrap_or(config),
        defaults: family.hugging_face_defaults,
    };
    let tied = match fields.get("tie_word_embeddings", Value::as_bool)? {
        Some(tied) => tied,
        None => outer.get("tie_word_embeddings", Value::as_bool)?.unwrap_or(family.tied),
    };
    let num_heads = fields.required_size("num_attention_heads")?;
    let rope = fields.rope(family)?;
    let declared = Declared {
        hidden_size: fields.required_size("hidden_size")?,
        intermediate_size: fields.required_size("intermediate_size")?,
        num_layers: fields.required_size("num_hidden_layers")?,
        num_heads,
        num_kv_heads: fields.size("num_key_value_heads")?.unwrap_or(num_heads),
        head_dim: fields.size("head_dim")?,
        max_context: fields.required_size("max_position_embeddings")?,
        norm_eps: fields.required("rms_norm_eps", Value::as_f64)?,
        norm_offset: family.norm_offset,
        activation: fields.activation(family)?,
        attention_scale: fields.float("query_pre_attn_scalar")?.map(|size| 1.0 / size.sqrt()),
        attention_softcap: fields.softcap("attn_logit_softcapping", family.attention_softcap)?,
        final_softcap: fields.softcap("final_logit_softcapping", family.final_softcap)?,
        sliding_window: fields.sliding_window(family)?,
        sliding_layers: fields.sliding_layers(family)?,
        rope_style: RopeStyle::Halves,
        rope_base: rope.base,
        rope_scaling: rope.scaling,
        rope_factors: None,
        local_rope_base: rope.local_base,
    };
    Ok((family, declared, tied))
}

/// Refuses models whose tokens read those after them, as EmbeddingGemma's do: computed causally,
/// their vectors would be wrong and look right.
fn refuse_both_ways(config: &Value) -> Result<(), FileProblem> {
    let both_ways = &config["use_bidirectional_attention"];
    // Gemma 3 may write "vision", which is of images only.
    let is_set = *both_ways == Value::Bool(true) || both_ways.as_str() == Some("all");
    if is_set || config["is_causal"] == Value::Bool(false) {
        return Err(FileProblem::Unsupported("attention that is not causal".to_owned()));
    }
    Ok(())
}

/// A JSON object whose absent fields have the family's defaults.
struct Fields<'a> {
    object: &'a Value,
    defaults: &'static [(&'static str, f64)],
}

struct Rope {
    base: f64,
    scaling: RopeScaling,
    local_base: Option<f64>,
}

impl<'a> Fields<'a> {
    /// A field, if it is there and not null; an error if it is of another type.
    fn get<T>(
        &self,
        key: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FileProblem> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match convert(value) {
                Some(converted) => Ok(Some(converted)),
                None => Err(FileProblem::setting(key, format!("is {}", excerpt(value)))),
            },
        }
    }

    fn required<T>(
        &self,
        key: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, FileProblem> {
        self.get(key, convert)?.ok_or_else(|| FileProblem::setting(key, "is missing"))
    }

    fn default(&self, key: &str) -> Option<f64> {
        self.defaults.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn float(&self, key: &str) -> Result<Option<f64>, FileProblem> {
        Ok(self.get(key, Value::as_f64)?.or(self.default(key)))
    }

    fn size(&self, key: &str) -> Result<Option<usize>, FileProblem> {
        let whole = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
        Ok(self.get(key, whole)?.or(self.default(key).map(|value| value as usize)))
    }

    fn required_size(&self, key: &str) -> Result<usize, FileProblem> {
        self.size(key)?.ok_or_else(|| FileProblem::setting(key, "is missing"))
    }

    /// A field given as null means no cap; an absent one means the family's.
    fn softcap(&self, key: &str, default: Option<f64>) -> Result<Option<f64>, FileProblem> {
        let default = if self.object.get(key).is_some() { None } else { default };
        Ok(self.get(key, Value::as_f64)?.or(default))
    }

    fn activation(&self, family: &Family) -> Result<Activation, FileProblem> {
        // Gemma's `hidden_activation` wins over the older `hidden_act`.
        for key in ["hidden_activation", "hidden_act"] {
            match self.get(key, Value::as_str)? {
                None => {}
                Some("silu") => return Ok(Activation::Silu),
                Some("gelu_pytorch_tanh") => return Ok(Activation::GeluTanh),
                Some(other) => {
                    let what = format!("is `{other}`; known are silu and gelu_pytorch_tanh");
                    return Err(FileProblem::setting(key, what));
                }
            }
        }
        Ok(family.activation)
    }

    fn sliding_window(&self, family: &Family) -> Result<Option<usize>, FileProblem> {
        let switch = self.get("use_sliding_window", Value::as_bool)?;
        if !switch.unwrap_or(!family.window_needs_switch) {
            return Ok(None);
        }
        let default =
            if self.object.get("sliding_window").is_some() { None } else { family.sliding_window };
        Ok(self.size("sliding_window")?.or(default).filter(|&window| window > 0))
    }

    fn sliding_layers(&self, family: &Family) -> Result<SlidingLayers, FileProblem> {
        let listed = |value: &Value| {
            let slides = |kind: &Value| match kind.as_str()? {
                "sliding_attention" => Some(true),
                "full_attention" => Some(false),
                _ => None,
            };
            value.as_array()?.iter().map(slides).collect::<Option<Vec<bool>>>()
        };
        if let Some(listed) = self.get("layer_types", listed)? {
            return Ok(SlidingLayers::Listed(listed));
        }
        if self.get("use_sliding_window", Value::as_bool)? == Some(true) {
            let what = "needs `layer_types` beside it to say which layers slide";
            return Err(FileProblem::setting("use_sliding_window", what));
        }
        let every = self.size("sliding_window_pattern")?.unwrap_or(family.global_every);
        Ok(SlidingLayers::AllButEvery(every))
    }

    /// Version 5 writes `rope_parameters`, by layer type where there are two kinds; version 4 wrote
    /// `rope_theta`, `rope_scaling` and `rope_local_base_freq`.
    fn rope(&self, family: &Family) -> Result<Rope, FileProblem> {
        let local_default = self.default("rope_local_base_freq").or(family.local_rope_base);
        let parameters = self.object.get("rope_parameters").filter(|value| value.is_object());
        if let Some(parameters) = parameters {
            let of_global = parameters.get("full_attention").unwrap_or(parameters);
            let global = Fields { object: of_global, defaults: self.defaults };
            let local_base = match (local_default, parameters.get("sliding_attention")) {
                (Some(base), Some(object)) => {
                    let local = Fields { object, defaults: &[] };
                    Some(local.float("rope_theta")?.unwrap_or(base))
                }
                (default, _) => default,
            };
            let base = global.required_base()?;
            return Ok(Rope { base, scaling: global.rope_scaling(self)?, local_base });
        }
        let scaling = match self.object.get("rope_scaling").filter(|value| value.is_object()) {
            Some(object) => Fields { object, defaults: &[] }.rope_scaling(self)?,
            None => RopeScaling::None,
        };
        let local_base = match local_default {
            Some(_) => self.float("rope_local_base_freq")?.or(local_default),
            None => None,
        };
        Ok(Rope { base: self.required_base()?, scaling, local_base })
    }

    fn required_base(&self) -> Result<f64, FileProblem> {
        self.float("rope_theta")?.ok_or_else(|| FileProblem::setting("rope_theta", "is missing"))
    }

    /// `self` is the scaling object, `model` the one that holds the context length.
    fn rope_scaling(&self, model: &Fields<'_>) -> Result<RopeScaling, FileProblem> {
        let kind = match self.get("rope_type", Value::as_str)? {
            Some(kind) => kind,
            None => self.get("type", Value::as_str)?.unwrap_or("default"),
        };
        let number = |key: &str| {
            let value = self.required(key, Value::as_f64)?;
            if value.is_finite() && value > 0.0 {
                return Ok(value);
            }
            Err(FileProblem::setting(key, format!("is {value}, expected a positive number")))
        };
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
            "llama3" => {
                let scaling = RopeScaling::Llama3 {
                    factor: number("factor")?,
                    low_freq_factor: number("low_freq_factor")?,
                    high_freq_factor: number("high_freq_factor")?,
                    original_context: number("original_max_position_embeddings")?,
                };
                if number("high_freq_factor")? <= number("low_freq_factor")? {
                    let what = "is not above low_freq_factor";
                    return Err(FileProblem::setting("high_freq_factor", what));
                }
                Ok(scaling)
            }
            "yarn" => {
                let original_context = match self.float("original_max_position_embeddings")? {
                    Some(_) => number("original_max_position_embeddings")?,
                    None => model.required_size("max_position_embeddings")? as f64,
                };
                Ok(RopeScaling::Yarn {
                    factor: number("factor")?,
                    original_context,
                    beta_fast: self.float("beta_fast")?.unwrap_or(32.0),
                    beta_slow: self.float("beta_slow")?.unwrap_or(1.0),
                    amplitude: self.float("attention_factor")?,
                })
            }
            other => {
                let what = format!("is `{other}`; known are default, linear, llama3 and yarn");
                Err(FileProblem::setting("rope_type", what))
            }
        }
    }
}

/// A value short enough for a message.
fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
