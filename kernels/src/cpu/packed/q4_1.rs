//! Q4_1: `weight = d * code + m`, codes of 4 bits.
//!
//! In the file: `d: f16, m: f16, codes: [u8; 16]`; weight `k` in the low nibble of byte `k`, weight
//! `k + 16` in the high one. Packed: 128 + 32 bytes for 8 rows of a block, 5 bits a weight.
//! Bound: `|15 * 127 * 2| = 3810` for each product pair, so all 8 of a block fit 16 bits (30 480).

use super::blocks32::{Codes, nibbles, unsigned_dots};
use crate::DType;
use crate::cpu::activations::Quantized32;
use crate::cpu::simd::Groups;

#[derive(Debug)]
pub(crate) struct Q4_1;

impl Codes for Q4_1 {
    const DTYPE: DType = DType::Q4_1;
    const HAS_MIN: bool = true;

    #[inline(always)]
    fn dots<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        codes: [&[[u8; 32]]; G],
        _bits: [&[[u8; 32]]; G],
        x: [&Quantized32; M],
    ) -> [S::I; M] {
        unsigned_dots::<G, S, 8, M>(s, nibbles(s, codes), Self::CENTRE, x)
    }
}
