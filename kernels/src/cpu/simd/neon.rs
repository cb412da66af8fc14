//! [`Simd`] in NEON instructions, with or without `sdot`: eight lanes are two registers of four.
//!
//! What the compiler's intrinsics do not offer (`sdot`, conversions of halves, prefetch) is written
//! in assembly.

use super::{GroupsTask, Lanes, Level, Simd, Task, Twice, WideTask};
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// Proof of NEON; where `DOT`, of the dot product instructions too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon<const DOT: bool>(());

type F = [float32x4_t; 2];
type I = [int32x4_t; 2];

pub(super) fn available() -> impl Iterator<Item = Level> {
    let neon = is_aarch64_feature_detected!("neon");
    let dot = neon && is_aarch64_feature_detected!("dotprod");
    [(neon, Level::Neon), (dot, Level::NeonDot)]
        .into_iter()
        .filter_map(|(has, level)| has.then_some(level))
}

/// Runs `task` on a level that [`available`] returned.
///
/// # Safety
/// The CPU must have what `level` says.
#[inline]
pub(super) unsafe fn run<T: Task>(level: Level, task: T) -> T::Output {
    #[target_feature(enable = "neon")]
    fn neon<T: Task>(task: T) -> T::Output {
        task.run(Neon::<false>(()))
    }
    #[target_feature(enable = "neon,dotprod")]
    fn neon_dot<T: Task>(task: T) -> T::Output {
        task.run(Neon::<true>(()))
    }
    // SAFETY: the caller vouches for the level, and each function needs no more than its level.
    unsafe {
        match level {
            Level::Portable => task.run(super::portable::Portable),
            Level::Neon => neon(task),
            Level::NeonDot => neon_dot(task),
        }
    }
}

/// As [`run`], a group at a time: it fills two registers.
///
/// # Safety
/// The CPU must have what `level` says.
#[inline]
pub(super) unsafe fn run_groups<T: GroupsTask>(level: Level, task: T) -> T::Output {
    #[target_feature(enable = "neon")]
    fn neon<T: GroupsTask>(task: T) -> T::Output {
        task.run(Neon::<false>(()))
    }
    #[target_feature(enable = "neon,dotprod")]
    fn neon_dot<T: GroupsTask>(task: T) -> T::Output {
        task.run(Neon::<true>(()))
    }
    // SAFETY: the caller vouches for the level, and each function needs no more than its level.
    unsafe {
        match level {
            Level::Portable => task.run(super::portable::Portable),
            Level::Neon => neon(task),
            Level::NeonDot => neon_dot(task),
        }
    }
}

/// As [`run`], in four registers. Without products of bytes, both levels are the same.
///
/// # Safety
/// The CPU must have what `level` says.
#[inline]
pub(super) unsafe fn run_wide<T: WideTask>(level: Level, task: T) -> T::Output {
    #[target_feature(enable = "neon")]
    fn neon<T: WideTask>(task: T) -> T::Output {
        task.run(Twice(Neon::<false>(())))
    }
    // SAFETY: the caller vouches for the level, and each function needs no more than its level.
    unsafe {
        match level {
            Level::Portable => task.run(Twice(super::portable::Portable)),
            Level::Neon | Level::NeonDot => neon(task),
        }
    }
}

/// An instruction on the lower and the upper four lanes.
macro_rules! both {
    ($name:ident($($arg:ident),*)) => { [$name($($arg[0]),*), $name($($arg[1]),*)] };
}

impl<const DOT: bool> Lanes for Neon<DOT> {
    type F = F;
    type I = I;

    methods! {
        fn splat(self, x: f32) -> F { [vdupq_n_f32(x); 2] }
        fn add(self, a: F, b: F) -> F { both!(vaddq_f32(a, b)) }
        fn mul(self, a: F, b: F) -> F { both!(vmulq_f32(a, b)) }
        fn fma(self, a: F, b: F, c: F) -> F { both!(vfmaq_f32(c, a, b)) }
        fn fnma(self, a: F, b: F, c: F) -> F { both!(vfmsq_f32(c, a, b)) }
        fn to_f32(self, x: I) -> F { both!(vcvtq_f32_s32(x)) }

        fn splat_i32(self, x: i32) -> I { [vdupq_n_s32(x); 2] }
        fn and(self, a: I, b: I) -> I { both!(vandq_s32(a, b)) }
        fn or(self, a: I, b: I) -> I { both!(vorrq_s32(a, b)) }
        fn shl16(self, x: I, n: i32) -> I {
            let n = vdupq_n_s16(n as i16);
            x.map(|x| vreinterpretq_s32_s16(vshlq_s16(vreinterpretq_s16_s32(x), n)))
        }
        fn shr16(self, x: I, n: i32) -> I {
            // By less than nothing to the left; constants become shifts to the right.
            let n = vdupq_n_s16(-n as i16);
            x.map(|x| vreinterpretq_s32_u16(vshlq_u16(vreinterpretq_u16_s32(x), n)))
        }
        fn sar16(self, x: I, n: i32) -> I {
            let n = vdupq_n_s16(-n as i16);
            x.map(|x| vreinterpretq_s32_s16(vshlq_s16(vreinterpretq_s16_s32(x), n)))
        }
        fn dot_i16(self, acc: I, a: I, b: I) -> I {
            both!(dot_i16(acc, a, b))
        }
        fn scale_u8(self, x: I, n: usize) -> I {
            let (n, low) = (vdupq_n_s32(-8 * n as i32), vdupq_n_u32(0xff));
            x.map(|x| {
                let byte = vandq_u32(vshlq_u32(vreinterpretq_u32_s32(x), n), low);
                vreinterpretq_s32_u32(byte)
            })
        }
        fn scale_i8(self, x: I, n: usize) -> I {
            let n = vdupq_n_s32(24 - 8 * n as i32);
            x.map(|x| vshrq_n_s32::<24>(vshlq_s32(x, n)))
        }
    }

    #[inline(always)]
    fn dots<const N: usize, const RUN: usize>(self, mut acc: I, w: [I; N], a: [I; N]) -> I {
        for half in 0..2 {
            let (w, a) = (w.map(|w| w[half]), a.map(|a| a[half]));
            if DOT {
                for i in 0..N {
                    // SAFETY: `self` proves `sdot`.
                    acc[half] = unsafe { sdot(acc[half], w[i], a[i]) };
                }
            } else {
                acc[half] = self.runs::<N, RUN>(acc[half], w, a);
            }
        }
        acc
    }

    #[inline(always)]
    fn scaled_dots<const N: usize, const RUN: usize>(
        self,
        acc: I,
        w: [I; N],
        a: [I; N],
        scale: I,
    ) -> I {
        let dots = self.dots::<N, RUN>(self.splat_i32(0), w, a);
        // SAFETY: `self` proves NEON.
        unsafe { both!(vmlaq_s32(acc, dots, scale)) }
    }

    #[inline(always)]
    fn signed_start(self, _sum: i32) -> I {
        self.splat_i32(0)
    }

    #[inline(always)]
    fn signed_dots<const N: usize>(self, acc: I, w: [I; N], a: [I; N]) -> I {
        // All weights are taken as signed; 2 * 128 * 127 fits 16 bits.
        self.dots::<N, 1>(acc, w, a)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8]) {
        for line in bytes.chunks(64) {
            // SAFETY: a hint, which reads nothing.
            unsafe {
                asm!(
                    "prfm pldl1keep, [{}]",
                    in(reg) line.as_ptr(),
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
    }
}

impl<const DOT: bool> Neon<DOT> {
    /// Sums products of four lanes in 16 bits, then these in 32. A 16-bit lane takes one product
    /// of each vector, where the bound of [`Lanes::dots`] counts two: so twice `RUN` vectors fit.
    #[inline(always)]
    fn runs<const N: usize, const RUN: usize>(
        self,
        acc: int32x4_t,
        w: [int32x4_t; N],
        a: [int32x4_t; N],
    ) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            // Of bytes 0..8, which are lanes 0 and 1, and of bytes 8..16.
            let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
            let (mut low_sums, mut high_sums) = (vdupq_n_s32(0), vdupq_n_s32(0));
            for i in 0..N {
                let (w, a) = (vreinterpretq_s8_s32(w[i]), vreinterpretq_s8_s32(a[i]));
                (low, high) = if i % (2 * RUN) == 0 {
                    (vmull_s8(vget_low_s8(w), vget_low_s8(a)), vmull_high_s8(w, a))
                } else {
                    (vmlal_s8(low, vget_low_s8(w), vget_low_s8(a)), vmlal_high_s8(high, w, a))
                };
                if i % (2 * RUN) == 2 * RUN - 1 || i == N - 1 {
                    low_sums = vpadalq_s16(low_sums, low);
                    high_sums = vpadalq_s16(high_sums, high);
                }
            }
            vaddq_s32(acc, vpaddq_s32(low_sums, high_sums))
        }
    }
}

impl<const DOT: bool> Simd for Neon<DOT> {
    methods! {
        fn load(self, from: &[f32; 8]) -> F {
            [vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))]
        }
        fn store(self, x: F, to: &mut [f32; 8]) -> () {
            vst1q_f32(to.as_mut_ptr(), x[0]);
            vst1q_f32(to.as_mut_ptr().add(4), x[1]);
        }
        fn load_f16(self, from: &[u16; 8]) -> F {
            let halves = vld1q_u16(from.as_ptr());
            [f32_of_f16(vget_low_u16(halves)), f32_of_f16(vget_high_u16(halves))]
        }
        fn store_f16(self, x: F, to: &mut [u16; 8]) -> () {
            vst1q_u16(to.as_mut_ptr(), vcombine_u16(f16_of_f32(x[0]), f16_of_f32(x[1])))
        }
        fn load_bf16(self, from: &[u16; 8]) -> F {
            let halves = vld1q_u16(from.as_ptr());
            [vshll_n_u16::<16>(vget_low_u16(halves)), vshll_high_n_u16::<16>(halves)]
                .map(|x| vreinterpretq_f32_u32(x))
        }
        fn sub(self, a: F, b: F) -> F { both!(vsubq_f32(a, b)) }
        fn div(self, a: F, b: F) -> F { both!(vdivq_f32(a, b)) }
        fn max(self, a: F, b: F) -> F {
            // Not `fmax`, which returns NaN where either is.
            let greater = both!(vcgtq_f32(a, b));
            both!(vbslq_f32(greater, a, b))
        }
        fn min(self, a: F, b: F) -> F {
            let less = both!(vcltq_f32(a, b));
            both!(vbslq_f32(less, a, b))
        }
        fn where_at_least(self, x: F, limit: F, value: F) -> F {
            let (at_least, zero) = (both!(vcgeq_f32(x, limit)), [vdupq_n_f32(0.0); 2]);
            both!(vbslq_f32(at_least, value, zero))
        }
        fn scale_exponent(self, x: F, n: I) -> F {
            let exponent = n.map(|n| vshlq_n_s32::<23>(n));
            let bits = both!(vreinterpretq_s32_f32(x));
            let bits = both!(vaddq_s32(bits, exponent));
            both!(vreinterpretq_f32_s32(bits))
        }
        fn round(self, x: F) -> I { both!(vcvtnq_s32_f32(x)) }
        fn round_to_i8(self, x: [F; 4], to: &mut [i8; 32]) -> () {
            let words = x.map(|x| {
                let low = vqmovn_s32(vcvtnq_s32_f32(x[0]));
                vqmovn_high_s32(low, vcvtnq_s32_f32(x[1]))
            });
            vst1q_s8(to.as_mut_ptr(), vqmovn_high_s16(vqmovn_s16(words[0]), words[1]));
            vst1q_s8(to.as_mut_ptr().add(16), vqmovn_high_s16(vqmovn_s16(words[2]), words[3]));
        }
        fn load_bytes(self, from: &[u8; 32]) -> I {
            [vld1q_u8(from.as_ptr()), vld1q_u8(from.as_ptr().add(16))]
                .map(|x| vreinterpretq_s32_u8(x))
        }
        fn store_i32(self, x: I, to: &mut [i32; 8]) -> () {
            vst1q_s32(to.as_mut_ptr(), x[0]);
            vst1q_s32(to.as_mut_ptr().add(4), x[1]);
        }
    }
}

/// `acc` plus, in each lane, the two products of 16-bit lanes.
#[target_feature(enable = "neon")]
#[inline]
fn dot_i16(acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
    let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
    vaddq_s32(acc, vpaddq_s32(low, vmull_high_s16(a, b)))
}

/// `acc` plus, in each lane, the four products of signed bytes.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut acc: int32x4_t, w: int32x4_t, a: int32x4_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {a:v}.16b",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Four IEEE halves, given as bits.
#[target_feature(enable = "neon")]
#[inline]
fn f32_of_f16(halves: uint16x4_t) -> float32x4_t {
    let x;
    // SAFETY: registers only.
    unsafe {
        asm!(
            "fcvtl {x:v}.4s, {halves:v}.4h",
            x = lateout(vreg) x,
            halves = in(vreg) halves,
            options(pure, nomem, nostack),
        );
    }
    x
}

/// The nearest IEEE halves, ties to even, as bits.
#[target_feature(enable = "neon")]
#[inline]
fn f16_of_f32(x: float32x4_t) -> uint16x4_t {
    let halves;
    // SAFETY: registers only.
    unsafe {
        asm!(
            "fcvtn {halves:v}.4h, {x:v}.4s",
            halves = lateout(vreg) halves,
            x = in(vreg) x,
            options(pure, nomem, nostack),
        );
    }
    halves
}
