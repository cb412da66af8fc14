//! The fused steps of a decoder layer: each is one region of the thread pool.
//!
//! Within a step threads first share out rows (norm, rounding to 8 bits), meet at a barrier, then
//! share out groups of output rows, against all tokens. Everything that follows a product for the
//! same rows (bias, rotation, activation, residual) is done by the thread that has them in cache.

mod heads;
mod plan;
mod products;
#[cfg(test)]
mod tests;

pub use heads::{ProjectHeads, Projection};
pub use products::{AddProduct, GateUp, Logits};

use self::plan::{MAX_GROUPS, MAX_TOKENS};
use super::activations::{ActivationsWriter, Kinds};
use super::elementwise::rms_norm;
use super::packed::{GROUP, PackedMatrix};
use super::pool::{ThreadPool, Worker};
use super::shared::Shared;
use super::simd::Isa;

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
        to: &ActivationsWriter<'_>,
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

/// Rounds this thread's share of all of `input`, cut into whole blocks of any kind.
fn round_share(
    worker: &Worker<'_>,
    input: &[f32],
    cols: usize,
    isa: Isa,
    to: &ActivationsWriter<'_>,
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
