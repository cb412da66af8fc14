//! How fast products with packed weights are, for each type and instruction set.
//!
//! `cargo bench --bench kernels` measures; without `--bench` (as `cargo test` runs it) sizes are
//! small and only show that everything runs. One thread; weights from memory for one token (GB/s),
//! and for several tokens MAC per cycle of the measured clock.

use kernels::DType;
use kernels::cpu::{Activations, Arena, GROUP, Isa, Kinds, PackedMatrix, ThreadPool};
use std::hint::black_box;
use std::time::Instant;

const TYPES: [DType; 11] = [
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::F16,
    DType::BF16,
    DType::F32,
];

/// Batched decode and prefill.
const TOKENS: [usize; 5] = [2, 4, 8, 16, 64];

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let (rows, cols) = if full { (32768, 2048) } else { (16, 256) };
    let clock = clock_hz(full);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let read = read_bandwidth(1, full);
    println!(
        "plain reading: {:.1} GB/s, {:.1} on {cores} threads",
        read,
        read_bandwidth(cores, full)
    );
    println!("weights [{rows}, {cols}], one thread, clock {:.2} GHz", clock / 1e9);
    print!("{:6}{:10}{:>14}{:>9}", "type", "", "1 token GB/s", "of plain");
    TOKENS.iter().for_each(|tokens| print!("{:>12}", format!("{tokens} MAC/c")));
    println!();
    let mut pool = ThreadPool::new(2).expect("threads");
    for dtype in TYPES {
        let row_bytes = dtype.row_bytes(cols).expect("whole blocks");
        // A period that is no multiple of a block: every code occurs, no scale is special.
        let bytes: Vec<u8> = (0..rows * row_bytes).map(|i| (i % 251 * 7 % 61) as u8).collect();
        let size = PackedMatrix::arena_bytes(dtype, rows, cols).expect("whole blocks");
        let mut arena = Arena::new(size).expect("memory");
        let matrix = PackedMatrix::pack(dtype, rows, cols, &bytes, &mut arena, &mut pool)
            .expect("sizes that fit");
        for isa in Isa::available().into_iter().filter(|isa| !full || *isa != Isa::available()[0]) {
            let one = seconds(isa, &matrix, 1, matrix.groups());
            let some = |tokens, groups: usize| {
                let groups = groups.min(matrix.groups());
                let products = (tokens * groups * GROUP * cols) as f64;
                products / (seconds(isa, &matrix, tokens, groups) * clock)
            };
            print!("{:6}{:10}", dtype.name(), format!("{isa:?}"));
            let rate = matrix.bytes() as f64 / one / 1e9;
            print!("{rate:>14.1}{:>8.0}%", 100.0 * rate / read);
            TOKENS.iter().for_each(|tokens| print!("{:>12.1}", some(*tokens, 256)));
            println!();
        }
    }
}

/// The best of a few passes over the first `groups` groups.
fn seconds(isa: Isa, matrix: &PackedMatrix, tokens: usize, groups: usize) -> f64 {
    let cols = matrix.cols();
    let kinds = Kinds::default().with(matrix.kind());
    let mut activations = Activations::new(tokens * cols, kinds);
    let x: Vec<f32> = (0..tokens * cols).map(|i| ((i % 97) as f32 - 48.0) / 48.0).collect();
    activations.fill(isa, &x, cols, kinds);
    // One token's weights are fetched ahead within a call; many tokens take two groups at once.
    let at_once = if tokens == 1 { groups } else { 2 };
    let mut out = vec![[0.0; GROUP]; at_once * tokens];
    let pass = |_| {
        let start = Instant::now();
        for group in (0..groups).step_by(at_once) {
            matrix.product(isa, group..group + at_once, &activations, 0..tokens, &mut out);
            black_box(&mut out);
        }
        start.elapsed().as_secs_f64()
    };
    (0..5).map(pass).fold(f64::INFINITY, f64::min)
}

/// GB/s of reading memory in order, each thread a part of its own: the best of some passes.
fn read_bandwidth(threads: usize, full: bool) -> f64 {
    /// As far ahead as the kernels ask for memory.
    const AHEAD: usize = 8 << 10;
    let len = if full { 512 << 20 } else { 1 << 20 };
    let mut arena = Arena::new(len).expect("memory");
    let mut memory = arena.part(len).expect("memory");
    memory.fill(1);
    let mut pool = ThreadPool::new(threads).expect("threads");
    let pass = |_| {
        let start = Instant::now();
        pool.run(|worker| {
            let own = &memory[worker.share(len / 64).start * 64..worker.share(len / 64).end * 64];
            let mut sums = [0_u64; 8];
            for line in own.as_chunks::<64>().0 {
                prefetch(line.as_ptr().wrapping_add(AHEAD));
                for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                    *sum = sum.wrapping_add(u64::from_le_bytes(*word));
                }
            }
            black_box(sums);
        });
        len as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..8).map(pass).fold(0.0, f64::max)
}

/// Asks for memory that is read soon, wherever `at` points.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint, which reads nothing.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// Cycles in a second, by a chain of dependent additions, one cycle each.
fn clock_hz(full: bool) -> f64 {
    let additions = if full { 200_000_000_u64 } else { 1_000_000 };
    let start = Instant::now();
    let mut x = black_box(1_u64);
    for _ in 0..additions {
        // Opaque, so that the chain is not folded.
        x = black_box_add(x);
    }
    black_box(x);
    additions as f64 / start.elapsed().as_secs_f64()
}

#[inline(always)]
fn black_box_add(x: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut x = x;
        // SAFETY: an addition to a register.
        unsafe { std::arch::asm!("add {0}, 1", inout(reg) x, options(nomem, nostack)) };
        x
    }
    #[cfg(target_arch = "aarch64")]
    {
        let mut x = x;
        // SAFETY: an addition to a register.
        unsafe { std::arch::asm!("add {0}, {0}, 1", inout(reg) x, options(nomem, nostack)) };
        x
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        black_box(x + 1)
    }
}
