//! Whole rows of a step: their tokens and hidden states (`rows.cu`).

use super::product::Next;
use super::sampling::CHOSEN_WORDS;
use super::{Indices, Parameters, run, to_u32};
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut};
use crate::cuda::packing::{DeviceMatrix, GROUP};

const THREADS: u32 = 256;

/// Which rows of a step take which choice's token.
#[derive(Clone, Copy, Debug)]
pub struct Fed<'a> {
    pairs: View<'a, u32>,
    rows: usize,
    choices: usize,
}

impl<'a> Fed<'a> {
    /// `pairs` are `[..][2]`: a row, a choice.
    ///
    /// # Safety
    /// When a launch that is given this runs, rows are below `rows`, and different; choices are
    /// below `choices`.
    pub unsafe fn new(pairs: View<'a, u32>, rows: usize, choices: usize) -> Self {
        Self { pairs, rows, choices }
    }
}

/// Puts chosen tokens among those of the next step. Where none could be chosen, token 0.
#[derive(Debug)]
pub struct Feed<'a> {
    /// `[rows]`
    pub tokens: ViewMut<'a, u32>,
    /// Where they go to.
    pub fed: Fed<'a>,
    /// `[choices][CHOSEN_WORDS]`, as a [`super::Sample`] has left them.
    pub chosen: View<'a, u32>,
    /// Tokens are below it.
    pub vocab: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FeedBlock {
    tokens: u64,
    chosen: u64,
    pairs: u64,
    count: u32,
    stride: u32,
    vocab: u32,
    padding: u32,
}

// SAFETY: three fields of 8 bytes, then four of 4.
unsafe impl Parameters for FeedBlock {}

impl Feed<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Feed { tokens, fed, chosen, vocab } = self;
        let count = fed.pairs.len() / 2;
        assert!(count > 0 && tokens.len() >= fed.rows, "{} rows", fed.rows);
        assert!(chosen.len() >= fed.choices * CHOSEN_WORDS, "{} choices", fed.choices);
        let block = FeedBlock {
            tokens: tokens.address,
            chosen: chosen.address,
            pairs: fed.pairs.address,
            count: to_u32(count),
            stride: to_u32(CHOSEN_WORDS),
            vocab: to_u32(vocab),
            padding: 0,
        };
        // SAFETY: the block is this kernel's; where the pairs point to has been vouched for.
        unsafe { run(gpu, "feed", [count.div_ceil(THREADS as usize), 1], THREADS, &block) }
    }
}

/// Looks tokens up.
#[derive(Debug)]
pub struct Embed<'a> {
    /// `[vocabulary, width]`
    pub table: &'a DeviceMatrix,
    /// One for each row.
    pub tokens: Indices<'a>,
    /// Factor on what is found.
    pub scale: f32,
    /// `[rows][width]`
    pub hidden: ViewMut<'a, f32>,
    /// One part of squares.
    pub next: Next<'a>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct EmbedBlock {
    table: [u64; 3],
    tokens: u64,
    hidden: u64,
    next_norm: u64,
    next_x: u64,
    next_squares: u64,
    format: u32,
    groups: u32,
    width: u32,
    next_stride: u32,
    scale: f32,
    padding: u32,
}

// SAFETY: fields of 8 bytes, then six of 4.
unsafe impl Parameters for EmbedBlock {}

impl Embed<'_> {
    /// Queues it, for as many rows as there are tokens.
    ///
    /// # Panics
    /// If sizes do not fit together.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Embed { table, tokens, scale, hidden, next } = self;
        let (rows, width) = (tokens.view.len(), table.columns);
        assert!(tokens.below <= table.rows, "tokens are rows of the table");
        assert!(rows > 0 && hidden.len() >= rows * width, "a hidden state for each token");
        next.check(rows, width, 1);
        let block = EmbedBlock {
            table: planes(table),
            tokens: tokens.view.address,
            hidden: hidden.address,
            next_norm: next.norm.address,
            next_x: next.x.address,
            next_squares: next.squares.address,
            format: table.format.number(),
            groups: groups(table),
            width: to_u32(width),
            next_stride: to_u32(next.stride),
            scale,
            padding: 0,
        };
        // SAFETY: the block is this kernel's, and sizes have been checked for a block of each row.
        unsafe { run(gpu, "embed", [rows, 1], THREADS, &block) }
    }
}

/// `hidden += product / rms(product) * post_norm`, for each row.
#[derive(Debug)]
pub struct AddNormed<'a> {
    /// `[rows][width]`
    pub product: View<'a, f32>,
    /// `[width]`
    pub post_norm: View<'a, f32>,
    /// Added to the mean square.
    pub eps: f32,
    /// Rows.
    pub rows: usize,
    /// `[rows][width]`
    pub hidden: ViewMut<'a, f32>,
    /// One part of squares.
    pub next: Next<'a>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct AddNormedBlock {
    product: u64,
    post_norm: u64,
    hidden: u64,
    next_norm: u64,
    next_x: u64,
    next_squares: u64,
    width: u32,
    next_stride: u32,
    eps: f32,
    padding: u32,
}

// SAFETY: fields of 8 bytes, then four of 4.
unsafe impl Parameters for AddNormedBlock {}

impl AddNormed<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let AddNormed { product, post_norm, eps, rows, hidden, next } = self;
        let width = post_norm.len();
        assert!(rows > 0 && product.len() >= rows * width, "a product for each row");
        assert!(hidden.len() >= rows * width, "a hidden state for each row");
        next.check(rows, width, 1);
        let block = AddNormedBlock {
            product: product.address,
            post_norm: post_norm.address,
            hidden: hidden.address,
            next_norm: next.norm.address,
            next_x: next.x.address,
            next_squares: next.squares.address,
            width: to_u32(width),
            next_stride: to_u32(next.stride),
            eps,
            padding: 0,
        };
        // SAFETY: the block is this kernel's, and sizes have been checked for a block of each row.
        unsafe { run(gpu, "add_normed", [rows, 1], THREADS, &block) }
    }
}

/// `out = hidden / rms(hidden) * norm`, of some rows.
#[derive(Debug)]
pub struct Normed<'a> {
    /// `[.., width]`
    pub hidden: View<'a, f32>,
    /// Which rows.
    pub rows: Indices<'a>,
    /// `[width]`
    pub norm: View<'a, f32>,
    /// Added to the mean square.
    pub eps: f32,
    /// `[rows][width]`
    pub out: ViewMut<'a, f32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct NormedBlock {
    hidden: u64,
    rows: u64,
    norm: u64,
    out: u64,
    width: u32,
    eps: f32,
}

// SAFETY: fields of 8 bytes, then two of 4.
unsafe impl Parameters for NormedBlock {}

impl Normed<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Normed { hidden, rows, norm, eps, out } = self;
        let (count, width) = (rows.view.len(), norm.len());
        assert!(count > 0 && hidden.len() >= rows.below * width, "rows of the hidden state");
        assert!(out.len() >= count * width, "room for {count} rows");
        let block = NormedBlock {
            hidden: hidden.address,
            rows: rows.view.address,
            norm: norm.address,
            out: out.address,
            width: to_u32(width),
            eps,
        };
        // SAFETY: the block is this kernel's, and sizes have been checked for a block of each row.
        unsafe { run(gpu, "normed", [count, 1], THREADS, &block) }
    }
}

/// All weights of a matrix as the kernels see them: proves the packing.
#[derive(Debug)]
pub struct Unpack<'a> {
    /// The matrix.
    pub matrix: &'a DeviceMatrix,
    /// `[rows][columns]`
    pub out: ViewMut<'a, f32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct UnpackBlock {
    matrix: [u64; 3],
    out: u64,
    format: u32,
    groups: u32,
    columns: u32,
    padding: u32,
}

// SAFETY: fields of 8 bytes, then four of 4.
unsafe impl Parameters for UnpackBlock {}

impl Unpack<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If there is no room.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Unpack { matrix, out } = self;
        assert!(out.len() >= matrix.rows * matrix.columns, "room for all weights");
        let block = UnpackBlock {
            matrix: planes(matrix),
            out: out.address,
            format: matrix.format.number(),
            groups: groups(matrix),
            columns: to_u32(matrix.columns),
            padding: 0,
        };
        // SAFETY: the block is this kernel's, and there is room for a block of each row.
        unsafe { run(gpu, "unpack", [matrix.rows, 1], THREADS, &block) }
    }
}

fn planes(matrix: &DeviceMatrix) -> [u64; 3] {
    [&matrix.codes, &matrix.high, &matrix.scales].map(|plane| plane.view().address)
}

fn groups(matrix: &DeviceMatrix) -> u32 {
    to_u32(matrix.input_stride() / GROUP)
}
