//! The few operations that every kernel is written in, for eight lanes or sixteen.
//!
//! A kernel is one generic function over [`Simd`], eight lanes that lie side by side in memory, or
//! over [`Groups`]: one or two times eight lanes, each eight at its own place. It is compiled once
//! for each [`Isa`], and all of them return the same bits: whole numbers are exact, and f32 steps
//! are the same fused operations in the same order, lane by lane. A value of a type with [`Lanes`]
//! is the proof that the CPU has the instructions.

/// Safe methods out of bodies in intrinsics.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
macro_rules! methods {
    ($(fn $name:ident(self $(, $arg:ident: $type:ty)*) -> $output:ty $body:block)*) => {$(
        #[inline(always)]
        fn $name(self $(, $arg: $type)*) -> $output {
            // SAFETY: `self` proves the instructions; arrays are as long as what is loaded.
            unsafe { $body }
        }
    )*};
}

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_pair;

use std::fmt;

/// An instruction set that kernels are compiled for, and that this CPU has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Plain Rust: any CPU. Slow where fused multiply-add is a library call.
    Portable,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The same with `vpdpbusd` (AVX-VNNI).
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL and VNNI: `vpdpbusd`, 32 registers and registers of sixteen lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON, which every 64-bit Arm has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// The same with `sdot` (Armv8.2 dot products).
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Isa {
    /// What this CPU can run, slowest first. All give the same results.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![Level::Portable];
        #[cfg(target_arch = "x86_64")]
        all.extend(x86::available());
        #[cfg(target_arch = "aarch64")]
        all.extend(neon::available());
        all.into_iter().map(Isa).collect()
    }

    /// The fastest that this CPU can run.
    pub fn detect() -> Isa {
        Self::available().pop().unwrap_or(Isa(Level::Portable))
    }

    /// Runs `task` compiled for this instruction set.
    #[inline]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            Level::Portable => task.run(portable::Portable),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes an `Isa`, and it has asked the CPU.
            level => unsafe { x86::run(level, task) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: only `available` makes an `Isa`, and it has asked the CPU.
            level => unsafe { neon::run(level, task) },
        }
    }

    /// Runs `task` compiled for this instruction set, with as many groups as a register holds.
    #[inline]
    pub(crate) fn run_groups<T: GroupsTask>(self, task: T) -> T::Output {
        match self.0 {
            Level::Portable => task.run(portable::Portable),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes an `Isa`, and it has asked the CPU.
            level => unsafe { x86::run_groups(level, task) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: only `available` makes an `Isa`, and it has asked the CPU.
            level => unsafe { neon::run_groups(level, task) },
        }
    }
}

impl Isa {
    /// Runs `task` compiled for this instruction set, in the widest registers it has.
    #[inline]
    pub(crate) fn run_wide<T: WideTask>(self, task: T) -> T::Output {
        match self.0 {
            Level::Portable => task.run(Twice(portable::Portable)),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes an `Isa`, and it has asked the CPU.
            level => unsafe { x86::run_wide(level, task) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: only `available` makes an `Isa`, and it has asked the CPU.
            level => unsafe { neon::run_wide(level, task) },
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Work that is compiled for every instruction set. `run` must be `#[inline(always)]`, as must all
/// that it calls with a `Simd` value: only then the instructions are those of the caller.
pub(crate) trait Task {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// The same for work that is written in [`Groups`].
pub(crate) trait GroupsTask {
    type Output;
    fn run<const G: usize, S: Groups<G>>(self, s: S) -> Self::Output;
}

/// The same for work that is written in [`Wide`].
pub(crate) trait WideTask {
    type Output;
    fn run<W: Wide>(self, w: W) -> Self::Output;
}

/// What does not depend on how many lanes there are. `F` is f32 in every lane; `I` is as many
/// bytes, seen as bytes, 16-bit or 32-bit lanes.
pub(crate) trait Lanes: Copy {
    type F: Copy;
    type I: Copy;
    /// Products of eight tokens at once stay in registers; else of four.
    const HAS_32_REGISTERS: bool = false;

    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The 32-bit lanes as f32.
    fn to_f32(self, x: Self::I) -> Self::F;

    fn splat_i32(self, x: i32) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    /// Shifts 16-bit lanes; `n` should be a constant once inlined.
    fn shl16(self, x: Self::I, n: i32) -> Self::I;
    fn shr16(self, x: Self::I, n: i32) -> Self::I;
    /// As `shr16`, keeping the sign.
    fn sar16(self, x: Self::I, n: i32) -> Self::I;
    /// `acc + sum of the two products of i16` in each 32-bit lane.
    fn dot_i16(self, acc: Self::I, a: Self::I, b: Self::I) -> Self::I;

    /// `acc` plus, in each 32-bit lane, the sum over all N of four products `w * a`, `w` unsigned
    /// of at most 127 and `a` signed bytes. `RUN` vectors may be summed in 16 bits: the caller
    /// vouches that `RUN * 2 * max(w) * 127 <= 32767`. No `a` is -128.
    fn dots<const N: usize, const RUN: usize>(
        self,
        acc: Self::I,
        w: [Self::I; N],
        a: [Self::I; N],
    ) -> Self::I;

    /// A multiplier for [`Lanes::scaled_dots`]: byte `n` (0..4, constant) of each 32-bit lane.
    fn scale_u8(self, x: Self::I, n: usize) -> Self::I;
    /// The same with a sign.
    fn scale_i8(self, x: Self::I, n: usize) -> Self::I;
    /// As [`Lanes::dots`], each lane's sum times `scale` before it is added.
    fn scaled_dots<const N: usize, const RUN: usize>(
        self,
        acc: Self::I,
        w: [Self::I; N],
        a: [Self::I; N],
        scale: Self::I,
    ) -> Self::I;

    /// What [`Lanes::signed_dots`] over weights starts from, given the sum of those activations.
    fn signed_start(self, sum: i32) -> Self::I;
    /// As [`Lanes::dots`] with signed `w`.
    fn signed_dots<const N: usize>(self, acc: Self::I, w: [Self::I; N], a: [Self::I; N])
    -> Self::I;

    /// Asks for memory that is read soon.
    fn prefetch(self, bytes: &[u8]);

    /// Four activations in every 32-bit lane.
    #[inline(always)]
    fn splat4(self, from: &[i8; 4]) -> Self::I {
        self.splat_i32(i32::from_le_bytes(from.map(i8::cast_unsigned)))
    }

    /// Two 16-bit numbers in every 32-bit lane.
    #[inline(always)]
    fn splat2(self, from: &[i16; 2]) -> Self::I {
        self.splat_i32(i32::from(from[1]) << 16 | i32::from(from[0].cast_unsigned()))
    }
}

/// `G` times eight lanes; what is loaded and stored are `G` groups, each at its own place.
pub(crate) trait Groups<const G: usize>: Lanes {
    /// The same instructions on one group.
    type One: Groups<1>;

    fn one(self) -> Self::One;
    fn load_bytes_of(self, groups: [&[u8; 32]; G]) -> Self::I;
    fn load_f32_of(self, groups: [&[[u8; 4]; 8]; G]) -> Self::F;
    /// IEEE halves.
    fn load_f16_of(self, groups: [&[[u8; 2]; 8]; G]) -> Self::F;
    fn load_bf16_of(self, groups: [&[[u8; 2]; 8]; G]) -> Self::F;
    /// The lanes of each group.
    fn lanes_of(self, x: Self::F) -> [[f32; 8]; G];
}

/// Eight lanes, and what only these are needed for.
pub(crate) trait Simd: Lanes {
    fn load(self, from: &[f32; 8]) -> Self::F;
    fn store(self, x: Self::F, to: &mut [f32; 8]);
    /// Eight IEEE halves, as bits.
    fn load_f16(self, from: &[u16; 8]) -> Self::F;
    fn store_f16(self, x: Self::F, to: &mut [u16; 8]);
    /// Eight bfloat16, as bits.
    fn load_bf16(self, from: &[u16; 8]) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// The greater lanes; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The lesser lanes; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `value` where `x >= limit`, else 0.
    fn where_at_least(self, x: Self::F, limit: Self::F, value: Self::F) -> Self::F;
    /// `x * 2^n` by adding to the exponent; the result must be a normal number.
    fn scale_exponent(self, x: Self::F, n: Self::I) -> Self::F;
    /// To the nearest whole number, ties to even.
    fn round(self, x: Self::F) -> Self::I;
    /// 32 values rounded as by `round`, in order; all within i8.
    fn round_to_i8(self, x: [Self::F; 4], to: &mut [i8; 32]);
    fn load_bytes(self, from: &[u8; 32]) -> Self::I;
    fn store_i32(self, x: Self::I, to: &mut [i32; 8]);

    /// The sum of all lanes, always in the same order.
    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        let mut l = [0.0; 8];
        self.store(x, &mut l);
        ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
    }

    /// The greatest lane.
    #[inline(always)]
    fn max_lane(self, x: Self::F) -> f32 {
        let mut l = [0.0; 8];
        self.store(x, &mut l);
        l.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// `|x|`.
    #[inline(always)]
    fn abs(self, x: Self::F) -> Self::F {
        self.max(x, self.sub(self.splat(0.0), x))
    }
}

/// Sixteen f32 lanes in a row.
pub(crate) trait Wide: Copy {
    type V: Copy;
    /// The same instructions on eight lanes.
    type Eight: Simd;
    /// Sums of so many queries, 8 at most, stay in registers.
    const QUERIES: usize;

    fn eight(self) -> Self::Eight;
    fn splat(self, x: f32) -> Self::V;
    fn load(self, from: &[f32; 16]) -> Self::V;
    fn store(self, x: Self::V, to: &mut [f32; 16]);
    /// Sixteen IEEE halves, as bits.
    fn load_f16(self, from: &[[u16; 8]; 2]) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
}

/// Sixteen lanes in two registers of eight.
#[derive(Clone, Copy, Debug)]
struct Twice<S>(S);

impl<S: Simd> Wide for Twice<S> {
    type V = [S::F; 2];
    type Eight = S;
    const QUERIES: usize = 4;

    #[inline(always)]
    fn eight(self) -> S {
        self.0
    }
    #[inline(always)]
    fn splat(self, x: f32) -> [S::F; 2] {
        [self.0.splat(x); 2]
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [S::F; 2] {
        let halves = from.as_chunks().0;
        [self.0.load(&halves[0]), self.0.load(&halves[1])]
    }
    #[inline(always)]
    fn store(self, x: [S::F; 2], to: &mut [f32; 16]) {
        for (x, to) in x.into_iter().zip(to.as_chunks_mut().0) {
            self.0.store(x, to);
        }
    }
    #[inline(always)]
    fn load_f16(self, [left, right]: &[[u16; 8]; 2]) -> [S::F; 2] {
        [self.0.load_f16(left), self.0.load_f16(right)]
    }
    #[inline(always)]
    fn fma(self, a: [S::F; 2], b: [S::F; 2], c: [S::F; 2]) -> [S::F; 2] {
        [self.0.fma(a[0], b[0], c[0]), self.0.fma(a[1], b[1], c[1])]
    }
}

impl<S: Simd> Groups<1> for S {
    type One = S;

    #[inline(always)]
    fn one(self) -> S {
        self
    }
    #[inline(always)]
    fn load_bytes_of(self, [group]: [&[u8; 32]; 1]) -> S::I {
        self.load_bytes(group)
    }
    #[inline(always)]
    fn load_f32_of(self, [group]: [&[[u8; 4]; 8]; 1]) -> S::F {
        self.load(&group.map(f32::from_le_bytes))
    }
    #[inline(always)]
    fn load_f16_of(self, [group]: [&[[u8; 2]; 8]; 1]) -> S::F {
        self.load_f16(&group.map(u16::from_le_bytes))
    }
    #[inline(always)]
    fn load_bf16_of(self, [group]: [&[[u8; 2]; 8]; 1]) -> S::F {
        self.load_bf16(&group.map(u16::from_le_bytes))
    }
    #[inline(always)]
    fn lanes_of(self, x: S::F) -> [[f32; 8]; 1] {
        let mut lanes = [0.0; 8];
        self.store(x, &mut lanes);
        [lanes]
    }
}

#[cfg(test)]
mod tests;
