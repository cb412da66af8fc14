//! Activations as the packed matrices take them: f32, or rounded to 8 bits in blocks of 32 or 256.
//!
//! Rounding is that of [`crate::reference::QuantizedRow`]. The sums of codes are kept beside them:
//! they carry the weights' zero points and minima, so that codes of weights stay unsigned.

use super::shared::Shared;
use super::simd::{Isa, Simd, Task};
use std::ops::Range;

/// What a matrix multiplies: decided by the type of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationKind {
    /// f32 as they are, for dense weights.
    Float,
    /// 8 bits in blocks of 32, for Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
    Block32,
    /// 8 bits in blocks of 256, for the K types.
    Block256,
}

/// 32 activations: `x = scale * code`, codes in -127..=127.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Quantized32 {
    pub(crate) codes: [[i8; 4]; 8],
    pub(crate) scale: f32,
    /// Sum of the codes.
    pub(crate) sum: i32,
    /// `scale * sum`.
    pub(crate) scaled_sum: f32,
}

/// 256 activations: `x = scale * code`, codes in -127..=127.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Quantized256 {
    /// Eight times 32.
    pub(crate) codes: [[[i8; 4]; 8]; 8],
    /// Sums of 16 codes each, with the other sign, in pairs; two pairs to 64 codes.
    pub(crate) minus_sums16: [[[i16; 2]; 2]; 4],
    /// Sums of 32 codes each, in pairs.
    pub(crate) sums32: [[i16; 2]; 4],
    pub(crate) scale: f32,
}

impl Default for Quantized256 {
    fn default() -> Self {
        Quantized256 {
            codes: [[[0; 4]; 8]; 8],
            minus_sums16: [[[0; 2]; 2]; 4],
            sums32: [[0; 2]; 4],
            scale: 0.0,
        }
    }
}

/// Which kinds of activations a step needs; several matrices may share one input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    float: bool,
    block32: bool,
    block256: bool,
}

impl Kinds {
    /// These and `kind`.
    #[must_use]
    pub fn with(mut self, kind: ActivationKind) -> Self {
        match kind {
            ActivationKind::Float => self.float = true,
            ActivationKind::Block32 => self.block32 = true,
            ActivationKind::Block256 => self.block256 = true,
        }
        self
    }

    /// All of both.
    #[must_use]
    pub fn union(self, other: Kinds) -> Self {
        Kinds {
            float: self.float || other.float,
            block32: self.block32 || other.block32,
            block256: self.block256 || other.block256,
        }
    }
}

/// Rows of activations, all of the same length, in each kind that is asked for.
///
/// The memory is taken once for the largest step; [`Activations::reshape`] only changes the view.
#[derive(Debug)]
pub struct Activations {
    rows: usize,
    cols: usize,
    float: Vec<f32>,
    block32: Vec<Quantized32>,
    block256: Vec<Quantized256>,
}

impl Activations {
    /// Memory for up to `max_values` (rows times columns) of each of `kinds`.
    pub fn new(max_values: usize, kinds: Kinds) -> Self {
        let values = |wanted: bool, block: usize| if wanted { max_values / block } else { 0 };
        Activations {
            rows: 0,
            cols: 0,
            float: vec![0.0; values(kinds.float, 1)],
            block32: vec![Quantized32::default(); values(kinds.block32, 32)],
            block256: vec![Quantized256::default(); values(kinds.block256, 256)],
        }
    }

    /// Rows of the present view.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the present view.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rounds `x`, `[rows, cols]`, to `kinds`; on this thread.
    ///
    /// # Panics
    /// If there is not enough memory, or a row is not whole blocks.
    pub fn fill(&mut self, isa: Isa, x: &[f32], cols: usize, kinds: Kinds) {
        self.reshape(x.len() / cols, cols);
        let writer = self.writer(kinds);
        for (row, x) in x.chunks_exact(cols).enumerate() {
            // SAFETY: one thread writes each row once.
            unsafe { writer.write(isa, row, 0..cols, x) };
        }
    }

    /// Sees the memory as `[rows, cols]`; the values are then to be written.
    pub(crate) fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
    }

    /// For writing from several threads, each its own blocks.
    pub(crate) fn writer(&mut self, kinds: Kinds) -> ActivationsWriter<'_> {
        ActivationsWriter {
            cols: self.cols,
            kinds,
            float: Shared::new(&mut self.float),
            block32: Shared::new(&mut self.block32),
            block256: Shared::new(&mut self.block256),
        }
    }
}

/// Rows of [`Activations`] that threads may write and then, after a barrier, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivationsWriter<'a> {
    cols: usize,
    kinds: Kinds,
    float: Shared<'a, f32>,
    block32: Shared<'a, Quantized32>,
    block256: Shared<'a, Quantized256>,
}

/// A reading view, for products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivationRows<'a> {
    pub(crate) cols: usize,
    pub(crate) float: &'a [f32],
    pub(crate) block32: &'a [Quantized32],
    pub(crate) block256: &'a [Quantized256],
}

impl<'a> ActivationsWriter<'a> {
    /// Rounds `x`, the columns `cols` of one row; they must be whole blocks.
    ///
    /// # Safety
    /// No other thread reads or writes these columns of this row meanwhile.
    #[inline]
    pub(crate) unsafe fn write(&self, isa: Isa, row: usize, cols: Range<usize>, x: &[f32]) {
        assert_eq!(cols.len(), x.len(), "one value for each column");
        let blocks = |len: usize| {
            assert!(self.cols.is_multiple_of(len) && cols.start.is_multiple_of(len));
            assert!(cols.len().is_multiple_of(len), "{cols:?} is not whole blocks of {len}");
            let first = (row * self.cols + cols.start) / len;
            first..first + cols.len() / len
        };
        // SAFETY: the caller has these columns for itself.
        unsafe {
            if self.kinds.float {
                self.float.slice(blocks(1)).copy_from_slice(x);
            }
            if self.kinds.block32 {
                isa.run(Quantize32 { x, out: self.block32.slice(blocks(32)) });
            }
            if self.kinds.block256 {
                isa.run(Quantize256 { x, out: self.block256.slice(blocks(256)) });
            }
        }
    }

    /// All rows for reading.
    ///
    /// # Safety
    /// No thread writes any more, and the threads have met at a barrier since.
    pub(crate) unsafe fn rows(&self) -> ActivationRows<'a> {
        // SAFETY: passed on to the caller.
        unsafe {
            ActivationRows {
                cols: self.cols,
                float: self.float.all(),
                block32: self.block32.all(),
                block256: self.block256.all(),
            }
        }
    }
}

impl Activations {
    /// All rows for reading.
    pub(crate) fn view(&self) -> ActivationRows<'_> {
        ActivationRows {
            cols: self.cols,
            float: &self.float,
            block32: &self.block32,
            block256: &self.block256,
        }
    }
}

struct Quantize32<'a> {
    x: &'a [f32],
    out: &'a mut [Quantized32],
}

impl Task for Quantize32<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, out) in self.x.as_chunks::<32>().0.iter().zip(self.out) {
            let x = eights(s, x);
            let max = s.max(s.max(s.abs(x[0]), s.abs(x[1])), s.max(s.abs(x[2]), s.abs(x[3])));
            let max = s.max_lane(max);
            let sums = codes(s, x, inverse(max), &mut out.codes);
            out.scale = max / 127.0;
            out.sum = sums[0] + sums[1];
            out.scaled_sum = out.scale * out.sum as f32;
        }
    }
}

struct Quantize256<'a> {
    x: &'a [f32],
    out: &'a mut [Quantized256],
}

impl Task for Quantize256<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (x, out) in self.x.as_chunks::<256>().0.iter().zip(self.out) {
            let mut max = s.splat(0.0);
            for x in x.as_chunks::<8>().0 {
                max = s.max(max, s.abs(s.load(x)));
            }
            let max = s.max_lane(max);
            out.scale = max / 127.0;
            let blocks = x.as_chunks::<32>().0.iter().zip(&mut out.codes);
            for (i, (x, to)) in blocks.enumerate() {
                let sums = codes(s, eights(s, x), inverse(max), to);
                out.minus_sums16[i / 2][i % 2] = sums.map(|sum| -sum as i16);
                out.sums32[i / 2][i % 2] = (sums[0] + sums[1]) as i16;
            }
        }
    }
}

#[inline(always)]
fn eights<S: Simd>(s: S, x: &[f32; 32]) -> [S::F; 4] {
    let x = x.as_chunks::<8>().0;
    [s.load(&x[0]), s.load(&x[1]), s.load(&x[2]), s.load(&x[3])]
}

#[inline(always)]
fn inverse(max: f32) -> f32 {
    if max > 0.0 { 127.0 / max } else { 0.0 }
}

/// Writes 32 codes; returns the sums of each 16.
#[inline(always)]
fn codes<S: Simd>(s: S, mut x: [S::F; 4], inverse: f32, to: &mut [[i8; 4]; 8]) -> [i32; 2] {
    // The bounds matter for values that are not finite, or so small that the inverse is infinite.
    for x in &mut x {
        let scaled = s.mul(*x, s.splat(inverse));
        *x = s.max(s.min(scaled, s.splat(127.0)), s.splat(-127.0));
    }
    let mut bytes = [0; 32];
    s.round_to_i8(x, &mut bytes);
    to.copy_from_slice(bytes.as_chunks::<4>().0);
    let ones = s.splat_i32(0x0101_0101);
    let all = s.load_bytes(&bytes.map(i8::cast_unsigned));
    let mut lanes = [0; 8];
    s.store_i32(s.dots::<1, 1>(s.splat_i32(0), [ones], [all]), &mut lanes);
    let [a, b, c, d, e, f, g, h] = lanes;
    [a + b + c + d, e + f + g + h]
}
