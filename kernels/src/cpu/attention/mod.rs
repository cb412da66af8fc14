//! Attention over the block cache, for decoding rows and prompt rows of many sequences at once.
//!
//! Positions are cut into partitions of 128, at fixed places. Each query's softmax over a partition
//! is computed by itself; partitions are then merged in their order (arXiv 2205.14135, 2307.08691).
//! So the result of a row is the same to the bit whether partitions are computed by one thread in
//! turn, or by several and merged afterwards, and whatever else the step contains.
//! Query heads that share a key head are computed together, keys and values read once for eight.

mod partition;

use self::partition::{Merge, PARTITION, Partition, TILE};
use super::hand_out::Cursor;
use super::kv_cache::{BLOCK_POSITIONS, KvCache, KvLayer};
use super::pool::Worker;
use super::shared::Shared;
use super::simd::Isa;
use super::steps::Cpu;
use std::ops::Range;

/// Rows of a sequence in one item of work.
const ROWS: usize = 8;

/// Rows times partitions that may be computed apart and merged later.
const MAX_APART: usize = 512;

/// One sequence of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionSequence {
    /// Its rows of the step, contiguous and in position order; the last is at `context_len - 1`.
    pub rows: Range<usize>,
    /// Its block table: a part of all tables.
    pub blocks: Range<usize>,
    /// Positions that the last row may read.
    pub context_len: usize,
}

/// Working memory, taken once.
#[derive(Debug)]
pub struct AttentionScratch {
    threads: Vec<ThreadScratch>,
    /// Partitions that are merged later: their values and (maximum, sum).
    apart: Vec<f32>,
    apart_sums: Vec<(f32, f32)>,
    /// Items, and partitions apart, before each sequence.
    first_item: Vec<usize>,
    first_apart: Vec<usize>,
}

#[derive(Clone, Debug)]
struct ThreadScratch {
    queries: Vec<f32>, // [TILE, padded_dim]
    values: Vec<f32>,  // [TILE, padded_dim]
    total: Vec<f32>,   // [TILE, padded_dim]
    scores: Vec<[f32; PARTITION]>,
}

impl AttentionScratch {
    /// For `heads` query heads on this cache, and at most `max_sequences` in a step.
    pub fn new(cpu: &Cpu, cache: &KvCache, heads: usize, max_sequences: usize) -> Self {
        let dim = cache.shape().padded_dim();
        let thread = ThreadScratch {
            queries: vec![0.0; TILE * dim],
            values: vec![0.0; TILE * dim],
            total: vec![0.0; TILE * dim],
            scores: vec![[0.0; PARTITION]; TILE],
        };
        AttentionScratch {
            threads: vec![thread; cpu.threads()],
            apart: vec![0.0; MAX_APART * heads * dim],
            apart_sums: vec![(0.0, 0.0); MAX_APART * heads],
            first_item: Vec::with_capacity(max_sequences + 1),
            first_apart: Vec::with_capacity(max_sequences + 1),
        }
    }
}

/// Step 2 of a layer.
#[derive(Debug)]
pub struct Attention<'a> {
    /// `[rows, heads * head_dim]`, rotated.
    pub queries: &'a [f32],
    /// Keys and values, those of this step included.
    pub cache: &'a KvCache,
    /// Which layer of it.
    pub layer: usize,
    /// Query heads; a multiple of the cache's.
    pub heads: usize,
    /// All sequences; their rows cover the step's.
    pub sequences: &'a [AttentionSequence],
    /// Entry `p / 16` of a sequence's table is the block of position `p`.
    pub block_tables: &'a [u32],
    /// Factor on query times key.
    pub scale: f32,
    /// `Some(cap)`: scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// `Some(w)`: a row at `p` reads only positions `q` with `p - q < w`.
    pub window: Option<usize>,
    /// Working memory.
    pub scratch: &'a mut AttentionScratch,
    /// `[rows, heads * head_dim]`.
    pub out: &'a mut [f32],
}

impl Attention<'_> {
    /// Computes `out`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let layer = self.cache.layer(self.layer);
        let (dim, heads) = (layer.shape.head_dim, self.heads);
        assert!(heads.is_multiple_of(layer.shape.heads), "query heads share key heads evenly");
        assert_eq!(self.queries.len(), self.out.len(), "one output for each query");
        let step = Step {
            layer,
            heads,
            queries: self.queries,
            sequences: self.sequences,
            block_tables: self.block_tables,
            scale: self.scale,
            softcap: self.softcap,
            window: self.window.unwrap_or(usize::MAX),
            isa: cpu.isa(),
        };
        for sequence in self.sequences {
            assert!(sequence.rows.end * heads * dim <= self.out.len(), "rows are in the step");
            assert!(sequence.rows.len() <= sequence.context_len, "rows are in the context");
            let blocks = sequence.blocks.end.min(self.block_tables.len()) - sequence.blocks.start;
            assert!(sequence.context_len <= blocks * BLOCK_POSITIONS, "context is in the table");
        }
        let AttentionScratch { threads, apart, apart_sums, first_item, first_apart } = self.scratch;
        let count = |counts: &mut Vec<usize>, of: &dyn Fn(&AttentionSequence) -> usize| {
            counts.clear();
            counts.push(0);
            let mut total = 0;
            counts.extend(self.sequences.iter().map(|sequence| {
                total += of(sequence);
                total
            }));
            total
        };
        let rows_and_partitions = count(first_apart, &|s| s.rows.len() * step.partitions(s).len());
        let items = count(first_item, &|s| step.chunks(s));
        let few = items < 2 * cpu.threads() && rows_and_partitions <= MAX_APART;
        let is_apart = few && self.sequences.iter().any(|s| step.partitions(s).len() > 1);
        let items = match is_apart {
            true => count(first_item, &|s| step.chunks(s) * step.partitions(s).len()),
            false => items,
        };
        let merge_items = first_apart.len() - 1;
        let (first_item, first_apart) = (&first_item[..], &first_apart[..]);
        let (cursor, merging) = (Cursor::new(), Cursor::new());
        let (threads, out) = (Shared::new(threads), Shared::new(self.out));
        let (apart, apart_sums) = (Shared::new(apart), Shared::new(apart_sums));
        cpu.run(|worker: &Worker<'_>| {
            // SAFETY: each thread has its own.
            let scratch = unsafe { &mut threads.slice(worker.index..worker.index + 1)[0] };
            while let Some(range) = cursor.next(items, 1) {
                let sequence = first_item.partition_point(|first| *first <= range.start) - 1;
                let item = range.start - first_item[sequence];
                if is_apart {
                    let first = first_apart[sequence];
                    step.one_partition(sequence, item, first, scratch, apart, apart_sums);
                } else {
                    step.all_partitions(sequence, item, scratch, out);
                }
            }
            if is_apart {
                worker.barrier();
                while let Some(range) = merging.next(merge_items, 1) {
                    // SAFETY: after the barrier nobody writes these any more.
                    let (values, sums) = unsafe { (apart.all(), apart_sums.all()) };
                    step.merge(range.start, first_apart[range.start], values, sums, out);
                }
            }
        });
    }
}

/// What all threads share.
struct Step<'a> {
    layer: KvLayer<'a>,
    heads: usize,
    queries: &'a [f32],
    sequences: &'a [AttentionSequence],
    block_tables: &'a [u32],
    scale: f32,
    softcap: Option<f32>,
    window: usize,
    isa: Isa,
}

impl Step<'_> {
    /// Query heads to a key head.
    fn group(&self) -> usize {
        self.heads / self.layer.shape.heads
    }

    /// Items of a sequence when partitions are not apart.
    fn chunks(&self, sequence: &AttentionSequence) -> usize {
        self.layer.shape.heads * sequence.rows.len().div_ceil(ROWS)
    }

    /// Position of a row.
    fn position(&self, sequence: &AttentionSequence, row: usize) -> usize {
        sequence.context_len - (sequence.rows.end - row)
    }

    /// Positions that a row reads.
    fn visible(&self, sequence: &AttentionSequence, row: usize) -> Range<usize> {
        let position = self.position(sequence, row);
        (position + 1).saturating_sub(self.window)..position + 1
    }

    /// Partitions that any row of a sequence reads.
    fn partitions(&self, sequence: &AttentionSequence) -> Range<usize> {
        let first = self.visible(sequence, sequence.rows.start).start;
        first / PARTITION..sequence.context_len.div_ceil(PARTITION)
    }

    /// The key head and rows of an item.
    fn chunk(&self, sequence: &AttentionSequence, chunk: usize) -> (usize, Range<usize>) {
        let (head, chunk) = (chunk % self.layer.shape.heads, chunk / self.layer.shape.heads);
        let first = sequence.rows.start + chunk * ROWS;
        (head, first..sequence.rows.end.min(first + ROWS))
    }

    /// The place of a query's values in `out`.
    fn place(&self, row: usize, head: usize) -> Range<usize> {
        let dim = self.layer.shape.head_dim;
        let at = (row * self.heads + head) * dim;
        at..at + dim
    }

    /// Row and query head of query `i` of a chunk.
    fn query(&self, kv_head: usize, rows: &Range<usize>, i: usize) -> (usize, usize) {
        (rows.start + i / self.group(), kv_head * self.group() + i % self.group())
    }

    /// Whole softmax of all queries of an item.
    fn all_partitions(
        &self,
        sequence: usize,
        item: usize,
        scratch: &mut ThreadScratch,
        out: Shared<'_, f32>,
    ) {
        let sequence = &self.sequences[sequence];
        let (kv_head, rows) = self.chunk(sequence, item);
        let dim = self.layer.shape.padded_dim();
        let queries = rows.len() * self.group();
        for first in (0..queries).step_by(TILE) {
            let tile = TileOf { sequence, kv_head, rows: rows.clone(), first, queries };
            let count = self.load_queries(&tile, scratch);
            let visible = |i: usize| self.visible(sequence, self.query(kv_head, &rows, i).0);
            let partitions = visible(first).start / PARTITION
                ..visible(first + count - 1).end.div_ceil(PARTITION);
            let mut totals = [(f32::NEG_INFINITY, 0.0); TILE];
            for partition in partitions {
                let sums = self.partition(&tile, partition, scratch);
                for i in 0..count {
                    let range = i * dim..(i + 1) * dim;
                    let (total, values) =
                        (&mut scratch.total[range.clone()], &scratch.values[range]);
                    self.isa.run(Merge { total: (&mut totals[i], total), part: (sums[i], values) });
                }
            }
            for (i, total) in totals[..count].iter().enumerate() {
                let (row, head) = self.query(kv_head, &rows, first + i);
                // SAFETY: each query belongs to one item, which one thread has.
                let out = unsafe { out.slice(self.place(row, head)) };
                for (out, value) in out.iter_mut().zip(&scratch.total[i * dim..]) {
                    *out = value / total.1;
                }
            }
        }
    }

    /// One partition of all queries of an item, to be merged later.
    fn one_partition(
        &self,
        sequence: usize,
        item: usize,
        first_apart: usize,
        scratch: &mut ThreadScratch,
        apart: Shared<'_, f32>,
        apart_sums: Shared<'_, (f32, f32)>,
    ) {
        let sequence = &self.sequences[sequence];
        let partitions = self.partitions(sequence);
        let (kv_head, rows) = self.chunk(sequence, item / partitions.len());
        let partition = partitions.start + item % partitions.len();
        let dim = self.layer.shape.padded_dim();
        let queries = rows.len() * self.group();
        for first in (0..queries).step_by(TILE) {
            let tile = TileOf { sequence, kv_head, rows: rows.clone(), first, queries };
            let count = self.load_queries(&tile, scratch);
            let sums = self.partition(&tile, partition, scratch);
            for (i, sums) in sums[..count].iter().enumerate() {
                let (row, head) = self.query(kv_head, &rows, first + i);
                let row = row - sequence.rows.start;
                let at = first_apart * self.heads
                    + (row * self.heads + head) * partitions.len()
                    + (partition - partitions.start);
                // SAFETY: each query and partition belongs to one item, which one thread has.
                let (values, place) = unsafe {
                    (apart.slice(at * dim..(at + 1) * dim), apart_sums.slice(at..at + 1))
                };
                values.copy_from_slice(&scratch.values[i * dim..(i + 1) * dim]);
                place[0] = *sums;
            }
        }
    }

    /// Merges the partitions of all queries of a sequence.
    fn merge(
        &self,
        sequence: usize,
        first_apart: usize,
        values: &[f32],
        sums: &[(f32, f32)],
        out: Shared<'_, f32>,
    ) {
        let sequence = &self.sequences[sequence];
        let partitions = self.partitions(sequence).len();
        let dim = self.layer.shape.padded_dim();
        for (i, row) in sequence.rows.clone().enumerate() {
            for head in 0..self.heads {
                // SAFETY: one thread merges a sequence.
                let out = unsafe { out.slice(self.place(row, head)) };
                let first = first_apart * self.heads + (i * self.heads + head) * partitions;
                self.merge_one(first..first + partitions, dim, values, sums, out);
            }
        }
    }

    fn merge_one(
        &self,
        places: Range<usize>,
        dim: usize,
        values: &[f32],
        sums: &[(f32, f32)],
        out: &mut [f32],
    ) {
        let mut total = (f32::NEG_INFINITY, 0.0);
        for at in places {
            let values = &values[at * dim..at * dim + out.len()];
            self.isa.run(Merge { total: (&mut total, out), part: (sums[at], values) });
        }
        for out in out {
            *out /= total.1;
        }
    }

    /// Copies the tile's queries, scaled; returns how many there are.
    fn load_queries(&self, tile: &TileOf<'_>, scratch: &mut ThreadScratch) -> usize {
        let count = TILE.min(tile.queries - tile.first);
        let dim = self.layer.shape.padded_dim();
        for i in 0..count {
            let (row, head) = self.query(tile.kv_head, &tile.rows, tile.first + i);
            let query = &self.queries[self.place(row, head)];
            for (to, from) in scratch.queries[i * dim..].iter_mut().zip(query) {
                *to = from * self.scale;
            }
        }
        count
    }

    /// Values and (maximum, sum) of one partition for the loaded queries.
    fn partition(
        &self,
        tile: &TileOf<'_>,
        partition: usize,
        scratch: &mut ThreadScratch,
    ) -> [(f32, f32); TILE] {
        let start = partition * PARTITION;
        let within = |position: usize| position.saturating_sub(start).min(PARTITION);
        let count = TILE.min(tile.queries - tile.first);
        let visible: [Range<usize>; TILE] = std::array::from_fn(|i| {
            let i = tile.first + i.min(count - 1);
            let visible = self.visible(tile.sequence, self.query(tile.kv_head, &tile.rows, i).0);
            within(visible.start)..within(visible.end)
        });
        let table = &self.block_tables[tile.sequence.blocks.clone()][start / BLOCK_POSITIONS..];
        let mut sums = [(f32::NEG_INFINITY, 0.0); TILE];
        self.isa.run_wide(Partition {
            layer: self.layer,
            head: tile.kv_head,
            table,
            softcap: self.softcap,
            visible: &visible[..count],
            queries: &scratch.queries,
            scores: &mut scratch.scores,
            values: &mut scratch.values,
            sums: &mut sums,
        });
        sums
    }
}

/// Up to [`TILE`] queries of an item.
struct TileOf<'a> {
    sequence: &'a AttentionSequence,
    kv_head: usize,
    rows: Range<usize>,
    first: usize,
    queries: usize,
}

#[cfg(test)]
mod tests;
