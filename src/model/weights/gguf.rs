//! The GGUF container: header, metadata and tensor table over a memory map.
//! Promises: no byte outside the file is read, no count from the file is believed before the bytes
//! it implies have been seen to exist, and every refusal names an offset, key or tensor.
//! Never knows: what keys or tensors mean.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little
//! endian. Version 1 had 32-bit counts and is gone from the field since 2023.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use kernels::DType;

use super::file_map::FileMap;
use super::metadata::{GgufMetadata, Value};
use super::table::{Entry, TensorTable};
use crate::model::error::FileProblem;

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u32 = 32;
/// The format's own bounds.
const MAX_KEY_BYTES: usize = 65_535;
const MAX_DIMENSIONS: usize = 4;
/// Arrays of arrays are allowed by the format and used by nobody; this bounds the recursion.
const MAX_ARRAY_DEPTH: usize = 4;
/// The smallest possible entries: key length, one key byte, type, a one-byte value; and name
/// length, one name byte, dimension count, one dimension, type, offset.
const MIN_PAIR_BYTES: usize = 8 + 1 + 4 + 1;
const MIN_TENSOR_BYTES: usize = 8 + 1 + 4 + 8 + 4 + 8;

/// The contents of a GGUF file.
#[derive(Debug)]
pub(crate) struct GgufFile {
    pub(crate) metadata: GgufMetadata,
    pub(crate) tensors: TensorTable,
    pub(crate) file_bytes: u64,
}

impl GgufFile {
    /// Maps and reads the file.
    pub(crate) fn open(path: &Path) -> Result<Self, FileProblem> {
        let map = Arc::new(FileMap::open(path)?);
        let mut reader = Reader { bytes: map.bytes(), offset: 0 };
        let [num_tensors, num_pairs] = reader.header()?;
        let pairs = reader.pairs(num_pairs)?;
        let metadata = GgufMetadata::new(Arc::clone(&map), pairs);
        let infos = reader.tensor_infos(num_tensors)?;
        let alignment = alignment(&metadata)?;
        let data_start = reader
            .offset
            .checked_next_multiple_of(alignment)
            .filter(|&start| start <= map.bytes().len() || infos.is_empty())
            .ok_or_else(|| FileProblem::damaged(reader.offset, "the tensor data is missing"))?;
        let tensors = place(&map, infos, data_start, alignment)?;
        Ok(Self { metadata, tensors, file_bytes: map.bytes().len() as u64 })
    }
}

/// A tensor as the table describes it, before its place has been checked.
struct TensorInfo {
    name: String,
    /// Innermost (fastest) first, as in the file.
    dims: Vec<usize>,
    type_id: u32,
    /// From the start of the tensor data.
    offset: u64,
}

fn alignment(metadata: &GgufMetadata) -> Result<usize, FileProblem> {
    let key = "general.alignment";
    let alignment = metadata.u32(key)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        let what = format!("is {alignment}, expected a power of two");
        return Err(FileProblem::setting(key, what));
    }
    Ok(alignment as usize)
}

/// Turns the table's offsets into ranges of the file; none may overlap or reach outside.
fn place(
    map: &Arc<FileMap>,
    infos: Vec<TensorInfo>,
    data_start: usize,
    alignment: usize,
) -> Result<TensorTable, FileProblem> {
    let mut table = TensorTable::default();
    let mut taken: Vec<(Range<usize>, Arc<str>)> = Vec::new();
    for info in infos {
        let name: Arc<str> = info.name.into();
        let fault = |what: String| FileProblem::tensor(&*name, what);
        if !info.offset.is_multiple_of(alignment as u64) {
            return Err(fault(format!("lies at {}, not aligned to {alignment}", info.offset)));
        }
        let start = usize::try_from(info.offset)
            .ok()
            .and_then(|offset| data_start.checked_add(offset))
            .filter(|&start| start <= map.bytes().len())
            .ok_or_else(|| {
                fault(format!(
                    "starts {} bytes into the data, after the end of the file",
                    info.offset
                ))
            })?;
        let (dtype, range) = match DType::from_ggml(info.type_id) {
            // Its size is unknown, which only matters to who needs the tensor.
            None => (Err(type_name(info.type_id)), start..start),
            Some(dtype) => {
                let bytes = size_in_bytes(dtype, &info.dims).ok_or_else(|| {
                    fault(format!("of {:?} values is not whole blocks of {dtype}", info.dims))
                })?;
                let end = start.checked_add(bytes).filter(|&end| end <= map.bytes().len());
                let end = end.ok_or_else(|| {
                    let have = map.bytes().len() - start;
                    fault(format!("needs {bytes} bytes at byte {start}, the file has {have}"))
                })?;
                taken.push((start..end, Arc::clone(&name)));
                (Ok(dtype), start..end)
            }
        };
        let dims = info.dims.into_iter().rev().collect();
        let entry = Entry { dims, dtype, map: Arc::clone(map), range };
        if !table.insert(Arc::clone(&name), entry) {
            return Err(FileProblem::tensor(&*name, "is listed twice"));
        }
    }
    taken.sort_by_key(|(range, _)| range.start);
    for pair in taken.windows(2) {
        if pair[0].0.end > pair[1].0.start {
            let what = format!("overlaps `{}` at byte {}", pair[0].1, pair[1].0.start);
            return Err(FileProblem::tensor(&*pair[1].1, what));
        }
    }
    Ok(table)
}

fn size_in_bytes(dtype: DType, dims: &[usize]) -> Option<usize> {
    let (&cols, outer) = dims.split_first()?;
    outer.iter().try_fold(dtype.row_bytes(cols)?, |bytes, &dim| bytes.checked_mul(dim))
}

/// What ggml calls the types that no kernel here reads, for messages.
fn type_name(id: u32) -> String {
    const IQ: [&str; 8] =
        ["IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS"];
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16..=23 => IQ[id as usize - 16],
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("unknown type {id}"),
    };
    name.to_owned()
}

/// A cursor that never passes the end.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], FileProblem> {
        if len > self.remaining() {
            let left = self.remaining();
            let what = format!("{what} needs {len} bytes, {left} are left: the file is cut short");
            return Err(FileProblem::damaged(self.offset, what));
        }
        let taken = &self.bytes[self.offset..self.offset + len];
        self.offset += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], FileProblem> {
        let taken = self.take(N, what)?;
        Ok(taken.try_into().expect("take returns the length it was asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, FileProblem> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, FileProblem> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count whose items take at least `item_bytes` each, all of which must still lie ahead.
    fn count(&mut self, item_bytes: usize, what: &str) -> Result<usize, FileProblem> {
        let offset = self.offset;
        let count = self.u64(what)?;
        let possible = self.remaining() / item_bytes;
        match usize::try_from(count).ok().filter(|&count| count <= possible) {
            Some(count) => Ok(count),
            None => {
                let left = self.remaining();
                let what = format!("{what} is {count}, which can not fit the {left} bytes left");
                Err(FileProblem::damaged(offset, what))
            }
        }
    }

    /// Tensor count and pair count.
    fn header(&mut self) -> Result<[usize; 2], FileProblem> {
        let magic = self.array::<4>("the magic")?;
        if &magic != MAGIC {
            let what = format!("starts with {:?}, not `GGUF`", String::from_utf8_lossy(&magic));
            return Err(FileProblem::damaged(0, what));
        }
        let version = self.u32("the version")?;
        if !(2..=3).contains(&version) {
            let big_endian = (2..=3).contains(&version.swap_bytes());
            let hint = if big_endian { " (a big-endian file)" } else { "" };
            let what = format!("GGUF version {version}{hint}; 2 and 3, little endian, are known");
            return Err(FileProblem::Unsupported(what));
        }
        let num_tensors = self.count(MIN_TENSOR_BYTES, "the tensor count")?;
        let num_pairs = self.count(MIN_PAIR_BYTES, "the metadata count")?;
        Ok([num_tensors, num_pairs])
    }

    /// A length-prefixed string's place in the file.
    fn string(&mut self, what: &str) -> Result<Range<usize>, FileProblem> {
        let len = self.count(1, what)?;
        let start = self.offset;
        self.take(len, what)?;
        Ok(start..start + len)
    }

    /// A key or tensor name.
    fn name(&mut self, what: &str) -> Result<String, FileProblem> {
        let range = self.string(what)?;
        if range.is_empty() || range.len() > MAX_KEY_BYTES {
            let what = format!("{what} is {} bytes long", range.len());
            return Err(FileProblem::damaged(range.start, what));
        }
        match std::str::from_utf8(&self.bytes[range.clone()]) {
            Ok(name) => Ok(name.to_owned()),
            Err(error) => {
                Err(FileProblem::damaged(range.start, format!("{what} is not UTF-8: {error}")))
            }
        }
    }

    fn pairs(&mut self, count: usize) -> Result<HashMap<String, Value>, FileProblem> {
        let mut pairs = HashMap::new();
        for _ in 0..count {
            let start = self.offset;
            let key = self.name("a metadata key")?;
            let type_id = self.u32("a metadata type")?;
            let value = self.value(type_id, 0)?;
            if pairs.insert(key.clone(), value).is_some() {
                return Err(FileProblem::damaged(start, format!("key `{key}` appears twice")));
            }
        }
        Ok(pairs)
    }

    fn value(&mut self, type_id: u32, depth: usize) -> Result<Value, FileProblem> {
        let what = "a metadata value";
        Ok(match type_id {
            0 => Value::Unsigned(u64::from(u8::from_le_bytes(self.array(what)?))),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array(what)?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array(what)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array(what)?))),
            4 => Value::Unsigned(u64::from(self.u32(what)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array(what)?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array(what)?))),
            7 => match self.array::<1>(what)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => {
                    let what = format!("a boolean is {other}");
                    return Err(FileProblem::damaged(self.offset - 1, what));
                }
            },
            8 => Value::String(self.string("a metadata string")?),
            9 => self.array_value(depth)?,
            10 => Value::Unsigned(self.u64(what)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(what)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            _ => {
                let what = format!("unknown metadata type {type_id}");
                return Err(FileProblem::damaged(self.offset - 4, what));
            }
        })
    }

    /// Steps over an array and remembers where its elements lie.
    fn array_value(&mut self, depth: usize) -> Result<Value, FileProblem> {
        let offset = self.offset;
        if depth == MAX_ARRAY_DEPTH {
            return Err(FileProblem::damaged(offset, "arrays are nested too deeply"));
        }
        let element_type = self.u32("an array's type")?;
        let len = self.count(scalar_bytes(element_type).unwrap_or(8), "an array's length")?;
        let start = self.offset;
        match scalar_bytes(element_type) {
            Some(bytes) => drop(self.take(len * bytes, "an array")?),
            None => {
                for _ in 0..len {
                    self.value(element_type, depth + 1)?;
                }
            }
        }
        Ok(Value::Array { element_type, len, range: start..self.offset })
    }

    fn tensor_infos(&mut self, count: usize) -> Result<Vec<TensorInfo>, FileProblem> {
        let mut infos = Vec::new();
        for _ in 0..count {
            let name = self.name("a tensor name")?;
            let fault = |what: String| FileProblem::tensor(name.as_str(), what);
            let num_dims = self.u32("a dimension count")? as usize;
            if !(1..=MAX_DIMENSIONS).contains(&num_dims) {
                return Err(fault(format!("has {num_dims} dimensions, 1 to 4 are allowed")));
            }
            let mut dims = Vec::with_capacity(num_dims);
            for _ in 0..num_dims {
                let dim = self.u64("a dimension")?;
                let dim = usize::try_from(dim).ok().filter(|&dim| dim > 0);
                dims.push(dim.ok_or_else(|| fault("has an impossible dimension".to_owned()))?);
            }
            let type_id = self.u32("a tensor type")?;
            let offset = self.u64("a tensor offset")?;
            infos.push(TensorInfo { name, dims, type_id, offset });
        }
        Ok(infos)
    }
}

/// Bytes of a value of fixed size; `None` for strings, arrays and unknown types.
pub(super) fn scalar_bytes(type_id: u32) -> Option<usize> {
    match type_id {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
