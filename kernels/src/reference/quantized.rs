//! The product of a quantized weight row with activations rounded to 8 bits.
//!
//! This fixes, bit for bit, what the fast kernels compute: how activations are rounded, which part
//! is whole numbers, and in which order the blocks' f32 results are added.

#[cfg(test)]
use super::dequantize_row;
use super::{Block32, Block256};
use crate::DType;

/// A row of activations rounded to 8 bits, with one f32 scale for each `block_len` values.
///
/// Codes lie in -127..=127: -128 would overflow the 16-bit sums of the AVX2 kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedRow {
    /// 32 for the types with blocks of 32, 256 for the K types.
    pub block_len: usize,
    /// `value = scale * code`.
    pub codes: Vec<i8>,
    /// One for each block.
    pub scales: Vec<f32>,
}

impl QuantizedRow {
    /// Rounds `x` to the nearest code (ties to even) with scale `max |x| / 127` in each block.
    ///
    /// # Panics
    /// If `x` is not whole blocks.
    pub fn quantize(x: &[f32], block_len: usize) -> Self {
        assert!(x.len().is_multiple_of(block_len), "{} is not whole blocks", x.len());
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for block in x.chunks_exact(block_len) {
            let max = block.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
            scales.push(max / 127.0);
            let code = |x: &f32| (x * inverse).clamp(-127.0, 127.0).round_ties_even() as i8;
            codes.extend(block.iter().map(code));
        }
        QuantizedRow { block_len, codes, scales }
    }
}

/// `sum over k of weight[k] * x[k]` for one row of a quantized type.
///
/// The whole-number part of each block is exact. Then, in block order, fused multiply-adds in f32:
/// `sum += dot * (d * scale)`, and for the minima `sum += m * (scale * codes_sum)`.
///
/// # Panics
/// If `x` is not of the block length of `dtype`, or the row is not as long as `x`.
pub fn quantized_dot(dtype: DType, row: &[u8], x: &QuantizedRow) -> f32 {
    assert_eq!(dtype.block_len(), x.block_len, "activations rounded for {dtype}");
    assert_eq!(dtype.row_bytes(x.codes.len()), Some(row.len()), "as many weights as activations");
    let blocks = row.chunks_exact(dtype.block_bytes());
    let mut sum = 0.0_f32;
    for ((block, codes), scale) in
        blocks.zip(x.codes.chunks_exact(x.block_len)).zip(x.scales.iter().copied())
    {
        if x.block_len == 32 {
            let block = Block32::decode(dtype, block);
            sum = (dot(&block.codes, codes) as f32).mul_add(block.d * scale, sum);
            if matches!(dtype, DType::Q4_1 | DType::Q5_1) {
                sum = block.m.mul_add(scale * total(codes) as f32, sum);
            }
        } else {
            let block = Block256::decode(dtype, block);
            let (mut scaled, mut mins) = (0, 0);
            for (s, (weights, codes)) in
                block.codes.chunks_exact(16).zip(codes.chunks_exact(16)).enumerate()
            {
                scaled += block.scales[s] * dot(weights, codes);
                mins += block.mins[s] * total(codes);
            }
            sum = (scaled as f32).mul_add(block.d * scale, sum);
            if matches!(dtype, DType::Q2_K | DType::Q4_K | DType::Q5_K) {
                sum = (mins as f32).mul_add(-(block.dmin * scale), sum);
            }
        }
    }
    sum
}

/// `quantized_dot` with the weights decoded and every sum in f64: how far rounding may lead.
#[cfg(test)]
pub(crate) fn exact_dot(dtype: DType, row: &[u8], x: &QuantizedRow) -> f64 {
    let mut weights = vec![0.0; x.codes.len()];
    dequantize_row(dtype, row, &mut weights);
    let value = |k: usize| f64::from(x.codes[k]) * f64::from(x.scales[k / x.block_len]);
    weights.iter().enumerate().map(|(k, w)| f64::from(*w) * value(k)).sum()
}

fn dot(weights: &[i32], codes: &[i8]) -> i32 {
    weights.iter().zip(codes).map(|(w, a)| w * i32::from(*a)).sum()
}

fn total(codes: &[i8]) -> i32 {
    codes.iter().map(|a| i32::from(*a)).sum()
}
