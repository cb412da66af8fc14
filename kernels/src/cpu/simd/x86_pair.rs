//! Two groups of eight lanes in AVX-512 registers of sixteen.
//!
//! The lanes of each group are those of [`Avx512`], to the bit.

use super::x86::{Avx512, bytes_of_lanes};
use super::{Groups, Lanes, Wide};
use std::arch::x86_64::*;

/// Proof of what [`Avx512`] proves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512Pair(Avx512);

impl Avx512Pair {
    /// For a CPU that has been asked.
    #[inline(always)]
    pub(super) fn new(proof: Avx512) -> Self {
        Avx512Pair(proof)
    }
}

impl Lanes for Avx512Pair {
    type F = __m512;
    type I = __m512i;
    const HAS_32_REGISTERS: bool = true;

    methods! {
        fn splat(self, x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(self, a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn mul(self, a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fnmadd_ps(a, b, c) }
        fn to_f32(self, x: __m512i) -> __m512 { _mm512_cvtepi32_ps(x) }

        fn splat_i32(self, x: i32) -> __m512i { _mm512_set1_epi32(x) }
        fn and(self, a: __m512i, b: __m512i) -> __m512i { _mm512_and_si512(a, b) }
        fn or(self, a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn shl16(self, x: __m512i, n: i32) -> __m512i {
            _mm512_sll_epi16(x, _mm_cvtsi32_si128(n))
        }
        fn shr16(self, x: __m512i, n: i32) -> __m512i {
            _mm512_srl_epi16(x, _mm_cvtsi32_si128(n))
        }
        fn sar16(self, x: __m512i, n: i32) -> __m512i {
            _mm512_sra_epi16(x, _mm_cvtsi32_si128(n))
        }
        fn dot_i16(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
            _mm512_dpwssd_epi32(acc, a, b)
        }
        fn scale_u8(self, x: __m512i, n: usize) -> __m512i {
            let order = bytes_of_lanes(0x8080_8000, 0x0000_0001, n);
            _mm512_shuffle_epi8(x, _mm512_broadcast_i64x4(order))
        }
        fn scale_i8(self, x: __m512i, n: usize) -> __m512i {
            let order = bytes_of_lanes(0x0080_8080, 0x0100_0000, n);
            _mm512_srai_epi32::<24>(_mm512_shuffle_epi8(x, _mm512_broadcast_i64x4(order)))
        }
        fn signed_start(self, sum: i32) -> __m512i { _mm512_set1_epi32(-128 * sum) }
    }

    #[inline(always)]
    fn dots<const N: usize, const RUN: usize>(
        self,
        mut acc: __m512i,
        w: [__m512i; N],
        a: [__m512i; N],
    ) -> __m512i {
        for i in 0..N {
            // SAFETY: `self` proves VNNI.
            acc = unsafe { _mm512_dpbusd_epi32(acc, w[i], a[i]) };
        }
        acc
    }

    #[inline(always)]
    fn scaled_dots<const N: usize, const RUN: usize>(
        self,
        acc: __m512i,
        w: [__m512i; N],
        a: [__m512i; N],
        scale: __m512i,
    ) -> __m512i {
        let dots = self.dots::<N, RUN>(self.splat_i32(0), w, a);
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_epi32(acc, _mm512_mullo_epi32(dots, scale)) }
    }

    #[inline(always)]
    fn signed_dots<const N: usize>(
        self,
        acc: __m512i,
        mut w: [__m512i; N],
        a: [__m512i; N],
    ) -> __m512i {
        // w + 128 as unsigned byte; `signed_start` has taken 128 * sum(a) off.
        for w in &mut w {
            // SAFETY: `self` proves AVX-512.
            *w = unsafe { _mm512_xor_si512(*w, _mm512_set1_epi8(-128)) };
        }
        self.dots::<N, 1>(acc, w, a)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8]) {
        self.0.prefetch(bytes);
    }
}

impl Groups<2> for Avx512Pair {
    type One = Avx512;

    #[inline(always)]
    fn one(self) -> Avx512 {
        self.0
    }

    methods! {
        fn load_bytes_of(self, groups: [&[u8; 32]; 2]) -> __m512i {
            let low = _mm256_loadu_si256(groups[0].as_ptr().cast());
            let high = _mm256_loadu_si256(groups[1].as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        }
        fn load_f32_of(self, groups: [&[[u8; 4]; 8]; 2]) -> __m512 {
            let low = _mm256_loadu_ps(groups[0].as_ptr().cast());
            let high = _mm256_loadu_ps(groups[1].as_ptr().cast());
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        }
        fn load_f16_of(self, groups: [&[[u8; 2]; 8]; 2]) -> __m512 {
            _mm512_cvtph_ps(words(groups))
        }
        fn load_bf16_of(self, groups: [&[[u8; 2]; 8]; 2]) -> __m512 {
            let wide = _mm512_cvtepu16_epi32(words(groups));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
        fn lanes_of(self, x: __m512) -> [[f32; 8]; 2] {
            let mut lanes = [[0.0; 8]; 2];
            _mm512_storeu_ps(lanes.as_mut_ptr().cast(), x);
            lanes
        }
    }
}

impl Wide for Avx512Pair {
    type V = __m512;
    type Eight = Avx512;
    const QUERIES: usize = 8;

    #[inline(always)]
    fn eight(self) -> Avx512 {
        self.0
    }

    methods! {
        fn splat(self, x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn load(self, from: &[f32; 16]) -> __m512 { _mm512_loadu_ps(from.as_ptr()) }
        fn store(self, x: __m512, to: &mut [f32; 16]) -> () {
            _mm512_storeu_ps(to.as_mut_ptr(), x)
        }
        fn load_f16(self, from: &[[u16; 8]; 2]) -> __m512 {
            _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast()))
        }
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
    }
}

/// The 16-bit lanes of both.
#[inline(always)]
fn words(groups: [&[[u8; 2]; 8]; 2]) -> __m256i {
    // SAFETY: only called by methods whose `self` proves AVX2; arrays are as long as the loads.
    unsafe {
        let low = _mm_loadu_si128(groups[0].as_ptr().cast());
        let high = _mm_loadu_si128(groups[1].as_ptr().cast());
        _mm256_set_m128i(high, low)
    }
}
