//! F32, F16 and BF16: the values themselves, multiplied with f32 activations.
//!
//! Packed: one weight of each of 8 rows side by side. Even and odd weights are summed apart and
//! added at the end, which keeps two multiply-adds in flight for each token.

use super::GROUP;
use super::format::{Format, each, prefetch};
use crate::DType;
use crate::cpu::simd::Groups;

macro_rules! dense {
    ($name:ident, $bytes:literal, $load:ident) => {
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Format for $name {
            type Input = f32;
            const DTYPE: DType = DType::$name;
            const PLANES: [usize; 4] = [$bytes * GROUP, 0, 0, 0];

            fn pack(rows: [&[u8]; GROUP], planes: [&mut [u8]; 4]) {
                for (row, to) in rows.iter().zip(planes[0].as_chunks_mut::<$bytes>().0) {
                    to.copy_from_slice(row);
                }
            }

            fn unpack(planes: [&[u8]; 4], row: usize, block: &mut [u8]) {
                block.copy_from_slice(&planes[0].as_chunks::<$bytes>().0[row]);
            }

            #[inline(always)]
            fn product<const G: usize, S: Groups<G>, const M: usize>(
                s: S,
                planes: [[&[u8]; G]; 4],
                next: &[u8],
                x: [&[f32]; M],
            ) -> [S::F; M] {
                // One weight of each row; two of them.
                let weights = planes[0].map(|of| of.as_chunks::<$bytes>().0.as_chunks::<GROUP>().0);
                let (pairs, len) = (weights.map(|of| of.as_chunks::<2>().0), weights[0].len());
                let mut sums = [[s.splat(0.0); 2]; M];
                // What is left of an odd length comes first: after the loop, compilers would keep
                // two copies of the sums.
                if len % 2 == 1 {
                    let last = s.$load(each(weights, len - 1));
                    for m in 0..M {
                        sums[m][0] = s.mul(last, s.splat(x[m][len - 1]));
                    }
                }
                for k in 0..pairs[0].len() {
                    prefetch::<G, S, Self>(s, next, 2 * k);
                    let pair = each(pairs, k);
                    let even = s.$load(pair.map(|[even, _]| even));
                    let odd = s.$load(pair.map(|[_, odd]| odd));
                    for m in 0..M {
                        sums[m][0] = s.fma(even, s.splat(x[m][2 * k]), sums[m][0]);
                        sums[m][1] = s.fma(odd, s.splat(x[m][2 * k + 1]), sums[m][1]);
                    }
                }
                let mut total = [s.splat(0.0); M];
                for m in 0..M {
                    total[m] = s.add(sums[m][0], sums[m][1]);
                }
                total
            }
        }
    };
}

dense!(F32, 4, load_f32_of);
dense!(F16, 2, load_f16_of);
dense!(BF16, 2, load_bf16_of);
