//! Attention of many rows of a sequence (`prefill.cu`).

use std::ops::Range;

use super::attention::is_supported;
use super::cache::{Cache, KvType, KvView};
use super::heads::StepRows;
use super::{Parameters, run, to_u32};
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut};

/// Pairs of a row and a query head in a tile, at most.
const MAX_PAIRS: usize = 64;
/// Numbers that tell a kernel of a tile.
pub const PREFILL_WORDS: usize = 2;

const THREADS: u32 = 128;

/// Adds the tiles of rows of one sequence to a list, where `group` query heads share a kv head.
pub fn list_tiles(rows: Range<usize>, group: usize, tiles: &mut Vec<u32>) {
    let at_a_time = MAX_PAIRS / group;
    for first in rows.clone().step_by(at_a_time) {
        tiles.extend([first, at_a_time.min(rows.end - first)].map(to_u32));
    }
}

/// Tiles on the device, as [`list_tiles`] lists them.
#[derive(Clone, Copy, Debug)]
pub struct PrefillTiles<'a> {
    tiles: View<'a, u32>,
}

impl<'a> PrefillTiles<'a> {
    /// # Safety
    /// When a launch that is given this runs, these are what [`list_tiles`] gave, with the group of
    /// that launch, for rows of that launch: of each call one sequence's, at positions one after
    /// the other.
    pub unsafe fn new(tiles: View<'a, u32>) -> Self {
        assert!(tiles.len().is_multiple_of(PREFILL_WORDS), "whole tiles");
        Self { tiles }
    }
}

/// Each row of the tiles over the positions of its sequence up to its own.
#[derive(Debug)]
pub struct Prefill<'a> {
    /// `[rows][heads][head_dim]`
    pub queries: View<'a, u16>,
    /// The layer's.
    pub keys: KvView<'a>,
    /// The same.
    pub values: KvView<'a>,
    /// The rows.
    pub rows: StepRows<'a>,
    /// Which of them, in tiles; at least one.
    pub tiles: PrefillTiles<'a>,
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
    /// From one row of `out` to the next: a multiple of 8.
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
    tiles: u64,
    positions: u64,
    table_starts: u64,
    block_tables: u64,
    out: u64,
    heads: u32,
    kv_heads: u32,
    out_stride: u32,
    window: u32,
    scale: f32,
    softcap: f32,
}

// SAFETY: ten fields of 8 bytes, then six of 4.
unsafe impl Parameters for Block {}

impl Prefill<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together or are not supported.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Prefill { rows, tiles, heads, kv_heads, head_dim, out_stride, .. } = self;
        assert!(is_supported(heads, kv_heads, head_dim), "{heads} heads of {head_dim}");
        let (count, num_tiles) = (rows.len(), tiles.tiles.len() / PREFILL_WORDS);
        assert!(num_tiles > 0, "rows to compute");
        assert!(self.queries.len() >= count * heads * head_dim, "queries of {count} rows");
        assert!(out_stride >= heads * head_dim && out_stride.is_multiple_of(8), "{out_stride}");
        assert!(self.out.len() >= count * out_stride, "room for {count} rows");
        let views = [self.keys, self.values];
        let cache = Cache::of_views(views, rows.blocks, [kv_heads, head_dim]);
        let block = Block {
            queries: self.queries.address,
            keys: cache.keys,
            values: cache.values,
            key_exponents: cache.key_exponents,
            value_exponents: cache.value_exponents,
            tiles: tiles.tiles.address,
            positions: rows.positions.address,
            table_starts: rows.table_starts.address,
            block_tables: rows.block_tables.address,
            out: self.out.address,
            heads: to_u32(heads),
            kv_heads: to_u32(kv_heads),
            out_stride: to_u32(out_stride),
            window: self.window.map_or(0, to_u32),
            scale: self.scale,
            softcap: self.softcap.unwrap_or(0.0),
        };
        let kernel = match (head_dim, cache.kv_type) {
            (64, KvType::Bf16) => "prefill_64",
            (128, KvType::Bf16) => "prefill_128",
            (_, KvType::Bf16) => "prefill_256",
            (64, KvType::Fp8) => "prefill_64_fp8",
            (128, KvType::Fp8) => "prefill_128_fp8",
            (_, KvType::Fp8) => "prefill_256_fp8",
        };
        // SAFETY: the block is this kernel's; sizes have been checked, and `StepRows` and
        // `PrefillTiles` vouch for the numbers on the device.
        unsafe { run(gpu, kernel, [num_tiles, kv_heads], THREADS, &block) }
    }
}
