//! The tensors a model's files list, whatever the container.
//! Promises: a tensor leaves the table only with the shape its user expects, in a type that can be
//! read; what nobody took can be found afterwards.
//! Never knows: GGUF, safetensors, families.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use kernels::DType;

use super::file_map::FileMap;
use super::tensor::Tensor;
use crate::model::error::FileProblem;

/// Tensors by name, each until it is taken.
#[derive(Debug, Default)]
pub(crate) struct TensorTable {
    entries: HashMap<Arc<str>, Entry>,
}

/// A tensor whose place in its file has been checked.
#[derive(Debug)]
pub(super) struct Entry {
    /// Outermost first. Never empty, none is 0.
    pub(super) dims: Vec<usize>,
    /// The type, or the name of one that can not be read.
    pub(super) dtype: Result<DType, String>,
    pub(super) map: Arc<FileMap>,
    pub(super) range: Range<usize>,
}

impl TensorTable {
    /// Adds a tensor; false if the name is taken, and then the table has not changed.
    pub(super) fn insert(&mut self, name: Arc<str>, entry: Entry) -> bool {
        match self.entries.entry(name) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                true
            }
        }
    }

    /// Tensors listed.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a tensor of this name is listed and not yet taken.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The names not yet taken, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }

    /// The number of rows of a matrix, which stays in the table.
    pub(crate) fn rows(&self, name: &str) -> Result<usize, FileProblem> {
        match self.entries.get(name) {
            Some(entry) => Ok(entry.dims[0]),
            None => Err(FileProblem::tensor(name, "is missing")),
        }
    }

    /// Takes a matrix of this shape.
    pub(crate) fn matrix(
        &mut self,
        name: &str,
        [rows, cols]: [usize; 2],
    ) -> Result<Tensor, FileProblem> {
        let fault = |what: String| FileProblem::tensor(name, what);
        let (name_in_table, entry) =
            self.entries.remove_entry(name).ok_or_else(|| fault("is missing".to_owned()))?;
        if entry.dims != [rows, cols] {
            let dims = &entry.dims;
            return Err(fault(format!("is {dims:?}, expected [{rows}, {cols}]")));
        }
        let dtype = entry
            .dtype
            .map_err(|dtype| fault(format!("is stored as {dtype}, which is not supported")))?;
        if dtype.row_bytes(cols).and_then(|row| row.checked_mul(rows)) != Some(entry.range.len()) {
            let bytes = entry.range.len();
            return Err(fault(format!("has {bytes} bytes, not [{rows}, {cols}] of {dtype}")));
        }
        Ok(Tensor::mapped(name_in_table, dtype, [rows, cols], entry.map, entry.range))
    }

    /// Takes a vector of this length and makes it `F32`, with `offset` added to each value.
    ///
    /// Values must be finite: one NaN in a norm spoils every token, and is easily found here.
    pub(crate) fn vector(
        &mut self,
        name: &str,
        len: usize,
        offset: f32,
    ) -> Result<Tensor, FileProblem> {
        if let Some(entry) = self.entries.get_mut(name)
            && entry.dims == [len]
        {
            entry.dims = vec![1, len];
        }
        let stored = self.matrix(name, [1, len])?;
        let mut values = stored.to_f32();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let what = format!("holds {} at index {index}", values[index]);
            return Err(FileProblem::tensor(name, what));
        }
        values.iter_mut().for_each(|value| *value += offset);
        Ok(Tensor::vector(stored.name, &values))
    }
}
