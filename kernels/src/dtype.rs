//! ggml's storage types: how many weights share a block, and how many bytes a block takes.
//!
//! Numbers and block sizes are those of `ggml.h` (`enum ggml_type`) and `ggml-common.h`.

use std::fmt;

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "ggml's own names")]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// 32 weights: f16 scale, 4 bits each, centred on 8.
    Q4_0,
    /// 32 weights: f16 scale and minimum, 4 bits each.
    Q4_1,
    /// 32 weights: f16 scale, 5 bits each, centred on 16.
    Q5_0,
    /// 32 weights: f16 scale and minimum, 5 bits each.
    Q5_1,
    /// 32 weights: f16 scale, 8 bits each, signed.
    Q8_0,
    /// 256 weights in 16 sub-blocks with 4-bit scales and minima, 2 bits each.
    Q2_K,
    /// 256 weights in 16 sub-blocks with 6-bit signed scales, 3 bits each, centred on 4.
    Q3_K,
    /// 256 weights in 8 sub-blocks with 6-bit scales and minima, 4 bits each.
    Q4_K,
    /// 256 weights in 8 sub-blocks with 6-bit scales and minima, 5 bits each.
    Q5_K,
    /// 256 weights in 16 sub-blocks with 8-bit signed scales, 6 bits each, centred on 32.
    Q6_K,
}

impl DType {
    /// Every type, in ggml's order.
    pub const ALL: [DType; 13] = [
        DType::F32,
        DType::F16,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q2_K,
        DType::Q3_K,
        DType::Q4_K,
        DType::Q5_K,
        DType::Q6_K,
        DType::BF16,
    ];

    /// The type with this number in a GGUF file; `None` for those that are not supported.
    pub fn from_ggml(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.ggml_id() == id)
    }

    /// The number of this type in a GGUF file.
    pub fn ggml_id(self) -> u32 {
        match self {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::Q4_0 => 2,
            DType::Q4_1 => 3,
            DType::Q5_0 => 6,
            DType::Q5_1 => 7,
            DType::Q8_0 => 8,
            DType::Q2_K => 10,
            DType::Q3_K => 11,
            DType::Q4_K => 12,
            DType::Q5_K => 13,
            DType::Q6_K => 14,
            DType::BF16 => 30,
        }
    }

    /// Weights in a block: 1, 32 or 256.
    pub const fn block_len(self) -> usize {
        match self {
            DType::F32 | DType::F16 | DType::BF16 => 1,
            DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 => 32,
            DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::Q5_K | DType::Q6_K => 256,
        }
    }

    /// Bytes a block takes in the file.
    pub const fn block_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::Q4_0 => 18,
            DType::Q4_1 => 20,
            DType::Q5_0 => 22,
            DType::Q5_1 => 24,
            DType::Q8_0 => 34,
            DType::Q2_K => 84,
            DType::Q3_K => 110,
            DType::Q4_K => 144,
            DType::Q5_K => 176,
            DType::Q6_K => 210,
        }
    }

    /// Bytes of a row of `cols` weights; `None` when that is not whole blocks, or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// ggml's name, as in file names and model cards.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::Q4_0 => "Q4_0",
            DType::Q4_1 => "Q4_1",
            DType::Q5_0 => "Q5_0",
            DType::Q5_1 => "Q5_1",
            DType::Q8_0 => "Q8_0",
            DType::Q2_K => "Q2_K",
            DType::Q3_K => "Q3_K",
            DType::Q4_K => "Q4_K",
            DType::Q5_K => "Q5_K",
            DType::Q6_K => "Q6_K",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_sizes() {
        for dtype in DType::ALL {
            assert_eq!(DType::from_ggml(dtype.ggml_id()), Some(dtype));
            assert_eq!(dtype.row_bytes(256), Some(256 / dtype.block_len() * dtype.block_bytes()));
        }
        assert_eq!(DType::from_ggml(9), None); // Q8_1 never is stored.
        assert_eq!(DType::Q4_K.row_bytes(576), None);
        assert_eq!(DType::Q4_1.row_bytes(576), Some(360));
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
    }
}
