//! The fused steps of a decoder layer: each is one region of the thread pool.
//!
//! Within a step threads first share out rows (norm, rounding to 8 bits), meet at a barrier, then
//! share out groups of output rows, against all tokens. Everything that follows a product for the
//! same rows (bias, rotation, activation, residual) is done by the thread that has them in cache.

use super::activations::{ActivationRows, Activations, Kinds};
use super::elementwise::{Gate, GateActivation, SoftCap, rms_norm, rms_norm_in_place, rotate};
use super::kv_cache::{KvCache, KvWriter};
use super::packed::{GROUP, PackedMatrix};
use super::pool::{Shares, ThreadPool, Worker};
use super::shared::Shared;
use super::simd::Isa;
use crate::reference::RopePairs;
use std::ops::Range;

/// Tokens that a group of rows is multiplied with in one go: their activations stay in L2.
const MAX_TOKENS: usize = 64;

/// Groups in one go: wide registers hold two.
const MAX_GROUPS: usize = 2;

/// Threads, the instruction set they use, and working memory for each.
#[derive(Debug)]
pub struct Cpu {
    pool: ThreadPool,
    isa: Isa,
    scratch: Vec<ThreadScratch>,
}

#[derive(Clone, Debug, Default)]
struct ThreadScratch {
    row: Vec<f32>,            // The widest normed row.
    heads: Vec<f32>,          // [MAX_TOKENS, head_dim]
    left: Vec<[f32; GROUP]>,  // [MAX_GROUPS, MAX_TOKENS]
    right: Vec<[f32; GROUP]>, // The same.
}

impl Cpu {
    /// Starts the threads; `max_width` is the longest row that is normed, or head.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(threads: usize, isa: Isa, max_width: usize) -> std::io::Result<Self> {
        let pool = ThreadPool::new(threads)?;
        let scratch = ThreadScratch {
            row: vec![0.0; max_width],
            heads: vec![0.0; MAX_TOKENS * max_width],
            left: vec![[0.0; GROUP]; MAX_GROUPS * MAX_TOKENS],
            right: vec![[0.0; GROUP]; MAX_GROUPS * MAX_TOKENS],
        };
        Ok(Cpu { scratch: vec![scratch; pool.threads()], pool, isa })
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads, for other work such as packing.
    pub fn pool(&mut self) -> &mut ThreadPool {
        &mut self.pool
    }

    pub(crate) fn run<F: Fn(&Worker<'_>) + Sync>(&mut self, job: F) {
        self.pool.run(job);
    }

    /// Runs `job` with each thread's own scratch.
    fn run_with_scratch<F>(&mut self, job: F)
    where
        F: Fn(&Worker<'_>, &mut ThreadScratch) + Sync,
    {
        let scratch = Shared::new(&mut self.scratch);
        self.pool.run(|worker| {
            // SAFETY: each thread has its own.
            job(worker, unsafe { &mut scratch.slice(worker.index..worker.index + 1)[0] });
        });
    }
}

/// Rows of hidden state and the norm they pass before a product.
#[derive(Clone, Copy, Debug)]
pub struct Normed<'a> {
    /// `[rows, width]`
    pub hidden: &'a [f32],
    /// `[width]`
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
}

impl Normed<'_> {
    fn width(&self) -> usize {
        self.weight.len()
    }

    /// Norms and rounds this thread's share of `rows` rows.
    fn write_share(
        &self,
        worker: &Worker<'_>,
        rows: usize,
        scratch: &mut ThreadScratch,
        isa: Isa,
        to: &super::activations::ActivationsWriter<'_>,
    ) {
        let width = self.width();
        let normed = &mut scratch.row[..width];
        for row in worker.share(rows) {
            let x = &self.hidden[row * width..(row + 1) * width];
            rms_norm(isa, x, self.weight, self.eps, normed);
            // SAFETY: shares do not overlap.
            unsafe { to.write(isa, row, 0..width, normed) };
        }
    }
}

/// How tokens and groups of a product are handed out.
#[derive(Clone, Copy)]
struct Plan {
    groups: usize,
    /// Groups in a chunk: their weights stay in L2 while all tokens pass.
    chunk: usize,
    tokens: usize,
    tokens_at_once: usize,
}

impl Plan {
    fn new(groups: usize, tokens: usize, cols: usize, threads: usize) -> Self {
        // About eight chunks for each thread, so that they end together.
        let chunk = (groups / (8 * threads)).clamp(1, 8).next_multiple_of(MAX_GROUPS);
        let at_once = (256 * 1024 / cols.max(1)).clamp(8, MAX_TOKENS) / 8 * 8;
        Plan { groups, chunk, tokens, tokens_at_once: at_once }
    }

    /// The parts of all threads.
    fn shares(&self, threads: usize) -> Shares {
        Shares::new(self.groups, self.chunk, threads)
    }

    /// Calls `body(groups, until, tokens)`, at most `MAX_GROUPS` and `MAX_TOKENS`, for all that
    /// this thread gets of `shares`; groups up to `until` will mostly follow.
    #[inline]
    fn each(
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
fn each_place(
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
fn copy(lanes: &[f32; GROUP], out: &mut [f32]) {
    match out.first_chunk_mut() {
        // Of a fixed length: one store instead of a call.
        Some(out) => *out = *lanes,
        None => out.copy_from_slice(&lanes[..out.len()]),
    }
}

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
        let plan = Plan::new(heads.iter().sum(), rows, width, threads);
        let plan = Plan { chunk: 1, ..plan };
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

/// Steps 3 and 5: a product added to the hidden state.
#[derive(Debug)]
pub struct AddProduct<'a> {
    /// `[rows, matrix columns]`
    pub input: &'a [f32],
    /// `[width, columns]`
    pub matrix: &'a PackedMatrix,
    /// Norm of the product before it is added: weights `[width]`, eps, and memory `[rows, width]`.
    pub post_norm: Option<(&'a [f32], f32, &'a mut [f32])>,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, width]`
    pub hidden: &'a mut [f32],
}

impl AddProduct<'_> {
    /// Adds to `hidden`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads) = (cpu.isa, cpu.threads());
        let (width, cols) = (self.matrix.rows(), self.matrix.cols());
        let rows = self.input.len() / cols;
        assert!(self.input.len() == rows * cols && self.hidden.len() == rows * width);
        let kinds = kinds_of([self.matrix]);
        self.activations.reshape(rows, cols);
        let writer = self.activations.writer(kinds);
        let plan = Plan::new(self.matrix.groups(), rows, cols, threads);
        let (input, matrix) = (self.input, self.matrix);
        let hidden = Shared::new(self.hidden);
        let (norm, product) = match self.post_norm {
            Some((weight, eps, memory)) => {
                assert!(weight.len() == width && memory.len() >= rows * width);
                (Some((weight, eps)), Shared::new(memory))
            }
            None => (None, hidden),
        };
        let shares = plan.shares(threads);
        cpu.run_with_scratch(|worker, scratch| {
            matrix.prefetch(isa, shares.own_start(worker), matrix.groups());
            round_share(worker, input, cols, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |groups, until, tokens| {
                let lanes = &mut scratch.left[..groups.len() * tokens.len()];
                matrix.product_of(isa, groups.clone(), until, &x, tokens.clone(), lanes);
                each_place(groups, tokens, width, lanes, |at, lanes| {
                    // SAFETY: one thread has a group for all tokens.
                    let out = unsafe { product.slice(at) };
                    if norm.is_some() {
                        copy(lanes, out);
                    } else {
                        out.iter_mut().zip(lanes).for_each(|(out, x)| *out += *x);
                    }
                });
            });
            if let Some((weight, eps)) = norm {
                worker.barrier();
                for row in worker.share(rows) {
                    let at = row * width..(row + 1) * width;
                    // SAFETY: shares do not overlap, and the products are all written.
                    let (out, x) = unsafe { (hidden.slice(at.clone()), product.slice(at)) };
                    rms_norm_in_place(isa, x, weight, eps);
                    out.iter_mut().zip(x).for_each(|(out, x)| *out += *x);
                }
            }
        });
    }
}

/// Step 4: norm, gate and up, activation.
#[derive(Debug)]
pub struct GateUp<'a> {
    /// The input.
    pub input: Normed<'a>,
    /// `[inner, width]`
    pub gate: &'a PackedMatrix,
    /// `[inner, width]`
    pub up: &'a PackedMatrix,
    /// On the gate.
    pub activation: GateActivation,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, inner]`
    pub out: &'a mut [f32],
}

impl GateUp<'_> {
    /// Computes `out`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads, activation) = (cpu.isa, cpu.threads(), self.activation);
        let (width, inner) = (self.input.width(), self.gate.rows());
        let rows = self.input.hidden.len() / width;
        assert!(self.input.hidden.len() == rows * width && self.out.len() == rows * inner);
        assert_eq!(self.up.rows(), inner, "gate and up are of one size");
        let (input, gate, up) = (self.input, self.gate, self.up);
        self.activations.reshape(rows, width);
        let writer = self.activations.writer(kinds_of([gate, up]));
        let plan = Plan::new(gate.groups(), rows, width, threads);
        let out = Shared::new(self.out);
        let shares = plan.shares(threads);
        cpu.run_with_scratch(|worker, scratch| {
            gate.prefetch(isa, shares.own_start(worker), gate.groups());
            up.prefetch(isa, shares.own_start(worker), up.groups());
            input.write_share(worker, rows, scratch, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |groups, until, tokens| {
                let left = &mut scratch.left[..groups.len() * tokens.len()];
                let right = &mut scratch.right[..groups.len() * tokens.len()];
                gate.product_of(isa, groups.clone(), until, &x, tokens.clone(), left);
                up.product_of(isa, groups.clone(), until, &x, tokens.clone(), right);
                isa.run(Gate { activation, gate: left, up: right });
                each_place(groups, tokens, inner, right, |at, lanes| {
                    // SAFETY: one thread has a group for all tokens.
                    copy(lanes, unsafe { out.slice(at) });
                });
            });
        });
    }
}

/// The end: final norm, output matrix and soft cap.
#[derive(Debug)]
pub struct Logits<'a> {
    /// The input.
    pub input: Normed<'a>,
    /// How many rows the input has.
    pub rows: usize,
    /// `[vocabulary, width]`
    pub matrix: &'a PackedMatrix,
    /// `Some(cap)`: logits become `cap * tanh(logit / cap)`.
    pub softcap: Option<f32>,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, vocabulary]`
    pub out: &'a mut [f32],
}

impl Logits<'_> {
    /// Computes `out`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads) = (cpu.isa, cpu.threads());
        let (width, size, rows) = (self.input.width(), self.matrix.rows(), self.rows);
        assert_eq!(self.input.hidden.len(), rows * width, "whole rows");
        assert_eq!(self.out.len(), rows * size, "a place for each logit");
        let (input, matrix, softcap) = (self.input, self.matrix, self.softcap);
        self.activations.reshape(rows, width);
        let writer = self.activations.writer(kinds_of([matrix]));
        let plan = Plan::new(matrix.groups(), rows, width, threads);
        let out = Shared::new(self.out);
        let shares = plan.shares(threads);
        cpu.run_with_scratch(|worker, scratch| {
            matrix.prefetch(isa, shares.own_start(worker), matrix.groups());
            input.write_share(worker, rows, scratch, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |groups, until, tokens| {
                let lanes = &mut scratch.left[..groups.len() * tokens.len()];
                matrix.product_of(isa, groups.clone(), until, &x, tokens.clone(), lanes);
                if let Some(cap) = softcap {
                    isa.run(SoftCap { cap, x: lanes });
                }
                each_place(groups, tokens, size, lanes, |at, lanes| {
                    // SAFETY: one thread has a group for all tokens.
                    copy(lanes, unsafe { out.slice(at) });
                });
            });
        });
    }
}

/// Rounds this thread's share of all of `input`, cut into whole blocks of any kind.
fn round_share(
    worker: &Worker<'_>,
    input: &[f32],
    cols: usize,
    isa: Isa,
    to: &super::activations::ActivationsWriter<'_>,
) {
    // Pieces that are whole blocks of every kind that a row of this length can be rounded to.
    let piece = [256, 32].into_iter().find(|piece| cols.is_multiple_of(*piece)).unwrap_or(cols);
    for i in worker.share(input.len() / piece) {
        let (row, col) = (i * piece / cols, i * piece % cols);
        // SAFETY: shares do not overlap.
        unsafe { to.write(isa, row, col..col + piece, &input[i * piece..(i + 1) * piece]) };
    }
}

fn kinds_of<const N: usize>(matrices: [&PackedMatrix; N]) -> Kinds {
    matrices.into_iter().fold(Kinds::default(), |kinds, matrix| kinds.with(matrix.kind()))
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
