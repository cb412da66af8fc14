//! Every type against the scalar definition: whole numbers exactly, f32 to the bit.

use super::*;
use crate::cpu::testing::Random;
use crate::cpu::{Activations, Isa, Kinds};
use crate::reference::{QuantizedRow, exact_dot, quantized_dot};
use std::sync::atomic::{AtomicU8, Ordering};

const QUANTIZED: [DType; 9] = [
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
];

/// Rows of any bits, with scales that are ordinary numbers.
fn random_rows(random: &mut Random, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = random.bytes(rows * dtype.row_bytes(cols).unwrap());
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        set_scales(dtype, block, |_| random.in_range(-0.1, 0.1));
    }
    bytes
}

/// Where the f16 scales of a block are.
fn set_scales(dtype: DType, block: &mut [u8], mut value: impl FnMut(usize) -> f32) {
    let places: &[usize] = match dtype {
        DType::F32 => {
            block.copy_from_slice(&value(0).to_le_bytes());
            return;
        }
        DType::BF16 => {
            block.copy_from_slice(&half::bf16::from_f32(value(0)).to_le_bytes());
            return;
        }
        DType::F16 | DType::Q4_0 | DType::Q5_0 | DType::Q8_0 => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
    };
    for (i, at) in places.iter().enumerate() {
        let bits = half::f16::from_f32(value(i)).to_le_bytes();
        block[*at..at + 2].copy_from_slice(&bits);
    }
}

fn pack(dtype: DType, rows: usize, cols: usize, bytes: &[u8]) -> PackedMatrix {
    let mut arena = Arena::new(PackedMatrix::arena_bytes(dtype, rows, cols).unwrap()).unwrap();
    let mut pool = ThreadPool::new(2).unwrap();
    PackedMatrix::pack(dtype, rows, cols, bytes, &mut arena, &mut pool).unwrap()
}

/// All products of a matrix with `x`, `[tokens, rows]`.
fn product(isa: Isa, matrix: &PackedMatrix, x: &[f32]) -> Vec<f32> {
    product_from(0, isa, matrix, x)
}

/// The same, all groups but the first `alone` at once: where pairs begin must not matter.
fn product_from(alone: usize, isa: Isa, matrix: &PackedMatrix, x: &[f32]) -> Vec<f32> {
    let (cols, tokens) = (matrix.cols(), x.len() / matrix.cols());
    let kinds = Kinds::default().with(matrix.kind());
    let mut activations = Activations::new(x.len(), kinds);
    activations.fill(isa, x, cols, kinds);
    let mut out = vec![0.0; tokens * matrix.rows()];
    let mut lanes = vec![[f32::NAN; GROUP]; matrix.groups() * tokens];
    let (first, others) = lanes.split_at_mut(alone * tokens);
    matrix.product(isa, 0..alone, &activations, 0..tokens, first);
    matrix.product(isa, alone..matrix.groups(), &activations, 0..tokens, others);
    for (i, lanes) in lanes.iter().enumerate() {
        let (group, token) = (i / tokens, i % tokens);
        for (r, value) in lanes.iter().enumerate() {
            match group * GROUP + r {
                row if row < matrix.rows() => out[token * matrix.rows() + row] = *value,
                _ => assert_eq!(*value, 0.0, "lanes without a row are 0"),
            }
        }
    }
    out
}

fn check_quantized(dtype: DType, rows: usize, cols: usize, bytes: &[u8], x: &[f32]) {
    let matrix = pack(dtype, rows, cols, bytes);
    let row_bytes = dtype.row_bytes(cols).unwrap();
    let block = dtype.block_len();
    let mut expected = Vec::new();
    for x in x.chunks_exact(cols) {
        let x = QuantizedRow::quantize(x, block);
        expected.extend(bytes.chunks_exact(row_bytes).map(|row| quantized_dot(dtype, row, &x)));
    }
    for isa in Isa::available() {
        let found = product(isa, &matrix, x);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{dtype} {isa:?} [{rows}, {cols}] token {} row {}: {found} != {expected}",
                i / rows,
                i % rows
            );
        }
    }
}

#[test]
fn products_are_those_of_the_definition() {
    let mut random = Random::new(1);
    for dtype in QUANTIZED {
        for tokens in 1..=9 {
            // Rows that fill groups and that do not; one, odd and even numbers of blocks.
            for (rows, blocks) in [(8, 1), (3, 3), (17, 2), (25, 5)] {
                let cols = blocks * dtype.block_len();
                let bytes = random_rows(&mut random, dtype, rows, cols);
                let x = random.normal(tokens * cols);
                check_quantized(dtype, rows, cols, &bytes, &x);
            }
        }
    }
}

#[test]
fn pairs_of_groups_may_begin_anywhere() {
    let mut random = Random::new(7);
    for dtype in DType::ALL {
        for tokens in [2, 5, 17] {
            for groups in 2..=5 {
                let (rows, cols) = (groups * GROUP - 1, 3 * dtype.block_len());
                let bytes = random_rows(&mut random, dtype, rows, cols);
                let matrix = pack(dtype, rows, cols, &bytes);
                let x = random.normal(tokens * cols);
                let expected = product(Isa::available()[0], &matrix, &x);
                for (isa, alone) in
                    Isa::available().into_iter().flat_map(|isa| [(isa, 0), (isa, 1)])
                {
                    let found = product_from(alone, isa, &matrix, &x);
                    assert_eq!(found, expected, "{dtype} {isa:?} {groups} groups, {alone} alone");
                }
            }
        }
    }
}

#[test]
fn extremes_do_not_overflow() {
    for dtype in QUANTIZED {
        let cols = 2 * dtype.block_len();
        // Codes and sub-block scales all ones, all zeros, and for signed bytes -128 and 127.
        for fill in [0xff, 0x00, 0x80, 0x7f, 0xf0, 0x0f] {
            let mut bytes = vec![fill; 16 * dtype.row_bytes(cols).unwrap()];
            for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                set_scales(dtype, block, |_| 1.0);
            }
            let mut x = vec![1.0; 4 * cols];
            x[cols..2 * cols].fill(-1.0);
            for (i, x) in x[2 * cols..].iter_mut().enumerate() {
                *x = if i / 2 % 2 == 0 { 1.0 } else { -1.0 };
            }
            x[3 * cols..].fill(0.0);
            check_quantized(dtype, 16, cols, &bytes, &x);
        }
    }
}

#[test]
fn rounding_activations_costs_little() {
    let mut random = Random::new(2);
    for dtype in DType::ALL {
        let (rows, cols, tokens) = (24, 512, 3);
        let bytes = random_rows(&mut random, dtype, rows, cols);
        let x = random.normal(tokens * cols);
        let found = product(Isa::detect(), &pack(dtype, rows, cols, &bytes), &x);
        let mut exact = vec![0.0; tokens * rows];
        reference::matmul(dtype, &bytes, cols, &x, &mut exact);
        let square = |x: f64| x * x;
        let pairs = || found.iter().zip(&exact).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let error: f64 = pairs().map(|(a, b)| square(a - b)).sum();
        let power: f64 = pairs().map(|(_, b)| square(b)).sum();
        assert!(error / power <= 5e-4, "{dtype}: normalised error {}", error / power);
    }
}

#[test]
fn f32_sums_are_close_to_exact_ones() {
    let mut random = Random::new(3);
    for dtype in QUANTIZED {
        let cols = 1024;
        let bytes = random_rows(&mut random, dtype, 8, cols);
        let x = random.normal(cols);
        let found = product(Isa::detect(), &pack(dtype, 8, cols, &bytes), &x);
        let rounded = QuantizedRow::quantize(&x, dtype.block_len());
        let rows: Vec<&[u8]> = bytes.chunks_exact(bytes.len() / 8).collect();
        let exact: Vec<f64> = rows.iter().map(|row| exact_dot(dtype, row, &rounded)).collect();
        let norm = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (found, exact) in found.iter().zip(&exact) {
            assert!((f64::from(*found) - exact).abs() <= 1e-5 * norm, "{dtype}: {found} {exact}");
        }
    }
}

#[test]
fn dense_products_are_the_same_everywhere() {
    let mut random = Random::new(4);
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q2_K] {
        for cols in [256, 512] {
            let bytes = random_rows(&mut random, dtype, 19, cols);
            let matrix = pack(dtype, 19, cols, &bytes);
            let x = random.normal(7 * cols);
            let all: Vec<Vec<f32>> =
                Isa::available().into_iter().map(|isa| product(isa, &matrix, &x)).collect();
            assert!(all.iter().all(|other| *other == all[0]), "{dtype}");
            let alone: Vec<f32> =
                x.chunks_exact(cols).flat_map(|x| product(Isa::detect(), &matrix, x)).collect();
            assert_eq!(alone, all[0], "{dtype}: alone and in a batch");
        }
    }
}

#[test]
fn rows_of_dense_weights_may_have_any_length() {
    let mut random = Random::new(5);
    let bytes = random_rows(&mut random, DType::F16, 5, 7);
    let x = random.normal(2 * 7);
    let found = product(Isa::detect(), &pack(DType::F16, 5, 7, &bytes), &x);
    let mut exact = vec![0.0; 2 * 5];
    reference::matmul(DType::F16, &bytes, 7, &x, &mut exact);
    for (found, exact) in found.iter().zip(&exact) {
        assert!((found - exact).abs() < 1e-5, "{found} {exact}");
    }
}

#[test]
fn unpacking_gives_the_bits_of_the_file() {
    let mut random = Random::new(6);
    for dtype in DType::ALL {
        let (rows, cols) = (13, 3 * dtype.block_len());
        let bytes = random_rows(&mut random, dtype, rows, cols);
        let matrix = pack(dtype, rows, cols, &bytes);
        let (mut found, mut expected) = (vec![0.0; cols], vec![0.0; cols]);
        for (i, row) in bytes.chunks_exact(dtype.row_bytes(cols).unwrap()).enumerate() {
            if matrix.dtype() == dtype {
                let mut bits = vec![0; row.len()];
                matrix.unpack_row(i, &mut bits);
                assert_eq!(bits, row, "{dtype} row {i}");
            }
            matrix.dequantize_row(i, &mut found);
            reference::dequantize_row(dtype, row, &mut expected);
            if dtype == DType::Q2_K {
                expected.iter_mut().for_each(|x| *x = half::f16::from_f32(*x).to_f32());
            }
            assert_eq!(found, expected, "{dtype} row {i}");
        }
    }
}

#[test]
fn every_byte_is_released_once() {
    for rows in [1, 8, 3000] {
        let (cols, mut pool) = (64, ThreadPool::new(2).unwrap());
        let bytes = vec![0; rows * DType::Q8_0.row_bytes(cols).unwrap()];
        let size = PackedMatrix::arena_bytes(DType::Q8_0, rows, cols).unwrap();
        let mut arena = Arena::new(size).unwrap();
        let released: Vec<AtomicU8> = bytes.iter().map(|_| AtomicU8::new(0)).collect();
        let release = |part: Range<usize>| {
            released[part].iter().for_each(|count| _ = count.fetch_add(1, Ordering::Relaxed));
        };
        let (dtype, arena) = (DType::Q8_0, &mut arena);
        PackedMatrix::pack_and_release(dtype, rows, cols, &bytes, arena, &mut pool, release)
            .unwrap();
        assert!(released.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn wrong_sizes_are_errors() {
    let mut pool = ThreadPool::new(1).unwrap();
    let mut pack = |dtype, rows, cols, len, room| {
        let mut arena = Arena::new(room).unwrap();
        PackedMatrix::pack(dtype, rows, cols, &vec![0; len], &mut arena, &mut pool).err()
    };
    assert_eq!(
        pack(DType::Q4_K, 8, 576, 8 * 324, 1 << 20),
        Some(PackError::RaggedRow(DType::Q4_K, 576))
    );
    assert_eq!(
        pack(DType::Q8_0, 8, 32, 271, 1 << 20),
        Some(PackError::WrongLength { expected: 272, found: 271 })
    );
    assert_eq!(pack(DType::Q8_0, 8, 32, 272, 64), Some(PackError::ArenaFull));
    assert_eq!(pack(DType::Q8_0, 8, 32, 272, 320), None);
    assert_eq!(PackedMatrix::arena_bytes(DType::Q4_K, 8, 576), None);
}
