//! [`Simd`] in AVX2 instructions, with or without `vpdpbusd`.

use super::x86_pair::Avx512Pair;
use super::{GroupsTask, Lanes, Level, Simd, Task, Twice, WideTask};
use std::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// Proof of the same and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvxVnni(());

/// Proof of AVX2, FMA, F16C and of AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

pub(super) fn available() -> impl Iterator<Item = Level> {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx_vnni = avx2 && is_x86_feature_detected!("avxvnni");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    [(avx2, Level::Avx2), (avx_vnni, Level::AvxVnni), (avx512, Level::Avx512)]
        .into_iter()
        .filter_map(|(has, level)| has.then_some(level))
}

/// Runs `task` on a level that [`available`] returned.
///
/// # Safety
/// The CPU must have what `level` says.
#[inline]
pub(super) unsafe fn run<T: Task>(level: Level, task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2<T: Task>(task: T) -> T::Output {
        task.run(Avx2(()))
    }
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    fn avx_vnni<T: Task>(task: T) -> T::Output {
        task.run(AvxVnni(()))
    }
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn avx512<T: Task>(task: T) -> T::Output {
        task.run(Avx512(()))
    }
    // SAFETY: the caller vouches for the level, and each function needs no more than its level.
    unsafe {
        match level {
            Level::Portable => task.run(super::portable::Portable),
            Level::Avx2 => avx2(task),
            Level::AvxVnni => avx_vnni(task),
            Level::Avx512 => avx512(task),
        }
    }
}

/// As [`run`], with two groups at once where a register holds them.
///
/// # Safety
/// The CPU must have what `level` says.
#[inline]
pub(super) unsafe fn run_groups<T: GroupsTask>(level: Level, task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2<T: GroupsTask>(task: T) -> T::Output {
        task.run(Avx2(()))
    }
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    fn avx_vnni<T: GroupsTask>(task: T) -> T::Output {
        task.run(AvxVnni(()))
    }
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn avx512<T: GroupsTask>(task: T) -> T::Output {
        task.run(Avx512Pair::new(Avx512(())))
    }
    // SAFETY: the caller vouches for the level, and each function needs no more than its level.
    unsafe {
        match level {
            Level::Portable => task.run(super::portable::Portable),
            Level::Avx2 => avx2(task),
            Level::AvxVnni => avx_vnni(task),
            Level::Avx512 => avx512(task),
        }
    }
}

/// Runs `task` compiled for `level`, in its widest registers.
///
/// # Safety
/// The CPU must have what the level needs.
pub(super) unsafe fn run_wide<T: WideTask>(level: Level, task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2<T: WideTask>(task: T) -> T::Output {
        task.run(Twice(Avx2(())))
    }
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn avx512<T: WideTask>(task: T) -> T::Output {
        task.run(Avx512Pair::new(Avx512(())))
    }
    // SAFETY: the caller vouches for the level, and each function needs no more than its level.
    unsafe {
        match level {
            Level::Portable => task.run(Twice(super::portable::Portable)),
            Level::Avx2 | Level::AvxVnni => avx2(task),
            Level::Avx512 => avx512(task),
        }
    }
}

/// Implements [`Simd`] for a token; what depends on the dot instruction is passed in.
macro_rules! implement {
    ($token:ty, $has_32_registers:literal, $($dots:tt)*) => {
        impl Lanes for $token {
            type F = __m256;
            type I = __m256i;
            const HAS_32_REGISTERS: bool = $has_32_registers;

            methods! {
                fn splat(self, x: f32) -> __m256 { _mm256_set1_ps(x) }
                fn add(self, a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
                fn mul(self, a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
                fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
                    _mm256_fmadd_ps(a, b, c)
                }
                fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
                    _mm256_fnmadd_ps(a, b, c)
                }
                fn to_f32(self, x: __m256i) -> __m256 { _mm256_cvtepi32_ps(x) }
                fn splat_i32(self, x: i32) -> __m256i { _mm256_set1_epi32(x) }
                fn and(self, a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
                fn or(self, a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
                fn shl16(self, x: __m256i, n: i32) -> __m256i {
                    _mm256_sll_epi16(x, _mm_cvtsi32_si128(n))
                }
                fn shr16(self, x: __m256i, n: i32) -> __m256i {
                    _mm256_srl_epi16(x, _mm_cvtsi32_si128(n))
                }
                fn sar16(self, x: __m256i, n: i32) -> __m256i {
                    _mm256_sra_epi16(x, _mm_cvtsi32_si128(n))
                }
            }

            #[inline(always)]
            fn prefetch(self, bytes: &[u8]) {
                for line in bytes.chunks(64) {
                    // SAFETY: a hint, which reads nothing.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
                }
            }

            $($dots)*
        }

        impl Simd for $token {
            methods! {
                fn load(self, from: &[f32; 8]) -> __m256 { _mm256_loadu_ps(from.as_ptr()) }
                fn store(self, x: __m256, to: &mut [f32; 8]) -> () {
                    _mm256_storeu_ps(to.as_mut_ptr(), x)
                }
                fn load_f16(self, from: &[u16; 8]) -> __m256 {
                    _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast()))
                }
                fn store_f16(self, x: __m256, to: &mut [u16; 8]) -> () {
                    let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
                    _mm_storeu_si128(to.as_mut_ptr().cast(), halves)
                }
                fn load_bf16(self, from: &[u16; 8]) -> __m256 {
                    let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
                }
                fn sub(self, a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
                fn div(self, a: __m256, b: __m256) -> __m256 { _mm256_div_ps(a, b) }
                fn max(self, a: __m256, b: __m256) -> __m256 { _mm256_max_ps(a, b) }
                fn min(self, a: __m256, b: __m256) -> __m256 { _mm256_min_ps(a, b) }
                fn where_at_least(self, x: __m256, limit: __m256, value: __m256) -> __m256 {
                    _mm256_and_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(x, limit), value)
                }
                fn scale_exponent(self, x: __m256, n: __m256i) -> __m256 {
                    let exponent = _mm256_slli_epi32::<23>(n);
                    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent))
                }
                fn round(self, x: __m256) -> __m256i { _mm256_cvtps_epi32(x) }
                fn round_to_i8(self, x: [__m256; 4], to: &mut [i8; 32]) -> () {
                    let [a, b, c, d] = x;
                    // Packing works within 128-bit halves; the permutation restores the order.
                    let words = (
                        _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b)),
                        _mm256_packs_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d)),
                    );
                    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                    let bytes = _mm256_packs_epi16(words.0, words.1);
                    let bytes = _mm256_permutevar8x32_epi32(bytes, order);
                    _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes)
                }
                fn load_bytes(self, from: &[u8; 32]) -> __m256i {
                    _mm256_loadu_si256(from.as_ptr().cast())
                }
                fn store_i32(self, x: __m256i, to: &mut [i32; 8]) -> () {
                    _mm256_storeu_si256(to.as_mut_ptr().cast(), x)
                }
            }
        }
    };
}

implement! { Avx2, false,
    #[inline(always)]
    fn dots<const N: usize, const RUN: usize>(
        self, acc: __m256i, w: [__m256i; N], a: [__m256i; N],
    ) -> __m256i {
        self.runs::<N, RUN>(acc, w, a, self.splat_i32(0x0001_0001))
    }
    methods! {
        fn dot_i16(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
            _mm256_add_epi32(acc, _mm256_madd_epi16(a, b))
        }
        fn scale_u8(self, x: __m256i, n: usize) -> __m256i {
            // Each 16-bit lane is a product of its own for `madd`: (n, zero, n, zero).
            _mm256_shuffle_epi8(x, bytes_of_lanes(0x8000_8000, 0x0001_0001, n))
        }
        fn scale_i8(self, x: __m256i, n: usize) -> __m256i {
            let order = bytes_of_lanes(0x0080_0080, 0x0100_0100, n);
            _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(x, order))
        }
    }
    #[inline(always)]
    fn scaled_dots<const N: usize, const RUN: usize>(
        self, acc: __m256i, w: [__m256i; N], a: [__m256i; N], scale: __m256i,
    ) -> __m256i {
        self.runs::<N, RUN>(acc, w, a, scale)
    }
    #[inline(always)]
    fn signed_start(self, _sum: i32) -> __m256i {
        self.splat_i32(0)
    }
    #[inline(always)]
    fn signed_dots<const N: usize>(
        self, mut acc: __m256i, w: [__m256i; N], a: [__m256i; N],
    ) -> __m256i {
        // The sign moves to the activation: |w| * (a * sign(w)), |w| up to 128 as unsigned byte.
        // SAFETY: `self` proves AVX2.
        unsafe {
            for i in 0..N {
                let signed = _mm256_sign_epi8(a[i], w[i]);
                let words = _mm256_maddubs_epi16(_mm256_abs_epi8(w[i]), signed);
                let dot = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
                acc = _mm256_add_epi32(acc, dot);
            }
        }
        acc
    }
}

impl Avx2 {
    /// Sums up to `RUN` products in 16 bits, then multiplies these by `factor` into 32.
    #[inline(always)]
    fn runs<const N: usize, const RUN: usize>(
        self,
        mut acc: __m256i,
        w: [__m256i; N],
        a: [__m256i; N],
        factor: __m256i,
    ) -> __m256i {
        let mut run = factor;
        // One loop of fixed length, so that it is unrolled and everything stays in registers.
        for i in 0..N {
            // SAFETY: `self` proves AVX2.
            unsafe {
                let words = _mm256_maddubs_epi16(w[i], a[i]);
                run = if i % RUN == 0 { words } else { _mm256_add_epi16(run, words) };
                if i % RUN == RUN - 1 || i == N - 1 {
                    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(run, factor));
                }
            }
        }
        acc
    }
}

/// An order for `pshufb` that takes byte `n` of each 32-bit lane to where `to` has ones; `zero` has
/// 0x80 where the result is to be 0.
#[inline(always)]
pub(super) fn bytes_of_lanes(zero: u32, to: u32, n: usize) -> __m256i {
    let [a, b, c, d] = [0, 4, 8, 12].map(|lane| (zero | (to * (lane + n as u32))).cast_signed());
    // SAFETY: only called by methods whose `self` proves AVX2.
    unsafe { _mm256_setr_epi32(a, b, c, d, a, b, c, d) }
}

/// The dot products of both VNNI variants; `$dpbusd` and `$dpwssd` are their instructions.
macro_rules! implement_vnni {
    ($token:ty, $has_32_registers:literal, $dpbusd:ident, $dpwssd:ident) => {
        implement! { $token, $has_32_registers,
            #[inline(always)]
            fn dots<const N: usize, const RUN: usize>(
                self, mut acc: __m256i, w: [__m256i; N], a: [__m256i; N],
            ) -> __m256i {
                for i in 0..N {
                    // SAFETY: `self` proves VNNI.
                    acc = unsafe { $dpbusd(acc, w[i], a[i]) };
                }
                acc
            }
            methods! {
                fn dot_i16(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
                    $dpwssd(acc, a, b)
                }
                fn scale_u8(self, x: __m256i, n: usize) -> __m256i {
                    _mm256_shuffle_epi8(x, bytes_of_lanes(0x8080_8000, 0x0000_0001, n))
                }
                fn scale_i8(self, x: __m256i, n: usize) -> __m256i {
                    let order = bytes_of_lanes(0x0080_8080, 0x0100_0000, n);
                    _mm256_srai_epi32::<24>(_mm256_shuffle_epi8(x, order))
                }
            }
            #[inline(always)]
            fn scaled_dots<const N: usize, const RUN: usize>(
                self, acc: __m256i, w: [__m256i; N], a: [__m256i; N], scale: __m256i,
            ) -> __m256i {
                let dots = self.dots::<N, RUN>(self.splat_i32(0), w, a);
                // SAFETY: `self` proves AVX2.
                unsafe { _mm256_add_epi32(acc, _mm256_mullo_epi32(dots, scale)) }
            }
            #[inline(always)]
            fn signed_start(self, sum: i32) -> __m256i {
                self.splat_i32(-128 * sum)
            }
            #[inline(always)]
            fn signed_dots<const N: usize>(
                self, acc: __m256i, mut w: [__m256i; N], a: [__m256i; N],
            ) -> __m256i {
                // w + 128 as unsigned byte; `signed_start` has taken 128 * sum(a) off.
                for w in &mut w {
                    // SAFETY: `self` proves AVX2.
                    *w = unsafe { _mm256_xor_si256(*w, _mm256_set1_epi8(-128)) };
                }
                self.dots::<N, 1>(acc, w, a)
            }
        }
    };
}

implement_vnni!(AvxVnni, false, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32);
implement_vnni!(Avx512, true, _mm256_dpbusd_epi32, _mm256_dpwssd_epi32);
