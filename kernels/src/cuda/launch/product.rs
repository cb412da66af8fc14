//! Products of weights with activations (`product.cu`, `product_wide.cu`).

use std::ops::Range;

use super::dense::{DENSE_TOKENS, Library, run_dense};
use super::{Indices, Parameters, run, to_u32};
use crate::cpu::GateActivation;
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut};
use crate::cuda::packing::{DeviceMatrix, Format, TILE};

/// Activations: rows of bf16, as far apart as the matrix' `input_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// `[rows][input_stride]`
    pub x: View<'a, u16>,
    /// Which row of `x` each token has; if `None`, its own.
    pub rows: Option<Indices<'a>>,
    /// What the rows still lack of their norm.
    pub division: Option<Division<'a>>,
}

/// Division by `sqrt(mean(h^2) + eps)`, left to the product.
#[derive(Clone, Copy, Debug)]
pub struct Division<'a> {
    /// Parts of the sum of squares: `[rows][parts]`.
    pub squares: View<'a, f32>,
    /// Parts of each row.
    pub parts: usize,
    /// Values that were squared.
    pub width: usize,
    /// Added to their mean.
    pub eps: f32,
}

/// What whoever changes a hidden state leaves for the next product.
#[derive(Debug)]
pub struct Next<'a> {
    /// Weights of the norm that follows.
    pub norm: View<'a, f32>,
    /// `[tokens][stride]`: the hidden state times these weights.
    pub x: ViewMut<'a, u16>,
    /// From one row of `x` to the next.
    pub stride: usize,
    /// `[tokens][parts]`: one part, or of a product one for each tile of its matrix.
    pub squares: ViewMut<'a, f32>,
}

impl Next<'_> {
    pub(super) fn check(&self, tokens: usize, width: usize, parts: usize) {
        assert!(self.norm.len() == width && self.stride >= width, "a norm of {width} values");
        assert!(self.x.len() >= tokens * self.stride, "{tokens} rows of input");
        assert!(self.squares.len() >= tokens * parts, "{parts} parts of {tokens} sums");
    }
}

/// Where the product goes.
#[derive(Debug)]
pub enum Output<'a> {
    /// To memory.
    Store {
        /// `[tokens][stride]`
        out: ViewMut<'a, f32>,
        /// From one token's values to the next one's.
        stride: usize,
        /// Added to each row of the matrix.
        bias: Option<View<'a, f32>>,
        /// `Some(c)`: values become `c * tanh(value / c)`.
        softcap: Option<f32>,
    },
    /// Onto a hidden state.
    Add {
        /// `[tokens][rows of the matrix]`
        hidden: ViewMut<'a, f32>,
        /// For the product that follows.
        next: Next<'a>,
    },
    /// `activation(gate) * up`, where the matrix has eight rows of gate, then the eight of up that
    /// belong to them, and so on.
    Gate {
        /// The activation.
        activation: GateActivation,
        /// `[tokens][stride]`, half as many values as the matrix has rows.
        x: ViewMut<'a, u16>,
        /// From one row of `x` to the next.
        stride: usize,
    },
}

/// `matrix * input`, for each token.
#[derive(Debug)]
pub struct Product<'a> {
    /// `[rows, columns]`
    pub matrix: &'a DeviceMatrix,
    /// The activations.
    pub input: Input<'a>,
    /// Rows of the result.
    pub tokens: usize,
    /// What of them the vendor's library may multiply.
    pub library: Option<Library<'a>>,
    /// Where they go.
    pub output: Output<'a>,
}

/// The parameters of all of these kernels (`product.cuh`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Block {
    codes: u64,
    high: u64,
    scales: u64,
    pub(super) x: u64,
    x_rows: u64,
    squares: u64,
    bias: u64,
    out: u64,
    next_norm: u64,
    next_x: u64,
    next_squares: u64,
    rows: u32,
    groups: u32,
    tokens: u32,
    x_stride: u32,
    square_parts: u32,
    norm_width: f32,
    norm_eps: f32,
    out_stride: u32,
    next_stride: u32,
    epilogue: u32,
    activation: u32,
    softcap: f32,
}

// SAFETY: eleven fields of 8 bytes, then twelve of 4.
unsafe impl Parameters for Block {}

impl Block {
    /// The same for some of the tokens, none of which names its row of the input.
    pub(super) fn of(&self, tokens: Range<usize>) -> Self {
        assert!(self.x_rows == 0 || tokens.start == 0, "tokens have their own rows");
        let moved = |address: u64, values: u32, bytes: u64| match address {
            0 => 0,
            _ => address + tokens.start as u64 * u64::from(values) * bytes,
        };
        Self {
            x: moved(self.x, self.x_stride, 2),
            squares: moved(self.squares, self.square_parts, 4),
            out: moved(self.out, self.out_stride, 4),
            next_x: moved(self.next_x, self.next_stride, 2),
            next_squares: moved(self.next_squares, self.rows.div_ceil(TILE as u32), 4),
            tokens: to_u32(tokens.len()),
            ..*self
        }
    }
}

const STORE: u32 = 0;
const ADD: u32 = 1;
const GATE: u32 = 2;

const THREADS: u32 = 256;

/// How a product is cut into blocks. An output's bits are the same whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cuda) enum Blocks {
    /// A tile of 16 rows, 8 tokens.
    Of8,
    /// A tile, 32 tokens.
    Of32,
    /// 128 rows, 64 tokens.
    Of128x64,
    /// 256 rows, 64 tokens.
    Of256x64,
}

impl Blocks {
    /// Those that should be the fastest.
    ///
    /// For up to 32 tokens reading the weights once is all there is to it. For more, time is that
    /// of as many blocks, one after the other, as a multiprocessor gets: many small ones use all
    /// multiprocessors, large ones read less. Estimates for an H200, not measured, in its cycles
    /// for a column: the small blocks wait for 64 bytes of activations and 10 to 32 of weights from
    /// L2, which has 27 for each multiprocessor; those of 128 rows for shared memory, 8 warps * 64
    /// tokens * 2 bytes at 128 a cycle; those of 256 rows, which read as much, for the tensor
    /// cores, 16384 products at about 1350 a cycle.
    pub(in crate::cuda) fn choose(tiles: usize, tokens: usize, multiprocessors: u32) -> Self {
        match tokens {
            ..=8 => return Blocks::Of8,
            9..=32 => return Blocks::Of32,
            33.. => {}
        }
        let cycles = |blocks: &Blocks| {
            let [x, y] = blocks.grid(tiles, tokens);
            let rounds = (x * y).div_ceil(multiprocessors.max(1) as usize);
            rounds
                * match blocks {
                    Blocks::Of8 | Blocks::Of32 => 3,
                    Blocks::Of128x64 => 8,
                    Blocks::Of256x64 => 12,
                }
        };
        let all = [Blocks::Of256x64, Blocks::Of128x64, Blocks::Of32];
        all.into_iter().min_by_key(cycles).expect("there are three")
    }

    /// Blocks for the tokens, blocks for the rows.
    fn grid(self, tiles: usize, tokens: usize) -> [usize; 2] {
        let [tiles_at_a_time, tokens_at_a_time] = match self {
            Blocks::Of8 => [1, 8],
            Blocks::Of32 => [1, 32],
            Blocks::Of128x64 => [8, 64],
            Blocks::Of256x64 => [16, 64],
        };
        [tokens.div_ceil(tokens_at_a_time), tiles.div_ceil(tiles_at_a_time)]
    }
}

impl Product<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together.
    pub fn run(mut self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let (matrix, tokens, library) = (self.matrix, self.tokens, self.library.take());
        let block = self.block();
        let Some(Library { long, scratch }) = library else {
            return launch_fastest(gpu, matrix, &block);
        };
        let is_dense = matrix.format == Format::Bf16;
        let (mut runs, mut end) = (Vec::new(), 0);
        for run in long.iter().cloned().chain(std::iter::once(tokens..tokens)) {
            assert!(end <= run.start && run.end <= tokens, "runs are in order, of these tokens");
            let between = end..run.start;
            end = run.end;
            if is_dense && between.len() >= DENSE_TOKENS {
                runs.push(between);
            } else if !between.is_empty() {
                launch_fastest(gpu, matrix, &block.of(between))?;
            }
            runs.extend((!run.is_empty()).then_some(run));
        }
        run_dense(gpu, matrix, &block, &runs, scratch)
    }

    /// Queues all of it in these blocks.
    ///
    /// # Panics
    /// If sizes do not fit together.
    #[cfg(test)]
    pub(in crate::cuda) fn run_in(self, gpu: &dyn Gpu, blocks: Blocks) -> Result<(), GpuError> {
        let matrix = self.matrix;
        launch(gpu, matrix, &self.block(), blocks)
    }

    /// Checks that all buffers hold what a grid over all tiles and tokens touches.
    fn block(self) -> Block {
        let Product { matrix, input, tokens, output, .. } = self;
        let (rows, stride) = (matrix.rows, matrix.input_stride());
        let input_rows = input.rows.map_or(tokens, |rows| {
            assert!(rows.view.len() >= tokens, "a row of the input for each token");
            rows.below
        });
        assert!(tokens > 0 && input.x.len() >= input_rows * stride, "{input_rows} rows of input");
        let mut block = Block {
            codes: matrix.codes.view().address,
            high: matrix.high.view().address,
            scales: matrix.scales.view().address,
            x: input.x.address,
            x_rows: input.rows.map_or(0, |rows| rows.view.address),
            rows: to_u32(rows),
            groups: to_u32(stride / crate::cuda::packing::GROUP),
            tokens: to_u32(tokens),
            x_stride: to_u32(stride),
            ..Block::default()
        };
        if let Some(Division { squares, parts, width, eps }) = input.division {
            assert!(squares.len() >= input_rows * parts, "{parts} parts of {input_rows} sums");
            block.squares = squares.address;
            block.square_parts = to_u32(parts);
            (block.norm_width, block.norm_eps) = (width as f32, eps);
        }
        match output {
            Output::Store { out, stride, bias, softcap } => {
                assert!(stride >= rows && out.len() >= (tokens - 1) * stride + rows, "room");
                assert!(bias.is_none_or(|bias| bias.len() == rows), "a bias for each row");
                block.epilogue = STORE;
                (block.out, block.out_stride) = (out.address, to_u32(stride));
                block.bias = bias.map_or(0, |bias| bias.address);
                block.softcap = softcap.unwrap_or(0.0);
            }
            Output::Add { hidden, next } => {
                assert!(hidden.len() >= tokens * rows, "a hidden state for each token");
                next.check(tokens, rows, matrix.tiles());
                block.epilogue = ADD;
                (block.out, block.out_stride) = (hidden.address, to_u32(rows));
                (block.next_norm, block.next_x) = (next.norm.address, next.x.address);
                (block.next_squares, block.next_stride) =
                    (next.squares.address, to_u32(next.stride));
            }
            Output::Gate { activation, x, stride } => {
                assert!(
                    rows.is_multiple_of(16) && stride >= rows / 2,
                    "whole tiles of gate and up"
                );
                assert!(x.len() >= tokens * stride, "room for {tokens} rows");
                block.epilogue = GATE;
                block.activation = match activation {
                    GateActivation::Silu => 0,
                    GateActivation::GeluTanh => 1,
                };
                (block.next_x, block.next_stride) = (x.address, to_u32(stride));
            }
        }
        assert!(matrix.tiles() < 1 << 16, "tiles are the grid's second number");
        // What kernels find values by in 32 bits.
        assert!(input_rows * stride < 1 << 32, "values of {input_rows} rows of input");
        block
    }
}

/// Queues the product of a checked block, in the blocks that should be the fastest.
fn launch_fastest(gpu: &dyn Gpu, matrix: &DeviceMatrix, block: &Block) -> Result<(), GpuError> {
    let tokens = block.tokens as usize;
    let blocks = Blocks::choose(matrix.tiles(), tokens, gpu.multiprocessors());
    launch(gpu, matrix, block, blocks)
}

/// Queues the product of a checked block.
fn launch(
    gpu: &dyn Gpu,
    matrix: &DeviceMatrix,
    block: &Block,
    blocks: Blocks,
) -> Result<(), GpuError> {
    let kernel = kernels(matrix.format)[blocks as usize];
    let grid = blocks.grid(matrix.tiles(), block.tokens as usize);
    // SAFETY: the block is this kernel's; every buffer that it names has been checked to hold what
    // a grid over all tiles and tokens touches, and is borrowed as it is used.
    unsafe { run(gpu, kernel, grid, THREADS, block) }
}

/// In the order of [`Blocks`].
fn kernels(format: Format) -> [&'static str; 4] {
    macro_rules! named {
        ($name:literal) => {
            [
                concat!("product_", $name, "_8"),
                concat!("product_", $name, "_32"),
                concat!("product_", $name, "_128x64"),
                concat!("product_", $name, "_256x64"),
            ]
        };
    }
    match format {
        Format::Bf16 => named!("bf16"),
        Format::Q4_0 => named!("q4_0"),
        Format::Q4_1 => named!("q4_1"),
        Format::Q5_0 => named!("q5_0"),
        Format::Q5_1 => named!("q5_1"),
        Format::Q8_0 => named!("q8_0"),
        Format::Q4_K => named!("q4_k"),
        Format::Q5_K => named!("q5_k"),
        Format::Q6_K => named!("q6_k"),
    }
}
