//! What kernels read of a packed matrix is what the file says.

use super::*;
use crate::reference::dequantize_row;

#[test]
fn unpacking_gives_the_files_weights() {
    let mut random = Random::new(1);
    for dtype in DTYPES {
        for columns in columns_of(dtype) {
            // A tile and a part of one.
            let rows = 21;
            let bytes = random_rows(&mut random, dtype, rows, columns);
            let found = on_devices(|gpu| {
                let matrix = device_matrix(gpu, dtype, columns, &bytes);
                let mut out = poisoned(gpu, rows * columns);
                Unpack { matrix: &matrix, out: out.view_mut() }.run(gpu).unwrap();
                read(gpu, &out)
            });
            let mut right = vec![0.0; rows * columns];
            let row_bytes = dtype.row_bytes(columns).unwrap();
            for (bytes, out) in bytes.chunks(row_bytes).zip(right.chunks_mut(columns)) {
                dequantize_row(dtype, bytes, out);
            }
            // The same codes and scales; where there is a minimum the kernel rounds once, not
            // twice.
            for (found, right) in found.iter().zip(&right) {
                assert!((found - right).abs() <= 4e-6, "{dtype}: {found} is not {right}");
            }
        }
    }
}

#[test]
fn packed_sizes_are_the_files_but_for_filling() {
    let mut random = Random::new(2);
    for dtype in DTYPES {
        let (rows, columns) = (32, 512);
        let bytes = random_rows(&mut random, dtype, rows, columns);
        let row_bytes = dtype.row_bytes(columns).unwrap();
        let row = |row: usize| &bytes[row * row_bytes..(row + 1) * row_bytes];
        let packed = PackedMatrix::new(dtype, [rows, columns], 3, row).unwrap();
        assert_eq!(packed.bytes(), bytes.len(), "{dtype}");
        assert_eq!(packed.bytes(), packed.format().packed_bytes([rows, columns]));
        assert_eq!(packed, PackedMatrix::new(dtype, [rows, columns], 1, row).unwrap());
    }
    assert_eq!(Format::of(DType::Q2_K), None);
}

#[test]
fn wider_floats_are_rounded_to_the_nearest() {
    let values = [1.0_f32, 1.003, -0.3, 3.1e38, 1e-30];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let found = on_devices(|gpu| {
        let matrix = device_matrix(gpu, DType::F32, values.len(), &bytes);
        let mut out = poisoned(gpu, values.len());
        Unpack { matrix: &matrix, out: out.view_mut() }.run(gpu).unwrap();
        read(gpu, &out)
    });
    assert_eq!(found, rounded(&values).1);
}
