//! The softmax of a few queries over one partition of positions, and the merging of partitions.
//!
//! Bound: one fused multiply-add for each query, position and value of a head, and as many for the
//! weighted sum; keys and values are widened once for all queries of a tile.
//! Never knows: sequences, threads.

use crate::cpu::elementwise::{EXP_MIN, exp, soft_cap};
use crate::cpu::kv_cache::{BLOCK_POSITIONS, KvLayer};
use crate::cpu::simd::{Simd, Task, Wide, WideTask};
use std::ops::Range;

/// Positions whose softmax is computed at once.
pub(super) const PARTITION: usize = 8 * BLOCK_POSITIONS;

/// Queries of a tile, at most.
pub(super) const TILE: usize = 8;

/// Softmax of some queries over one partition.
pub(super) struct Partition<'a> {
    pub(super) layer: KvLayer<'a>,
    pub(super) head: usize,
    /// From the partition's first block on.
    pub(super) table: &'a [u32],
    pub(super) softcap: Option<f32>,
    /// Positions within the partition that each query reads.
    pub(super) visible: &'a [Range<usize>],
    /// `[queries, padded_dim]`
    pub(super) queries: &'a [f32],
    pub(super) scores: &'a mut [[f32; PARTITION]],
    /// `[queries, padded_dim]`
    pub(super) values: &'a mut [f32],
    /// Of each query the greatest score, and the sum of the powers.
    pub(super) sums: &'a mut [(f32, f32); TILE],
}

/// Calls `$function::<W, Q>` for as many queries at a time as registers hold, with the first.
macro_rules! in_registers {
    ($wide:ident, $count:expr, |$first:ident| $function:ident($($argument:expr),*)) => {{
        let (count, mut $first) = ($count, 0);
        while $first < count {
            match (count - $first).min($wide::QUERIES) {
                1 => $function::<$wide, 1>($($argument),*),
                2 => $function::<$wide, 2>($($argument),*),
                3 => $function::<$wide, 3>($($argument),*),
                4 => $function::<$wide, 4>($($argument),*),
                5 => $function::<$wide, 5>($($argument),*),
                6 => $function::<$wide, 6>($($argument),*),
                7 => $function::<$wide, 7>($($argument),*),
                _ => $function::<$wide, 8>($($argument),*),
            }
            $first += $wide::QUERIES;
        }
    }};
}

impl WideTask for Partition<'_> {
    type Output = ();

    #[inline(always)]
    fn run<W: Wide>(self, w: W) {
        let count = self.visible.len();
        let (mut start, mut end) = (PARTITION, 0);
        for visible in self.visible.iter().filter(|visible| !visible.is_empty()) {
            (start, end) = (start.min(visible.start), end.max(visible.end));
        }
        let dim = self.layer.shape.padded_dim();
        self.values[..count * dim].fill(0.0);
        if start >= end {
            return;
        }
        let blocks = start / BLOCK_POSITIONS..end.div_ceil(BLOCK_POSITIONS);
        for block in blocks.clone() {
            let keys = self.layer.keys(self.table[block], self.head);
            let at = block * BLOCK_POSITIONS;
            in_registers!(W, count, |first| scores(
                w,
                keys,
                &self.queries[first * dim..],
                at,
                &mut self.scores[first..]
            ));
        }
        let computed = blocks.start * BLOCK_POSITIONS..blocks.end * BLOCK_POSITIONS;
        for q in 0..count {
            let (visible, scores) = (&self.visible[q], &mut self.scores[q]);
            if visible.is_empty() {
                scores[computed.clone()].fill(0.0);
                continue;
            }
            if let Some(cap) = self.softcap {
                cap_scores(w.eight(), &mut scores[computed.clone()], cap);
            }
            scores[computed.start..visible.start].fill(f32::NEG_INFINITY);
            scores[visible.end..computed.end].fill(f32::NEG_INFINITY);
            self.sums[q] = softmax(w.eight(), &mut scores[computed.clone()]);
        }
        for block in blocks {
            let values = self.layer.values(self.table[block], self.head);
            let at = block * BLOCK_POSITIONS;
            let positions = start.max(at)..end.min(at + BLOCK_POSITIONS);
            in_registers!(W, count, |first| add_values(
                w,
                values,
                at,
                positions.clone(),
                &self.scores[first..],
                &mut self.values[first * dim..]
            ));
        }
    }
}

/// Scores of one block's positions, to `scores[q][at..at + 16]`.
#[inline(always)]
fn scores<W: Wide, const Q: usize>(
    w: W,
    keys: &[[[u16; 8]; 2]],
    queries: &[f32],
    at: usize,
    scores: &mut [[f32; PARTITION]],
) {
    let dim = keys.len();
    let mut query = [&queries[..dim]; Q];
    for (q, query) in query.iter_mut().enumerate() {
        *query = &queries[q * dim..(q + 1) * dim];
    }
    let mut sums = [w.splat(0.0); Q];
    for (d, keys) in keys.iter().enumerate() {
        let keys = w.load_f16(keys);
        for q in 0..Q {
            sums[q] = w.fma(w.splat(query[q][d]), keys, sums[q]);
        }
    }
    for q in 0..Q {
        let to = scores[q][at..].first_chunk_mut().expect("partitions are whole blocks");
        w.store(sums[q], to);
    }
}

#[inline(always)]
fn cap_scores<S: Simd>(s: S, scores: &mut [f32], cap: f32) {
    for x in scores.as_chunks_mut::<8>().0 {
        s.store(soft_cap(s, s.load(x), cap), x);
    }
}

/// Turns scores into `e^(score - maximum)`; returns the maximum and the sum. Not all are `-inf`.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [f32]) -> (f32, f32) {
    let scores = scores.as_chunks_mut::<8>().0;
    let mut max = s.splat(f32::NEG_INFINITY);
    for x in scores.iter() {
        max = s.max(max, s.load(x));
    }
    let max = s.max_lane(max);
    let mut sum = s.splat(0.0);
    for x in scores {
        let shifted = s.sub(s.load(x), s.splat(max));
        let power = s.where_at_least(shifted, s.splat(EXP_MIN), exp(s, shifted));
        sum = s.add(sum, power);
        s.store(power, x);
    }
    (max, s.sum(sum))
}

/// Adds the weighted values of some positions of one block.
#[inline(always)]
fn add_values<W: Wide, const Q: usize>(
    w: W,
    values: &[[[u16; 8]; 2]],
    at: usize,
    positions: Range<usize>,
    weights: &[[f32; PARTITION]],
    out: &mut [f32],
) {
    let vectors = values.len() / BLOCK_POSITIONS;
    let out = &mut out.as_chunks_mut::<16>().0[..Q * vectors];
    let weights = weights.first_chunk::<Q>().expect("weights of each query");
    for vector in 0..vectors {
        let mut sums = [w.splat(0.0); Q];
        for q in 0..Q {
            sums[q] = w.load(&out[q * vectors + vector]);
        }
        for position in positions.clone() {
            let values = w.load_f16(&values[(position - at) * vectors + vector]);
            for q in 0..Q {
                sums[q] = w.fma(w.splat(weights[q][position]), values, sums[q]);
            }
        }
        for q in 0..Q {
            w.store(sums[q], &mut out[q * vectors + vector]);
        }
    }
}

/// Adds a partition to the total of those before it. Each is (maximum, sum) and weighted values.
pub(super) struct Merge<'a> {
    pub(super) total: (&'a mut (f32, f32), &'a mut [f32]),
    pub(super) part: ((f32, f32), &'a [f32]),
}

impl Task for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _s: S) {
        let ((max, sum), values) = self.part;
        let (total, total_values) = self.total;
        if max == f32::NEG_INFINITY {
            return; // Nothing of this partition is visible.
        }
        if total.0 == f32::NEG_INFINITY {
            *total = (max, sum);
            let len = total_values.len();
            total_values.copy_from_slice(&values[..len]);
            return;
        }
        let new = total.0.max(max);
        let (old_scale, scale) = ((total.0 - new).exp(), (max - new).exp());
        *total = (new, total.1 * old_scale + sum * scale);
        for (total, value) in total_values.iter_mut().zip(values) {
            *total = *total * old_scale + value * scale;
        }
    }
}
