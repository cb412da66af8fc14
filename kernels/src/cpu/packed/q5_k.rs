//! Q5_K: `weight = d * scale * code - dmin * min`, codes of 5 bits, sub-blocks of 32.
//!
//! In the file: `d: f16, dmin: f16, scales: [u8; 12], fifth: [u8; 32], codes: [u8; 128]`; codes as
//! in Q4_K, bit `s` of byte `l` of `fifth` belongs to weight `l` of sub-block `s`.
//! Packed: 1024 + 96 + 32 + 256 bytes for 8 rows of a block, 5.5 bits a weight.
//! Bounds: 4 product pairs of `31 * 127 * 2` fit 16 bits (31 496); a block's scaled sum is at most
//! `256 * 31 * 127 * 63`, about 64 million, and stays in 32 bits.

use super::format::{Format, interleave, lane, word};
use super::{GROUP, k_scales};
use crate::DType;
use crate::cpu::activations::Quantized256;
use crate::cpu::simd::Groups;

#[derive(Debug)]
pub(crate) struct Q5K;

impl Format for Q5K {
    type Input = Quantized256;
    const DTYPE: DType = DType::Q5_K;
    const PLANES: [usize; 4] = [128 * GROUP, k_scales::BYTES, 4 * GROUP, 32 * GROUP];

    fn pack(rows: [&[u8]; GROUP], planes: [&mut [u8]; 4]) {
        let [codes, scales, heads, fifth] = planes;
        interleave(codes, |row, i| word(rows[row], 48 + 4 * i));
        k_scales::pack(scales, |row| &rows[row][4..16]);
        k_scales::pack_heads(heads, rows);
        interleave(fifth, |row, i| word(rows[row], 16 + 4 * i));
    }

    fn unpack(planes: [&[u8]; 4], row: usize, block: &mut [u8]) {
        let [codes, scales, heads, fifth] = planes;
        k_scales::unpack_head(heads, row, block);
        block[4..16].copy_from_slice(&k_scales::unpack(scales, row));
        for (i, to) in block[16..48].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = lane(fifth, row, i);
        }
        for (i, to) in block[48..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = lane(codes, row, i);
        }
    }

    #[inline(always)]
    fn product<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        planes: [[&[u8]; G]; 4],
        next: &[u8],
        x: [&[Quantized256]; M],
    ) -> [S::F; M] {
        k_scales::product::<G, S, Self, 4, M>(s, planes, next, x)
    }
}
