//! Rotary positions: how fast each pair of a head turns.
//! Promises: position 0 is the identity (up to the amplitude); scaling is folded in once, here.
//! Never knows: which family asked, how pairs lie in memory (that is `RopeStyle`).

/// How a model stretches its positions beyond the context it was first trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Positions as they are.
    None,
    /// Every frequency divided by `factor` (arXiv 2306.15595).
    Linear {
        /// How many times longer the context is.
        factor: f64,
    },
    /// Llama 3.1's: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// How many times longer the context is.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of the first training.
        original_context: f64,
    },
    /// YaRN (arXiv 2309.00071): a ramp over dimensions, and a larger amplitude.
    Yarn {
        /// How many times longer the context is.
        factor: f64,
        /// Context length of the first training.
        original_context: f64,
        /// Turns within the original context above which a frequency is kept.
        beta_fast: f64,
        /// Turns within the original context below which a frequency is divided by `factor`.
        beta_slow: f64,
        /// Factor on cosine and sine; `None` means the paper's `0.1 ln(factor) + 1`.
        amplitude: Option<f64>,
    },
}

/// The turning speeds of one kind of layer, with all scaling folded in.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    /// Radians that pair `i` turns per position. `[head_dim / 2]`
    pub inv_freq: Vec<f32>,
    /// Factor on cosine and sine; 1 except for YaRN.
    pub amplitude: f32,
}

impl RopeTable {
    /// The table for heads of `head_dim` values.
    ///
    /// `factors` are the divisors that Llama 3.1 and 3.2 GGUF files carry in `rope_freqs.weight`
    /// instead of naming their scaling. `[head_dim / 2]`
    pub fn new(head_dim: usize, base: f64, scaling: RopeScaling, factors: Option<&[f32]>) -> Self {
        let pairs = head_dim / 2;
        debug_assert!(factors.is_none_or(|factors| factors.len() == pairs));
        let inv_freq = (0..pairs)
            .map(|pair| {
                let plain = base.powf(-2.0 * pair as f64 / head_dim as f64);
                let divisor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
                scaled(plain / divisor, pair, head_dim, base, scaling) as f32
            })
            .collect();
        Self { inv_freq, amplitude: amplitude(scaling) as f32 }
    }

    /// Whether the frequencies are the plain powers of one base, with nothing folded in.
    pub fn is_unscaled(&self) -> bool {
        let ratio = self.inv_freq.get(1).map_or(1.0, |&freq| f64::from(freq));
        let powers = std::iter::successors(Some(1.0), |power| Some(power * ratio));
        let plain = |(&freq, power): (&f32, f64)| (f64::from(freq) / power - 1.0).abs() < 1e-4;
        self.amplitude == 1.0 && self.inv_freq.iter().zip(powers).all(plain)
    }

    /// Writes cosine and sine of each pair at `position`, amplitude included.
    ///
    /// Both slices hold `head_dim / 2` values. Angles are formed in f64: at position 100 000 an
    /// f32 product would be off by several thousandths of a radian.
    pub fn fill(&self, position: u32, cos: &mut [f32], sin: &mut [f32]) {
        let amplitude = f64::from(self.amplitude);
        for ((&inv_freq, cos), sin) in self.inv_freq.iter().zip(cos).zip(sin) {
            let (s, c) = (f64::from(position) * f64::from(inv_freq)).sin_cos();
            *cos = (c * amplitude) as f32;
            *sin = (s * amplitude) as f32;
        }
    }
}

fn scaled(inv_freq: f64, pair: usize, head_dim: usize, base: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => inv_freq,
        RopeScaling::Linear { factor } => inv_freq / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let turns = original_context * inv_freq / std::f64::consts::TAU;
            let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
            mix(inv_freq / factor, inv_freq, kept)
        }
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
            // The (real-valued) pair that makes `turns` turns within the original context.
            let pair_of = |turns: f64| {
                let wavelengths = original_context / (turns * std::f64::consts::TAU);
                head_dim as f64 * wavelengths.ln() / (2.0 * base.ln())
            };
            let low = pair_of(beta_fast).floor().max(0.0);
            let high = pair_of(beta_slow).ceil().min(head_dim as f64 - 1.0);
            let divided = (pair as f64 - low) / (high - low).max(0.001);
            mix(inv_freq, inv_freq / factor, divided)
        }
    }
}

fn amplitude(scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::Yarn { factor, amplitude, .. } => {
            amplitude.unwrap_or_else(|| 0.1 * factor.max(1.0).ln() + 1.0)
        }
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => 1.0,
    }
}

/// `from` at or below 0, `to` at or above 1, a straight line between.
fn mix(from: f64, to: f64, share: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    from * (1.0 - share) + to * share
}
