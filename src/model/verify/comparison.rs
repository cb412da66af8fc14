//! How far two sets of logits are apart.
//! Promises: sums are formed in f64; a NaN on either side never looks like agreement.
//! Never knows: where the logits came from.

use std::fmt;

/// Differences between expected and actual logits over a number of positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Positions compared.
    pub positions: usize,
    /// Mean square of the differences over mean square of the expected logits.
    pub nmse: f64,
    /// Share of positions where both put the same token first.
    pub top1_agreement: f64,
    /// Mean Kullback-Leibler divergence of the actual distribution from the expected one, in nats.
    pub mean_kld: f64,
    /// Largest absolute difference of two logits.
    pub max_abs: f64,
}

impl Comparison {
    /// Compares logits `[positions, vocab_size]`, which must be as many on both sides.
    pub fn of(expected: &[f32], actual: &[f32], vocab_size: usize) -> Self {
        assert_eq!(expected.len(), actual.len(), "logits of different shapes");
        let mut square_error = 0.0;
        let mut square = 0.0;
        let mut max_abs = 0.0f64;
        for (&expected, &actual) in expected.iter().zip(actual) {
            let error = f64::from(actual) - f64::from(expected);
            square_error += error * error;
            square += f64::from(expected) * f64::from(expected);
            // `f64::max` would pass over a NaN.
            max_abs = if error.abs() <= max_abs { max_abs } else { error.abs() };
        }
        let rows = expected.chunks_exact(vocab_size).zip(actual.chunks_exact(vocab_size));
        let positions = rows.len();
        let (mut agreed, mut divergence) = (0usize, 0.0);
        for (expected, actual) in rows {
            agreed += usize::from(argmax(expected) == argmax(actual));
            divergence += kullback_leibler(expected, actual);
        }
        let count = positions.max(1) as f64;
        Self {
            positions,
            nmse: square_error / square.max(f64::MIN_POSITIVE),
            top1_agreement: agreed as f64 / count,
            mean_kld: divergence / count,
            max_abs,
        }
    }
}

/// How far apart two correct implementations may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gates {
    /// Upper bound of [`Comparison::nmse`].
    pub max_nmse: f64,
    /// Lower bound of [`Comparison::top1_agreement`].
    pub min_top1_agreement: f64,
    /// Upper bound of [`Comparison::mean_kld`].
    pub max_mean_kld: f64,
}

impl Gates {
    /// For sides of which one or both round activations to 8 bits before multiplying them with
    /// 4-bit weights. On the shipped models this costs up to 2.4e-3 of NMSE and 7e-3 of KLD (it
    /// costs llama.cpp the same); a wrong rope, mask or norm costs 1e-1 and more.
    pub const ROUNDED_ACTIVATIONS: Self =
        Self { max_nmse: 5e-3, min_top1_agreement: 0.9, max_mean_kld: 2e-2 };
    /// For random weights, whose logits lie close together: rounding moves the highest from one
    /// token to another where a trained model is sure. The other figures are as telling.
    pub const FLAT_LOGITS: Self = Self { min_top1_agreement: 0.75, ..Self::ROUNDED_ACTIVATIONS };
    /// For sides that compute in f32 and differ in the order of sums only.
    pub const EXACT: Self = Self { max_nmse: 1e-8, min_top1_agreement: 1.0, max_mean_kld: 1e-8 };
}

impl fmt::Display for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NMSE {:.0e}, top-1 agreement {} %, mean KLD {:.0e}",
            self.max_nmse,
            100.0 * self.min_top1_agreement,
            self.max_mean_kld
        )
    }
}

impl Comparison {
    /// Whether all figures are within the gates. A figure that is not a number is not.
    pub fn is_within(&self, gates: &Gates) -> bool {
        self.nmse <= gates.max_nmse
            && self.top1_agreement >= gates.min_top1_agreement
            && self.mean_kld <= gates.max_mean_kld
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} positions: NMSE {:.2e}, top-1 agreement {:.2} %, mean KLD {:.2e}, max |Δ| {:.3}",
            self.positions,
            self.nmse,
            100.0 * self.top1_agreement,
            self.mean_kld,
            self.max_abs
        )
    }
}

/// The index of the largest logit, the lowest of equals.
fn argmax(logits: &[f32]) -> usize {
    let better =
        |best: usize, index: usize| if logits[index] > logits[best] { index } else { best };
    (0..logits.len()).fold(0, better)
}

fn kullback_leibler(expected: &[f32], actual: &[f32]) -> f64 {
    let (expected_norm, actual_norm) = (log_sum_exp(expected), log_sum_exp(actual));
    expected
        .iter()
        .zip(actual)
        .map(|(&expected, &actual)| {
            let log_p = f64::from(expected) - expected_norm;
            let log_q = f64::from(actual) - actual_norm;
            log_p.exp() * (log_p - log_q)
        })
        .sum()
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum::<f64>().ln()
}
