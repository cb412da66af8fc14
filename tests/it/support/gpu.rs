//! What tests of GPU kernels run on.

use kernels::cuda::{Emulator, Gpu, Order};

/// The GPU, which has its own order and is asked for by `Order::Forwards`, or the emulator: always
/// without the feature `cuda`. With it a machine without a GPU fails.
pub fn gpu(order: Order) -> Box<dyn Gpu> {
    #[cfg(feature = "cuda")]
    if order == Order::Forwards {
        return Box::new(kernels::cuda::CandleGpu::new(0).expect("these tests need a GPU"));
    }
    Box::new(Emulator::new(order))
}
