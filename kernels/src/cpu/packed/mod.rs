//! Weight matrices repacked for the kernels: eight output rows side by side (R8).
//!
//! Rows are taken in groups of eight. Within a group, four consecutive weights of each row make 32
//! bytes, so that one activation word, broadcast, multiplies into eight output rows, each in its
//! own 32-bit lane: no horizontal sums and no shuffles. A group is a few planes (codes, further
//! bits, scales), each contiguous over the blocks of the row; together they hold exactly the bits
//! of the file. The last group is filled up with zero rows.

mod blocks32;
mod dense;
mod format;
mod k_scales;
mod product;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
#[cfg(test)]
mod tests;

use super::activations::ActivationKind;
use super::arena::{Arena, Part, part_bytes};
use super::hand_out::Cursor;
use super::pool::ThreadPool;
use super::shared::Shared;
use crate::{DType, reference};
use format::{Format, block_of, split, with_format};
use std::fmt;
use std::ops::Range;

/// Rows in a group.
pub const GROUP: usize = 8;

/// About as much of a file is packed before it is released.
const RELEASED_BYTES: usize = 1 << 20;

/// A matrix `[rows, cols]` of one type, packed.
#[derive(Debug)]
pub struct PackedMatrix {
    dtype: DType,
    rows: usize,
    cols: usize,
    /// Bytes of a group in `data`.
    group_bytes: usize,
    data: Part,
}

/// Why a matrix cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackError {
    /// The row is not whole blocks of the type.
    RaggedRow(DType, usize),
    /// The bytes are not those of a matrix of this size.
    WrongLength {
        /// Bytes that the sizes imply.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The arena has no room left.
    ArenaFull,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackError::RaggedRow(dtype, cols) => {
                write!(f, "a row of {cols} is not whole {dtype} blocks of {}", dtype.block_len())
            }
            PackError::WrongLength { expected, found } => {
                write!(f, "matrix has {found} bytes, {expected} were expected")
            }
            PackError::ArenaFull => write!(f, "no room left in the memory for weights"),
        }
    }
}

impl std::error::Error for PackError {}

/// The type that weights of `dtype` are kept in.
///
/// Q3_K is kept as Q6_K, which represents it exactly; Q2_K is decoded and rounded to F16.
fn stored_type(dtype: DType) -> DType {
    match dtype {
        DType::Q2_K => DType::F16,
        DType::Q3_K => DType::Q6_K,
        other => other,
    }
}

impl PackedMatrix {
    /// Bytes of arena that a matrix takes; `None` when its rows are not whole blocks.
    pub fn arena_bytes(dtype: DType, rows: usize, cols: usize) -> Option<usize> {
        dtype.row_bytes(cols)?;
        let row = stored_type(dtype).row_bytes(cols)?;
        let padded = rows.checked_next_multiple_of(GROUP)?;
        padded.checked_mul(row)?.checked_next_multiple_of(part_bytes(1))
    }

    /// Packs `bytes`, `rows` rows as in the file, on all threads of `pool`.
    ///
    /// # Errors
    /// When the sizes do not fit, or the arena is full.
    pub fn pack(
        dtype: DType,
        rows: usize,
        cols: usize,
        bytes: &[u8],
        arena: &mut Arena,
        pool: &mut ThreadPool,
    ) -> Result<Self, PackError> {
        Self::pack_and_release(dtype, rows, cols, bytes, arena, pool, |_| {})
    }

    /// The same, and calls `release` with each part of `bytes` that is not read any more: so a
    /// mapped file and its packed form need not both be in memory.
    ///
    /// # Errors
    /// As [`PackedMatrix::pack`].
    pub fn pack_and_release(
        dtype: DType,
        rows: usize,
        cols: usize,
        bytes: &[u8],
        arena: &mut Arena,
        pool: &mut ThreadPool,
        release: impl Fn(Range<usize>) + Sync,
    ) -> Result<Self, PackError> {
        let row_bytes = dtype.row_bytes(cols).ok_or(PackError::RaggedRow(dtype, cols))?;
        let expected = row_bytes.checked_mul(rows).ok_or(PackError::ArenaFull)?;
        if bytes.len() != expected {
            return Err(PackError::WrongLength { expected, found: bytes.len() });
        }
        let stored = stored_type(dtype);
        let stored_row = stored.row_bytes(cols).ok_or(PackError::RaggedRow(stored, cols))?;
        let group_bytes = stored_row * GROUP;
        let groups = rows.div_ceil(GROUP);
        let mut data = arena.part(groups * group_bytes).ok_or(PackError::ArenaFull)?;
        let (cursor, shared) = (Cursor::new(), Shared::new(&mut data[..]));
        let chunk = (RELEASED_BYTES / group_bytes).min(groups / (4 * pool.threads())).max(1);
        pool.run(|_| {
            let mut padded = vec![0; group_bytes];
            while let Some(chunk) = cursor.next(groups, chunk) {
                let read = chunk.start * GROUP * row_bytes..rows.min(chunk.end * GROUP) * row_bytes;
                for group in chunk {
                    let first = group * GROUP;
                    let present = first..rows.min(first + GROUP);
                    let source = &bytes[present.start * row_bytes..present.end * row_bytes];
                    // SAFETY: the cursor gives each group to one thread.
                    let target =
                        unsafe { shared.slice(group * group_bytes..(group + 1) * group_bytes) };
                    if stored == dtype && present.len() == GROUP {
                        pack_group(stored, source, target);
                        continue;
                    }
                    padded.fill(0);
                    for (from, to) in
                        source.chunks_exact(row_bytes).zip(padded.chunks_exact_mut(stored_row))
                    {
                        convert_row(dtype, from, cols, to);
                    }
                    pack_group(stored, &padded, target);
                }
                release(read);
            }
        });
        Ok(PackedMatrix { dtype: stored, rows, cols, group_bytes, data })
    }

    /// The type the weights are kept in: that of the file, except for Q2_K and Q3_K.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Output rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Groups of eight rows, the last one perhaps not full.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// What it multiplies.
    pub fn kind(&self) -> ActivationKind {
        match self.dtype.block_len() {
            1 => ActivationKind::Float,
            32 => ActivationKind::Block32,
            _ => ActivationKind::Block256,
        }
    }

    /// Decodes one row, exactly as [`reference::dequantize_row`] does from the file.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not as long as it.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let mut block = [0; 1024];
        let block = &mut block[..self.dtype.block_bytes()];
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {}", self.rows);
        with_format!(self.dtype, T => {
            let planes = split::<T>(self.group(row / GROUP));
            for (b, out) in out.chunks_exact_mut(T::DTYPE.block_len()).enumerate() {
                T::unpack(block_of::<T>(planes, b), row % GROUP, block);
                reference::dequantize_row(T::DTYPE, block, out);
            }
        });
    }

    /// The bytes of one row as they were in the file (of the stored type).
    ///
    /// # Panics
    /// If there is no such row, or `out` is not as long as it.
    pub fn unpack_row(&self, row: usize, out: &mut [u8]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(self.dtype.row_bytes(self.cols), Some(out.len()), "out is a row");
        with_format!(self.dtype, T => {
            let planes = split::<T>(self.group(row / GROUP));
            for (b, out) in out.chunks_exact_mut(T::DTYPE.block_bytes()).enumerate() {
                T::unpack(block_of::<T>(planes, b), row % GROUP, out);
            }
        });
    }

    fn group(&self, group: usize) -> &[u8] {
        &self.data[group * self.group_bytes..(group + 1) * self.group_bytes]
    }

    /// The bytes of the groups from `first` to before `end`, as far as there are any.
    fn groups_between(&self, first: usize, end: usize) -> &[u8] {
        let at = |group: usize| (group * self.group_bytes).min(self.data.len());
        &self.data[at(first)..at(end.max(first))]
    }
}

fn pack_group(dtype: DType, rows: &[u8], group: &mut [u8]) {
    with_format!(dtype, T => pack_group_as::<T>(rows, group));
}

fn pack_group_as<T: Format>(rows: &[u8], group: &mut [u8]) {
    let block_bytes = T::DTYPE.block_bytes();
    let row_bytes = rows.len() / GROUP;
    let blocks = row_bytes / block_bytes;
    let mut rest = group;
    let mut planes = T::PLANES.map(|bytes| {
        let (plane, after) = std::mem::take(&mut rest).split_at_mut(bytes * blocks);
        rest = after;
        plane
    });
    for block in 0..blocks {
        let from = |r: usize| &rows[r * row_bytes + block * block_bytes..][..block_bytes];
        let mut i = 0;
        let to = planes.each_mut().map(|plane| {
            let bytes = T::PLANES[i];
            i += 1;
            &mut plane[block * bytes..(block + 1) * bytes]
        });
        T::pack(std::array::from_fn(from), to);
    }
}

/// Rewrites a row of the file as a row of the stored type.
fn convert_row(dtype: DType, from: &[u8], cols: usize, to: &mut [u8]) {
    match dtype {
        DType::Q2_K => {
            let mut row = vec![0.0; cols];
            reference::dequantize_row(dtype, from, &mut row);
            for (x, to) in row.iter().zip(to.as_chunks_mut::<2>().0) {
                *to = half::f16::from_f32(*x).to_le_bytes();
            }
        }
        DType::Q3_K => {
            let blocks = from.chunks_exact(dtype.block_bytes());
            for (from, to) in blocks.zip(to.chunks_exact_mut(DType::Q6_K.block_bytes())) {
                q6_k::from_q3_k(from, to);
            }
        }
        _ => to.copy_from_slice(from),
    }
}
