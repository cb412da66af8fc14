//! Products of every format, with every ending, for few and many tokens.

use super::*;
use crate::cpu::GateActivation;
use crate::cuda::launch::Blocks;
use crate::reference::{gelu_tanh, matmul, silu};

struct Case {
    dtype: DType,
    rows: usize,
    columns: usize,
    weights: Vec<u8>,
    /// bf16, `[tokens, columns]`.
    x: Vec<u16>,
    /// `weights * x`, `[tokens, rows]`.
    right: Vec<f32>,
}

impl Case {
    fn new(random: &mut Random, dtype: DType, [rows, columns, tokens]: [usize; 3]) -> Self {
        let weights = random_rows(random, dtype, rows, columns);
        let (x, seen) = rounded(&random.normal(tokens * columns));
        let mut right = vec![0.0; tokens * rows];
        matmul(dtype, &weights, columns, &seen, &mut right);
        Case { dtype, rows, columns, weights, x, right }
    }

    fn run(
        &self,
        gpu: &dyn Gpu,
        blocks: Blocks,
        tokens: usize,
        division: Option<Division<'_>>,
        output: Output<'_>,
    ) {
        let matrix = device_matrix(gpu, self.dtype, self.columns, &self.weights);
        let x = strided(&self.x, self.columns, matrix.input_stride());
        let x = Buffer::from_slice(gpu, &x).unwrap();
        let input = Input { x: x.view(), rows: None, division };
        Product { matrix: &matrix, input, tokens, library: None, output }
            .run_in(gpu, blocks)
            .unwrap();
    }

    /// The plain product of the first `tokens`.
    fn stored(&self, gpu: &dyn Gpu, blocks: Blocks, tokens: usize) -> Vec<f32> {
        let mut out = poisoned(gpu, tokens * self.rows);
        let output =
            Output::Store { out: out.view_mut(), stride: self.rows, bias: None, softcap: None };
        self.run(gpu, blocks, tokens, None, output);
        read(gpu, &out)
    }
}

#[test]
fn every_format_multiplies() {
    let mut random = Random::new(3);
    for dtype in DTYPES {
        for columns in columns_of(dtype) {
            for (tokens, blocks) in [(1, Blocks::Of8), (9, Blocks::Of32)] {
                // A whole tile and an odd rest.
                let case = Case::new(&mut random, dtype, [27, columns, tokens]);
                let found = on_devices(|gpu| case.stored(gpu, blocks, tokens));
                assert_close(&found, &case.right, 1e-5);
            }
        }
    }
}

#[test]
fn every_format_multiplies_the_same_bits_in_wide_blocks() {
    let mut random = Random::new(9);
    for dtype in DTYPES {
        // A part of one group; an odd number of groups; and more spans than there are parts.
        let columns = columns_of(dtype).into_iter().chain([2304]);
        for (columns, tokens) in columns.zip([100, 33, 64]) {
            // Three tiles, the last of them not whole: one warp has two, or three have one.
            let case = Case::new(&mut random, dtype, [43, columns, tokens]);
            let expected = on_devices(|gpu| case.stored(gpu, Blocks::Of32, tokens));
            for blocks in [Blocks::Of128x64, Blocks::Of256x64] {
                let found = on_devices(|gpu| case.stored(gpu, blocks, tokens));
                assert_close(&found, &case.right, 1e-5);
                let is_equal = bits(&found) == bits(&expected);
                assert!(is_equal, "{dtype}, {columns} columns, {tokens} tokens, {blocks:?}");
            }
        }
    }
}

#[test]
fn wide_blocks_take_all_rows_and_tokens() {
    let mut random = Random::new(10);
    // Several blocks of rows, and of tokens.
    let case = Case::new(&mut random, DType::Q8_0, [300, 96, 130]);
    let expected = on_devices(|gpu| case.stored(gpu, Blocks::Of32, 130));
    for blocks in [Blocks::Of128x64, Blocks::Of256x64] {
        let found = on_devices(|gpu| case.stored(gpu, blocks, 130));
        assert_eq!(bits(&found), bits(&expected), "{blocks:?}");
    }
}

#[test]
fn a_tokens_bits_do_not_depend_on_the_others() {
    let mut random = Random::new(4);
    for dtype in [DType::BF16, DType::Q4_K, DType::Q6_K, DType::Q8_0] {
        // Long enough for every warp to have a span, and two of them a second one.
        let case = Case::new(&mut random, dtype, [16, 2560, 37]);
        let alone = on_devices(|gpu| case.stored(gpu, Blocks::Of8, 1));
        for tokens in [2, 7, 8, 9, 33, 37] {
            let blocks = if tokens <= 8 { Blocks::Of8 } else { Blocks::Of32 };
            let found = on_devices(|gpu| case.stored(gpu, blocks, tokens));
            assert_eq!(bits(&found[..16]), bits(&alone), "{dtype}, {tokens} tokens");
            assert_close(&found, &case.right[..tokens * 16], 1e-5);
        }
    }
}

#[test]
fn larger_blocks_are_chosen_where_they_fill_the_device() {
    // Of an H200, for matrices of Llama 8B and of a small model.
    let choose = |rows: usize, tokens| Blocks::choose(rows / TILE, tokens, 132);
    for (rows, tokens, right) in [
        (4096, 1, Blocks::Of8),
        (128_256, 8, Blocks::Of8),
        (4096, 9, Blocks::Of32),
        (28_672, 32, Blocks::Of32),
        (1024, 64, Blocks::Of32),
        (4096, 64, Blocks::Of128x64),
        (28_672, 64, Blocks::Of256x64),
        (4096, 512, Blocks::Of256x64),
        (6144, 2048, Blocks::Of256x64),
    ] {
        assert_eq!(choose(rows, tokens), right, "{rows} rows, {tokens} tokens");
    }
}

#[test]
fn stores_with_bias_cap_and_the_norms_division() {
    let mut random = Random::new(5);
    for (tokens, blocks) in [(5, Blocks::Of8), (65, Blocks::Of128x64), (65, Blocks::Of256x64)] {
        check_store(&mut random, tokens, blocks);
    }
}

fn check_store(random: &mut Random, tokens: usize, blocks: Blocks) {
    let [rows, columns, parts] = [35, 192, 12];
    let case = Case::new(random, DType::BF16, [rows, columns, tokens]);
    let bias = random.normal(rows);
    let squares: Vec<f32> = (0..tokens * parts).map(|_| random.in_range(0.0, 40.0)).collect();
    let (eps, cap) = (0.25, 3.0);
    // Rows further apart than they are long: what is between belongs to others.
    let stride = rows + 6;
    let found = on_devices(|gpu| {
        let mut out = poisoned(gpu, tokens * stride);
        let bias = Buffer::from_slice(gpu, &bias).unwrap();
        let squares = Buffer::from_slice(gpu, &squares).unwrap();
        let division = Division { squares: squares.view(), parts, width: columns, eps };
        let output = Output::Store {
            out: out.view_mut(),
            stride,
            bias: Some(bias.view()),
            softcap: Some(cap),
        };
        case.run(gpu, blocks, tokens, Some(division), output);
        read(gpu, &out)
    });
    for token in 0..tokens {
        let sum: f32 = squares[token * parts..(token + 1) * parts].iter().sum();
        let scale = 1.0 / (sum / columns as f32 + eps).sqrt();
        let row = &found[token * stride..(token + 1) * stride];
        let product = case.right[token * rows..(token + 1) * rows].iter().zip(&bias);
        let right: Vec<f32> =
            product.map(|(value, bias)| cap * ((value * scale + bias) / cap).tanh()).collect();
        assert_close(&row[..rows], &right, 1e-5);
        assert!(row[rows..].iter().all(|value| value.is_nan()), "written between rows");
    }
}

#[test]
fn adds_to_the_hidden_state_and_prepares_the_next_product() {
    let mut random = Random::new(6);
    for (dtype, tokens, blocks) in [
        (DType::BF16, 3, Blocks::Of8),
        (DType::Q4_0, 10, Blocks::Of32),
        (DType::Q4_0, 70, Blocks::Of128x64),
        (DType::Q5_1, 70, Blocks::Of256x64),
    ] {
        let [rows, columns, stride] = [40, 320, 128];
        let case = Case::new(&mut random, dtype, [rows, columns, tokens]);
        let (hidden, norm) = (random.normal(tokens * rows), random.normal(rows));
        let tiles = rows.div_ceil(TILE);
        let found = on_devices(|gpu| {
            let mut state = Buffer::from_slice(gpu, &hidden).unwrap();
            let norm = Buffer::from_slice(gpu, &norm).unwrap();
            let mut x = Buffer::zeros(gpu, tokens * stride).unwrap();
            let mut squares = poisoned(gpu, tokens * tiles);
            let next =
                Next { norm: norm.view(), x: x.view_mut(), stride, squares: squares.view_mut() };
            case.run(gpu, blocks, tokens, None, Output::Add { hidden: state.view_mut(), next });
            [read(gpu, &state), widened(&read(gpu, &x)), read(gpu, &squares)].concat()
        });
        let (state, rest) = found.split_at(tokens * rows);
        let (x, squares) = rest.split_at(tokens * stride);
        let right: Vec<f32> = hidden.iter().zip(&case.right).map(|(h, add)| h + add).collect();
        assert_close(state, &right, 1e-5);
        for (token, state) in state.chunks_exact(rows).enumerate() {
            let scaled: Vec<f32> = state.iter().zip(&norm).map(|(h, norm)| h * norm).collect();
            assert_eq!(x[token * stride..][..rows], rounded(&scaled).1);
            assert!(x[token * stride + rows..][..stride - rows].iter().all(|x| *x == 0.0));
            for (tile, state) in state.chunks(TILE).enumerate() {
                let right: f32 = state.iter().map(|h| h * h).sum();
                let found = squares[token * tiles + tile];
                assert!((found - right).abs() <= 1e-5 * right, "{found} is not {right}");
            }
        }
    }
}

#[test]
fn gates_rows_that_alternate_by_eights() {
    let mut random = Random::new(7);
    for (activation, tokens, blocks) in [
        (GateActivation::Silu, 2, Blocks::Of8),
        (GateActivation::GeluTanh, 11, Blocks::Of32),
        (GateActivation::Silu, 67, Blocks::Of128x64),
        (GateActivation::GeluTanh, 67, Blocks::Of256x64),
    ] {
        let [inner, columns, stride] = [24, 160, 128];
        let case = Case::new(&mut random, DType::Q5_0, [2 * inner, columns, tokens]);
        let found = on_devices(|gpu| {
            let mut x = Buffer::zeros(gpu, tokens * stride).unwrap();
            let output = Output::Gate { activation, x: x.view_mut(), stride };
            case.run(gpu, blocks, tokens, None, output);
            widened(&read(gpu, &x))
        });
        for token in 0..tokens {
            let value = |row: usize| case.right[token * 2 * inner + row];
            let right: Vec<f32> = (0..inner)
                .map(|i| {
                    let gate = value(i / 8 * 16 + i % 8);
                    let up = value(i / 8 * 16 + 8 + i % 8);
                    up * match activation {
                        GateActivation::Silu => silu(gate),
                        GateActivation::GeluTanh => gelu_tanh(gate),
                    }
                })
                .collect();
            assert_close(&found[token * stride..][..inner], &right, 4e-3);
        }
    }
}

#[test]
fn takes_the_rows_of_the_input_that_are_named() {
    let mut random = Random::new(8);
    let [rows, columns, tokens] = [48, 256, 6];
    let case = Case::new(&mut random, DType::Q4_K, [rows, columns, tokens]);
    for blocks in [Blocks::Of8, Blocks::Of32, Blocks::Of128x64, Blocks::Of256x64] {
        check_named(&case, tokens, blocks);
    }
}

fn check_named(case: &Case, tokens: usize, blocks: Blocks) {
    let (rows, columns) = (case.rows, case.columns);
    let named = [5_u32, 0, 3];
    let found = on_devices(|gpu| {
        let matrix = device_matrix(gpu, case.dtype, columns, &case.weights);
        let x = Buffer::from_slice(gpu, &case.x).unwrap();
        let named = Buffer::from_slice(gpu, &named).unwrap();
        let mut out = poisoned(gpu, named.len() * rows);
        // SAFETY: all of `named` are below `tokens`.
        let indices = unsafe { Indices::new(named.view(), tokens) };
        let input = Input { x: x.view(), rows: Some(indices), division: None };
        let output = Output::Store { out: out.view_mut(), stride: rows, bias: None, softcap: None };
        let product =
            Product { matrix: &matrix, input, tokens: named.len(), library: None, output };
        product.run_in(gpu, blocks).unwrap();
        read(gpu, &out)
    });
    for (found, row) in found.chunks_exact(rows).zip(named) {
        assert_close(found, &case.right[row as usize * rows..][..rows], 1e-5);
    }
}
