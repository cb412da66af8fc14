//! The definition of correct: every operation of a decoder, scalar and obvious.
//!
//! Sums are in double precision, so that these are also the more exact side of a comparison.
//! Tests hold [`crate::cpu`] against this; nothing here is fast.
//! Never knows: threads, packed layouts, KV blocks.

mod blocks;
mod quantized;

pub use blocks::{Block32, Block256, dequantize_row};
pub(crate) use blocks::{q6_k_code, six_bit_scales};
#[cfg(test)]
pub(crate) use quantized::exact_dot;
pub use quantized::{QuantizedRow, quantized_dot};

use crate::DType;

/// `out[m, n] = sum over k of x[m, k] * weights[n, k]`; `weights` holds `out_cols` rows of `dtype`.
///
/// # Panics
/// If the lengths are not those of whole matrices with `cols` columns.
pub fn matmul(dtype: DType, weights: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
    let row_bytes = dtype.row_bytes(cols).expect("cols is whole blocks");
    let out_cols = weights.len() / row_bytes;
    assert_eq!(weights.len(), out_cols * row_bytes, "weights are whole rows");
    assert_eq!(x.len() / cols * out_cols, out.len(), "out is [rows of x, rows of weights]");
    let mut row = vec![0.0; cols];
    for (n, bytes) in weights.chunks_exact(row_bytes).enumerate() {
        dequantize_row(dtype, bytes, &mut row);
        for (m, x) in x.chunks_exact(cols).enumerate() {
            out[m * out_cols + n] = dot(x, &row) as f32;
        }
    }
}

/// `x * weight / sqrt(mean(x^2) + eps)`, in place.
pub fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(x.len(), weight.len(), "one weight for each value");
    let mean = dot(x, x) / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(eps)).sqrt();
    for (x, w) in x.iter_mut().zip(weight) {
        *x = (f64::from(*x) * scale * f64::from(*w)) as f32;
    }
}

/// Which values of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `(2i, 2i + 1)`: ggml's NORM, Llama in GGUF.
    Adjacent,
    /// `(i, i + len / 2)`: ggml's NEOX, Hugging Face's layout.
    Halves,
}

/// Rotates one head at `position` by the angles `position * inv_freq[i]`, scaled by `amplitude`.
///
/// Source: RoFormer, arXiv 2104.09864.
pub fn rope(head: &mut [f32], position: u32, inv_freq: &[f32], amplitude: f32, pairs: RopePairs) {
    assert_eq!(head.len(), inv_freq.len() * 2, "one frequency for each pair");
    for (i, freq) in inv_freq.iter().enumerate() {
        // The angle is rounded to f32 as in every implementation that models were trained with.
        let (sin, cos) = f64::from(position as f32 * freq).sin_cos();
        let (sin, cos) = (sin * f64::from(amplitude), cos * f64::from(amplitude));
        let (a, b) = match pairs {
            RopePairs::Adjacent => (2 * i, 2 * i + 1),
            RopePairs::Halves => (i, i + inv_freq.len()),
        };
        let (x, y) = (f64::from(head[a]), f64::from(head[b]));
        head[a] = (x * cos - y * sin) as f32;
        head[b] = (x * sin + y * cos) as f32;
    }
}

/// One query head over `keys` and `values`, each `[positions, out.len()]`, all of them visible.
///
/// Logits are `scale * q.k`, then `cap * tanh(logit / cap)` where there is a soft cap.
pub fn attention(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    softcap: Option<f32>,
    out: &mut [f32],
) {
    let len = query.len();
    let mut weights: Vec<f64> = keys
        .chunks_exact(len)
        .map(|key| {
            let logit = dot(query, key) * f64::from(scale);
            softcap.map_or(logit, |cap| (logit / f64::from(cap)).tanh() * f64::from(cap))
        })
        .collect();
    let max = weights.iter().fold(f64::NEG_INFINITY, |max, w| max.max(*w));
    weights.iter_mut().for_each(|w| *w = (*w - max).exp());
    let sum: f64 = weights.iter().sum();
    for (i, out) in out.iter_mut().enumerate() {
        let column = values.chunks_exact(len).map(|value| f64::from(value[i]));
        let total: f64 = weights.iter().zip(column).map(|(w, v)| w * v).sum();
        *out = (total / sum) as f32;
    }
}

/// `x / (1 + e^-x)`.
pub fn silu(x: f32) -> f32 {
    let x = f64::from(x);
    (x / (1.0 + (-x).exp())) as f32
}

/// GELU by the tanh approximation, as Gemma uses it (arXiv 1606.08415).
pub fn gelu_tanh(x: f32) -> f32 {
    let x = f64::from(x);
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    (0.5 * x * (1.0 + inner.tanh())) as f32
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
