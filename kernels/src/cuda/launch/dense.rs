//! Products of many tokens by the vendor's library (`dense.cu` has what is around it).
//!
//! The library wants dense matrices of bf16. Those of quantized formats are made for each product
//! anew, some rows at a time: multiplying many tokens takes much longer. The sums are in memory
//! between the library and the ending, some rows at a time too, so that they do not leave its
//! cache.

use std::ops::Range;

use super::product::Block;
use super::{Parameters, run, to_u32};
use crate::cuda::memory::{Buffer, DenseProduct, Gpu, GpuError};
use crate::cuda::packing::{DeviceMatrix, Format, GROUP, TILE};

/// Tokens side by side from which on the library multiplies them with rows of bf16, whether they
/// are of one prompt or not: with fewer, reading the weights once is all there is to it. An
/// estimate for an H200, not measured, as are those of [`Blocks`](super::product::Blocks): its
/// cache gives each block of ours the weights anew for every 64 tokens.
pub const DENSE_TOKENS: usize = 128;

/// Memory that the library works in, as NVIDIA advises for its newer GPUs.
const LIBRARY_BYTES: usize = 32 << 20;

/// Rows of a matrix that are multiplied at a time, at least, and of which all but the last rows'
/// number is a multiple: what the library's own blocks have.
const ROWS: usize = 128;

/// How much of a product is in memory at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cuda) struct DenseLimits {
    /// Weights as bf16: 128 MiB.
    pub(in crate::cuda) weights: usize,
    /// Sums: 48 MiB, about an H200's cache.
    pub(in crate::cuda) sums: usize,
}

impl DenseLimits {
    pub(in crate::cuda) const USUAL: Self = Self { weights: 64 << 20, sums: 12 << 20 };

    /// Rows of a matrix that are multiplied at a time.
    fn rows(&self, format: Format, [rows, columns]: [usize; 2], tokens: usize) -> usize {
        let weights = match format {
            Format::Bf16 => usize::MAX,
            _ => self.weights / columns.next_multiple_of(GROUP),
        };
        let fit = weights.min(self.sums / tokens) / ROWS * ROWS;
        rows.next_multiple_of(TILE).min(fit.max(ROWS))
    }

    /// Values that products with a matrix need room for, of up to so many tokens: weights and sums.
    fn room(&self, format: Format, [rows, columns]: [usize; 2], tokens: usize) -> [usize; 2] {
        let (rows, stride) = (rows.next_multiple_of(TILE), columns.next_multiple_of(GROUP));
        let weights = match format {
            Format::Bf16 => 0,
            _ => (rows * stride).min(self.weights.max(ROWS * stride)),
        };
        [weights, (rows * tokens).min(self.sums.max(ROWS * tokens))]
    }
}

/// Room for products with some matrices.
#[derive(Debug)]
pub struct DenseScratch {
    limits: DenseLimits,
    weights: Buffer<u16>,
    sums: Buffer<f32>,
    library: Buffer<u8>,
}

/// Room that is needed for matrices of these formats and `[rows, columns]`, with up to `tokens` at
/// a time: weights and sums.
fn room(
    matrices: impl Iterator<Item = (Format, [usize; 2])>,
    tokens: usize,
    limits: DenseLimits,
) -> [usize; 2] {
    matrices.fold([0, 0], |[weights, sums], (format, shape)| {
        let more = limits.room(format, shape, tokens);
        [weights.max(more[0]), sums.max(more[1])]
    })
}

impl DenseScratch {
    /// For matrices of these formats and `[rows, columns]`, with up to `tokens` at a time.
    pub fn new(
        gpu: &dyn Gpu,
        matrices: impl Iterator<Item = (Format, [usize; 2])>,
        tokens: usize,
    ) -> Result<Self, GpuError> {
        Self::with_limits(gpu, matrices, tokens, DenseLimits::USUAL)
    }

    pub(in crate::cuda) fn with_limits(
        gpu: &dyn Gpu,
        matrices: impl Iterator<Item = (Format, [usize; 2])>,
        tokens: usize,
        limits: DenseLimits,
    ) -> Result<Self, GpuError> {
        let [weights, sums] = room(matrices, tokens, limits);
        Ok(Self {
            limits,
            weights: Buffer::zeros(gpu, weights)?,
            sums: Buffer::zeros(gpu, sums)?,
            library: Buffer::zeros(gpu, LIBRARY_BYTES)?,
        })
    }

    /// Bytes that it takes.
    pub fn bytes(matrices: impl Iterator<Item = (Format, [usize; 2])>, tokens: usize) -> usize {
        let [weights, sums] = room(matrices, tokens, DenseLimits::USUAL);
        2 * weights + 4 * sums + LIBRARY_BYTES
    }
}

/// What of a product the library may multiply.
#[derive(Debug)]
pub struct Library<'a> {
    /// Long runs of tokens, those of a prompt, in order: always, and each for itself. Between them
    /// [`DENSE_TOKENS`] or more, if the matrix is of bf16.
    pub long: &'a [Range<usize>],
    /// Where.
    pub scratch: &'a mut DenseScratch,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ExpandBlock {
    planes: [u64; 3],
    out: u64,
    first_tile: u32,
    groups: u32,
}

// SAFETY: fields of 8 bytes, then two of 4.
unsafe impl Parameters for ExpandBlock {}

#[repr(C)]
#[derive(Clone, Copy)]
struct ConcludeBlock {
    product: Block,
    sums: u64,
    first_tile: u32,
    tiles: u32,
    stride: u32,
    padding: u32,
}

// SAFETY: a block whose size is a multiple of 8, a field of 8 bytes, then four of 4.
unsafe impl Parameters for ConcludeBlock {}

/// Of a block of each kernel.
const THREADS: u32 = 256;
/// Of a block of `expand_*`, in one tile.
const EXPANDED_GROUPS: usize = 8;
/// Of a block of `conclude_sums`.
const CONCLUDED_TOKENS: usize = 8;
const CONCLUDED_TILES: usize = 64;

/// Queues the product of the runs' tokens. `block` is that of all tokens of the step.
///
/// # Panics
/// If there is no room for them.
pub(super) fn run_dense(
    gpu: &dyn Gpu,
    matrix: &DeviceMatrix,
    block: &Block,
    runs: &[Range<usize>],
    scratch: &mut DenseScratch,
) -> Result<(), GpuError> {
    let Some(longest) = runs.iter().map(ExactSizeIterator::len).max() else { return Ok(()) };
    let (tiles, stride) = (matrix.tiles(), matrix.input_stride());
    let shape = [matrix.rows(), stride];
    let rows = scratch.limits.rows(matrix.format, shape, longest);
    for first_tile in (0..tiles).step_by(rows / TILE) {
        let tiles = (rows / TILE).min(tiles - first_tile);
        let rows = tiles * TILE;
        let weights = match matrix.format {
            Format::Bf16 => matrix.codes.view().address + (first_tile * TILE * stride * 2) as u64,
            _ => {
                expand(gpu, matrix, first_tile..first_tile + tiles, &mut scratch.weights)?;
                scratch.weights.view().address
            }
        };
        for tokens in runs {
            let (block, count) = (block.of(tokens.clone()), tokens.len());
            assert!(scratch.sums.len() >= count * rows, "room for {rows} sums of each token");
            let sums = scratch.sums.view_mut().address;
            let product = DenseProduct {
                weights,
                x: block.x,
                out: sums,
                rows,
                columns: stride,
                tokens: count,
                workspace: scratch.library.view_mut(),
            };
            // SAFETY: the weights are so many rows of the matrix or of the scratch, the input was
            // checked to have a row for each token, and there is room for the sums.
            unsafe { gpu.multiply(product)? };
            let block = ConcludeBlock {
                product: block,
                sums,
                first_tile: to_u32(first_tile),
                tiles: to_u32(tiles),
                stride: to_u32(rows),
                padding: 0,
            };
            let grid = [count.div_ceil(CONCLUDED_TOKENS), tiles.div_ceil(CONCLUDED_TILES)];
            // SAFETY: the block is this kernel's; it was checked that its buffers hold what is
            // written for all tokens and tiles.
            unsafe { run(gpu, "conclude_sums", grid, THREADS, &block)? };
        }
    }
    Ok(())
}

/// Queues making dense rows of these tiles of a quantized matrix.
///
/// # Panics
/// If there is no room for them.
fn expand(
    gpu: &dyn Gpu,
    matrix: &DeviceMatrix,
    tiles: Range<usize>,
    out: &mut Buffer<u16>,
) -> Result<(), GpuError> {
    let stride = matrix.input_stride();
    assert!(out.len() >= tiles.len() * TILE * stride, "room for rows of weights");
    let kernel = match matrix.format {
        Format::Bf16 => unreachable!("rows of bf16 are dense"),
        Format::Q4_0 => "expand_q4_0",
        Format::Q4_1 => "expand_q4_1",
        Format::Q5_0 => "expand_q5_0",
        Format::Q5_1 => "expand_q5_1",
        Format::Q8_0 => "expand_q8_0",
        Format::Q4_K => "expand_q4_k",
        Format::Q5_K => "expand_q5_k",
        Format::Q6_K => "expand_q6_k",
    };
    let groups = stride / GROUP;
    let block = ExpandBlock {
        planes: [&matrix.codes, &matrix.high, &matrix.scales].map(|plane| plane.view().address),
        out: out.view_mut().address,
        first_tile: to_u32(tiles.start),
        groups: to_u32(groups),
    };
    let grid = [tiles.len(), groups.div_ceil(EXPANDED_GROUPS)];
    // SAFETY: the block is this kernel's, the tiles are the matrix', and there is room for them.
    unsafe { run(gpu, kernel, grid, THREADS, &block) }
}
