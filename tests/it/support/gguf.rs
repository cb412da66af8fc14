//! Writes GGUF files byte by byte, sound or not, as the format's description says.
//! Never uses the reader under test.

/// Builds a GGUF file of version 3.
#[derive(Debug, Default, Clone)]
pub(crate) struct GgufBuilder {
    /// Key, type id, raw value.
    pairs: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<TensorRecord>,
}

#[derive(Debug, Clone)]
struct TensorRecord {
    name: String,
    /// Outermost first; the file has them the other way round.
    dims: Vec<u64>,
    type_id: u32,
    bytes: Vec<u8>,
}

/// Tensor data starts at, and each tensor is padded to, a multiple of this.
pub(crate) const ALIGNMENT: usize = 32;

impl GgufBuilder {
    /// A pair whose value is given as type id and raw bytes.
    pub(crate) fn raw(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        self.pairs.push((key.to_owned(), type_id, value.to_vec()));
        self
    }

    /// Takes a pair out, as before giving the key another value.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.pairs.retain(|(name, ..)| name != key);
        self
    }

    /// Takes a tensor out.
    pub(crate) fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    pub(crate) fn string(self, key: &str, value: &str) -> Self {
        let mut bytes = Vec::new();
        put_string(&mut bytes, value);
        self.raw(key, 8, &bytes)
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    pub(crate) fn strings(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = array_header(8, values.len());
        values.iter().for_each(|value| put_string(&mut bytes, value));
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn f32s(self, key: &str, values: &[f32]) -> Self {
        let mut bytes = array_header(6, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = array_header(5, values.len());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn bools(self, key: &str, values: &[bool]) -> Self {
        let mut bytes = array_header(7, values.len());
        bytes.extend(values.iter().map(|&value| u8::from(value)));
        self.raw(key, 9, &bytes)
    }

    /// A tensor of any type. `dims` outermost first.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], type_id: u32, bytes: Vec<u8>) -> Self {
        let (name, dims) = (name.to_owned(), dims.to_vec());
        self.tensors.push(TensorRecord { name, dims, type_id, bytes });
        self
    }

    /// A tensor of f32 values. `dims` outermost first.
    pub(crate) fn f32_tensor(self, name: &str, dims: &[u64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, dims, 0, bytes)
    }

    /// The file, tensors laid out one after the other.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut offset = 0u64;
        let offsets = self.tensors.iter().map(|tensor| {
            let start = offset;
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT) as u64;
            start
        });
        self.build_with_offsets(&offsets.collect::<Vec<_>>())
    }

    /// The file with these offsets in its tensor table, true or not.
    pub(crate) fn build_with_offsets(&self, offsets: &[u64]) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend_from_slice(&3u32.to_le_bytes());
        file.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        file.extend_from_slice(&(self.pairs.len() as u64).to_le_bytes());
        for (key, type_id, value) in &self.pairs {
            put_string(&mut file, key);
            file.extend_from_slice(&type_id.to_le_bytes());
            file.extend_from_slice(value);
        }
        for (tensor, offset) in self.tensors.iter().zip(offsets) {
            put_string(&mut file, &tensor.name);
            file.extend_from_slice(&(tensor.dims.len() as u32).to_le_bytes());
            for dim in tensor.dims.iter().rev() {
                file.extend_from_slice(&dim.to_le_bytes());
            }
            file.extend_from_slice(&tensor.type_id.to_le_bytes());
            file.extend_from_slice(&offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        for tensor in &self.tensors {
            file.extend_from_slice(&tensor.bytes);
            file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        }
        file
    }
}

/// Element type and length, as they precede an array's elements.
pub(crate) fn array_header(type_id: u32, len: usize) -> Vec<u8> {
    let mut bytes = type_id.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(len as u64).to_le_bytes());
    bytes
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
