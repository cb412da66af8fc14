//! How tokens and groups of rows of a product are cut and handed out.

use crate::cpu::hand_out::Shares;
use crate::cpu::packed::GROUP;
use crate::cpu::pool::Worker;
use std::ops::Range;

/// Tokens that a group of rows is multiplied with in one go: their activations stay in L2.
pub(super) const MAX_TOKENS: usize = 64;

/// Groups in one go: wide registers hold two.
pub(super) const MAX_GROUPS: usize = 2;

/// How tokens and groups of a product are handed out.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    groups: usize,
    /// Groups in a chunk: their weights stay in L2 while all tokens pass.
    chunk: usize,
    tokens: usize,
    tokens_at_once: usize,
}

impl Plan {
    pub(super) fn new(groups: usize, tokens: usize, cols: usize, threads: usize) -> Self {
        // About eight chunks for each thread, so that they end together.
        let chunk = (groups / (8 * threads)).clamp(1, 8).next_multiple_of(MAX_GROUPS);
        let at_once = (256 * 1024 / cols.max(1)).clamp(8, MAX_TOKENS) / 8 * 8;
        Plan { groups, chunk, tokens, tokens_at_once: at_once }
    }

    /// The same with so many groups (or whatever is counted) in a chunk.
    pub(super) fn in_chunks_of(self, chunk: usize) -> Self {
        Plan { chunk, ..self }
    }

    /// The parts of all threads.
    pub(super) fn shares(&self, threads: usize) -> Shares {
        Shares::new(self.groups, self.chunk, threads)
    }

    /// Calls `body(groups, until, tokens)`, at most `MAX_GROUPS` and `MAX_TOKENS`, for all that
    /// this thread gets of `shares`; groups up to `until` will mostly follow.
    #[inline]
    pub(super) fn each(
        &self,
        shares: &Shares,
        worker: &Worker<'_>,
        mut body: impl FnMut(Range<usize>, usize, Range<usize>),
    ) {
        while let Some((chunk, until)) = shares.next(worker, self.chunk) {
            for first in (0..self.tokens).step_by(self.tokens_at_once) {
                let tokens = first..self.tokens.min(first + self.tokens_at_once);
                for first in chunk.clone().step_by(MAX_GROUPS) {
                    body(first..chunk.end.min(first + MAX_GROUPS), until, tokens.clone());
                }
            }
        }
    }
}

/// Calls `body(place, lanes)` with what a product left in `lanes`, and where it belongs in
/// `[tokens, width]`.
#[inline]
pub(super) fn each_place(
    groups: Range<usize>,
    tokens: Range<usize>,
    width: usize,
    lanes: &[[f32; GROUP]],
    mut body: impl FnMut(Range<usize>, &[f32; GROUP]),
) {
    let count = tokens.len();
    for (i, row) in tokens.enumerate() {
        for (g, group) in groups.clone().enumerate() {
            let end = width.min((group + 1) * GROUP);
            body(row * width + group * GROUP..row * width + end, &lanes[g * count + i]);
        }
    }
}

/// The lanes that there is a place for.
#[inline]
pub(super) fn copy(lanes: &[f32; GROUP], out: &mut [f32]) {
    match out.first_chunk_mut() {
        // Of a fixed length: one store instead of a call.
        Some(out) => *out = *lanes,
        None => out.copy_from_slice(&lanes[..out.len()]),
    }
}
