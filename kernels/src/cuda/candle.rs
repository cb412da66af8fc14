//! An NVIDIA GPU, through candle's device: its context, its stream, its memory.
//! Promises: everything is queued on one stream; memory goes back to it when nothing queued before
//! can use it any more.
//! Never knows: what a kernel is for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::result::{memcpy_dtoh_async, memcpy_htod_async};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUdevice_attribute, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode,
};
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaFunction, CudaGraph, CudaStream, DevicePtr, DriverError, LaunchConfig,
    PinnedHostSlice, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;

use super::KERNELS;
use super::memory::{Arrival, Gpu, GpuError, Memory, Recording};

/// All kernels, compiled by `build.rs`.
static FATBIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Bytes of the largest parameter block.
const MAX_PARAMETERS: usize = 256;

/// One GPU.
pub struct CandleGpu {
    stream: Arc<CudaStream>,
    functions: HashMap<&'static str, CudaFunction>,
    name: String,
    multiprocessors: u32,
    /// Memory to read into, which takes long to allocate.
    pinned: Arc<Mutex<Vec<PinnedHostSlice<u8>>>>,
}

impl CandleGpu {
    /// Opens GPU number `ordinal` and loads the kernels onto it.
    pub fn new(ordinal: usize) -> Result<Self, GpuError> {
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
        Ok(Self { stream, functions, name, multiprocessors, pinned: Arc::default() })
    }

    fn lock_pinned(&self) -> MutexGuard<'_, Vec<PinnedHostSlice<u8>>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
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
        // SAFETY: the caller says that these bytes are ours. From pageable memory the driver has
        // copied them when it returns.
        unsafe { memcpy_htod_async(address, bytes, self.stream.cu_stream()) }.map_err(failed)
    }

    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.stream.context().bind_to_thread().map_err(failed)?;
        // SAFETY: the caller says that these bytes are ours; they are waited for before `bytes` is
        // given back.
        unsafe { memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }.map_err(failed)?;
        self.stream.synchronize().map_err(failed)
    }

    unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Box<dyn Arrival>, GpuError> {
        let context = self.stream.context();
        context.bind_to_thread().map_err(failed)?;
        let spare = self.lock_pinned().pop_if(|spare| spare.len() >= bytes);
        let mut pinned = match spare {
            Some(spare) => spare,
            // Without a flag: the default, for writing, is very slow to read.
            // SAFETY: any bytes will do.
            None => unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0) }.map_err(failed)?,
        };
        let to = pinned.as_mut_slice().map_err(failed)?;
        // SAFETY: the caller says that these bytes are ours; they go to memory that is not touched
        // before the event has happened.
        unsafe { memcpy_dtoh_async(&mut to[..bytes], address, self.stream.cu_stream()) }
            .map_err(failed)?;
        let event = self.stream.record_event(None).map_err(failed)?;
        Ok(Box::new(Pinned { event, pinned: Some(pinned), spares: Arc::clone(&self.pinned) }))
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
        let config = LaunchConfig {
            grid_dim: (grid[0], grid[1], 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 0,
        };
        let mut launch = self.stream.launch_builder(function);
        launch.arg(&block);
        // SAFETY: the caller vouches for the parameters.
        unsafe { launch.launch(config) }.map(drop).map_err(failed)
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

/// Memory of the host that the device copies to while the host does something else.
#[derive(Debug)]
struct Pinned {
    /// That the copy is done.
    event: CudaEvent,
    /// `None` once it is given back.
    pinned: Option<PinnedHostSlice<u8>>,
    spares: Arc<Mutex<Vec<PinnedHostSlice<u8>>>>,
}

impl Arrival for Pinned {
    fn wait(mut self: Box<Self>, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.event.synchronize().map_err(failed)?;
        if let Some(pinned) = self.pinned.take() {
            bytes.copy_from_slice(&pinned.as_slice().map_err(failed)?[..bytes.len()]);
            self.spares.lock().unwrap_or_else(PoisonError::into_inner).push(pinned);
        }
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Not freed while the device may still write there. If this fails, it writes no more.
        if self.pinned.is_some() {
            let _ = self.event.synchronize();
        }
    }
}

/// A CUDA graph: the driver wants one call with it at a time.
struct Graph(Mutex<Handle>);

struct Handle(CudaGraph);

// SAFETY: a graph may be used from any thread if calls are serialized; a lock does that.
unsafe impl Send for Handle {}

fn failed(error: DriverError) -> GpuError {
    GpuError::Failed(error.to_string())
}
