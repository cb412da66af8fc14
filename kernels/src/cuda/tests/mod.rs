//! The kernels against `crate::reference`.
//!
//! Without the feature `cuda` they run on the emulator, each launch twice: with blocks and threads
//! taking turns forwards, and backwards, and the results must be the same bits. With it the same
//! tests run on the GPU, and fail where there is none.

mod attention;
mod cache;
mod dense;
mod heads;
mod packing;
mod prefill;
mod product;
mod rows;
mod sampling;

use half::bf16;

use super::*;
use crate::DType;
use crate::cpu::testing::Random;

/// Runs a test's launches on every device there is, and compares what they give.
fn on_devices(launches: impl Fn(&dyn Gpu) -> Vec<f32>) -> Vec<f32> {
    #[cfg(feature = "cuda")]
    {
        let gpu = CandleGpu::new(0).expect("tests with the feature `cuda` need a GPU");
        let (first, second) = (launches(&gpu), launches(&gpu));
        assert_eq!(bits(&first), bits(&second), "the same launches give the same bits");
        first
    }
    #[cfg(not(feature = "cuda"))]
    {
        let forwards = launches(&Emulator::new(Order::Forwards));
        let backwards = launches(&Emulator::new(Order::Backwards));
        assert_eq!(bits(&forwards), bits(&backwards), "results depend on who runs first");
        forwards
    }
}

/// The emulator has its own list of kernels; this is what nvcc made of the sources.
#[cfg(feature = "cuda")]
#[test]
fn the_compiled_module_has_every_kernel() {
    let report = include_str!(concat!(env!("OUT_DIR"), "/ptxas.txt"));
    let compiled = |name: &str| report.contains(&format!("Compiling entry function '{name}'"));
    let missing: Vec<_> = KERNELS.into_iter().filter(|name| !compiled(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A buffer that nobody has written yet: no value in it is a number.
fn poisoned<T: Word>(gpu: &dyn Gpu, len: usize) -> Buffer<T> {
    let bytes = Buffer::<u8>::from_slice(gpu, &vec![0xFF; len * size_of::<T>()]).unwrap();
    let mut poison = vec![T::default(); len];
    // SAFETY: any bytes are values of `Word` types.
    let raw = unsafe {
        std::slice::from_raw_parts_mut(poison.as_mut_ptr().cast::<u8>(), len * size_of::<T>())
    };
    bytes.read(gpu, 0, raw).unwrap();
    Buffer::from_slice(gpu, &poison).unwrap()
}

fn read<T: Word>(gpu: &dyn Gpu, buffer: &Buffer<T>) -> Vec<T> {
    let mut values = vec![T::default(); buffer.len()];
    buffer.read(gpu, 0, &mut values).unwrap();
    values
}

/// What kernels are given: rounded to bf16, and what they then see.
fn rounded(values: &[f32]) -> (Vec<u16>, Vec<f32>) {
    let halves: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    (halves.iter().map(|x| x.to_bits()).collect(), halves.iter().map(|x| x.to_f32()).collect())
}

fn widened(halves: &[u16]) -> Vec<f32> {
    halves.iter().map(|bits| bf16::from_bits(*bits).to_f32()).collect()
}

/// Rows of `columns` values, as far apart as `stride`, with zeros between.
fn strided(values: &[u16], columns: usize, stride: usize) -> Vec<u16> {
    let mut out = vec![0; values.len() / columns * stride];
    for (from, to) in values.chunks_exact(columns).zip(out.chunks_exact_mut(stride)) {
        to[..columns].copy_from_slice(from);
    }
    out
}

/// The distance from `right`, as a share of its length. NaN is far.
#[track_caller]
fn assert_close(found: &[f32], right: &[f32], tolerance: f64) {
    assert_eq!(found.len(), right.len());
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(right).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let distance: f64 = pairs.clone().map(|(a, b)| square(a - b)).sum();
    let length: f64 = pairs.map(|(_, b)| square(b)).sum();
    let error = (distance / length).sqrt();
    assert!(error <= tolerance, "off by {error:.2e} of {tolerance:.0e}");
}

/// Rows of any bits, with scales that are ordinary numbers.
fn random_rows(random: &mut Random, dtype: DType, rows: usize, columns: usize) -> Vec<u8> {
    let mut bytes = random.bytes(rows * dtype.row_bytes(columns).unwrap());
    let scales: &[usize] = match dtype {
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q6_K => &[208],
        DType::BF16 => {
            let (halves, _) = rounded(&random.normal(rows * columns));
            return halves.into_iter().flat_map(u16::to_le_bytes).collect();
        }
        other => panic!("{other} is not run"),
    };
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for at in scales {
            let scale = half::f16::from_f32(random.in_range(-0.1, 0.1));
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

fn device_matrix(gpu: &dyn Gpu, dtype: DType, columns: usize, bytes: &[u8]) -> DeviceMatrix {
    let row_bytes = dtype.row_bytes(columns).unwrap();
    let row = |row: usize| &bytes[row * row_bytes..(row + 1) * row_bytes];
    let shape = [bytes.len() / row_bytes, columns];
    PackedMatrix::new(dtype, shape, 2, row).unwrap().upload(gpu).unwrap()
}

const DTYPES: [DType; 9] = [
    DType::BF16,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
];

/// Column counts that end within a group, and within a span of two.
fn columns_of(dtype: DType) -> [usize; 2] {
    if dtype.block_len() == 256 { [256, 768] } else { [96, 704] }
}
