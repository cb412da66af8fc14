//! Products of many tokens, in which the library multiplies.

use std::ops::Range;

use super::*;
use crate::cpu::GateActivation;
use crate::cuda::launch::DenseLimits;
use crate::reference::{dequantize_row, matmul, silu};

/// So little that a matrix of more than 128 rows takes several turns.
const NARROW: DenseLimits = DenseLimits { weights: 1, sums: 1 };

struct Case {
    dtype: DType,
    rows: usize,
    columns: usize,
    weights: Vec<u8>,
    /// bf16, `[tokens, columns]`.
    x: Vec<u16>,
    /// What the library should find of the weights rounded to bf16, `[tokens, rows]`.
    right: Vec<f32>,
}

impl Case {
    fn new(random: &mut Random, dtype: DType, [rows, columns, tokens]: [usize; 3]) -> Self {
        let weights = random_rows(random, dtype, rows, columns);
        let (x, seen) = rounded(&random.normal(tokens * columns));
        let mut row = vec![0.0; columns];
        let rounded_weights: Vec<u8> = weights
            .chunks_exact(dtype.row_bytes(columns).unwrap())
            .flat_map(|bytes| {
                dequantize_row(dtype, bytes, &mut row);
                rounded(&row).0
            })
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut right = vec![0.0; tokens * rows];
        matmul(DType::BF16, &rounded_weights, columns, &seen, &mut right);
        Case { dtype, rows, columns, weights, x, right }
    }

    fn run(
        &self,
        gpu: &dyn Gpu,
        limits: DenseLimits,
        long: Option<&[Range<usize>]>,
        division: Option<Division<'_>>,
        output: Output<'_>,
    ) {
        let matrix = device_matrix(gpu, self.dtype, self.columns, &self.weights);
        let x = strided(&self.x, self.columns, matrix.input_stride());
        let x = Buffer::from_slice(gpu, &x).unwrap();
        let tokens = self.right.len() / self.rows;
        let format = Format::of(self.dtype).unwrap();
        let shapes = std::iter::once((format, [self.rows, self.columns]));
        let mut scratch = DenseScratch::with_limits(gpu, shapes, tokens, limits).unwrap();
        let input = Input { x: x.view(), rows: None, division };
        let library = long.map(|long| Library { long, scratch: &mut scratch });
        Product { matrix: &matrix, input, tokens, library, output }.run(gpu).unwrap();
    }

    fn stored(&self, gpu: &dyn Gpu, limits: DenseLimits, long: &[Range<usize>]) -> Vec<f32> {
        self.stored_by(gpu, limits, Some(long))
    }

    fn by_kernels(&self, gpu: &dyn Gpu) -> Vec<f32> {
        self.stored_by(gpu, NARROW, None)
    }

    fn stored_by(
        &self,
        gpu: &dyn Gpu,
        limits: DenseLimits,
        long: Option<&[Range<usize>]>,
    ) -> Vec<f32> {
        let mut out = poisoned(gpu, self.right.len());
        let output =
            Output::Store { out: out.view_mut(), stride: self.rows, bias: None, softcap: None };
        self.run(gpu, limits, long, None, output);
        read(gpu, &out)
    }
}

fn only(tokens: Range<usize>) -> [Range<usize>; 1] {
    std::array::from_fn(|_| tokens.clone())
}

#[test]
fn every_format_is_expanded() {
    let mut random = Random::new(20);
    for dtype in DTYPES {
        for columns in columns_of(dtype) {
            // Nine tiles, the last of them not whole: the second turn has one.
            let case = Case::new(&mut random, dtype, [139, columns, 11]);
            for limits in [NARROW, DenseLimits::USUAL] {
                let found = on_devices(|gpu| case.stored(gpu, limits, &only(0..11)));
                assert_close(&found, &case.right, 1e-6);
            }
        }
    }
}

#[test]
fn what_is_not_in_a_long_run_has_the_bits_that_it_has_without() {
    let mut random = Random::new(21);
    let case = Case::new(&mut random, DType::Q4_K, [40, 512, 60]);
    let alone = on_devices(|gpu| case.by_kernels(gpu));
    for long in [vec![3..20, 25..60], only(0..17).to_vec(), vec![10..30, 30..50]] {
        let found = on_devices(|gpu| case.stored(gpu, NARROW, &long));
        assert_close(&found, &case.right, 3e-3);
        for token in 0..60 {
            let place = token * case.rows..(token + 1) * case.rows;
            let (found, alone) = (&found[place.clone()], &alone[place.clone()]);
            if long.iter().any(|run| run.contains(&token)) {
                assert_close(found, &case.right[place], 1e-6);
            } else {
                assert_eq!(bits(found), bits(alone), "token {token} beside {long:?}");
            }
        }
    }
}

/// Between long runs the library takes so many tokens of bf16 too, and fewer or others not.
#[test]
fn many_tokens_of_bf16_are_multiplied_by_the_library() {
    let mut random = Random::new(26);
    for (dtype, tokens) in [(DType::BF16, 131), (DType::BF16, 130), (DType::Q8_0, 131)] {
        let case = Case::new(&mut random, dtype, [32, 2304, tokens]);
        let found = on_devices(|gpu| case.stored(gpu, NARROW, &only(0..3)));
        let alone = on_devices(|gpu| case.by_kernels(gpu));
        let is_dense = dtype == DType::BF16 && tokens - 3 >= DENSE_TOKENS;
        let from = 3 * case.rows;
        assert_eq!(bits(&found[from..]) != bits(&alone[from..]), is_dense, "{dtype}, {tokens}");
        assert_close(&found, &case.right, 3e-3);
    }
}

#[test]
fn long_runs_store_with_bias_cap_and_the_norms_division() {
    let mut random = Random::new(22);
    let [rows, columns, parts, tokens] = [35, 192, 12, 21];
    let case = Case::new(&mut random, DType::BF16, [rows, columns, tokens]);
    let bias = random.normal(rows);
    let squares: Vec<f32> = (0..tokens * parts).map(|_| random.in_range(0.0, 40.0)).collect();
    let (eps, cap) = (0.25, 3.0);
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
        case.run(gpu, NARROW, Some(&only(4..tokens)), Some(division), output);
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
fn long_runs_are_added_and_prepare_the_next_product() {
    let mut random = Random::new(23);
    let [rows, columns, stride, tokens] = [1100, 64, 1152, 9];
    let case = Case::new(&mut random, DType::Q8_0, [rows, columns, tokens]);
    let (hidden, norm) = (random.normal(tokens * rows), random.normal(rows));
    let tiles = rows.div_ceil(TILE);
    let found = on_devices(|gpu| {
        let mut state = Buffer::from_slice(gpu, &hidden).unwrap();
        let norm = Buffer::from_slice(gpu, &norm).unwrap();
        let mut x = Buffer::zeros(gpu, tokens * stride).unwrap();
        let mut squares = poisoned(gpu, tokens * tiles);
        let next = Next { norm: norm.view(), x: x.view_mut(), stride, squares: squares.view_mut() };
        let output = Output::Add { hidden: state.view_mut(), next };
        case.run(gpu, DenseLimits::USUAL, Some(&only(0..tokens)), None, output);
        [read(gpu, &state), widened(&read(gpu, &x)), read(gpu, &squares)].concat()
    });
    let (state, rest) = found.split_at(tokens * rows);
    let (x, squares) = rest.split_at(tokens * stride);
    let right: Vec<f32> = hidden.iter().zip(&case.right).map(|(h, add)| h + add).collect();
    assert_close(state, &right, 1e-6);
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

#[test]
fn long_runs_are_gated() {
    let mut random = Random::new(24);
    let [inner, columns, stride, tokens] = [88, 160, 128, 10];
    let case = Case::new(&mut random, DType::Q5_1, [2 * inner, columns, tokens]);
    let found = on_devices(|gpu| {
        let mut x = Buffer::zeros(gpu, tokens * stride).unwrap();
        let output = Output::Gate { activation: GateActivation::Silu, x: x.view_mut(), stride };
        case.run(gpu, NARROW, Some(&only(1..tokens)), None, output);
        widened(&read(gpu, &x))
    });
    for token in 0..tokens {
        let value = |row: usize| case.right[token * 2 * inner + row];
        let gate_up = |i: usize| (value(i / 8 * 16 + i % 8), value(i / 8 * 16 + 8 + i % 8));
        let right: Vec<f32> = (0..inner).map(gate_up).map(|(gate, up)| up * silu(gate)).collect();
        assert_close(&found[token * stride..][..inner], &right, 6e-3);
    }
}

/// The kernels' way and the library's, of weights that both take as they are.
#[test]
fn both_ways_agree_but_for_rounding() {
    let mut random = Random::new(25);
    let case = Case::new(&mut random, DType::BF16, [64, 2304, 70]);
    let short = on_devices(|gpu| case.by_kernels(gpu));
    let long = on_devices(|gpu| case.stored(gpu, NARROW, &only(0..70)));
    assert_close(&long, &short, 1e-6);
}
