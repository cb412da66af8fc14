//! ggml's blocks, decoded to whole numbers and their scales.
//!
//! Layouts as in `ggml-common.h` and `dequantize_row_*` of `ggml-quants.c`. All numbers are little
//! endian. Every block is decoded into one of two neutral forms, [`Block32`] and [`Block256`].

use crate::DType;
use half::{bf16, f16};

/// 32 weights: `weight = d * code + m`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block32 {
    /// Scale.
    pub d: f32,
    /// Minimum; 0 for types without.
    pub m: f32,
    /// Signed where the type has no minimum.
    pub codes: [i32; 32],
}

/// 256 weights: `weight = d * scale * code - dmin * min`, with a scale and a minimum for each 16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block256 {
    /// Scale of the scales.
    pub d: f32,
    /// Scale of the minima; 0 for types without.
    pub dmin: f32,
    /// Scale of each 16 weights; types with sub-blocks of 32 repeat it.
    pub scales: [i32; 16],
    /// Minimum of each 16 weights, as a positive number.
    pub mins: [i32; 16],
    /// Signed where the type has no minimum.
    pub codes: [i32; 256],
}

impl Block32 {
    /// Decodes a block of Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0.
    ///
    /// # Panics
    /// On any other type, or if `bytes` is shorter than a block.
    pub fn decode(dtype: DType, bytes: &[u8]) -> Self {
        let nibble = |from: usize, k: usize| {
            let byte = bytes[from + k % 16];
            i32::from(if k < 16 { byte & 15 } else { byte >> 4 })
        };
        let fifth_bit = |from: usize, k: usize| i32::from(bytes[from + k / 8] >> (k % 8) & 1) << 4;
        let d = f16_at(bytes, 0);
        let m = match dtype {
            DType::Q4_1 | DType::Q5_1 => f16_at(bytes, 2),
            _ => 0.0,
        };
        let code = |k: usize| match dtype {
            DType::Q4_0 => nibble(2, k) - 8,
            DType::Q4_1 => nibble(4, k),
            DType::Q5_0 => (nibble(6, k) | fifth_bit(2, k)) - 16,
            DType::Q5_1 => nibble(8, k) | fifth_bit(4, k),
            DType::Q8_0 => i32::from(bytes[2 + k].cast_signed()),
            other => panic!("{other} has no blocks of 32"),
        };
        Block32 { d, m, codes: std::array::from_fn(code) }
    }
}

impl Block256 {
    /// Decodes a block of Q2_K, Q3_K, Q4_K, Q5_K or Q6_K.
    ///
    /// # Panics
    /// On any other type, or if `bytes` is shorter than a block.
    pub fn decode(dtype: DType, bytes: &[u8]) -> Self {
        match dtype {
            DType::Q2_K => Self::decode_q2_k(bytes),
            DType::Q3_K => Self::decode_q3_k(bytes),
            DType::Q4_K | DType::Q5_K => Self::decode_q4_k_or_q5_k(dtype, bytes),
            DType::Q6_K => Self::decode_q6_k(bytes),
            other => panic!("{other} has no blocks of 256"),
        }
    }

    /// `scales[16], qs[64], d, dmin`; a byte of `scales` holds scale (low) and minimum (high).
    fn decode_q2_k(bytes: &[u8]) -> Self {
        Block256 {
            d: f16_at(bytes, 80),
            dmin: f16_at(bytes, 82),
            scales: std::array::from_fn(|s| i32::from(bytes[s] & 15)),
            mins: std::array::from_fn(|s| i32::from(bytes[s] >> 4)),
            codes: std::array::from_fn(|k| two_bits(&bytes[16..80], k)),
        }
    }

    /// `hmask[32], qs[64], scales[12], d`; a clear bit of `hmask` means minus 4.
    fn decode_q3_k(bytes: &[u8]) -> Self {
        let packed = &bytes[96..108];
        let scale = |s: usize| {
            let low = packed[s % 8] >> (4 * (s / 8)) & 15;
            let high = packed[8 + s % 4] >> (2 * (s / 4)) & 3;
            i32::from(low | high << 4) - 32
        };
        let code = |k: usize| {
            let high = i32::from(bytes[k % 32] >> (k / 32) & 1);
            two_bits(&bytes[32..96], k) + 4 * high - 4
        };
        Block256 {
            d: f16_at(bytes, 108),
            dmin: 0.0,
            scales: std::array::from_fn(scale),
            mins: [0; 16],
            codes: std::array::from_fn(code),
        }
    }

    /// `d, dmin, scales[12], (Q5_K: qh[32]), qs[128]`; sub-blocks of 32.
    fn decode_q4_k_or_q5_k(dtype: DType, bytes: &[u8]) -> Self {
        let (scales, mins) = six_bit_scales(&bytes[4..16]);
        let nibbles = if dtype == DType::Q5_K { &bytes[48..176] } else { &bytes[16..144] };
        let code = |k: usize| {
            let byte = nibbles[k / 64 * 32 + k % 32];
            let low = if (k / 32).is_multiple_of(2) { byte & 15 } else { byte >> 4 };
            let fifth = match dtype {
                DType::Q5_K => (bytes[16 + k % 32] >> (k / 32) & 1) << 4,
                _ => 0,
            };
            i32::from(low | fifth)
        };
        Block256 {
            d: f16_at(bytes, 0),
            dmin: f16_at(bytes, 2),
            scales: std::array::from_fn(|s| i32::from(scales[s / 2])),
            mins: std::array::from_fn(|s| i32::from(mins[s / 2])),
            codes: std::array::from_fn(code),
        }
    }

    /// `ql[128], qh[64], scales[16] (signed), d`.
    fn decode_q6_k(bytes: &[u8]) -> Self {
        Block256 {
            d: f16_at(bytes, 208),
            dmin: 0.0,
            scales: std::array::from_fn(|s| i32::from(bytes[192 + s].cast_signed())),
            mins: [0; 16],
            codes: std::array::from_fn(|k| i32::from(q6_k_code(bytes, k)) - 32),
        }
    }
}

/// The eight scales and minima that Q4_K and Q5_K keep in 12 bytes, 6 bits each.
pub(crate) fn six_bit_scales(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let scale = |s: usize| match s {
        0..4 => packed[s] & 63,
        _ => packed[s + 4] & 15 | packed[s - 4] >> 6 << 4,
    };
    let min = |s: usize| match s {
        0..4 => packed[s + 4] & 63,
        _ => packed[s + 4] >> 4 | packed[s] >> 6 << 4,
    };
    (std::array::from_fn(scale), std::array::from_fn(min))
}

/// The unsigned 6-bit code of weight `k` of a Q6_K block.
pub(crate) fn q6_k_code(bytes: &[u8], k: usize) -> u8 {
    let (half, quarter, l) = (k / 128, k / 32 % 4, k % 32);
    let low = bytes[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
    let high = bytes[128 + half * 32 + l] >> (quarter * 2) & 3;
    low | high << 4
}

/// 2-bit codes as Q2_K and Q3_K keep them: each 128 weights in 32 bytes, 32 at a time by shift.
fn two_bits(qs: &[u8], k: usize) -> i32 {
    i32::from(qs[k / 128 * 32 + k % 32] >> (k / 32 % 4 * 2) & 3)
}

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Decodes one row of weights.
///
/// # Panics
/// If `bytes` is not exactly the row of `out.len()` weights of this type.
pub fn dequantize_row(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "{dtype} row of {}", out.len());
    let blocks = bytes.chunks_exact(dtype.block_bytes());
    for (block, out) in blocks.zip(out.chunks_exact_mut(dtype.block_len())) {
        match dtype {
            DType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            DType::F16 => out[0] = f16_at(block, 0),
            DType::BF16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 => {
                let block = Block32::decode(dtype, block);
                for (out, code) in out.iter_mut().zip(block.codes) {
                    *out = code as f32 * block.d + block.m;
                }
            }
            DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::Q5_K | DType::Q6_K => {
                let block = Block256::decode(dtype, block);
                for (k, (out, code)) in out.iter_mut().zip(block.codes).enumerate() {
                    let scale = block.d * block.scales[k / 16] as f32;
                    *out = scale * code as f32 - block.dmin * block.mins[k / 16] as f32;
                }
            }
        }
    }
}
