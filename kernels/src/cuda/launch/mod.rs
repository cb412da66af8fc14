//! A safe function for each launch: sizes are checked against the buffers, then the kernel is
//! queued with a grid that depends on nothing but sizes.
//!
//! What lies on the device cannot be looked at here. Where a kernel finds its way by numbers that
//! it reads there (tokens, slots, block tables), the host vouches for their bounds once, when it
//! makes the view of them: [`Indices`], [`StepRows`], [`AttentionItems`], [`PrefillTiles`],
//! [`Fed`] and [`Choices`] are made by `unsafe` functions that say what is promised.

mod attention;
mod cache;
mod dense;
mod heads;
mod prefill;
mod product;
mod rows;
mod sampling;

pub use attention::{
    Attention, AttentionItems, AttentionScratch, ITEM_WORDS, MAX_GROUP, list_items,
};
pub use cache::{KvBuffer, KvType, KvView, KvViewMut};
#[cfg(test)]
pub(super) use dense::DenseLimits;
pub use dense::{DENSE_TOKENS, DenseScratch, Library};
pub use heads::{NO_SLOT, ProjectHeads, StepRows};
pub use prefill::{PREFILL_WORDS, Prefill, PrefillTiles, list_tiles};
#[cfg(test)]
pub(super) use product::Blocks;
pub use product::{Division, Input, Next, Output, Product};
pub use rows::{AddNormed, Embed, Fed, Feed, Normed, Unpack};
pub use sampling::{
    CHOSEN_WORDS, Change, Choice, Choices, Chosen, MAX_TOP_LOGPROBS, NO_LOGPROBS, NO_MASK,
    NOT_COUNTED, NoToken, Sample,
};

use super::memory::{Gpu, GpuError, View};

/// Numbers on the device, all below a bound.
#[derive(Clone, Copy, Debug)]
pub struct Indices<'a> {
    view: View<'a, u32>,
    below: usize,
}

impl<'a> Indices<'a> {
    /// # Safety
    /// When a launch that is given this runs, every number of `view` is below `below`.
    pub unsafe fn new(view: View<'a, u32>, below: usize) -> Self {
        Self { view, below }
    }

    /// Numbers.
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }
}

/// A parameter block as a kernel has it: plain numbers, no padding.
///
/// # Safety
/// For implementers: `repr(C)`, and fields of 8 and 4 bytes only, without gaps.
unsafe trait Parameters: Copy {}

/// Queues a kernel.
///
/// # Safety
/// As for [`Gpu::launch`].
unsafe fn run<P: Parameters>(
    gpu: &dyn Gpu,
    kernel: &'static str,
    grid: [usize; 2],
    threads: u32,
    parameters: &P,
) -> Result<(), GpuError> {
    // SAFETY: `Parameters` have no padding, so all bytes are initialized.
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const *parameters).cast::<u8>(), size_of::<P>())
    };
    let grid = grid.map(to_u32);
    // SAFETY: passed on.
    unsafe { gpu.launch(kernel, grid, threads, bytes) }
}

/// # Panics
/// If a size is beyond what kernels count with.
fn to_u32(size: usize) -> u32 {
    u32::try_from(size).expect("sizes of a launch are below 2^32")
}
