//! Q5_1: `weight = d * code + m`, codes of 5 bits.
//!
//! In the file: `d: f16, m: f16, fifth: u32, codes: [u8; 16]`; nibbles and fifth bits as in Q5_0.
//! Packed: 128 + 32 + 32 bytes for 8 rows of a block, 6 bits a weight.
//! Bound: `|31 * 127 * 2| = 7874` for each product pair, so 4 of them fit 16 bits (31 496).

use super::blocks32::{Codes, nibbles_and_bits, unsigned_dots};
use crate::DType;
use crate::cpu::activations::Quantized32;
use crate::cpu::simd::Groups;

#[derive(Debug)]
pub(crate) struct Q5_1;

impl Codes for Q5_1 {
    const DTYPE: DType = DType::Q5_1;
    const HAS_MIN: bool = true;
    const HAS_FIFTH_BIT: bool = true;

    #[inline(always)]
    fn dots<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        codes: [&[[u8; 32]]; G],
        bits: [&[[u8; 32]]; G],
        x: [&Quantized32; M],
    ) -> [S::I; M] {
        unsigned_dots::<G, S, 4, M>(s, nibbles_and_bits(s, codes, bits), Self::CENTRE, x)
    }
}
