//! One named tensor, as the file stores it.
//! Promises: `bytes` is exactly `rows` rows of `dtype`.
//! Never knows: what the tensor is for.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use kernels::DType;

use super::file_map::FileMap;

/// A row-major tensor of one or two dimensions that borrows its file's memory map.
///
/// Cloning is cheap: the bytes are shared.
#[derive(Clone)]
pub struct Tensor {
    /// The name in the file, for messages.
    pub name: Arc<str>,
    /// How the values are stored.
    pub dtype: DType,
    /// Rows; 1 for norms and biases.
    pub rows: usize,
    /// Values in a row.
    pub cols: usize,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Mapped { map: Arc<FileMap>, range: Range<usize> },
    Owned(Arc<[u8]>),
}

impl Tensor {
    /// A tensor whose bytes are `range` of a mapped file.
    ///
    /// The caller has checked that the range lies in the map and is `rows` rows of `dtype`.
    pub(super) fn mapped(
        name: Arc<str>,
        dtype: DType,
        [rows, cols]: [usize; 2],
        map: Arc<FileMap>,
        range: Range<usize>,
    ) -> Self {
        debug_assert_eq!(dtype.row_bytes(cols).map(|row| row * rows), Some(range.len()));
        debug_assert!(range.end <= map.bytes().len());
        Self { name, dtype, rows, cols, data: Data::Mapped { map, range } }
    }

    /// One row of f32 values in memory of its own.
    pub(super) fn vector(name: Arc<str>, values: &[f32]) -> Self {
        let bytes: Arc<[u8]> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: DType::F32, rows: 1, cols: values.len(), data: Data::Owned(bytes) }
    }

    /// The stored bytes, row after row. Not necessarily aligned for the values' type.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Mapped { map, range } => &map.bytes()[range.clone()],
            Data::Owned(bytes) => bytes,
        }
    }

    /// The stored bytes of one row.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        let len = self.bytes().len() / self.rows;
        &self.bytes()[row * len..(row + 1) * len]
    }

    /// Writes one row as f32 values. `out` holds `cols` values.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        kernels::reference::dequantize_row(self.dtype, self.row_bytes(row), out);
    }

    /// All values as f32. `[rows, cols]`
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        for (row, out) in values.chunks_exact_mut(self.cols).enumerate() {
            self.dequantize_row(row, out);
        }
        values
    }

    /// Lets the system drop the file pages of a part of this tensor's bytes, as after packing it
    /// elsewhere.
    ///
    /// The bytes stay readable: a later access reads them from the file again.
    ///
    /// # Panics
    /// If the tensor has no such bytes.
    pub fn release_pages(&self, part: Range<usize>) {
        if let Data::Mapped { map, range } = &self.data {
            assert!(part.end <= range.len(), "{part:?} of {} bytes", range.len());
            map.release(range.start + part.start..range.start + part.end);
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} [{}, {}]", self.name, self.dtype, self.rows, self.cols)
    }
}
