//! Products of weights with activations (`product.cu`).

use super::{Indices, Parameters, run, to_u32};
use crate::cpu::GateActivation;
use crate::cuda::memory::{Gpu, GpuError, View, ViewMut};
use crate::cuda::packing::{DeviceMatrix, Format};

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
    /// Where they go.
    pub output: Output<'a>,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Block {
    codes: u64,
    high: u64,
    scales: u64,
    x: u64,
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

const STORE: u32 = 0;
const ADD: u32 = 1;
const GATE: u32 = 2;

const THREADS: u32 = 256;

impl Product<'_> {
    /// Queues it.
    ///
    /// # Panics
    /// If sizes do not fit together.
    pub fn run(self, gpu: &dyn Gpu) -> Result<(), GpuError> {
        let Product { matrix, input, tokens, output } = self;
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
        // Two variants of one order of additions: a few tokens, or many at a time.
        let [few, many] = kernels(matrix.format);
        let (kernel, at_a_time) = if tokens <= 8 { (few, 8) } else { (many, 32) };
        assert!(matrix.tiles() < 1 << 16, "tiles are the grid's second number");
        let grid = [tokens.div_ceil(at_a_time), matrix.tiles()];
        // SAFETY: the block is this kernel's; every buffer that it names has been checked to hold
        // what a grid over all tiles and tokens touches, and is borrowed as it is used.
        unsafe { run(gpu, kernel, grid, THREADS, &block) }
    }
}

fn kernels(format: Format) -> [&'static str; 2] {
    match format {
        Format::Bf16 => ["product_bf16_8", "product_bf16_32"],
        Format::Q4_0 => ["product_q4_0_8", "product_q4_0_32"],
        Format::Q4_1 => ["product_q4_1_8", "product_q4_1_32"],
        Format::Q5_0 => ["product_q5_0_8", "product_q5_0_32"],
        Format::Q5_1 => ["product_q5_1_8", "product_q5_1_32"],
        Format::Q8_0 => ["product_q8_0_8", "product_q8_0_32"],
        Format::Q4_K => ["product_q4_k_8", "product_q4_k_32"],
        Format::Q5_K => ["product_q5_k_8", "product_q5_k_32"],
        Format::Q6_K => ["product_q6_k_8", "product_q6_k_32"],
    }
}
