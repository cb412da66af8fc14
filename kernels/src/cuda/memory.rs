//! A device and its memory, typed.
//! Promises: a view never reaches beyond its buffer; memory is given back when its buffer is
//! dropped.
//! Never knows: what is computed.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// Why a device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuError {
    /// There is no device of this number, or no driver.
    NoDevice(String),
    /// So many bytes are not free.
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// The driver refused a call, or a kernel failed before it. Nothing more can be run.
    Failed(String),
}

impl fmt::Display for GpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpuError::NoDevice(why) => write!(f, "no NVIDIA GPU can be used: {why}"),
            GpuError::OutOfMemory { bytes } => {
                write!(f, "the GPU has no {} MiB of memory left", bytes.div_ceil(1 << 20))
            }
            GpuError::Failed(why) => write!(f, "the GPU failed: {why}"),
        }
    }
}

impl std::error::Error for GpuError {}

/// A device that runs kernels, in the order in which they are launched.
pub trait Gpu: Send + Sync + fmt::Debug {
    /// Its name, for messages.
    fn name(&self) -> String;

    /// Multiprocessors, which run blocks at the same time.
    fn multiprocessors(&self) -> u32;

    /// Bytes that can still be allocated.
    fn free_memory(&self) -> Result<usize, GpuError>;

    /// Bytes of memory in all.
    fn total_memory(&self) -> Result<usize, GpuError>;

    /// Memory of zeros, aligned to 256 bytes.
    fn allocate(&self, bytes: usize) -> Result<Memory, GpuError>;

    /// Copies to the device, before what is launched next. `bytes` may be reused at once.
    ///
    /// # Safety
    /// All of the bytes at `address` lie in one [`Memory`] of this device.
    unsafe fn write(&self, address: u64, bytes: &[u8]) -> Result<(), GpuError>;

    /// Copies from the device, after what was launched so far, for which it waits.
    ///
    /// # Safety
    /// As for `write`.
    unsafe fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// Copies so many bytes from the device, after what was launched so far, without waiting.
    ///
    /// # Safety
    /// As for `write`.
    unsafe fn read_later(&self, address: u64, bytes: usize) -> Result<Box<dyn Arrival>, GpuError>;

    /// Queues a kernel.
    ///
    /// # Safety
    /// `parameters` are the bytes of the kernel's own parameter block, and whatever it does with
    /// them stays in memory of this device that nobody else uses at that time.
    unsafe fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 2],
        threads: u32,
        parameters: &[u8],
    ) -> Result<(), GpuError>;

    /// Queues a product of dense matrices, by the vendor's library.
    ///
    /// # Safety
    /// What it names is memory of this device, of these sizes, and `out` of nobody else at that
    /// time.
    unsafe fn multiply(&self, product: DenseProduct<'_>) -> Result<(), GpuError>;

    /// Has what `launches` launches noted instead of run. It must ask for nothing else, and
    /// each kernel has run before, each dense product with such sizes.
    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), GpuError>,
    ) -> Result<Recording, GpuError>;

    /// Queues all launches of a recording, at the price of about one.
    ///
    /// # Safety
    /// The recording is this device's, and what was promised of its launches holds again: their
    /// memory still is, and nobody else uses it at that time.
    unsafe fn replay(&self, recording: &Recording) -> Result<(), GpuError>;
}

/// `out = x * weights^T`, with sums in f32.
#[derive(Debug)]
pub struct DenseProduct<'a> {
    /// Address of bf16, `[rows][columns]`.
    pub weights: u64,
    /// Address of bf16, `[tokens][columns]`.
    pub x: u64,
    /// Address of f32, `[tokens][rows]`.
    pub out: u64,
    /// Rows of the weights.
    pub rows: usize,
    /// What is summed up.
    pub columns: usize,
    /// Rows of `x`.
    pub tokens: usize,
    /// Anything, for the library.
    pub workspace: ViewMut<'a, u8>,
}

/// Bytes on their way from a device.
pub trait Arrival: Send + fmt::Debug {
    /// Waits for all of them. There must be room for as many.
    fn wait(self: Box<Self>, bytes: &mut [u8]) -> Result<(), GpuError>;
}

/// Launches with the parameters that they were given, to be queued again and again.
pub struct Recording {
    launches: Box<dyn Any + Send + Sync>,
}

impl Recording {
    /// Of launches as a device keeps them, for [`Gpu::record`].
    pub fn new(launches: impl Any + Send + Sync) -> Self {
        Self { launches: Box::new(launches) }
    }

    /// The launches, if they are kept as a `T`: those of another kind of device are not.
    pub fn launches<T: Any>(&self) -> Option<&T> {
        self.launches.downcast_ref()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a recording of launches")
    }
}

/// A piece of a device's memory.
pub struct Memory {
    pub(super) address: u64,
    pub(super) bytes: usize,
    /// Frees it when dropped.
    pub(super) _owner: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes, self.address)
    }
}

/// Values that a device and a host store alike, any bits of which are one.
///
/// # Safety
/// For implementers: no padding, no invalid bits.
pub unsafe trait Word: Copy + Default + Send + Sync + 'static {}

// SAFETY: plain numbers.
unsafe impl Word for u8 {}
// SAFETY: the same; `u16` is also how bf16 values are held.
unsafe impl Word for u16 {}
// SAFETY: the same.
unsafe impl Word for u32 {}
// SAFETY: the same.
unsafe impl Word for f32 {}

/// `len` values on a device.
#[derive(Debug)]
pub struct Buffer<T> {
    memory: Memory,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Word> Buffer<T> {
    /// Zeros.
    pub fn zeros(gpu: &dyn Gpu, len: usize) -> Result<Self, GpuError> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(GpuError::OutOfMemory { bytes: len })?;
        // Never of no bytes: a kernel may be given its address.
        let memory = gpu.allocate(bytes.max(1))?;
        Ok(Self { memory, len, values: PhantomData })
    }

    /// A copy of `values`.
    pub fn from_slice(gpu: &dyn Gpu, values: &[T]) -> Result<Self, GpuError> {
        let mut buffer = Self::zeros(gpu, values.len())?;
        buffer.write(gpu, 0, values)?;
        Ok(buffer)
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }

    /// Copies values to the device, from index `at` on.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn write(&mut self, gpu: &dyn Gpu, at: usize, values: &[T]) -> Result<(), GpuError> {
        let view = self.view_mut().slice(at..at + values.len());
        // SAFETY: values of `Word` types are their bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        // SAFETY: the view lies in this memory.
        unsafe { gpu.write(view.address, bytes) }
    }

    /// Copies values from the device, from index `at` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, gpu: &dyn Gpu, at: usize, values: &mut [T]) -> Result<(), GpuError> {
        let view = self.view().slice(at..at + values.len());
        // SAFETY: the view lies in this memory.
        unsafe { gpu.read(view.address, bytes_of(values)) }
    }

    /// Copies `len` values from the device, from index `at` on, without waiting.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read_later(
        &self,
        gpu: &dyn Gpu,
        at: usize,
        len: usize,
    ) -> Result<Arriving<T>, GpuError> {
        let view = self.view().slice(at..at + len);
        // SAFETY: the view lies in this memory.
        let arrival = unsafe { gpu.read_later(view.address, len * size_of::<T>())? };
        Ok(Arriving { arrival, len, values: PhantomData })
    }

    /// All of it, to read.
    pub fn view(&self) -> View<'_, T> {
        View { address: self.memory.address, len: self.len, buffer: PhantomData }
    }

    /// All of it, to write.
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut { address: self.memory.address, len: self.len, buffer: PhantomData }
    }
}

/// Values on their way from a device.
#[derive(Debug)]
pub struct Arriving<T> {
    arrival: Box<dyn Arrival>,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Word> Arriving<T> {
    /// Waits for all of them.
    pub fn wait(self) -> Result<Vec<T>, GpuError> {
        let mut values = vec![T::default(); self.len];
        self.arrival.wait(bytes_of(&mut values))?;
        Ok(values)
    }
}

fn bytes_of<T: Word>(values: &mut [T]) -> &mut [u8] {
    let len = size_of_val(values);
    // SAFETY: any bytes are values of `Word` types.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), len) }
}

/// A part of a buffer that a launch reads.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    pub(super) address: u64,
    pub(super) len: usize,
    buffer: PhantomData<&'a T>,
}

impl<T> View<'_, T> {
    /// A part of this part.
    ///
    /// # Panics
    /// If it is not.
    pub fn slice(self, range: Range<usize>) -> Self {
        let (address, len) = part::<T>(self.address, self.len, range);
        Self { address, len, ..self }
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A part of a buffer that a launch writes; it may read it too.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    pub(super) address: u64,
    pub(super) len: usize,
    buffer: PhantomData<&'a mut T>,
}

impl<T> ViewMut<'_, T> {
    /// A part of this part.
    ///
    /// # Panics
    /// If it is not.
    pub fn slice(self, range: Range<usize>) -> Self {
        let (address, len) = part::<T>(self.address, self.len, range);
        Self { address, len, ..self }
    }

    /// The same, to read.
    pub fn as_view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, buffer: PhantomData }
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn part<T>(address: u64, len: usize, range: Range<usize>) -> (u64, usize) {
    assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} values");
    (address + (range.start * size_of::<T>()) as u64, range.len())
}
