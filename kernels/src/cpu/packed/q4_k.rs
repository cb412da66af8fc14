//! Q4_K: `weight = d * scale * code - dmin * min`, codes of 4 bits, sub-blocks of 32.
//!
//! In the file: `d: f16, dmin: f16, scales: [u8; 12], codes: [u8; 128]`; each 32 bytes of codes
//! hold 32 weights in the low nibbles and the next 32 in the high ones.
//! Packed: 1024 + 96 + 32 bytes for 8 rows of a block, 4.5 bits a weight.
//! Bounds: 8 product pairs of `15 * 127 * 2` fit 16 bits (30 480); a block's scaled sum is at most
//! `256 * 15 * 127 * 63`, about 31 million, and stays in 32 bits.

use super::format::{Format, interleave, lane, word};
use super::{GROUP, k_scales};
use crate::DType;
use crate::cpu::activations::Quantized256;
use crate::cpu::simd::Groups;

#[derive(Debug)]
pub(crate) struct Q4K;

impl Format for Q4K {
    type Input = Quantized256;
    const DTYPE: DType = DType::Q4_K;
    const PLANES: [usize; 4] = [128 * GROUP, k_scales::BYTES, 4 * GROUP, 0];

    fn pack(rows: [&[u8]; GROUP], planes: [&mut [u8]; 4]) {
        let [codes, scales, heads, _] = planes;
        interleave(codes, |row, i| word(rows[row], 16 + 4 * i));
        k_scales::pack(scales, |row| &rows[row][4..16]);
        k_scales::pack_heads(heads, rows);
    }

    fn unpack(planes: [&[u8]; 4], row: usize, block: &mut [u8]) {
        let [codes, scales, heads, _] = planes;
        k_scales::unpack_head(heads, row, block);
        block[4..16].copy_from_slice(&k_scales::unpack(scales, row));
        for (i, to) in block[16..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
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
        let [codes, scales, heads, _] = planes;
        k_scales::product::<G, S, Self, 8, M>(s, [codes, scales, heads, [&[]; G]], next, x)
    }
}
