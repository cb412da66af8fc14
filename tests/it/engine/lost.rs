//! A GPU that fails at any of its launches: what was sampled before is right, every sequence ends
//! as failed, the engine takes no more.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use kernels::cuda::{Arrival, DenseProduct, Emulator, Gpu, GpuError, Memory, Order, Recording};
use mizan::engine::{Engine, EngineOptions, FinishReason};
use mizan::model::executor::cuda::{CudaExecutor, KvType};
use mizan::model::{Decoder, DecoderShape, ExecutorLimits, Model};

use super::fake::{read_all, request};
use crate::support::tiny_models::{self, Storage, TinyModel};

const NUM_TOKENS: usize = 5;

/// The emulator, as long as there are launches left.
#[derive(Debug)]
struct Failing {
    emulator: Emulator,
    left: Arc<AtomicUsize>,
}

/// Takes one of them.
fn take(left: &AtomicUsize) -> Result<(), GpuError> {
    match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => Ok(()),
        Err(_) => Err(GpuError::Failed("an illegal memory access".to_owned())),
    }
}

/// What is read later fails then too.
#[derive(Debug)]
struct Late {
    arrival: Box<dyn Arrival>,
    left: Arc<AtomicUsize>,
}

impl Arrival for Late {
    fn wait(self: Box<Self>, bytes: &mut [u8]) -> Result<(), GpuError> {
        take(&self.left)?;
        self.arrival.wait(bytes)
    }
}

impl Gpu for Failing {
    fn name(&self) -> String {
        self.emulator.name()
    }

    fn multiprocessors(&self) -> u32 {
        self.emulator.multiprocessors()
    }

    fn free_memory(&self) -> Result<usize, GpuError> {
        self.emulator.free_memory()
    }

    fn total_memory(&self) -> Result<usize, GpuError> {
        self.emulator.total_memory()
    }

    fn allocate(&self, bytes: usize) -> Result<Memory, GpuError> {
        self.emulator.allocate(bytes)
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        // SAFETY: passed on.
        unsafe { self.emulator.write(address, bytes) }
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        take(&self.left)?;
        // SAFETY: passed on.
        unsafe { self.emulator.read(address, bytes) }
    }

    unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Box<dyn Arrival>, GpuError> {
        take(&self.left)?;
        // SAFETY: passed on.
        let arrival = unsafe { self.emulator.read_later(address, bytes)? };
        Ok(Box::new(Late { arrival, left: Arc::clone(&self.left) }))
    }

    unsafe fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 2],
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        // SAFETY: passed on.
        take(&self.left)
            .and_then(|()| unsafe { self.emulator.launch(kernel, grid, threads, parameters) })
    }

    unsafe fn multiply(&self, product: DenseProduct<'_>) -> Result<(), GpuError> {
        take(&self.left)?;
        // SAFETY: passed on.
        unsafe { self.emulator.multiply(product) }
    }

    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), GpuError>,
    ) -> Result<Recording, GpuError> {
        self.emulator.record(launches)
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<(), GpuError> {
        take(&self.left)?;
        // SAFETY: passed on.
        unsafe { self.emulator.replay(recording) }
    }
}

/// An engine whose GPU fails after so many launches, replays and readings; and what is left.
fn start(model: &Arc<Model>, launches: usize) -> (Engine, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(launches));
    let gpu = Failing { emulator: Emulator::new(Order::Forwards), left: Arc::clone(&left) };
    let limits = ExecutorLimits { max_tokens: 8, max_outputs: 2, num_blocks: 4, threads: 1 };
    let executor =
        CudaExecutor::new(Box::new(gpu), Arc::clone(model), limits, KvType::Bf16).expect("it fits");
    let shape = DecoderShape::new(&model.config, &limits);
    let options = EngineOptions {
        max_batch: 1,
        max_step_tokens: 8,
        max_waiting: 4,
        num_blocks: 4,
        prefix_cache: false,
        speculative_rows: 0,
        name: "failing".to_owned(),
    };
    let engine = Engine::start(Decoder::new(Box::new(executor), shape), options);
    (engine.expect("a thread"), left)
}

#[test]
fn a_gpu_that_fails_ends_its_sequences_and_its_engine() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = TinyModel { storage: Storage::BF16, ..tiny_models::llama().with_heads_of(64) };
    tiny.write_folder(folder.path(), 1);
    let model = Arc::new(Model::open(folder.path()).expect("sound"));
    let ask = || request(vec![5, 2, 7], NUM_TOKENS);

    let (engine, left) = start(&model, usize::MAX);
    let (expected, reason) = read_all(&mut engine.submit(ask()).expect("a place"));
    assert_eq!((expected.len(), reason), (NUM_TOKENS, FinishReason::Length));
    let launches = usize::MAX - left.load(SeqCst);

    let mut lens = Vec::new();
    for enough_for in 0..launches {
        let (engine, _) = start(&model, enough_for);
        let mut first = engine.submit(ask()).expect("a place");
        // Waits for the first and never runs, if the engine has not ended by now.
        let second = engine.submit(ask());
        let (tokens, reason) = read_all(&mut first);
        assert_eq!(reason, FinishReason::Failed, "after {enough_for} of {launches}");
        assert_eq!(tokens, expected[..tokens.len()], "after {enough_for} of {launches}");
        if let Ok(mut second) = second {
            assert_eq!(read_all(&mut second), (Vec::new(), FinishReason::Failed));
        }
        assert!(!engine.is_running() && engine.submit(ask()).is_err(), "it takes no more");
        lens.push(tokens.len());
    }
    assert!(lens.is_sorted());
    lens.dedup();
    assert_eq!(lens, [0, 1, 2, 3, 4], "it failed within each step");
}
