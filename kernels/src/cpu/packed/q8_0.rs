//! Q8_0: `weight = d * code`, signed codes of 8 bits.
//!
//! In the file: `d: f16, codes: [i8; 32]`. Packed: 256 + 16 bytes for 8 rows of a block, 8.5 bits a
//! weight.
//! Bound: `128 * 127 * 2 = 32 512` for one product pair fits 16 bits, two do not: AVX2 widens each.

#![allow(clippy::needless_range_loop, reason = "fixed counts are unrolled into registers")]

use super::blocks32::{Codes, splats};
use crate::DType;
use crate::cpu::activations::Quantized32;
use crate::cpu::simd::Groups;

#[derive(Debug)]
pub(crate) struct Q8_0;

impl Codes for Q8_0 {
    const DTYPE: DType = DType::Q8_0;
    const CODE_BYTES: usize = 32;

    #[inline(always)]
    fn dots<const G: usize, S: Groups<G>, const M: usize>(
        s: S,
        codes: [&[[u8; 32]]; G],
        _bits: [&[[u8; 32]]; G],
        x: [&Quantized32; M],
    ) -> [S::I; M] {
        let codes = codes.map(|codes| codes.first_chunk::<8>().expect("a block is eight vectors"));
        let mut w = [s.splat_i32(0); 8];
        for t in 0..8 {
            w[t] = s.load_bytes_of(codes.map(|codes| &codes[t]));
        }
        let mut dots = [w[0]; M];
        for m in 0..M {
            dots[m] = s.signed_dots::<8>(s.signed_start(x[m].sum), w, splats(s, &x[m].codes));
        }
        dots
    }
}
