//! From products to queries, keys and values (`heads.cu`).

use super::cache::{Cache, KvType, KvViewMut};
use super::{Parameters, run, to_u32};
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut};
use crate::reference::RopePairs;

/// The slot of a row that only fills up a batch: it writes no keys and values.
pub const NO_SLOT: u32 = u32::MAX;

const WARPS: usize = 8;
/// Values in the widest head.
const MAX_HEAD_DIM: usize = 256;

/// Where the rows of a step stand in their sequences, on the device.
#[derive(Clone, Copy, Debug)]
pub struct StepRows<'a> {
    /// Position of each row.
    pub(super) positions: View<'a, u32>,
    /// The slot that each row writes, or [`NO_SLOT`].
    pub(super) slots: View<'a, u32>,
    /// Where each row's block table begins in `block_tables`.
    pub(super) table_starts: View<'a, u32>,
    /// The sequences' blocks.
    pub(super) block_tables: View<'a, u32>,
    pub(super) blocks: usize,
    pub(super) max_context: usize,
}

impl<'a> StepRows<'a> {
    /// # Safety
    /// When a launch that is given this runs: positions are below `max_context`; slots are
    /// [`NO_SLOT`] or different and below `16 * blocks`; from each row's table start on there is a
    /// block below `blocks` for each 16 positions up to the row's own.
    ///
    /// # Panics
    /// If there is not one position, slot and table for each row.
    pub unsafe fn new(
        [positions, slots, table_starts, block_tables]: [View<'a, u32>; 4],
        blocks: usize,
        max_context: usize,
    ) -> Self {
        assert_eq!(positions.len(), slots.len(), "a slot for each row");
        assert_eq!(positions.len(), table_starts.len(), "a block table for each row");
        Self { positions, slots, table_starts, block_tables, blocks, max_context }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

/// Norms of heads, rotation, and where the results go.
#[derive(Debug)]
pub struct ProjectHeads<'a> {
    /// `[rows][(heads + 2 * kv_heads) * head_dim]`: queries, keys, values, with their biases.
    pub products: View<'a, f32>,
    /// `[head_dim]` each: norms of query and key heads.
    pub norms: Option<(View<'a, f32>, View<'a, f32>)>,
    /// Added to the mean square in these.
    pub eps: f32,
    /// Cosine and sine of each pair at each position: `[max_context][head_dim / 2][2]`.
    pub rotations: View<'a, f32>,
    /// Which values turn together.
    pub pairs: RopePairs,
    /// The rows.
    pub rows: StepRows<'a>,
    /// Query heads.
    pub heads: usize,
    /// Key heads; value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// `[rows][heads][head_dim]`
    pub queries: ViewMut<'a, u16>,
    /// The layer's.
    pub keys: KvViewMut<'a>,
    /// The same.
    pub values: KvViewMut<'a>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    products: u64,
    q_norm: u64,
    k_norm: u64,
    rotations: u64,
    positions: u64,
    slots: u64,
    queries: u64,
    keys: u64,
    values: u64,
    key_exponents: u64,
    value_exponents: u64,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    is_adjacent: u32,
    eps: f32,
}

// SAFETY: eleven fields of 8 bytes, then six of 4.
unsafe impl Parameters for Block {}

impl ProjectHeads<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together, or heads have more than 256 values.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let ProjectHeads { rows, heads, kv_heads, head_dim, .. } = self;
        let (count, all_heads) = (rows.len(), heads + 2 * kv_heads);
        assert!(head_dim <= MAX_HEAD_DIM && head_dim.is_multiple_of(2), "heads of {head_dim}");
        assert!(self.products.len() >= count * all_heads * head_dim, "products of {count} rows");
        assert!(self.queries.len() >= count * heads * head_dim, "queries of {count} rows");
        assert!(self.rotations.len() >= rows.max_context * head_dim, "a turn for each position");
        if let Some((q, k)) = self.norms {
            assert!(q.len() == head_dim && k.len() == head_dim, "a weight for each value");
        }
        let views = [self.keys.as_view(), self.values.as_view()];
        let cache = Cache::of_views(views, rows.blocks, [kv_heads, head_dim]);
        let block = Block {
            products: self.products.address,
            q_norm: self.norms.map_or(0, |(q, _)| q.address),
            k_norm: self.norms.map_or(0, |(_, k)| k.address),
            rotations: self.rotations.address,
            positions: rows.positions.address,
            slots: rows.slots.address,
            queries: self.queries.address,
            keys: cache.keys,
            values: cache.values,
            key_exponents: cache.key_exponents,
            value_exponents: cache.value_exponents,
            rows: to_u32(count),
            heads: to_u32(heads),
            kv_heads: to_u32(kv_heads),
            head_dim: to_u32(head_dim),
            is_adjacent: u32::from(self.pairs == RopePairs::Adjacent),
            eps: self.eps,
        };
        let grid = [(count * all_heads).div_ceil(WARPS), 1];
        let kernel = match cache.kv_type {
            KvType::Bf16 => "project_heads",
            KvType::Fp8 => "project_heads_fp8",
        };
        // SAFETY: the block is this kernel's; sizes have been checked for a warp of each head, and
        // `StepRows` vouch for positions and slots.
        unsafe { run(gpu, kernel, grid, WARPS as u32 * 32, &block) }
    }
}
