//! A model's numbers as its file declares them, and the checks that make them a `ModelConfig`.
//! Promises: what passes is consistent and finite, so nobody after this file checks again.
//! Never knows: which file format the numbers came from.

use super::{Activation, Family, LayerConfig, ModelConfig, RopeStyle};
use crate::model::error::FileProblem;
use crate::model::rope::{RopeScaling, RopeTable};

/// No model has more heads, and none has larger ones.
const MAX_HEADS: usize = 1024;
const MAX_HEAD_DIM: usize = 1024;
/// Positions are `u32`s and contexts are counted in `usize`; no model is near this.
const MAX_CONTEXT: usize = 1 << 26;

/// What a file says of a model, defaults of the family filled in.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) num_heads: usize,
    pub(crate) num_kv_heads: usize,
    /// `None`: `hidden_size / num_heads`.
    pub(crate) head_dim: Option<usize>,
    pub(crate) max_context: usize,
    pub(crate) norm_eps: f64,
    pub(crate) norm_offset: f32,
    pub(crate) activation: Activation,
    /// `None`: from the head size, see `Family::wide_attention_layers`.
    pub(crate) attention_scale: Option<f64>,
    pub(crate) attention_softcap: Option<f64>,
    pub(crate) final_softcap: Option<f64>,
    pub(crate) sliding_window: Option<usize>,
    pub(crate) sliding_layers: SlidingLayers,
    pub(crate) rope_style: RopeStyle,
    pub(crate) rope_base: f64,
    pub(crate) rope_scaling: RopeScaling,
    /// Divisors of the frequencies, for every layer.
    pub(crate) rope_factors: Option<Vec<f32>>,
    /// `Some`: the sliding layers' own base, never scaled.
    pub(crate) local_rope_base: Option<f64>,
}

/// Which layers slide, in a model that has a window.
#[derive(Debug)]
pub(crate) enum SlidingLayers {
    /// All but each `n`-th; 0: all.
    AllButEvery(usize),
    /// As listed, one entry a layer.
    Listed(Vec<bool>),
}

/// What only the tensors tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    pub(crate) vocab_size: usize,
    pub(crate) num_tensors: usize,
    pub(crate) has_qkv_bias: bool,
    pub(crate) tied: bool,
}

impl Declared {
    /// Checks the numbers against each other and completes them.
    pub(crate) fn resolve(
        self,
        family: &Family,
        observed: Observed,
    ) -> Result<ModelConfig, FileProblem> {
        // A layer has at least nine tensors, so this bounds what the count can make us allocate.
        within("num_layers", self.num_layers, 1..=observed.num_tensors)?;
        within("hidden_size", self.hidden_size, 1..=1 << 24)?;
        within("intermediate_size", self.intermediate_size, 1..=1 << 24)?;
        within("max_context", self.max_context, 1..=MAX_CONTEXT)?;
        within("num_heads", self.num_heads, 1..=MAX_HEADS)?;
        within("num_kv_heads", self.num_kv_heads, 1..=self.num_heads)?;
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let what =
                format!("is {}, not a divisor of {} heads", self.num_kv_heads, self.num_heads);
            return Err(FileProblem::setting("num_kv_heads", what));
        }
        let head_dim = self.head_dim()?;
        positive("norm_eps", self.norm_eps)?;
        positive("rope_base", self.rope_base)?;
        for softcap in [self.attention_softcap, self.final_softcap].into_iter().flatten() {
            positive("softcap", softcap)?;
        }
        let attention_scale = self.attention_scale.unwrap_or_else(|| {
            let wide = family.wide_attention_layers == Some(self.num_layers);
            let size = if wide { self.hidden_size / self.num_heads } else { head_dim };
            1.0 / (size as f64).sqrt()
        });
        positive("attention_scale", attention_scale)?;
        let embedding_scale =
            if family.scales_embedding { (self.hidden_size as f64).sqrt() } else { 1.0 };
        Ok(ModelConfig {
            architecture: family.gguf.to_owned(),
            vocab_size: observed.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim,
            max_context: self.max_context,
            norm_eps: self.norm_eps as f32,
            norm_offset: self.norm_offset,
            embedding_scale: embedding_scale as f32,
            activation: self.activation,
            has_qkv_bias: observed.has_qkv_bias,
            has_qk_norm: family.has_qk_norm,
            has_post_norms: family.has_post_norms,
            attention_scale: attention_scale as f32,
            attention_softcap: self.attention_softcap.map(|softcap| softcap as f32),
            final_softcap: self.final_softcap.map(|softcap| softcap as f32),
            layers: self.layers()?,
            ropes: self.ropes(head_dim)?,
            rope_style: self.rope_style,
            tied: observed.tied,
        })
    }

    fn head_dim(&self) -> Result<usize, FileProblem> {
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if self.hidden_size.is_multiple_of(self.num_heads) => {
                self.hidden_size / self.num_heads
            }
            None => {
                let what = format!(
                    "is not given, and {} is not {} whole heads",
                    self.hidden_size, self.num_heads
                );
                return Err(FileProblem::setting("head_dim", what));
            }
        };
        within("head_dim", head_dim, 2..=MAX_HEAD_DIM)?;
        if head_dim % 2 == 1 {
            return Err(FileProblem::setting("head_dim", format!("is {head_dim}, not even")));
        }
        Ok(head_dim)
    }

    fn layers(&self) -> Result<Vec<LayerConfig>, FileProblem> {
        let slides = |layer: usize| match &self.sliding_layers {
            SlidingLayers::AllButEvery(0) => true,
            SlidingLayers::AllButEvery(n) => layer % n != n - 1,
            SlidingLayers::Listed(listed) => listed[layer],
        };
        if let SlidingLayers::Listed(listed) = &self.sliding_layers
            && listed.len() != self.num_layers
        {
            let what = format!("lists {} layers of {}", listed.len(), self.num_layers);
            return Err(FileProblem::setting("sliding layers", what));
        }
        let local_rope = usize::from(self.local_rope_base.is_some());
        Ok((0..self.num_layers)
            .map(|layer| match self.sliding_window {
                Some(window) if slides(layer) => {
                    LayerConfig { sliding_window: Some(window), rope: local_rope }
                }
                _ => LayerConfig { sliding_window: None, rope: 0 },
            })
            .collect())
    }

    fn ropes(&self, head_dim: usize) -> Result<Vec<RopeTable>, FileProblem> {
        let factors = self.rope_factors.as_deref();
        if let Some(factors) = factors
            && factors.len() != head_dim / 2
        {
            let what = format!("are {}, expected {}", factors.len(), head_dim / 2);
            return Err(FileProblem::setting("rope factors", what));
        }
        let mut ropes = vec![RopeTable::new(head_dim, self.rope_base, self.rope_scaling, factors)];
        if let Some(base) = self.local_rope_base {
            positive("local_rope_base", base)?;
            ropes.push(RopeTable::new(head_dim, base, RopeScaling::None, None));
        }
        let finite = |rope: &RopeTable| {
            rope.amplitude.is_finite() && rope.inv_freq.iter().all(|freq| freq.is_finite())
        };
        if !ropes.iter().all(finite) {
            let what = format!("gives frequencies that are not finite: {:?}", self.rope_scaling);
            return Err(FileProblem::setting("rope scaling", what));
        }
        Ok(ropes)
    }
}

fn within(
    key: &str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<(), FileProblem> {
    if range.contains(&value) {
        return Ok(());
    }
    let what = format!("is {value}, expected {} to {}", range.start(), range.end());
    Err(FileProblem::setting(key, what))
}

fn positive(key: &str, value: f64) -> Result<(), FileProblem> {
    // The upper bound keeps the value finite as an f32.
    if value > 0.0 && value < 1e30 {
        return Ok(());
    }
    Err(FileProblem::setting(key, format!("is {value}, expected a positive number")))
}
