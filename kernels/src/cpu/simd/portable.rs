//! [`Simd`] in plain Rust: what the instructions do, lane by lane.

use super::{Lanes, Simd};
use half::f16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

type F = [f32; 8];
type I = [i32; 8];

#[inline(always)]
fn zip(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn zip_i(a: I, b: I, f: impl Fn(i32, i32) -> i32) -> I {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// The two 16-bit halves of every lane, low first.
#[inline(always)]
fn map16(x: I, f: impl Fn(u16) -> u16) -> I {
    x.map(|x| {
        let x = x.cast_unsigned();
        (u32::from(f((x >> 16) as u16)) << 16 | u32::from(f(x as u16))).cast_signed()
    })
}

#[inline(always)]
fn dot4(w: [i32; 4], a: i32) -> i32 {
    let a = a.to_le_bytes().map(|a| i32::from(a.cast_signed()));
    w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * a[3]
}

impl Lanes for Portable {
    type F = F;
    type I = I;

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; 8]
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        std::array::from_fn(|i| (-a[i]).mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn to_f32(self, x: I) -> F {
        x.map(|x| x as f32)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> I {
        [x; 8]
    }
    #[inline(always)]
    fn and(self, a: I, b: I) -> I {
        zip_i(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: I, b: I) -> I {
        zip_i(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn shl16(self, x: I, n: i32) -> I {
        map16(x, |x| x << n)
    }
    #[inline(always)]
    fn shr16(self, x: I, n: i32) -> I {
        map16(x, |x| x >> n)
    }
    #[inline(always)]
    fn sar16(self, x: I, n: i32) -> I {
        map16(x, |x| (x.cast_signed() >> n).cast_unsigned())
    }
    #[inline(always)]
    fn dot_i16(self, acc: I, a: I, b: I) -> I {
        let halves = |x: i32| (x as i16, (x >> 16) as i16);
        std::array::from_fn(|i| {
            let ((a0, a1), (b0, b1)) = (halves(a[i]), halves(b[i]));
            let dot = i32::from(a0) * i32::from(b0) + i32::from(a1) * i32::from(b1);
            acc[i].wrapping_add(dot)
        })
    }
    #[inline(always)]
    fn dots<const N: usize, const RUN: usize>(self, mut acc: I, w: [I; N], a: [I; N]) -> I {
        for (w, a) in w.into_iter().zip(a) {
            acc = std::array::from_fn(|i| {
                acc[i].wrapping_add(dot4(w[i].to_le_bytes().map(i32::from), a[i]))
            });
        }
        acc
    }
    #[inline(always)]
    fn scale_u8(self, x: I, n: usize) -> I {
        x.map(|x| i32::from(x.to_le_bytes()[n]))
    }
    #[inline(always)]
    fn scale_i8(self, x: I, n: usize) -> I {
        x.map(|x| i32::from(x.to_le_bytes()[n].cast_signed()))
    }
    #[inline(always)]
    fn scaled_dots<const N: usize, const RUN: usize>(
        self,
        acc: I,
        w: [I; N],
        a: [I; N],
        scale: I,
    ) -> I {
        let dots = self.dots::<N, RUN>([0; 8], w, a);
        std::array::from_fn(|i| acc[i].wrapping_add(dots[i].wrapping_mul(scale[i])))
    }
    #[inline(always)]
    fn signed_start(self, _sum: i32) -> I {
        [0; 8]
    }
    #[inline(always)]
    fn signed_dots<const N: usize>(self, mut acc: I, w: [I; N], a: [I; N]) -> I {
        for (w, a) in w.into_iter().zip(a) {
            let signed = |w: u8| i32::from(w.cast_signed());
            acc = std::array::from_fn(|i| {
                acc[i].wrapping_add(dot4(w[i].to_le_bytes().map(signed), a[i]))
            });
        }
        acc
    }
    #[inline(always)]
    fn prefetch(self, _bytes: &[u8]) {}
}

impl Simd for Portable {
    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> F {
        *from
    }
    #[inline(always)]
    fn store(self, x: F, to: &mut [f32; 8]) {
        *to = x;
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; 8]) -> F {
        from.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    fn store_f16(self, x: F, to: &mut [u16; 8]) {
        *to = x.map(|x| f16::from_f32(x).to_bits());
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; 8]) -> F {
        from.map(|bits| f32::from_bits(u32::from(bits) << 16))
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn where_at_least(self, x: F, limit: F, value: F) -> F {
        std::array::from_fn(|i| if x[i] >= limit[i] { value[i] } else { 0.0 })
    }
    #[inline(always)]
    fn scale_exponent(self, x: F, n: I) -> F {
        let bits = |i: usize| x[i].to_bits().wrapping_add(n[i].cast_unsigned() << 23);
        std::array::from_fn(|i| f32::from_bits(bits(i)))
    }
    #[inline(always)]
    fn round(self, x: F) -> I {
        x.map(|x| x.round_ties_even() as i32)
    }
    #[inline(always)]
    fn round_to_i8(self, x: [F; 4], to: &mut [i8; 32]) {
        *to = std::array::from_fn(|i| x[i / 8][i % 8].round_ties_even() as i8);
    }
    #[inline(always)]
    fn load_bytes(self, from: &[u8; 32]) -> I {
        std::array::from_fn(|i| {
            i32::from_le_bytes([from[4 * i], from[4 * i + 1], from[4 * i + 2], from[4 * i + 3]])
        })
    }
    #[inline(always)]
    fn store_i32(self, x: I, to: &mut [i32; 8]) {
        *to = x;
    }
}
