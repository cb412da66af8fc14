//! What Q4_K and Q5_K share: the product, and 6-bit scales and minima for sub-blocks of 32.
//!
//! In the file: 12 bytes hold 8 scales and 8 minima. Packed, for eight rows, 96 bytes: each row has
//! a word in three vectors. With the words `s_low = [s0, s2, s1, s3]`, `s_high = [s4, s6, s5, s7]`
//! and the same for minima, the first vector holds the low 4 bits of `s_low` and of `s_high`, the
//! second those of the minima, the third the upper 2 bits of all four. The order makes the even
//! bytes of a word, and the odd ones, two neighbours for the 16-bit products.

#![allow(clippy::needless_range_loop, reason = "fixed counts are unrolled into registers")]

use super::GROUP;
use super::blocks32::splats;
use super::format::{Format, each, interleave, lane, prefetch};
use crate::cpu::activations::Quantized256;
use crate::cpu::simd::{Groups, Lanes};
use crate::reference::six_bit_scales;

/// Bytes for 8 rows.
pub(super) const BYTES: usize = 12 * GROUP;

/// Where sub-block `i` of four is in a word; its own inverse.
pub(super) const ORDER: [usize; 4] = [0, 2, 1, 3];

/// Packs what [`six_bit_scales`] reads from `scales(row)`.
pub(super) fn pack<'a>(plane: &mut [u8], scales: impl Fn(usize) -> &'a [u8]) {
    interleave(plane, |row, i| {
        let (scales, mins) = six_bit_scales(scales(row));
        std::array::from_fn(|at| {
            let (low, high) = (ORDER[at], ORDER[at] + 4);
            match i {
                0 => scales[low] & 15 | scales[high] << 4,
                1 => mins[low] & 15 | mins[high] << 4,
                _ => {
                    let mins = mins[low] >> 4 << 4 | mins[high] >> 4 << 6;
                    scales[low] >> 4 | scales[high] >> 4 << 2 | mins
                }
            }
        })
    });
}

/// The 12 bytes of the file.
pub(super) fn unpack(plane: &[u8], row: usize) -> [u8; 12] {
    let [scales, mins, upper] = [0, 1, 2].map(|i| lane(plane, row, i));
    let six = |word: [u8; 4], shift: usize, i: usize| {
        let at = ORDER[i % 4];
        word[at] >> (i / 4 * 4) & 15 | (upper[at] >> (shift + i / 4 * 2) & 3) << 4
    };
    let scale = |i: usize| six(scales, 0, i);
    let min = |i: usize| six(mins, 4, i);
    std::array::from_fn(|byte| match byte {
        0..4 => scale(byte) | scale(byte + 4) >> 4 << 6,
        4..8 => min(byte - 4) | min(byte) >> 4 << 6,
        _ => scale(byte - 4) & 15 | min(byte - 4) << 4,
    })
}

/// Multipliers for the eight sub-blocks, and the minima in four vectors of pairs.
#[inline(always)]
fn load<const G: usize, S: Groups<G>>(
    s: S,
    vectors: [&[[u8; 32]; 3]; G],
) -> ([S::I; 8], [S::I; 4]) {
    let vector = |i: usize| vectors.map(|vectors| &vectors[i]);
    let (scales, mins) = (s.load_bytes_of(vector(0)), s.load_bytes_of(vector(1)));
    let upper = s.load_bytes_of(vector(2));
    let (four, two) = (s.splat_i32(0x0f0f_0f0f), s.splat_i32(0x3030_3030));
    let scales = [
        s.or(s.and(scales, four), s.and(s.shl16(upper, 4), two)),
        s.or(s.and(s.shr16(scales, 4), four), s.and(s.shl16(upper, 2), two)),
    ];
    let mins = [
        s.or(s.and(mins, four), s.and(upper, two)),
        s.or(s.and(s.shr16(mins, 4), four), s.and(s.shr16(upper, 2), two)),
    ];
    let mut multipliers = [four; 8];
    for i in 0..8 {
        multipliers[i] = s.scale_u8(scales[i / 4], ORDER[i % 4]);
    }
    let even = s.splat_i32(0x00ff_00ff);
    let pairs =
        [s.and(mins[0], even), s.shr16(mins[0], 8), s.and(mins[1], even), s.shr16(mins[1], 8)];
    (multipliers, pairs)
}

/// `sum over sub-blocks of minimum * sum of the activations' codes`.
#[inline(always)]
fn min_dot<S: Lanes>(s: S, mins: [S::I; 4], x: &Quantized256) -> S::I {
    let mut dot = s.splat_i32(0);
    for i in 0..4 {
        dot = s.dot_i16(dot, mins[i], s.splat2(&x.sums32[i]));
    }
    dot
}

/// Eight `d`, then eight `dmin`.
pub(super) fn pack_heads(plane: &mut [u8], rows: [&[u8]; GROUP]) {
    for (i, to) in plane.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let at = i / GROUP * 2;
        *to = [rows[i % GROUP][at], rows[i % GROUP][at + 1]];
    }
}

/// The first four bytes of a row's block.
pub(super) fn unpack_head(plane: &[u8], row: usize, block: &mut [u8]) {
    let halves = plane.as_chunks::<2>().0;
    block[..2].copy_from_slice(&halves[row]);
    block[2..4].copy_from_slice(&halves[GROUP + row]);
}

/// The product of Q4_K and, with the plane of fifth bits, Q5_K.
#[inline(always)]
pub(super) fn product<const G: usize, S: Groups<G>, T: Format, const RUN: usize, const M: usize>(
    s: S,
    planes: [[&[u8]; G]; 4],
    next: &[u8],
    x: [&[Quantized256]; M],
) -> [S::F; M] {
    let [codes, scales, heads, fifth] = planes;
    // Of a block: four times eight vectors, each with the nibbles of two sub-blocks.
    let codes = codes.map(|of| of.as_chunks::<32>().0.as_chunks::<8>().0.as_chunks::<4>().0);
    let scales = scales.map(|of| of.as_chunks::<32>().0.as_chunks::<3>().0);
    let heads = heads.map(|of| of.as_chunks::<2>().0.as_chunks::<GROUP>().0);
    let fifth = fifth.map(|of| of.as_chunks::<32>().0.as_chunks::<8>().0);
    let mut sums = [s.splat(0.0); M];
    for b in 0..codes[0].len() {
        prefetch::<G, S, T>(s, next, b);
        let (scales, mins) = load(s, each(scales, b));
        let mut dots = [s.splat_i32(0); M];
        let (codes, mut x_codes) = (each(codes, b), [&x[0][b].codes; M]);
        for m in 1..M {
            x_codes[m] = &x[m][b].codes;
        }
        for j in 0..4 {
            let codes = codes.map(|codes| &codes[j]);
            let fifth = fifth.map(|fifth| fifth.get(b));
            let (first, second) = (scales[2 * j], scales[2 * j + 1]);
            add_half::<G, S, RUN, M, 0>(s, &mut dots, j, codes, fifth, first, x_codes);
            add_half::<G, S, RUN, M, 1>(s, &mut dots, j, codes, fifth, second, x_codes);
        }
        let d = s.load_f16_of(each(heads, 2 * b));
        let dmin = s.load_f16_of(each(heads, 2 * b + 1));
        for m in 0..M {
            let (x, mins) = (&x[m][b], min_dot(s, mins, &x[m][b]));
            let scale = s.splat(x.scale);
            sums[m] = s.fma(s.to_f32(dots[m]), s.mul(d, scale), sums[m]);
            sums[m] = s.fnma(s.to_f32(mins), s.mul(dmin, scale), sums[m]);
        }
    }
    sums
}

/// The products of one sub-block: the low nibbles (`HALF` 0) or the high ones of 8 vectors. A
/// constant, so that each half is code of its own: in a loop the vectors of both would be kept,
/// more than there are registers.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "parts of one inner loop")]
fn add_half<const G: usize, S: Groups<G>, const RUN: usize, const M: usize, const HALF: usize>(
    s: S,
    dots: &mut [S::I; M],
    j: usize,
    codes: [&[[u8; 32]; 8]; G],
    fifth: [Option<&[[u8; 32]; 8]>; G],
    scale: S::I,
    x: [&[[[i8; 4]; 8]; 8]; M],
) {
    let mask = s.splat_i32(0x0f0f_0f0f);
    let mut w = [mask; 8];
    for t in 0..8 {
        let both = s.load_bytes_of(codes.map(|codes| &codes[t]));
        w[t] = s.and(if HALF == 0 { both } else { s.shr16(both, 4) }, mask);
    }
    if fifth[0].is_some() {
        let fifth = fifth.map(|fifth| fifth.expect("all groups have them"));
        add_fifth_bits(s, fifth, 2 * j + HALF, &mut w);
    }
    for m in 0..M {
        dots[m] = s.scaled_dots::<8, RUN>(dots[m], w, splats(s, &x[m][2 * j + HALF]), scale);
    }
}

/// Sets bit 4 where bit `sub_block` is set.
#[inline(always)]
fn add_fifth_bits<const G: usize, S: Groups<G>>(
    s: S,
    fifth: [&[[u8; 32]; 8]; G],
    sub_block: usize,
    w: &mut [S::I; 8],
) {
    let one = s.splat_i32(0x0101_0101);
    for t in 0..8 {
        let bits = s.load_bytes_of(fifth.map(|fifth| &fifth[t]));
        let bit = s.and(s.shr16(bits, sub_block as i32), one);
        w[t] = s.or(w[t], s.shl16(bit, 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_and_unpack() {
        let scales: Vec<[u8; 12]> = (0..GROUP)
            .map(|row| std::array::from_fn(|i| (row * 37 + i * 101 + row * i * 13) as u8))
            .collect();
        let mut plane = [0; BYTES];
        pack(&mut plane, |row| &scales[row]);
        for (row, scales) in scales.iter().enumerate() {
            assert_eq!(unpack(&plane, row), *scales);
        }
    }
}
