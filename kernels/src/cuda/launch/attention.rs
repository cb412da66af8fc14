//! Attention of single rows (`attention.cu`).

use super::cache::{Cache, KvType, KvView};
use super::heads::StepRows;
use super::{Parameters, run, to_u32};
use crate::cuda::memory::{Buffer, Gpu, GpuError, View, ViewMut};

/// Positions in an item of work.
const CHUNK_POSITIONS: usize = 256;
/// Query heads that may share a kv head.
pub const MAX_GROUP: usize = 8;
/// Numbers that tell a kernel of an item.
pub const ITEM_WORDS: usize = 4;

const THREADS: u32 = 128;
/// Blocks that walk through the items, for each multiprocessor.
const BLOCKS_PER_MULTIPROCESSOR: usize = 2;

/// Adds the items of a row at `position` to a list: one for each chunk of positions that it reads.
pub fn list_items(row: usize, position: usize, window: Option<usize>, items: &mut Vec<u32>) {
    let from = window.map_or(0, |window| (position + 1).saturating_sub(window));
    let (first, last) = (from / CHUNK_POSITIONS, position / CHUNK_POSITIONS);
    for chunk in first..=last {
        items.extend([row, chunk, first, last - first + 1].map(to_u32));
    }
}

/// Items on the device, as [`list_items`] lists them.
#[derive(Clone, Copy, Debug)]
pub struct AttentionItems<'a> {
    items: View<'a, u32>,
    count: View<'a, u32>,
}

impl<'a> AttentionItems<'a> {
    /// `count` is one number: how many of the items of `items` there are.
    ///
    /// # Safety
    /// When a launch that is given this runs, `count` is at most `items.len() / ITEM_WORDS`, and
    /// the items are what [`list_items`] gave for rows of that launch at their positions, in any
    /// order of rows, each row once, with the window of that launch.
    pub unsafe fn new(items: View<'a, u32>, count: View<'a, u32>) -> Self {
        assert_eq!(count.len(), 1, "one number");
        Self { items, count }
    }
}

/// Where the parts of a row's result wait for each other.
#[derive(Debug)]
pub struct AttentionScratch {
    stats: Buffer<f32>,
    sums: Buffer<f32>,
    finished: Buffer<u32>,
    max_items: usize,
}

impl AttentionScratch {
    /// For up to `max_rows` rows with `max_items` items in all.
    pub fn new(
        gpu: &dyn Gpu,
        [max_rows, max_items]: [usize; 2],
        [kv_heads, head_dim]: [usize; 2],
    ) -> Result<Self, GpuError> {
        let parts = max_items * kv_heads * MAX_GROUP;
        Ok(Self {
            stats: Buffer::zeros(gpu, parts * 2)?,
            sums: Buffer::zeros(gpu, parts * head_dim)?,
            finished: Buffer::zeros(gpu, max_rows * kv_heads)?,
            max_items,
        })
    }
}

/// Each row over the positions of its sequence up to its own.
#[derive(Debug)]
pub struct Attention<'a> {
    /// `[rows][heads][head_dim]`
    pub queries: View<'a, u16>,
    /// The layer's.
    pub keys: KvView<'a>,
    /// The same.
    pub values: KvView<'a>,
    /// The rows.
    pub rows: StepRows<'a>,
    /// Their items.
    pub items: AttentionItems<'a>,
    /// Working memory.
    pub scratch: &'a mut AttentionScratch,
    /// Query heads.
    pub heads: usize,
    /// Key heads; value heads.
    pub kv_heads: usize,
    /// Values in a head: 64, 128 or 256.
    pub head_dim: usize,
    /// `Some(w)`: positions further back than `w - 1` are not read.
    pub window: Option<usize>,
    /// Factor on scores.
    pub scale: f32,
    /// `Some(c)`: scores become `c * tanh(score / c)`.
    pub softcap: Option<f32>,
    /// `[rows][out_stride]`
    pub out: ViewMut<'a, u16>,
    /// From one row of `out` to the next.
    pub out_stride: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Block {
    queries: u64,
    keys: u64,
    values: u64,
    key_exponents: u64,
    value_exponents: u64,
    items: u64,
    num_items: u64,
    positions: u64,
    table_starts: u64,
    block_tables: u64,
    partial_stats: u64,
    partial_sums: u64,
    finished: u64,
    out: u64,
    heads: u32,
    kv_heads: u32,
    out_stride: u32,
    window: u32,
    scale: f32,
    softcap: f32,
}

// SAFETY: fourteen fields of 8 bytes, then six of 4.
unsafe impl Parameters for Block {}

impl Attention<'_> {
    /// Whether there is a kernel for heads of these numbers.
    pub fn is_supported(heads: usize, kv_heads: usize, head_dim: usize) -> bool {
        is_supported(heads, kv_heads, head_dim)
    }

    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together or are not supported.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Attention { rows, items, heads, kv_heads, head_dim, out_stride, .. } = self;
        assert!(Self::is_supported(heads, kv_heads, head_dim), "{heads} heads of {head_dim}");
        let count = rows.len();
        assert!(self.queries.len() >= count * heads * head_dim, "queries of {count} rows");
        assert!(out_stride >= heads * head_dim && self.out.len() >= count * out_stride, "room");
        let views = [self.keys, self.values];
        let cache = Cache::of_views(views, rows.blocks, [kv_heads, head_dim]);
        let scratch = self.scratch;
        assert!(items.items.len() <= scratch.max_items * ITEM_WORDS, "room for all items");
        assert!(scratch.finished.len() >= count * kv_heads, "a counter for each row");
        assert!(scratch.sums.len() >= scratch.max_items * kv_heads * MAX_GROUP * head_dim);
        let block = Block {
            queries: self.queries.address,
            keys: cache.keys,
            values: cache.values,
            key_exponents: cache.key_exponents,
            value_exponents: cache.value_exponents,
            items: items.items.address,
            num_items: items.count.address,
            positions: rows.positions.address,
            table_starts: rows.table_starts.address,
            block_tables: rows.block_tables.address,
            partial_stats: scratch.stats.view_mut().address,
            partial_sums: scratch.sums.view_mut().address,
            finished: scratch.finished.view_mut().address,
            out: self.out.address,
            heads: to_u32(heads),
            kv_heads: to_u32(kv_heads),
            out_stride: to_u32(out_stride),
            window: self.window.map_or(0, to_u32),
            scale: self.scale,
            softcap: self.softcap.unwrap_or(0.0),
        };
        let kernel = kernel(head_dim, cache.kv_type).expect("supported");
        let blocks = gpu.multiprocessors() as usize * BLOCKS_PER_MULTIPROCESSOR;
        // SAFETY: the block is this kernel's; sizes have been checked, and `StepRows` and
        // `AttentionItems` vouch for the numbers on the device.
        unsafe { run(gpu, kernel, [blocks, 1], THREADS, &block) }
    }
}

pub(super) fn is_supported(heads: usize, kv_heads: usize, head_dim: usize) -> bool {
    let is_grouped = heads.is_multiple_of(kv_heads) && heads <= MAX_GROUP * kv_heads;
    kernel(head_dim, KvType::Bf16).is_some() && is_grouped
}

fn kernel(head_dim: usize, kv_type: KvType) -> Option<&'static str> {
    match (head_dim, kv_type) {
        (64, KvType::Bf16) => Some("attention_64"),
        (128, KvType::Bf16) => Some("attention_128"),
        (256, KvType::Bf16) => Some("attention_256"),
        (64, KvType::Fp8) => Some("attention_64_fp8"),
        (128, KvType::Fp8) => Some("attention_128_fp8"),
        (256, KvType::Fp8) => Some("attention_256_fp8"),
        _ => None,
    }
}
