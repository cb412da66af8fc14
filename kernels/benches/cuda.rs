//! How fast the GPU's kernels are, at the sizes of a Llama of 8 billion weights.
//!
//! `cargo bench -p kernels --bench cuda --features cuda,emulation` measures on GPU 0. Without the
//! feature `cuda` it runs tiny sizes on the emulator, which only shows that everything runs. Time
//! is the host's, over many launches in a row, so what launching costs is in it; weights are
//! several copies, so that they come from memory and not from a cache.

use std::time::Instant;

use half::f16;
use kernels::DType;
use kernels::cpu::GateActivation;
use kernels::cuda::{
    Attention, AttentionItems, AttentionScratch, Buffer, DenseScratch, DeviceMatrix, Division,
    Format, Gpu, ITEM_WORDS, Input, KvBuffer, KvType, Library, Next, Output, PackedMatrix, Prefill,
    PrefillTiles, Product, StepRows, list_items, list_tiles,
};

const TYPES: [DType; 8] = [
    DType::BF16,
    DType::Q8_0,
    DType::Q6_K,
    DType::Q5_K,
    DType::Q4_K,
    DType::Q5_0,
    DType::Q4_1,
    DType::Q4_0,
];

/// What a product ends with.
#[derive(Clone, Copy)]
enum End {
    Store,
    Add,
    Gate,
}

struct Scale {
    /// Name, rows, columns.
    products: &'static [(&'static str, usize, usize, End)],
    tokens: &'static [usize],
    /// Tokens of a prompt that the library multiplies.
    long: &'static [usize],
    /// Rows, and the context of each.
    attention: &'static [(usize, usize)],
    /// Tokens of a prompt.
    prefill: &'static [usize],
    /// Bytes of weights that no cache holds.
    rotated_bytes: usize,
    seconds: f64,
}

#[cfg(feature = "cuda")]
const SCALE: Scale = Scale {
    products: &[
        ("1 qkv", 6144, 4096, End::Store),
        ("3 output", 4096, 4096, End::Add),
        ("4 gate, up", 28672, 4096, End::Gate),
        ("5 down", 4096, 14336, End::Add),
        ("logits", 128_256, 4096, End::Store),
    ],
    tokens: &[1, 2, 8, 16, 32, 64, 128, 256, 512, 2048],
    long: &[128, 256, 512, 2048],
    attention: &[(1, 1024), (1, 32_768), (16, 4096), (64, 1024), (256, 1024)],
    prefill: &[512, 2048, 8192],
    rotated_bytes: 256 << 20,
    seconds: 0.02,
};

#[cfg(not(feature = "cuda"))]
const SCALE: Scale = Scale {
    products: &[
        ("1 qkv", 48, 256, End::Store),
        ("4 gate, up", 64, 256, End::Gate),
        ("5 down", 32, 512, End::Add),
    ],
    tokens: &[1, 9],
    long: &[9],
    attention: &[(1, 40), (2, 300)],
    prefill: &[20],
    rotated_bytes: 1 << 10,
    seconds: 0.0,
};

fn main() {
    #[cfg(feature = "cuda")]
    let gpu = kernels::cuda::CandleGpu::new(0).expect("a GPU");
    #[cfg(not(feature = "cuda"))]
    let gpu = kernels::cuda::Emulator::new(kernels::cuda::Order::Forwards);
    let gpu: &dyn Gpu = &gpu;
    println!("{}, {} multiprocessors", gpu.name(), gpu.multiprocessors());
    print_products(gpu, SCALE.tokens, SCALE.long);
    #[cfg(feature = "cuda")]
    {
        println!("the same, each launch after the end of the one before");
        let launches = kernels::cuda::Launches::OneByOne;
        let gpu = kernels::cuda::CandleGpu::with_launches(0, launches).expect("a GPU");
        print_products(&gpu, &[1, 8], &[]);
    }
    for kv_type in [KvType::Bf16, KvType::Fp8] {
        println!("attention, {kv_type:?}, 32 heads of 128 over 8 (GB/s of keys and values, us)");
        for &(rows, context) in SCALE.attention {
            let (bytes, seconds) = attention_seconds(gpu, kv_type, rows, context);
            let rate = bytes as f64 / seconds / 1e9;
            println!("{rows:4} rows of {context:6}: {rate:5.0} {:8.1}", seconds * 1e6);
        }
        println!("attention of a prompt, {kv_type:?}, the same heads (TFLOP/s, us)");
        for &tokens in SCALE.prefill {
            let seconds = prefill_seconds(gpu, kv_type, tokens);
            // Two products of which half is masked.
            let rate = 2.0 * (tokens * tokens) as f64 * 4096.0 / seconds / 1e12;
            println!("{tokens:5} tokens: {rate:6.2} {:8.1}", seconds * 1e6);
        }
    }
}

fn print_products(gpu: &dyn Gpu, tokens: &[usize], long: &[usize]) {
    print!("{:6}{:12}", "type", "product");
    tokens.iter().for_each(|tokens| print!("{:>16}", format!("{tokens} tokens")));
    long.iter().for_each(|tokens| print!("{:>16}", format!("{tokens}, library")));
    println!("   (GB/s of weights, microseconds)");
    for dtype in TYPES {
        for &(name, rows, columns, end) in SCALE.products {
            print!("{:6}{name:12}", dtype.name());
            let matrices = matrices(gpu, dtype, rows, columns);
            let short = tokens.iter().map(|tokens| (*tokens, false));
            let long = long.iter().map(|tokens| (*tokens, true));
            for (tokens, is_long) in short.chain(long) {
                let format = Format::of(dtype).filter(|_| is_long);
                let seconds = product_seconds(gpu, &matrices, tokens, end, format);
                let rate = matrices[0].bytes() as f64 / seconds / 1e9;
                print!("{:>16}", format!("{rate:.0} {:.1}", seconds * 1e6));
            }
            println!();
        }
    }
}

/// Random codes with sensible scales, as often as it takes to leave every cache.
fn matrices(gpu: &dyn Gpu, dtype: DType, rows: usize, columns: usize) -> Vec<DeviceMatrix> {
    let row_bytes = dtype.row_bytes(columns).expect("whole blocks");
    let mut state = 1_u64;
    let mut bytes = vec![0_u8; rows * row_bytes];
    for chunk in bytes.chunks_mut(8) {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&(state ^ state >> 29).to_le_bytes()[..chunk.len()]);
    }
    let scale = f16::from_f32(0.01).to_le_bytes();
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        match dtype {
            // Between -2 and 2: neither the sign nor the mantissa is touched.
            DType::BF16 => block[1] = block[1] & 0x80 | 0x3E,
            DType::Q6_K => block[208..210].copy_from_slice(&scale),
            _ => block[..2].copy_from_slice(&scale),
        }
        if matches!(dtype, DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K) {
            block[2..4].copy_from_slice(&scale);
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let row = |row: usize| &bytes[row * row_bytes..(row + 1) * row_bytes];
    let packed = PackedMatrix::new(dtype, [rows, columns], threads, row).expect("it is run");
    let copies = SCALE.rotated_bytes.div_ceil(packed.bytes()).max(2);
    (0..copies).map(|_| packed.upload(gpu).expect("memory")).collect()
}

/// `long`: the matrices' format, if the library is to multiply.
fn product_seconds(
    gpu: &dyn Gpu,
    matrices: &[DeviceMatrix],
    tokens: usize,
    end: End,
    long: Option<Format>,
) -> f64 {
    let (rows, stride) = (matrices[0].rows(), matrices[0].input_stride());
    let mut scratch = long.map(|format| {
        let shapes = std::iter::once((format, [rows, stride]));
        DenseScratch::new(gpu, shapes, tokens).expect("memory")
    });
    let all = 0..tokens;
    let x = Buffer::from_slice(gpu, &vec![0x3F80_u16; tokens * stride]).expect("memory");
    let floats = |len: usize| Buffer::<f32>::zeros(gpu, len).expect("memory");
    let (mut out, norm, squares) = (floats(tokens * rows), floats(rows), floats(tokens));
    let mut next_x = Buffer::<u16>::zeros(gpu, tokens * rows).expect("memory");
    let mut next_squares = floats(tokens * matrices[0].tiles());
    time(gpu, |nth| {
        let division =
            Division { squares: squares.view(), parts: 1, width: matrices[0].columns(), eps: 1.0 };
        let (division, output) = match end {
            End::Store => {
                let out = out.view_mut();
                (Some(division), Output::Store { out, stride: rows, bias: None, softcap: None })
            }
            End::Gate => {
                let (activation, x) = (GateActivation::Silu, next_x.view_mut());
                (Some(division), Output::Gate { activation, x, stride: rows })
            }
            End::Add => {
                let (x, squares) = (next_x.view_mut(), next_squares.view_mut());
                let next = Next { norm: norm.view(), x, stride: rows, squares };
                (None, Output::Add { hidden: out.view_mut(), next })
            }
        };
        let input = Input { x: x.view(), rows: None, division };
        let matrix = &matrices[nth % matrices.len()];
        let library =
            scratch.as_mut().map(|scratch| Library { long: std::slice::from_ref(&all), scratch });
        Product { matrix, input, tokens, library, output }.run(gpu).expect("a launch");
    })
}

/// Keys or values that are all 0.5.
fn kv_buffer(gpu: &dyn Gpu, kv_type: KvType, heads: usize, head_dim: usize) -> KvBuffer {
    let bytes = |byte: u8, len| Buffer::from_slice(gpu, &vec![byte; len]).expect("memory");
    let len = heads * head_dim;
    match kv_type {
        KvType::Bf16 => {
            KvBuffer::Bf16(Buffer::from_slice(gpu, &vec![0x3F00; len]).expect("memory"))
        }
        KvType::Fp8 => KvBuffer::Fp8 { codes: bytes(0x30, len), exponents: bytes(126, heads) },
    }
}

/// Bytes that attention reads, and how long it takes.
fn attention_seconds(gpu: &dyn Gpu, kv_type: KvType, rows: usize, context: usize) -> (usize, f64) {
    let (heads, kv_heads, head_dim) = (32, 8, 128);
    let per_row = context.div_ceil(16);
    let blocks = rows * per_row;
    let position_bytes = 2 * kv_type.position_bytes(kv_heads, head_dim);
    let copies = (SCALE.rotated_bytes / (16 * blocks * position_bytes)).clamp(1, 16);
    let halves = |len: usize| Buffer::from_slice(gpu, &vec![0x3F00_u16; len]).expect("memory");
    let buffer = || kv_buffer(gpu, kv_type, blocks * kv_heads * 16, head_dim);
    let caches: Vec<_> = (0..copies).map(|_| (buffer(), buffer())).collect();
    let (queries, mut out) = (halves(rows * 4096), halves(rows * 4096));
    let mut items = Vec::new();
    (0..rows).for_each(|row| list_items(row, context - 1, None, &mut items));
    let count = items.len() / ITEM_WORDS;
    let upload = |words: &[u32]| Buffer::from_slice(gpu, words).expect("memory");
    let (items, num_items) = (upload(&items), upload(&[count as u32]));
    let positions = upload(&vec![context as u32 - 1; rows]);
    let starts = upload(&(0..rows).map(|row| (row * per_row) as u32).collect::<Vec<_>>());
    let tables = upload(&(0..blocks as u32).rev().collect::<Vec<_>>());
    let mut scratch =
        AttentionScratch::new(gpu, [rows, count], [kv_heads, head_dim]).expect("memory");
    let seconds = time(gpu, |nth| {
        let (keys, values) = &caches[nth % copies];
        Attention {
            queries: queries.view(),
            keys: keys.view(),
            values: values.view(),
            // SAFETY: each row's table has its blocks, all below `blocks`; slots are not read.
            rows: unsafe {
                let places = [&positions, &positions, &starts, &tables];
                StepRows::new(places.map(Buffer::view), blocks, context)
            },
            // SAFETY: listed for these rows.
            items: unsafe { AttentionItems::new(items.view(), num_items.view()) },
            scratch: &mut scratch,
            heads,
            kv_heads,
            head_dim,
            window: None,
            scale: 0.088,
            softcap: None,
            out: out.view_mut(),
            out_stride: 4096,
        }
        .run(gpu)
        .expect("a launch");
    });
    (rows * context * position_bytes, seconds)
}

/// How long attention of a whole prompt takes.
fn prefill_seconds(gpu: &dyn Gpu, kv_type: KvType, tokens: usize) -> f64 {
    let (heads, kv_heads, head_dim) = (32, 8, 128);
    let blocks = tokens.div_ceil(16);
    let halves = |len: usize| Buffer::from_slice(gpu, &vec![0x3F00_u16; len]).expect("memory");
    let [keys, values] = [0, 1].map(|_| kv_buffer(gpu, kv_type, blocks * kv_heads * 16, head_dim));
    let (queries, mut out) = (halves(tokens * 4096), halves(tokens * 4096));
    let upload = |words: &[u32]| Buffer::from_slice(gpu, words).expect("memory");
    let positions = upload(&(0..tokens as u32).collect::<Vec<_>>());
    let (starts, tables) = (upload(&vec![0; tokens]), (0..blocks as u32).rev());
    let tables = upload(&tables.collect::<Vec<_>>());
    let mut tiles = Vec::new();
    list_tiles(0..tokens, heads / kv_heads, &mut tiles);
    let tiles = upload(&tiles);
    time(gpu, |_| {
        Prefill {
            queries: queries.view(),
            keys: keys.view(),
            values: values.view(),
            // SAFETY: the table has the rows' blocks, all below `blocks`; slots are not read.
            rows: unsafe {
                let places = [&positions, &positions, &starts, &tables];
                StepRows::new(places.map(Buffer::view), blocks, tokens)
            },
            // SAFETY: listed for these rows, which are one sequence's.
            tiles: unsafe { PrefillTiles::new(tiles.view()) },
            heads,
            kv_heads,
            head_dim,
            window: None,
            scale: 0.088,
            softcap: None,
            out: out.view_mut(),
            out_stride: 4096,
        }
        .run(gpu)
        .expect("a launch");
    })
}

/// Seconds for a launch, the median of five runs of many.
fn time(gpu: &dyn Gpu, mut launch: impl FnMut(usize)) -> f64 {
    let fence = Buffer::<u32>::zeros(gpu, 1).expect("memory");
    // Reading waits for everything that was launched.
    let wait = || fence.read(gpu, 0, &mut [0]).expect("the GPU works");
    let mut run = |launches: usize| {
        wait();
        let started = Instant::now();
        (0..launches).for_each(&mut launch);
        wait();
        started.elapsed().as_secs_f64() / launches as f64
    };
    let launches = ((SCALE.seconds / run(2)) as usize).clamp(2, 20_000);
    let mut seconds: Vec<f64> = (0..5).map(|_| run(launches)).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[2]
}
