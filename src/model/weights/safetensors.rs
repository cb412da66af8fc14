//! The tensors of a Hugging Face folder: one safetensors file, or shards and their index.
//! Promises: every file named by the index is in the folder itself; every tensor lies in its file.
//! Never knows: `config.json`, families.
//!
//! Format: <https://github.com/huggingface/safetensors#format>.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use ::safetensors::tensor::{Dtype, Metadata};
use kernels::DType;
use serde::Deserialize;

use super::file_map::{FileMap, read_text};
use super::table::{Entry, TensorTable};
use crate::model::error::{FileProblem, ModelError};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Bytes of header length before the header.
const LENGTH_BYTES: usize = 8;
/// The reference implementation's bound on a header. Those of 70B models are below 1 MB.
const MAX_HEADER_BYTES: usize = 100_000_000;

/// The part of the index that matters here.
#[derive(Deserialize)]
struct Index {
    /// Tensor name to file name.
    weight_map: BTreeMap<String, String>,
}

/// Maps all safetensors files of a folder. Also returns their size in bytes.
pub(crate) fn open_safetensors(folder: &Path) -> Result<(TensorTable, u64), ModelError> {
    let index_path = folder.join(INDEX);
    let mut table = TensorTable::default();
    let mut bytes = 0;
    if !index_path.exists() {
        let path = folder.join(SINGLE);
        bytes += add_file(&path, &mut table).map_err(|problem| problem.at(&path))?;
        return Ok((table, bytes));
    }
    let index = read_index(&index_path).map_err(|problem| problem.at(&index_path))?;
    let files: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    for file in files {
        // A name with a path in it could reach outside the folder.
        if Path::new(file).file_name() != Some(OsStr::new(file)) {
            let problem = FileProblem::setting("weight_map", format!("names the file `{file}`"));
            return Err(problem.at(&index_path));
        }
        let path = folder.join(file);
        bytes += add_file(&path, &mut table).map_err(|problem| problem.at(&path))?;
    }
    if let Some((name, file)) = index.weight_map.iter().find(|(name, _)| !table.contains(name)) {
        let problem = FileProblem::tensor(name.as_str(), format!("is not in `{file}`"));
        return Err(problem.at(&index_path));
    }
    Ok((table, bytes))
}

fn read_index(path: &Path) -> Result<Index, FileProblem> {
    serde_json::from_slice(&read_text(path)?)
        .map_err(|error| FileProblem::setting("weight_map", format!("can not be read: {error}")))
}

/// Adds a file's tensors to the table and returns the file's size.
fn add_file(path: &Path, table: &mut TensorTable) -> Result<u64, FileProblem> {
    let map = Arc::new(FileMap::open(path)?);
    let bytes = map.bytes();
    let length = bytes.first_chunk::<LENGTH_BYTES>().map(|length| u64::from_le_bytes(*length));
    let length =
        length.ok_or_else(|| FileProblem::damaged(0, "the file is shorter than 8 bytes"))?;
    let header_len = usize::try_from(length)
        .ok()
        .filter(|&len| len <= MAX_HEADER_BYTES && len <= bytes.len() - LENGTH_BYTES)
        .ok_or_else(|| FileProblem::damaged(0, format!("a header of {length} bytes")))?;
    let data_start = LENGTH_BYTES + header_len;
    // Reading the header checks that the tensors follow each other without gap or overlap and that
    // each is as long as its shape says.
    let header: Metadata = serde_json::from_slice(&bytes[LENGTH_BYTES..data_start])
        .map_err(|error| FileProblem::damaged(LENGTH_BYTES, format!("header: {error}")))?;
    let (expected, data_len) = (header.data_len(), bytes.len() - data_start);
    if expected != data_len {
        let what = format!("{data_len} bytes of tensors, the header lists {expected}");
        return Err(FileProblem::damaged(data_start, what));
    }
    for (name, info) in header.tensors() {
        let name: Arc<str> = name.into();
        if info.shape.is_empty() || info.shape.contains(&0) {
            // Scalars and empty tensors: quantization leftovers that no model here reads.
            continue;
        }
        let dtype = match info.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            other => Err(format!("{other:?}")),
        };
        let (start, end) = info.data_offsets;
        let entry = Entry {
            dims: info.shape.clone(),
            dtype,
            map: Arc::clone(&map),
            range: data_start + start..data_start + end,
        };
        if !table.insert(Arc::clone(&name), entry) {
            return Err(FileProblem::tensor(&*name, "is also in another file of the folder"));
        }
    }
    Ok(bytes.len() as u64)
}
