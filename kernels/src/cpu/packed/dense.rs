//! F32, F16 and BF16: the values themselves, multiplied with f32 activations.
//!
//! Packed: one weight of each of 8 rows side by side. Even and odd weights are summed apart and
//! added at the end, which keeps two multiply-adds in flight for each token.

use super::{Format, GROUP, prefetch};
use crate::DType;
use crate::cpu::simd::Simd;

macro_rules! dense {
    ($name:ident, $bytes:literal, |$s:ident, $eight:ident| $load:expr) => {
        #[derive(Debug)]
        pub(crate) struct $name;

        impl $name {
            /// One weight of each row.
            #[inline(always)]
            fn load<S: Simd>($s: S, weights: &[u8; $bytes * GROUP]) -> S::F {
                let $eight: &[[u8; $bytes]; GROUP] =
                    weights.as_chunks().0.try_into().expect("eight of them");
                $load
            }
        }

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
            fn product<S: Simd, const M: usize>(
                $s: S,
                planes: [&[u8]; 4],
                next: &[u8],
                x: [&[f32]; M],
                out: &mut [[f32; GROUP]; M],
            ) {
                let (pairs, last) = planes[0].as_chunks::<{ $bytes * GROUP }>().0.as_chunks::<2>();
                let mut sums = [[$s.splat(0.0); 2]; M];
                for (k, [even, odd]) in pairs.iter().enumerate() {
                    prefetch::<S, Self>($s, next, 2 * k);
                    let (even, odd) = (Self::load($s, even), Self::load($s, odd));
                    for m in 0..M {
                        sums[m][0] = $s.fma(even, $s.splat(x[m][2 * k]), sums[m][0]);
                        sums[m][1] = $s.fma(odd, $s.splat(x[m][2 * k + 1]), sums[m][1]);
                    }
                }
                if let [last] = last {
                    let last = Self::load($s, last);
                    for m in 0..M {
                        sums[m][0] = $s.fma(last, $s.splat(x[m][2 * pairs.len()]), sums[m][0]);
                    }
                }
                for m in 0..M {
                    $s.store($s.add(sums[m][0], sums[m][1]), &mut out[m]);
                }
            }
        }
    };
}

dense!(F32, 4, |s, eight| s.load(&eight.map(f32::from_le_bytes)));
dense!(F16, 2, |s, eight| s.load_f16(&eight.map(u16::from_le_bytes)));
dense!(BF16, 2, |s, eight| s.load_bf16(&eight.map(u16::from_le_bytes)));
