//! Step 1: from the hidden state to queries, and to keys and values in the cache.

use super::plan::{MAX_GROUPS, Plan, copy, each_place};
use super::{Cpu, Normed, ThreadScratch, kinds_of};
use crate::cpu::activations::{ActivationRows, Activations};
use crate::cpu::elementwise::{rms_norm_in_place, rotate};
use crate::cpu::kv_cache::{KvCache, KvWriter};
use crate::cpu::packed::{GROUP, PackedMatrix};
use crate::cpu::shared::Shared;
use crate::cpu::simd::Isa;
use crate::reference::RopePairs;
use std::ops::Range;

/// Step 1: norm, Q, K and V, rotation; keys and values go to the cache.
#[derive(Debug)]
pub struct ProjectHeads<'a> {
    /// The input.
    pub input: Normed<'a>,
    /// Queries.
    pub q: Projection<'a>,
    /// Keys.
    pub k: Projection<'a>,
    /// Values; these are not rotated.
    pub v: Projection<'a>,
    /// Values in a head.
    pub head_dim: usize,
    /// Cosines of each row's position, amplitude included: `[rows, head_dim / 2]`.
    pub cos: &'a [f32],
    /// Sines, the same.
    pub sin: &'a [f32],
    /// Which values rotate together.
    pub pairs: RopePairs,
    /// The cache slot of each row; all different.
    pub slots: &'a [u32],
    /// The cache.
    pub cache: &'a mut KvCache,
    /// Which layer of it.
    pub layer: usize,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, query heads * head_dim]`
    pub queries: &'a mut [f32],
}

/// A projection to heads.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// `[heads * head_dim, width]`
    pub matrix: &'a PackedMatrix,
    /// `[heads * head_dim]`
    pub bias: Option<&'a [f32]>,
    /// `[head_dim]`: norm of each head before rotation.
    pub norm: Option<&'a [f32]>,
}

#[derive(Clone, Copy)]
enum Role {
    Query,
    Key,
    Value,
}

impl ProjectHeads<'_> {
    /// Computes `queries` and writes keys and values.
    ///
    /// # Panics
    /// If the sizes do not fit together, or slots are not all different.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads) = (cpu.isa, cpu.threads());
        let (rows, width, dim) = (self.slots.len(), self.input.width(), self.head_dim);
        assert_eq!(self.input.hidden.len(), rows * width, "a slot for each row");
        assert!(dim.is_multiple_of(GROUP), "heads of {dim} are not whole groups");
        assert!(self.cos.len() == rows * (dim / 2) && self.sin.len() == self.cos.len());
        let heads = [self.q, self.k, self.v].map(|part| part.matrix.rows() / dim);
        assert_eq!(self.queries.len(), rows * heads[0] * dim, "a place for each query");
        let kinds = kinds_of([self.q.matrix, self.k.matrix, self.v.matrix]);
        self.activations.reshape(rows, width);
        let writer = self.activations.writer(kinds);
        // One head after the other: all that follows the product needs no other.
        let plan = Plan::new(heads.iter().sum(), rows, width, threads).in_chunks_of(1);
        let shares = plan.shares(threads);
        let heads_out = HeadsOut {
            queries: Shared::new(self.queries),
            query_heads: heads[0],
            cache: self.cache.writer(self.layer, self.slots),
            cos: self.cos,
            sin: self.sin,
            pairs: self.pairs,
            dim,
            eps: self.input.eps,
            isa,
        };
        let parts = [(Role::Query, self.q), (Role::Key, self.k), (Role::Value, self.v)];
        // A head's part, and the number of that part's first head.
        let part_of = |head: usize| match head {
            head if head < heads[0] => (parts[0], 0),
            head if head < heads[0] + heads[1] => (parts[1], heads[0]),
            _ => (parts[2], heads[0] + heads[1]),
        };
        let input = self.input;
        cpu.run_with_scratch(|worker, scratch| {
            let own = shares.own_start(worker);
            let ((_, part), first) = part_of(own);
            part.matrix.prefetch(isa, (own - first) * dim / GROUP, part.matrix.groups());
            input.write_share(worker, rows, scratch, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |head, until, tokens| {
                let (part, first) = part_of(head.start);
                let until = (until - first) * dim / GROUP;
                heads_out.compute(part, head.start - first, until, &x, tokens, scratch);
            });
        });
    }
}

/// Where heads go, and what happens to them before.
struct HeadsOut<'a> {
    queries: Shared<'a, f32>,
    query_heads: usize,
    cache: KvWriter<'a>,
    cos: &'a [f32],
    sin: &'a [f32],
    pairs: RopePairs,
    dim: usize,
    eps: f32,
    isa: Isa,
}

impl HeadsOut<'_> {
    fn compute(
        &self,
        (role, part): (Role, Projection<'_>),
        head: usize,
        until: usize,
        x: &ActivationRows<'_>,
        tokens: Range<usize>,
        scratch: &mut ThreadScratch,
    ) {
        let (isa, dim) = (self.isa, self.dim);
        let count = tokens.len();
        let values = &mut scratch.heads[..count * dim];
        let of_head = head * dim / GROUP..(head + 1) * dim / GROUP;
        for first in of_head.clone().step_by(MAX_GROUPS) {
            let groups = first..of_head.end.min(first + MAX_GROUPS);
            let lanes = &mut scratch.left[..groups.len() * count];
            part.matrix.product_of(isa, groups.clone(), until, x, tokens.clone(), lanes);
            let groups = groups.start - of_head.start..groups.end - of_head.start;
            each_place(groups, 0..count, dim, lanes, |at, lanes| copy(lanes, &mut values[at]));
        }
        for (row, value) in tokens.zip(values.chunks_exact_mut(dim)) {
            if let Some(bias) = part.bias {
                for (x, bias) in value.iter_mut().zip(&bias[head * dim..(head + 1) * dim]) {
                    *x += bias;
                }
            }
            if let Some(weight) = part.norm {
                rms_norm_in_place(isa, value, weight, self.eps);
            }
            let half = row * (dim / 2)..(row + 1) * (dim / 2);
            let turn = |value: &mut [f32]| {
                rotate(isa, value, &self.cos[half.clone()], &self.sin[half], self.pairs)
            };
            // SAFETY: a head of a row is one item, which one thread has.
            unsafe {
                match role {
                    Role::Query => {
                        turn(value);
                        let at = (row * self.query_heads + head) * dim;
                        self.queries.slice(at..at + dim).copy_from_slice(value);
                    }
                    Role::Key => {
                        turn(value);
                        self.cache.write_key(isa, row, head, value);
                    }
                    Role::Value => self.cache.write_value(isa, row, head, value),
                }
            }
        }
    }
}
