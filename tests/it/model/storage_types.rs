//! Every storage type of ggml that we read: candle quantizes, and both dequantize alike.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use kernels::DType;

use crate::support::random::Random;

const ROWS: usize = 5;
const COLS: usize = 512;

#[test]
fn dequantized_alike() {
    for (ours, theirs) in [
        (DType::F32, GgmlDType::F32),
        (DType::F16, GgmlDType::F16),
        (DType::BF16, GgmlDType::BF16),
        (DType::Q4_0, GgmlDType::Q4_0),
        (DType::Q4_1, GgmlDType::Q4_1),
        (DType::Q5_0, GgmlDType::Q5_0),
        (DType::Q5_1, GgmlDType::Q5_1),
        (DType::Q8_0, GgmlDType::Q8_0),
        (DType::Q2_K, GgmlDType::Q2K),
        (DType::Q3_K, GgmlDType::Q3K),
        (DType::Q4_K, GgmlDType::Q4K),
        (DType::Q5_K, GgmlDType::Q5K),
        (DType::Q6_K, GgmlDType::Q6K),
    ] {
        let mut random = Random(11);
        let values: Vec<f32> = (0..ROWS * COLS).map(|_| random.within(3.0)).collect();
        let values = Tensor::from_vec(values, (ROWS, COLS), &Device::Cpu).expect("shape");
        let quantized = QTensor::quantize(&values, theirs).expect("whole blocks");
        let expected =
            quantized.dequantize(&Device::Cpu).and_then(|values| values.to_vec2::<f32>());
        let bytes = quantized.data().expect("on the CPU");
        let row_bytes = ours.row_bytes(COLS).expect("whole blocks");
        assert_eq!(bytes.len(), ROWS * row_bytes, "{ours}");
        let mut row = [0.0; COLS];
        for (bytes, expected) in bytes.chunks_exact(row_bytes).zip(expected.expect("f32")) {
            kernels::reference::dequantize_row(ours, bytes, &mut row);
            assert_eq!(row[..], expected[..], "{ours}");
        }
    }
}
