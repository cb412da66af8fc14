//! An NVIDIA GPU, through candle's device: its context, its stream, its memory.
//! Promises: everything is queued on one stream; memory goes back to it when nothing queued before
//! can use it any more.
//! Never knows: what a kernel is for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::cublas::CudaBlas;
use candle_core::cuda_backend::cudarc::cublas::result::{CublasError, gemm_ex};
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cublasSetWorkspace_v2, cudaDataType_t,
};
use candle_core::cuda_backend::cudarc::driver::result::{memcpy_dtoh_async, memcpy_htod_async};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute, CUgraphInstantiate_flags, CUlaunchAttribute, CUlaunchAttributeID,
    CUlaunchAttributeValue, CUlaunchConfig, CUresult, CUstreamCaptureMode, cuLaunchKernelEx,
};
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaFunction, CudaGraph, CudaStream, DevicePtr, DriverError, PinnedHostSlice,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;

use super::KERNELS;
use super::memory::{Arrival, DenseProduct, Gpu, GpuError, Memory, Recording};

/// All kernels, compiled by `build.rs`.
static FATBIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Bytes of the largest parameter block.
const MAX_PARAMETERS: usize = 256;

/// Bytes of a copy to the device that go through pinned memory: what a step writes, not weights.
const MAX_STAGED: usize = 4 << 20;

/// Bytes of a piece of pinned memory, at least: they serve for any of a step's copies.
const MIN_PINNED: usize = 1 << 18;

/// When a launch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launches {
    /// While the one before it ends, where the GPU can do that: `let_next_begin` in `machine.cuh`
    /// tells how.
    Overlapping,
    /// After its end.
    OneByOne,
}

/// The compute capability that the kernels' machine code is for, times ten. Other GPUs compile the
/// kernels for 8.0, which cannot overlap.
const CAPABILITY: &str = env!("KERNELS_CAPABILITY");

/// One GPU.
pub struct CandleGpu {
    stream: Arc<CudaStream>,
    functions: HashMap<&'static str, CudaFunction>,
    name: String,
    multiprocessors: u32,
    launches: Launches,
    /// cuBLAS on the same stream. It wants one call with it at a time.
    library: Mutex<Arc<CudaBlas>>,
    /// Kept, as it takes long to allocate.
    pinned: Arc<Mutex<Vec<Pinned>>>,
}

impl CandleGpu {
    /// Opens GPU number `ordinal` and loads the kernels onto it.
    pub fn new(ordinal: usize) -> Result<Self, GpuError> {
        Self::with_launches(ordinal, Launches::Overlapping)
    }

    /// The same, with launches as they are wanted.
    pub fn with_launches(ordinal: usize, launches: Launches) -> Result<Self, GpuError> {
        let no_device = |why: &dyn fmt::Display| GpuError::NoDevice(why.to_string());
        let device = CudaDevice::new_with_stream(ordinal).map_err(|error| no_device(&error))?;
        // SAFETY: all work goes through the one stream, in the order in which it is queued, so
        // there is nothing for events to order.
        unsafe { device.disable_event_tracking() };
        let stream = device.cuda_stream();
        let context = stream.context();
        let module = context
            .load_module(Ptx::from_binary(FATBIN.to_vec()))
            .map_err(|error| no_device(&format_args!("it cannot run these kernels: {error}")))?;
        let load = |name| module.load_function(name).map(|function| (name, function));
        let functions = KERNELS.into_iter().map(load).collect::<Result<_, _>>().map_err(failed)?;
        let count = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).map_err(failed)?.unsigned_abs();
        let name = context.name().map_err(failed)?;
        let (major, minor) = context.compute_capability().map_err(failed)?;
        let can_overlap = major >= 9 && format!("{major}{minor}") == CAPABILITY;
        let launches = if can_overlap { launches } else { Launches::OneByOne };
        let library = Mutex::new(device.cublas_handle());
        let pinned = Arc::default();
        Ok(Self { stream, functions, name, multiprocessors, launches, library, pinned })
    }

    /// Memory of at least so many bytes that no copy uses.
    fn take_pinned(&self, bytes: usize) -> Result<Pinned, GpuError> {
        let is_free = |pinned: &Pinned| pinned.memory.len() >= bytes && pinned.event.is_complete();
        let mut pool = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = pool.iter().position(is_free) {
            return Ok(pool.swap_remove(place));
        }
        let (context, len) = (self.stream.context(), bytes.next_power_of_two().max(MIN_PINNED));
        // Without a flag: the usual one, for writing only, makes reading very slow.
        // SAFETY: any bytes will do.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(len, 0) }.map_err(failed)?;
        Ok(Pinned { memory, event: context.new_event(None).map_err(failed)? })
    }
}

impl fmt::Debug for CandleGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} multiprocessors", self.name, self.multiprocessors)
    }
}

impl Gpu for CandleGpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn free_memory(&self) -> Result<usize, GpuError> {
        self.stream.context().mem_get_info().map(|(free, _)| free).map_err(failed)
    }

    fn total_memory(&self) -> Result<usize, GpuError> {
        self.stream.context().mem_get_info().map(|(_, total)| total).map_err(failed)
    }

    fn allocate(&self, bytes: usize) -> Result<Memory, GpuError> {
        let slice = self.stream.alloc_zeros::<u8>(bytes).map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => GpuError::OutOfMemory { bytes },
            _ => failed(error),
        })?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(Memory { address, bytes, _owner: Box::new(slice) })
    }

    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.stream.context().bind_to_thread().map_err(failed)?;
        let stream = self.stream.cu_stream();
        if bytes.len() > MAX_STAGED {
            // SAFETY: the caller says that these bytes are ours. From pageable memory the driver
            // has copied them when it returns.
            return unsafe { memcpy_htod_async(address, bytes, stream) }.map_err(failed);
        }
        // From pinned memory, or the driver might wait for what runs.
        let mut pinned = self.take_pinned(bytes.len())?;
        let staged = &mut pinned.memory.as_mut_slice().map_err(failed)?[..bytes.len()];
        staged.copy_from_slice(bytes);
        // SAFETY: as above; the staged bytes are not touched before the event has happened.
        unsafe { memcpy_htod_async(address, staged, stream) }.map_err(failed)?;
        pinned.event.record(&self.stream).map_err(failed)?;
        give_back(&self.pinned, pinned);
        Ok(())
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.stream.context().bind_to_thread().map_err(failed)?;
        // SAFETY: the caller says that these bytes are ours; they are waited for before `bytes` is
        // given back.
        unsafe { memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }.map_err(failed)?;
        self.stream.synchronize().map_err(failed)
    }

    unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Box<dyn Arrival>, GpuError> {
        let mut pinned = self.take_pinned(bytes)?;
        let to = &mut pinned.memory.as_mut_slice().map_err(failed)?[..bytes];
        // SAFETY: the caller says that these bytes are ours; they go to memory that is not touched
        // before the event has happened.
        unsafe { memcpy_dtoh_async(to, address, self.stream.cu_stream()) }.map_err(failed)?;
        pinned.event.record(&self.stream).map_err(failed)?;
        Ok(Box::new(Reading { pinned, pool: Arc::clone(&self.pinned) }))
    }

    unsafe fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 2],
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        let function = &self.functions[kernel];
        // The driver reads as many bytes as the kernel declares, from where this begins.
        let mut block = [0_u64; MAX_PARAMETERS / 8];
        for (word, bytes) in block.iter_mut().zip(parameters.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        assert!(parameters.len() <= MAX_PARAMETERS, "{kernel} has a small parameter block");
        self.stream.context().bind_to_thread().map_err(failed)?;
        let mut overlap = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: 1,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut overlap,
            numAttrs: u32::from(self.launches == Launches::Overlapping),
        };
        let mut parameters = [(&raw mut block).cast()];
        let (function, none) = (function.cu_function(), std::ptr::null_mut());
        // SAFETY: the caller vouches for the parameters, which the driver copies.
        unsafe { cuLaunchKernelEx(&raw const config, function, parameters.as_mut_ptr(), none) }
            .result()
            .map_err(failed)
    }

    unsafe fn multiply(&self, product: DenseProduct<'_>) -> Result<(), GpuError> {
        let DenseProduct { weights, x, out, rows, columns, tokens, workspace } = product;
        self.stream.context().bind_to_thread().map_err(failed)?;
        let library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = *library.handle();
        // Its own memory it would allocate when it first wants some, and then there may be none.
        // SAFETY: the caller says that this memory is ours.
        unsafe { cublasSetWorkspace_v2(handle, workspace.address as *mut _, workspace.len) }
            .result()
            .map_err(library_failed)?;
        let [rows, columns, tokens] = [rows, columns, tokens]
            .map(|size| i32::try_from(size).expect("sizes of a product are below 2^31"));
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (bf16, f32) = (cudaDataType_t::CUDA_R_16BF, cudaDataType_t::CUDA_R_32F);
        // To cuBLAS, which goes down columns first, our rows are columns: of weights turned over.
        // SAFETY: the caller vouches for the memory; the factors are read before this returns.
        unsafe {
            gemm_ex(
                handle,
                cublasOperation_t::CUBLAS_OP_T,
                cublasOperation_t::CUBLAS_OP_N,
                rows,
                tokens,
                columns,
                (&raw const one).cast(),
                weights as *const _,
                bf16,
                columns,
                x as *const _,
                bf16,
                columns,
                (&raw const zero).cast(),
                out as *mut _,
                f32,
                rows,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(library_failed)
    }

    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), GpuError>,
    ) -> Result<Recording, GpuError> {
        // Other threads may use the driver meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed)?;
        let outcome = launches();
        // Ended in any case, or the stream would stay useless.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed);
        outcome?;
        let graph = graph?.ok_or_else(|| GpuError::Failed("an empty recording".to_owned()))?;
        graph.upload().map_err(failed)?;
        Ok(Recording::new(Graph(Mutex::new(Handle(graph)))))
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<(), GpuError> {
        let graph = recording.launches::<Graph>();
        let graph =
            graph.ok_or_else(|| GpuError::Failed("another device's recording".to_owned()))?;
        let graph = graph.0.lock().unwrap_or_else(PoisonError::into_inner);
        graph.0.launch().map_err(failed)
    }
}

/// Memory of the host that is copied to or from while the host does something else.
#[derive(Debug)]
struct Pinned {
    memory: PinnedHostSlice<u8>,
    /// That its newest copy is done.
    event: CudaEvent,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Not freed while a copy goes on. If this fails, none does any more.
        let _ = self.event.synchronize();
    }
}

fn give_back(pool: &Mutex<Vec<Pinned>>, pinned: Pinned) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(pinned);
}

/// Bytes on their way to the host.
#[derive(Debug)]
struct Reading {
    pinned: Pinned,
    pool: Arc<Mutex<Vec<Pinned>>>,
}

impl Arrival for Reading {
    fn wait(self: Box<Self>, bytes: &mut [u8]) -> Result<(), GpuError> {
        let Self { pinned, pool } = *self;
        pinned.event.synchronize().map_err(failed)?;
        bytes.copy_from_slice(&pinned.memory.as_slice().map_err(failed)?[..bytes.len()]);
        give_back(&pool, pinned);
        Ok(())
    }
}

/// A CUDA graph: the driver wants one call with it at a time.
struct Graph(Mutex<Handle>);

struct Handle(CudaGraph);

// SAFETY: a graph may be used from any thread if calls are serialized; a lock does that.
unsafe impl Send for Handle {}

fn library_failed(error: CublasError) -> GpuError {
    GpuError::Failed(format!("cuBLAS: {error}"))
}

fn failed(error: DriverError) -> GpuError {
    GpuError::Failed(error.to_string())
}
