//! Q6_K: `weight = d * scale * (code - 32)`, codes of 6 bits, sub-blocks of 16 with 8-bit scales.
//!
//! In the file: `low: [u8; 128], high: [u8; 64], scales: [i8; 16], d: f16`; see
//! [`crate::reference::Block256`] for the order of the bits.
//! Packed, for 8 rows of a block: each 64 weights are 16 vectors of 4. Vector `v` of a plane of 8
//! holds the low 4 bits of vectors `v` and `v + 8`; vector `v` of a plane of 4 the upper 2 bits of
//! `v`, `v + 4`, `v + 8`, `v + 12`. Then four vectors of scales, each row's word in the order of
//! `k_scales`, and 8 `d`: 1024 + 512 + 128 + 16 bytes, 6.5625 bits a weight.
//! Bounds: 2 product pairs of `63 * 127 * 2` fit 16 bits (32 004); a block's scaled sum is at most
//! `256 * 63 * 127 * 128`, about 262 million, and stays in 32 bits.

#![allow(clippy::needless_range_loop, reason = "fixed counts are unrolled into registers")]

use super::GROUP;
use super::blocks32::splats;
use super::format::{Format, each, interleave, lane, prefetch};
use super::k_scales::ORDER;
use crate::DType;
use crate::cpu::activations::Quantized256;
use crate::cpu::simd::{Groups, Lanes};
use crate::reference::{Block256, q6_k_code};

#[derive(Debug)]
pub(crate) struct Q6K;

impl Format for Q6K {
    type Input = Quantized256;
    const DTYPE: DType = DType::Q6_K;
    const PLANES: [usize; 4] = [128 * GROUP, 64 * GROUP, 16 * GROUP, 2 * GROUP];

    fn pack(rows: [&[u8]; GROUP], planes: [&mut [u8]; 4]) {
        let [low, high, scales, d] = planes;
        // Four codes of vector `v` (0..64 in a block) of a row.
        let codes = |row: usize, v: usize| [0, 1, 2, 3].map(|c| q6_k_code(rows[row], 4 * v + c));
        interleave(low, |row, i| {
            let v = i / 8 * 16 + i % 8;
            let (a, b) = (codes(row, v), codes(row, v + 8));
            std::array::from_fn(|c| a[c] & 15 | b[c] << 4)
        });
        interleave(high, |row, i| {
            let parts = [0, 4, 8, 12].map(|part| codes(row, i / 4 * 16 + i % 4 + part));
            std::array::from_fn(|c| {
                (0..4).fold(0, |byte, part| byte | parts[part][c] >> 4 << (2 * part))
            })
        });
        interleave(scales, |row, i| ORDER.map(|at| rows[row][192 + 4 * i + at]));
        for (row, to) in rows.iter().zip(d.as_chunks_mut::<2>().0) {
            to.copy_from_slice(&row[208..]);
        }
    }

    fn unpack(planes: [&[u8]; 4], row: usize, block: &mut [u8]) {
        let [low, high, scales, d] = planes;
        block.fill(0);
        for k in 0..256 {
            let (v, c) = (k / 4 % 16, k % 4);
            let low = lane(low, row, k / 64 * 8 + v % 8)[c] >> (v / 8 * 4) & 15;
            let high = lane(high, row, k / 64 * 4 + v % 4)[c] >> (v / 4 * 2) & 3;
            // The file's order: see `q6_k_code`.
            let (half, quarter, l) = (k / 128, k / 32 % 4, k % 32);
            block[half * 64 + quarter % 2 * 32 + l] |= low << (quarter / 2 * 4);
            block[128 + half * 32 + l] |= high << (quarter * 2);
        }
        for s in 0..16 {
            block[192 + s] = lane(scales, row, s / 4)[ORDER[s % 4]];
        }
        block[208..].copy_from_slice(&d.as_chunks::<2>().0[row]);
    }

    #[inline(always)]
    fn product<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        planes: [[&[u8]; G]; 4],
        next: &[u8],
        x: [&[Quantized256]; M],
    ) -> [S::F; M] {
        let [low, high, scales, d] = planes;
        let low = low.map(|of| of.as_chunks::<32>().0.as_chunks::<8>().0.as_chunks::<4>().0);
        let high = high.map(|of| of.as_chunks::<32>().0.as_chunks::<4>().0.as_chunks::<4>().0);
        let scales = scales.map(|of| of.as_chunks::<32>().0.as_chunks::<4>().0);
        let d = d.map(|of| of.as_chunks::<2>().0.as_chunks::<GROUP>().0);
        let mut sums = [s.splat(0.0); M];
        for block in 0..low[0].len() {
            prefetch::<G, S, Self>(s, next, block);
            let (low, high, scales) = (each(low, block), each(high, block), each(scales, block));
            let mut dots = [s.splat_i32(0); M];
            for j in 0..4 {
                let scales = s.load_bytes_of(scales.map(|scales| &scales[j]));
                let (even, odd) = thirty_two_times(s, scales);
                for m in 0..M {
                    let [first, second] = &x[m][block].minus_sums16[j];
                    dots[m] = s.dot_i16(dots[m], even, s.splat2(first));
                    dots[m] = s.dot_i16(dots[m], odd, s.splat2(second));
                }
                let (low, high) = (low.map(|low| &low[j]), high.map(|high| &high[j]));
                let mut codes = [&x[0][block].codes[2 * j..2 * j + 2]; M];
                for m in 1..M {
                    codes[m] = &x[m][block].codes[2 * j..2 * j + 2];
                }
                add_half::<G, S, M, 0>(s, &mut dots, low, high, scales, codes);
                add_half::<G, S, M, 1>(s, &mut dots, low, high, scales, codes);
            }
            let d = s.load_f16_of(each(d, block));
            for m in 0..M {
                let scale = s.mul(d, s.splat(x[m][block].scale));
                sums[m] = s.fma(s.to_f32(dots[m]), scale, sums[m]);
            }
        }
        sums
    }
}

/// The scales of sub-blocks 0 and 1, and those of 2 and 3, in pairs: times the centre of codes.
#[inline(always)]
fn thirty_two_times<S: Lanes>(s: S, scales: S::I) -> (S::I, S::I) {
    // A byte in the upper half of 16 bits is 256 times itself.
    let upper = s.splat_i32(0xff00_ff00_u32.cast_signed());
    (s.sar16(s.shl16(scales, 8), 3), s.sar16(s.and(scales, upper), 3))
}

/// The products of vectors `8 * HALF..` of the 16 of 64 weights. A constant, so that each half is
/// code of its own: in a loop the vectors of both would be kept, more than there are registers.
#[inline(always)]
fn add_half<const G: usize, S: Groups<G>, const M: usize, const HALF: usize>(
    s: S,
    dots: &mut [S::I; M],
    low: [&[[u8; 32]; 8]; G],
    high: [&[[u8; 32]; 4]; G],
    scales: S::I,
    x: [&[[[i8; 4]; 8]]; M],
) {
    let [a, b, c, d, e, f, g, h] = codes::<G, S, HALF>(s, low, high);
    let first = s.scale_i8(scales, ORDER[2 * HALF]);
    let second = s.scale_i8(scales, ORDER[2 * HALF + 1]);
    for m in 0..M {
        let x = splats(s, &x[m][HALF]);
        let (left, right) = ([x[0], x[1], x[2], x[3]], [x[4], x[5], x[6], x[7]]);
        dots[m] = s.scaled_dots::<4, 2>(dots[m], [a, b, c, d], left, first);
        dots[m] = s.scaled_dots::<4, 2>(dots[m], [e, f, g, h], right, second);
    }
}

/// Those vectors, as unsigned codes.
#[inline(always)]
fn codes<const G: usize, S: Groups<G>, const HALF: usize>(
    s: S,
    low: [&[[u8; 32]; 8]; G],
    high: [&[[u8; 32]; 4]; G],
) -> [S::I; 8] {
    let (four, two) = (s.splat_i32(0x0f0f_0f0f), s.splat_i32(0x3030_3030));
    let mut w = [four; 8];
    for v in 0..8 {
        let nibbles = s.load_bytes_of(low.map(|low| &low[v]));
        let nibbles = s.and(if HALF == 0 { nibbles } else { s.shr16(nibbles, 4) }, four);
        let upper = s.load_bytes_of(high.map(|high| &high[v % 4]));
        // Bits 2 * part.. of the byte to bits 4 and 5.
        let upper = match 2 * HALF + v / 4 {
            0 => s.shl16(upper, 4),
            1 => s.shl16(upper, 2),
            2 => upper,
            _ => s.shr16(upper, 2),
        };
        w[v] = s.or(nibbles, s.and(upper, two));
    }
    w
}

/// Rewrites a Q3_K block as the Q6_K block of the same weights: its codes lie in -4..4, its scales
/// in -32..32, for the same 16 weights.
pub(super) fn from_q3_k(from: &[u8], to: &mut [u8]) {
    let block = Block256::decode(DType::Q3_K, from);
    to.fill(0);
    for (k, code) in block.codes.iter().enumerate() {
        let code = (code + 32) as u8;
        let (half, quarter, l) = (k / 128, k / 32 % 4, k % 32);
        to[half * 64 + quarter % 2 * 32 + l] |= (code & 15) << (quarter / 2 * 4);
        to[128 + half * 32 + l] |= code >> 4 << (quarter * 2);
    }
    for (scale, to) in block.scales.iter().zip(&mut to[192..208]) {
        *to = (*scale as i8).cast_unsigned();
    }
    to[208..210].copy_from_slice(&from[108..110]);
}
