//! A GPU on the CPU: the kernels' own sources, compiled by a C++ compiler, thread by thread.
//! Promises: faithful in what each thread computes and in which lanes exchange what
//! (`kernels/cuda/emulation/machine.hpp` tells how); memory around buffers is NaN and is found
//! changed if a kernel wrote there. Slow; for tests.
//! Never knows: what a kernel is for.

use std::ffi::{CStr, CString, c_char, c_void};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use half::bf16;

use super::memory::{Arrival, DenseProduct, Gpu, GpuError, Memory, Recording};

/// Which block and which thread runs first. Results must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first on.
    Forwards,
    /// From the last.
    Backwards,
}

/// Runs launches to their end, one at a time.
#[derive(Debug)]
pub struct Emulator {
    order: Order,
    /// Launches that are noted instead of run, while a recording is made.
    noted: Mutex<Option<Vec<Launch>>>,
    memory: usize,
    used: Arc<AtomicUsize>,
}

/// A launch as it was asked for.
#[derive(Clone, Debug)]
enum Launch {
    Kernel { kernel: &'static str, grid: [u32; 2], threads: u32, parameters: Vec<u8> },
    Dense(Dense),
}

/// A dense product: the addresses of weights, input and output, and the sizes.
#[derive(Clone, Copy, Debug)]
struct Dense {
    weights: u64,
    x: u64,
    out: u64,
    rows: usize,
    columns: usize,
    tokens: usize,
}

impl Dense {
    /// # Safety
    /// As for [`Gpu::multiply`].
    unsafe fn run(self) {
        let Dense { weights, x, out, rows, columns, tokens } = self;
        let halves = |address: u64, len: usize| {
            let from = std::ptr::with_exposed_provenance::<bf16>(address as usize);
            // SAFETY: the caller says that these are so many.
            unsafe { std::slice::from_raw_parts(from, len) }.iter().map(|half| half.to_f32())
        };
        let weights: Vec<f32> = halves(weights, rows * columns).collect();
        let x: Vec<f32> = halves(x, tokens * columns).collect();
        let to = std::ptr::with_exposed_provenance_mut::<f32>(out as usize);
        // SAFETY: the caller says that these are so many, and nobody else's.
        let out = unsafe { std::slice::from_raw_parts_mut(to, tokens * rows) };
        for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(rows)) {
            for (weights, out) in weights.chunks_exact(columns).zip(out) {
                *out = x.iter().zip(weights).map(|(x, weight)| x * weight).sum();
            }
        }
    }
}

type Emulate = unsafe extern "C" fn(
    *const c_char,
    *const u32,
    u32,
    *const c_void,
    usize,
    u32,
) -> *const c_char;

impl Emulator {
    /// An emulator that takes turns in this order.
    ///
    /// # Panics
    /// If no C++ compiler compiles the kernels.
    pub fn new(order: Order) -> Self {
        Self::with_memory(order, 1 << 30)
    }

    /// The same with so many bytes of memory.
    ///
    /// # Panics
    /// If no C++ compiler compiles the kernels.
    pub fn with_memory(order: Order, memory: usize) -> Self {
        library();
        Self { order, noted: Mutex::new(None), memory, used: Arc::default() }
    }
}

impl Emulator {
    fn lock_noted(&self) -> MutexGuard<'_, Option<Vec<Launch>>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The compiled kernels. They use one set of threads: the lock is held for a launch.
fn library() -> &'static Mutex<Emulate> {
    static LIBRARY: OnceLock<Mutex<Emulate>> = OnceLock::new();
    LIBRARY.get_or_init(|| Mutex::new(compile()))
}

/// The kernels and what runs them, by their place: tests may run on another machine than the one
/// that built them.
macro_rules! sources {
    ($($path:literal),+ $(,)?) => {
        [$(($path, include_str!(concat!("../../cuda/", $path)))),+]
    };
}

const SOURCES: [(&str, &str); 16] = sources![
    "machine.cuh",
    "formats.cuh",
    "product.cuh",
    "product.cu",
    "product_wide.cu",
    "dense.cu",
    "rows.cu",
    "cache.cuh",
    "heads.cu",
    "attention.cuh",
    "attention.cu",
    "prefill.cu",
    "sampling.cuh",
    "sampling.cu",
    "emulation/machine.hpp",
    "emulation/emulator.cpp",
];

fn compile() -> Emulate {
    let folder = std::env::temp_dir().join(format!("mizan-emulator-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("emulation")).expect("a temporary folder can be made");
    for (path, text) in SOURCES {
        std::fs::write(folder.join(path), text).expect("a temporary file can be written");
    }
    let source = folder.join("emulation/emulator.cpp");
    let library = folder.join("kernels.so");
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let output = Command::new(&compiler)
        // Fibres jump between stacks, which fortified `longjmp` takes for an error. Products and
        // sums are not fused where the source does not say so.
        .args(["-std=c++17", "-O2", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE"])
        .args(["-ffp-contract=off", "-o"])
        .args([library.as_os_str(), source.as_os_str()])
        .output()
        .unwrap_or_else(|error| panic!("no C++ compiler {compiler:?} (set CXX): {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = CString::new(library.into_os_string().into_encoded_bytes()).expect("no NUL");
    // SAFETY: a library without initializers that do anything; it is never closed.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "the compiled kernels can be loaded");
    // SAFETY: a live handle and a C string.
    let symbol = unsafe { libc::dlsym(handle, c"emulate".as_ptr()) };
    assert!(!symbol.is_null(), "the compiled kernels have their entry");
    // It stays mapped; the files are not needed any more, and nobody minds if they stay.
    let _ = std::fs::remove_dir_all(&folder);
    // SAFETY: that is how `emulator.cpp` declares it.
    unsafe { std::mem::transmute::<*mut c_void, Emulate>(symbol) }
}

/// Bytes before and behind each piece of memory.
const FENCE: usize = 4096;
/// Two of them are a bf16, four a float that is no number; and no index is so high.
const POISON: u8 = 0xFF;

/// Memory between fences.
struct Fenced {
    /// Aligned as a device's memory is.
    words: Vec<Line>,
    bytes: usize,
    /// Bytes of its device that are.
    used: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line {
    _bytes: [u8; 256],
}

impl Fenced {
    fn new(bytes: usize, used: &Arc<AtomicUsize>) -> Self {
        let lines = bytes.div_ceil(256) + 2 * FENCE / 256;
        let words = vec![Line { _bytes: [POISON; 256] }; lines];
        used.fetch_add(bytes, Relaxed);
        let mut fenced = Self { words, bytes, used: Arc::clone(used) };
        fenced.all_mut()[FENCE..FENCE + bytes].fill(0);
        fenced
    }

    fn all(&self) -> &[u8] {
        // SAFETY: lines are bytes, side by side.
        unsafe {
            std::slice::from_raw_parts(self.words.as_ptr().cast::<u8>(), self.words.len() * 256)
        }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        let len = self.words.len() * 256;
        // SAFETY: lines are bytes, side by side.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast::<u8>(), len) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Relaxed);
        let all = self.all();
        let (before, behind) = (&all[..FENCE], &all[FENCE + self.bytes..]);
        let is_whole = before.iter().chain(behind).all(|byte| *byte == POISON);
        if !std::thread::panicking() {
            assert!(is_whole, "a kernel wrote outside of {} bytes", self.bytes);
        }
    }
}

/// What was read when it was asked for, as on a device that is fast enough.
#[derive(Debug)]
struct Copied(Vec<u8>);

impl Arrival for Copied {
    fn wait(self: Box<Self>, bytes: &mut [u8]) -> Result<(), GpuError> {
        bytes.copy_from_slice(&self.0);
        Ok(())
    }
}

impl Gpu for Emulator {
    fn name(&self) -> String {
        "emulated GPU".to_owned()
    }

    fn multiprocessors(&self) -> u32 {
        3
    }

    fn free_memory(&self) -> Result<usize, GpuError> {
        Ok(self.memory.saturating_sub(self.used.load(Relaxed)))
    }

    fn total_memory(&self) -> Result<usize, GpuError> {
        Ok(self.memory)
    }

    fn allocate(&self, bytes: usize) -> Result<Memory, GpuError> {
        if bytes > self.free_memory()? {
            return Err(GpuError::OutOfMemory { bytes });
        }
        let mut fenced = Box::new(Fenced::new(bytes, &self.used));
        let address = fenced.all_mut()[FENCE..].as_mut_ptr().expose_provenance() as u64;
        Ok(Memory { address, bytes, _owner: fenced })
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let to = std::ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: the caller says that these bytes are ours.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        let from = std::ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY: the caller says that these bytes are ours.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Box<dyn Arrival>, GpuError> {
        let mut copy = vec![0; bytes];
        // SAFETY: the caller says that these bytes are ours.
        unsafe { self.read(address, &mut copy)? };
        Ok(Box::new(Copied(copy)))
    }

    unsafe fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 2],
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        if let Some(noted) = self.lock_noted().as_mut() {
            let parameters = parameters.to_vec();
            noted.push(Launch::Kernel { kernel, grid, threads, parameters });
            return Ok(());
        }
        let name = CString::new(kernel).expect("names have no NUL");
        // Parameter blocks begin with addresses.
        let words: Vec<u64> = parameters
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_ne_bytes(word)
            })
            .collect();
        let emulate = library().lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller vouches for the parameters; the lock is held.
        let fault = unsafe {
            emulate(
                name.as_ptr(),
                grid.as_ptr(),
                threads,
                words.as_ptr().cast(),
                parameters.len(),
                u32::from(self.order == Order::Backwards),
            )
        };
        if fault.is_null() {
            return Ok(());
        }
        // SAFETY: faults are string constants of the library.
        let fault = unsafe { CStr::from_ptr(fault) }.to_string_lossy();
        Err(GpuError::Failed(format!("{kernel}: {fault}")))
    }

    unsafe fn multiply(&self, product: DenseProduct<'_>) -> Result<(), GpuError> {
        let DenseProduct { weights, x, out, rows, columns, tokens, .. } = product;
        let dense = Dense { weights, x, out, rows, columns, tokens };
        match self.lock_noted().as_mut() {
            Some(noted) => noted.push(Launch::Dense(dense)),
            // SAFETY: passed on.
            None => unsafe { dense.run() },
        }
        Ok(())
    }

    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), GpuError>,
    ) -> Result<Recording, GpuError> {
        *self.lock_noted() = Some(Vec::new());
        let outcome = launches();
        let noted = self.lock_noted().take().unwrap_or_default();
        outcome.map(|()| Recording::new(noted))
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<(), GpuError> {
        let launches = recording.launches::<Vec<Launch>>();
        for launch in launches.expect("our recording") {
            match launch {
                Launch::Kernel { kernel, grid, threads, parameters } => {
                    // SAFETY: the caller vouches for them again.
                    unsafe { self.launch(kernel, *grid, *threads, parameters)? };
                }
                // SAFETY: the same.
                Launch::Dense(dense) => unsafe { dense.run() },
            }
        }
        Ok(())
    }
}
