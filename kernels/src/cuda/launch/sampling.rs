//! Choosing tokens (`sampling.cu`).

use super::{Parameters, run, to_u32};
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut};

/// What a row with a NaN gives instead of a token.
pub const NO_TOKEN: u32 = u32::MAX;

/// The highest logit of each row, the lowest token among equals.
#[derive(Debug)]
pub struct Argmax<'a> {
    /// `[rows][vocab]`
    pub logits: View<'a, f32>,
    /// Logits in a row.
    pub vocab: usize,
    /// `[rows]`
    pub tokens: ViewMut<'a, u32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    logits: u64,
    tokens: u64,
    vocab: u32,
    padding: u32,
}

// SAFETY: two fields of 8 bytes, then two of 4.
unsafe impl Parameters for Block {}

impl Argmax<'_> {
    /// Queues it, for as many rows as `tokens` has room for.
    ///
    /// # Panics
    /// If there are not so many logits.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Argmax { logits, vocab, tokens } = self;
        let rows = tokens.len();
        assert!(rows > 0 && logits.len() >= rows * vocab, "logits of {rows} rows");
        let block = Block {
            logits: logits.address,
            tokens: tokens.address,
            vocab: to_u32(vocab),
            padding: 0,
        };
        // SAFETY: the block is this kernel's, and there are logits for a block of each row.
        unsafe { run(gpu, "argmax", [rows, 1], 1024, &block) }
    }
}
