//! What Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 share: blocks of 32 with one scale, perhaps one minimum.
//!
//! In the file: `d`, (`m`), (32 fifth bits), then 16 bytes of nibbles or 32 bytes of codes.
//! Packed, for eight rows: codes as words of 4 bytes, row after row; fifth bits one vector: byte
//! `c` of a row's word holds the bits of weights `4t + c` at bit `t`; then 8 `d` and 8 `m`.

#![allow(clippy::needless_range_loop, reason = "fixed counts are unrolled into registers")]

use super::GROUP;
use super::format::{Format, each, interleave, lane, prefetch, vectors, word};
use crate::DType;
use crate::cpu::activations::Quantized32;
use crate::cpu::simd::{Groups, Lanes};
use std::marker::PhantomData;

/// What differs between these types.
pub(crate) trait Codes {
    const DTYPE: DType;
    /// Taken off the unsigned codes: by the activations' sum, as whole numbers.
    const CENTRE: i32 = 0;
    const HAS_MIN: bool = false;
    /// Bytes of nibbles or codes in a row's block: 16 or 32. Also a block's vectors times 4.
    const CODE_BYTES: usize = 16;
    const HAS_FIFTH_BIT: bool = false;

    /// The sum over a block. `bits` is empty without fifth bits.
    fn dots<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        codes: [&[[u8; 32]]; G],
        bits: [&[[u8; 32]]; G],
        x: [&Quantized32; M],
    ) -> [S::I; M];
}

/// The [`Format`] of a type of this family.
#[derive(Debug)]
pub(crate) struct Of<T>(PhantomData<T>);

impl<T: Codes> Of<T> {
    const HEAD: usize = if T::HAS_MIN { 4 } else { 2 };
    const BITS: usize = if T::HAS_FIFTH_BIT { 4 } else { 0 };
}

impl<T: Codes> Format for Of<T> {
    type Input = Quantized32;
    const DTYPE: DType = T::DTYPE;
    const PLANES: [usize; 4] = [T::CODE_BYTES * GROUP, Self::BITS * GROUP, Self::HEAD * GROUP, 0];

    fn pack(rows: [&[u8]; GROUP], planes: [&mut [u8]; 4]) {
        let [codes, bits, scales, _] = planes;
        interleave(codes, |row, i| word(rows[row], Self::HEAD + Self::BITS + 4 * i));
        interleave(bits, |row, _| spread(u32::from_le_bytes(word(rows[row], Self::HEAD))));
        for (i, to) in scales.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let at = i / GROUP * 2;
            *to = [rows[i % GROUP][at], rows[i % GROUP][at + 1]];
        }
    }

    fn unpack(planes: [&[u8]; 4], row: usize, block: &mut [u8]) {
        let [codes, bits, scales, _] = planes;
        let (head, tail) = block.split_at_mut(Self::HEAD);
        for (i, to) in head.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *to = scales.as_chunks::<2>().0[i * GROUP + row];
        }
        let (fifth, tail) = tail.split_at_mut(Self::BITS);
        if T::HAS_FIFTH_BIT {
            fifth.copy_from_slice(&gather(lane(bits, row, 0)).to_le_bytes());
        }
        for (i, to) in tail.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = lane(codes, row, i);
        }
    }

    #[inline(always)]
    fn product<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        planes: [[&[u8]; G]; 4],
        next: &[u8],
        x: [&[Quantized32]; M],
    ) -> [S::F; M] {
        let mut sums = [s.splat(0.0); M];
        let (codes, bits) = (vectors(planes[0]), vectors(planes[1]));
        let scales = planes[2].map(|plane| plane.as_chunks::<2>().0.as_chunks::<GROUP>().0);
        let per_block = T::CODE_BYTES / 4;
        for b in 0..codes[0].len() / per_block {
            prefetch::<G, S, Self>(s, next, b);
            let mut block = [&x[0][b]; M];
            for m in 1..M {
                block[m] = &x[m][b];
            }
            let codes = codes.map(|codes| &codes[b * per_block..(b + 1) * per_block]);
            let bits = bits.map(|bits| if T::HAS_FIFTH_BIT { &bits[b..b + 1] } else { &[] });
            let dots = T::dots(s, codes, bits, block);
            let at = b * Self::HEAD / 2;
            let d = s.load_f16_of(each(scales, at));
            for m in 0..M {
                let scale = s.mul(d, s.splat(block[m].scale));
                sums[m] = s.fma(s.to_f32(dots[m]), scale, sums[m]);
            }
            if T::HAS_MIN {
                let min = s.load_f16_of(each(scales, at + 1));
                for m in 0..M {
                    sums[m] = s.fma(min, s.splat(block[m].scaled_sum), sums[m]);
                }
            }
        }
        sums
    }
}

/// Unsigned codes times activations: `w` are the 8 vectors of weights `4t..4t+4`.
#[inline(always)]
pub(super) fn unsigned_dots<const G: usize, S: Groups<G>, const RUN: usize, const M: usize>(
    s: S,
    w: [S::I; 8],
    centre: i32,
    x: [&Quantized32; M],
) -> [S::I; M] {
    let mut dots = [s.splat_i32(0); M];
    for m in 0..M {
        let start = if centre == 0 { 0 } else { -centre * x[m].sum };
        dots[m] = s.dots::<8, RUN>(s.splat_i32(start), w, splats(s, &x[m].codes));
    }
    dots
}

/// 32 activations, four in each vector.
#[inline(always)]
pub(super) fn splats<S: Lanes>(s: S, codes: &[[i8; 4]; 8]) -> [S::I; 8] {
    let mut a = [s.splat_i32(0); 8];
    for t in 0..8 {
        a[t] = s.splat4(&codes[t]);
    }
    a
}

/// The low nibbles (weights 0..16), then the high ones (16..32), of 4 vectors.
#[inline(always)]
pub(super) fn nibbles<const G: usize, S: Groups<G>>(s: S, codes: [&[[u8; 32]]; G]) -> [S::I; 8] {
    let mask = s.splat_i32(0x0f0f_0f0f);
    let mut w = [mask; 8];
    let codes = codes.map(|codes| codes.first_chunk::<4>().expect("a block is four vectors"));
    for t in 0..4 {
        let both = s.load_bytes_of(codes.map(|codes| &codes[t]));
        w[t] = s.and(both, mask);
        w[t + 4] = s.and(s.shr16(both, 4), mask);
    }
    w
}

/// The same with fifth bits.
#[inline(always)]
pub(super) fn nibbles_and_bits<const G: usize, S: Groups<G>>(
    s: S,
    codes: [&[[u8; 32]]; G],
    bits: [&[[u8; 32]]; G],
) -> [S::I; 8] {
    let mut w = nibbles(s, codes);
    let bits = s.load_bytes_of(each(bits, 0));
    let fifth = s.splat_i32(0x1010_1010);
    for t in 0..8 {
        // Bit t to bit 4, within its byte: what 16-bit shifts bring in from outside is masked.
        let moved = match t {
            0..4 => s.shl16(bits, 4 - t as i32),
            _ => s.shr16(bits, t as i32 - 4),
        };
        w[t] = s.or(w[t], s.and(moved, fifth));
    }
    w
}

/// Bit `4t + c` to bit `t` of byte `c`.
fn spread(bits: u32) -> [u8; 4] {
    std::array::from_fn(|c| (0..8).fold(0, |byte, t| byte | ((bits >> (4 * t + c) & 1) as u8) << t))
}

/// The inverse of [`spread`].
fn gather(bytes: [u8; 4]) -> u32 {
    (0..32).fold(0, |bits, k| bits | u32::from(bytes[k % 4] >> (k / 4) & 1) << k)
}
