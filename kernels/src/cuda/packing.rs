//! Weights as the GPU's kernels read them: the layouts that `kernels/cuda/formats.cuh` describes.
//! Promises: nothing is rounded but F32 and F16, to bf16; every code and scale of a quantized file
//! is kept as it is.
//! Never knows: which matrix of a model this is.

use half::{bf16, f16};

use super::memory::{Buffer, Gpu, GpuError};
use crate::DType;
use crate::reference::{Block32, Block256, dequantize_row};

/// Rows in a tile.
pub const TILE: usize = 16;
/// Columns in a group.
pub const GROUP: usize = 128;
/// Columns in a chunk.
const CHUNK: usize = 32;

/// How a packed matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "ggml's own names")]
pub enum Format {
    /// Rows of bf16, filled up to whole groups.
    Bf16,
    /// The types of this name, in planes.
    Q4_0,
    /// The same.
    Q4_1,
    /// The same.
    Q5_0,
    /// The same.
    Q5_1,
    /// The same.
    Q8_0,
    /// The same.
    Q4_K,
    /// The same.
    Q5_K,
    /// The same.
    Q6_K,
}

/// Bytes of the three planes, for each tile and group (scales of K types: tile and two groups).
struct PlaneBytes {
    codes: usize,
    high: usize,
    scales: usize,
    is_scaled_by_span: bool,
}

impl PlaneBytes {
    /// Of a tile with so many groups: codes, high, scales.
    fn of_tile(&self, groups: usize) -> [usize; 3] {
        let parts = if self.is_scaled_by_span { groups.div_ceil(2) } else { groups };
        [self.codes * groups, self.high * groups, self.scales * parts]
    }
}

impl Format {
    /// Every format, in the order of the numbers that kernels know them by.
    pub const ALL: [Format; 9] = [
        Format::Bf16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
    ];

    /// How weights of a type are packed; `None` for types that GPUs do not run.
    pub fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F32 | DType::F16 | DType::BF16 => Format::Bf16,
            DType::Q4_0 => Format::Q4_0,
            DType::Q4_1 => Format::Q4_1,
            DType::Q5_0 => Format::Q5_0,
            DType::Q5_1 => Format::Q5_1,
            DType::Q8_0 => Format::Q8_0,
            DType::Q4_K => Format::Q4_K,
            DType::Q5_K => Format::Q5_K,
            DType::Q6_K => Format::Q6_K,
            DType::Q2_K | DType::Q3_K => return None,
        })
    }

    /// Bytes that a matrix of `[rows, columns]` takes when it is packed.
    pub fn packed_bytes(self, [rows, columns]: [usize; 2]) -> usize {
        let (tiles, groups) = (rows.div_ceil(TILE), columns.div_ceil(GROUP));
        self.planes().of_tile(groups).into_iter().sum::<usize>() * tiles
    }

    /// The number that kernels know it by (`enum Type` in `rows.cu`).
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    fn planes(self) -> PlaneBytes {
        let (codes, high, scales, is_scaled_by_span) = match self {
            Format::Bf16 => (TILE * GROUP * 2, 0, 0, false),
            Format::Q4_0 => (1024, 0, 128, false),
            Format::Q4_1 => (1024, 0, 256, false),
            Format::Q5_0 => (1024, 256, 128, false),
            Format::Q5_1 => (1024, 256, 256, false),
            Format::Q8_0 => (2048, 0, 128, false),
            Format::Q4_K => (1024, 0, 256, true),
            Format::Q5_K => (1024, 256, 256, true),
            Format::Q6_K => (1024, 512, 288, true),
        };
        PlaneBytes { codes, high, scales, is_scaled_by_span }
    }

    /// What the type's codes lie above zero by, before they are centred.
    fn centre(self) -> i32 {
        match self {
            Format::Q4_0 => 8,
            Format::Q5_0 => 16,
            Format::Q6_K => 32,
            _ => 0,
        }
    }
}

/// A matrix in the layout of a [`Format`], still in the host's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedMatrix {
    format: Format,
    rows: usize,
    columns: usize,
    codes: Vec<u8>,
    high: Vec<u8>,
    scales: Vec<u8>,
}

impl PackedMatrix {
    /// Packs rows of `columns` weights on `threads` threads; `row` gives the stored bytes of each,
    /// in whatever order the matrix is to have. `None` if GPUs do not run the type.
    ///
    /// # Panics
    /// If a row is not `columns` weights of `dtype`.
    pub fn new<'a>(
        dtype: DType,
        [rows, columns]: [usize; 2],
        threads: usize,
        row: impl Fn(usize) -> &'a [u8] + Sync,
    ) -> Option<Self> {
        let format = Format::of(dtype)?;
        let (tiles, groups) = (rows.div_ceil(TILE), columns.div_ceil(GROUP));
        let [codes, high, scales] = format.planes().of_tile(groups);
        let mut packed = PackedMatrix {
            format,
            rows,
            columns,
            codes: vec![0; tiles * codes],
            high: vec![0; tiles * high],
            scales: vec![0; tiles * scales],
        };
        let tile_at = |tile: usize| tile * TILE..rows.min((tile + 1) * TILE);
        let mut parts: Vec<(usize, TileMut<'_>)> = packed
            .codes
            .chunks_mut(codes.max(1))
            .zip(chunks_or_empty(&mut packed.high, high, tiles))
            .zip(chunks_or_empty(&mut packed.scales, scales, tiles))
            .map(|((codes, high), scales)| TileMut { format, groups, codes, high, scales })
            .enumerate()
            .collect();
        let share = parts.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            for parts in parts.chunks_mut(share) {
                let row = &row;
                scope.spawn(move || {
                    let mut values = vec![0.0; columns];
                    for (tile, part) in parts {
                        for (in_tile, number) in tile_at(*tile).enumerate() {
                            part.pack_row(dtype, in_tile, row(number), &mut values);
                        }
                    }
                });
            }
        });
        Some(packed)
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes that it takes on a device.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.high.len() + self.scales.len()
    }

    /// Copies it to a device.
    pub fn upload(&self, gpu: &dyn Gpu) -> Result<DeviceMatrix, GpuError> {
        Ok(DeviceMatrix {
            format: self.format,
            rows: self.rows,
            columns: self.columns,
            codes: Buffer::from_slice(gpu, &self.codes)?,
            high: Buffer::from_slice(gpu, &self.high)?,
            scales: Buffer::from_slice(gpu, &self.scales)?,
        })
    }
}

/// A packed matrix on a device.
#[derive(Debug)]
pub struct DeviceMatrix {
    pub(super) format: Format,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) codes: Buffer<u8>,
    pub(super) high: Buffer<u8>,
    pub(super) scales: Buffer<u8>,
}

impl DeviceMatrix {
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Values from one row of its input to the next: its columns, filled up to whole groups. What
    /// is beyond the columns must be finite; it is multiplied with zeros.
    pub fn input_stride(&self) -> usize {
        self.columns.next_multiple_of(GROUP)
    }

    /// Tiles of its rows.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.codes.bytes() + self.high.bytes() + self.scales.bytes()
    }
}

/// One tile's part of each plane.
struct TileMut<'a> {
    format: Format,
    groups: usize,
    codes: &'a mut [u8],
    high: &'a mut [u8],
    scales: &'a mut [u8],
}

impl TileMut<'_> {
    /// `values` is room for a row.
    fn pack_row(&mut self, dtype: DType, row: usize, bytes: &[u8], values: &mut [f32]) {
        assert_eq!(dtype.row_bytes(values.len()), Some(bytes.len()), "a row of {dtype}");
        let blocks = bytes.chunks_exact(dtype.block_bytes()).enumerate();
        match self.format {
            Format::Bf16 => {
                dequantize_row(dtype, bytes, values);
                let stride = self.groups * GROUP * 2;
                let to = self.codes[row * stride..].chunks_exact_mut(2);
                for (value, to) in values.iter().zip(to) {
                    to.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
                }
            }
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q8_0 => {
                for (block, bytes) in blocks {
                    let decoded = Block32::decode(dtype, bytes);
                    self.put_scales32(row, block, &decoded);
                    self.put_codes(row, block * 32, &decoded.codes);
                }
            }
            Format::Q4_K | Format::Q5_K | Format::Q6_K => {
                for (block, bytes) in blocks {
                    self.put_scales256(row, block, bytes);
                    self.put_codes(row, block * 256, &Block256::decode(dtype, bytes).codes);
                }
            }
        }
    }

    fn put_scales32(&mut self, row: usize, chunk: usize, block: &Block32) {
        // Of each step of two chunks, rows g and g + 8 side by side.
        let (group, at) = (chunk / 4, (chunk % 4 / 2 * 8 + row % 8) * 4 + row / 8 * 2 + chunk % 2);
        let [d, m] = [block.d, block.m].map(|scale| f16::from_f32(scale).to_le_bytes());
        if matches!(self.format, Format::Q4_1 | Format::Q5_1) {
            let at = group * 256 + at * 4;
            self.scales[at..at + 2].copy_from_slice(&d);
            self.scales[at + 2..at + 4].copy_from_slice(&m);
        } else {
            let at = group * 128 + at * 2;
            self.scales[at..at + 2].copy_from_slice(&d);
        }
    }

    fn put_scales256(&mut self, row: usize, span: usize, block: &[u8]) {
        if self.format == Format::Q6_K {
            let in_step = row % 8 * 8 + row / 8 * 4;
            for (step, scales) in block[192..208].chunks_exact(4).enumerate() {
                let at = span * 288 + step * 64 + in_step;
                self.scales[at..at + 4].copy_from_slice(scales);
            }
            let at = span * 288 + 256 + in_step / 2;
            self.scales[at..at + 2].copy_from_slice(&block[208..210]);
        } else {
            let at = span * 256 + row * 16;
            self.scales[at..at + 16].copy_from_slice(&block[..16]);
        }
    }

    fn put_codes(&mut self, row: usize, first_column: usize, codes: &[i32]) {
        for (column, code) in (first_column..).zip(codes) {
            // In 0..64, or in -128..128 for Q8_0.
            let code = code + self.format.centre();
            let (group, chunk) = (column / GROUP, column % GROUP / CHUNK);
            let in_chunk = column % CHUNK;
            // Which lane multiplies it, and the which of its eight it is.
            let (t, nth) = match self.format {
                Format::Q6_K => (in_chunk % 16 / 4, in_chunk / 16 * 4 + in_chunk % 4),
                _ => (in_chunk / 8, in_chunk % 8),
            };
            let (half, lane) = (row / 8, row % 8 * 4 + t);
            // Of pair j, the lower column in the lower half of a word.
            let (j, is_upper) = (nth / 2, nth % 2);
            if self.format == Format::Q8_0 {
                let byte = [0, 2, 1, 3][nth % 4];
                let word = group * 2048 + half * 1024 + chunk / 2 * 512 + lane * 16;
                let at = word + chunk % 2 * 8 + nth / 4 * 4 + byte;
                self.codes[at] = (code as i8).cast_unsigned();
                continue;
            }
            let code = code as u8;
            let (step, nth) = (chunk / 2, 2 * half + chunk % 2);
            let at = group * 1024 + step * 512 + lane * 16 + nth * 4;
            put_bits(&mut self.codes[at..at + 4], 4 * j + 16 * is_upper, code & 15);
            match self.format {
                Format::Q5_0 | Format::Q5_1 | Format::Q5_K => {
                    let at = group * 256 + step * 128 + lane * 4;
                    let bit = 4 * nth + j + 16 * is_upper;
                    put_bits(&mut self.high[at..at + 4], bit, code >> 4);
                }
                Format::Q6_K => {
                    let at = group * 512 + step * 256 + lane * 8 + half * 4;
                    let bit = 2 * (4 * (chunk % 2) + j) + 16 * is_upper;
                    put_bits(&mut self.high[at..at + 4], bit, code >> 4);
                }
                _ => {}
            }
        }
    }
}

/// Sets bits of a little-endian word that were 0; they do not cross a byte.
fn put_bits(word: &mut [u8], bit: usize, bits: u8) {
    word[bit / 8] |= bits << (bit % 8);
}

/// `count` chunks of `len` bytes; of an absent plane, as many empty ones.
fn chunks_or_empty(
    plane: &mut [u8],
    len: usize,
    count: usize,
) -> Box<dyn Iterator<Item = &mut [u8]> + '_> {
    if len == 0 {
        Box::new((0..count).map(|_| &mut [][..]))
    } else {
        Box::new(plane.chunks_mut(len))
    }
}
