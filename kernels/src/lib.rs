//! Tensor kernels: storage types, quantized products, attention and the elementwise steps of a
//! decoder, on the CPU.
//!
//! [`reference`] is the definition of correct: scalar and obvious. [`cpu`] computes the same fast.
//! Promises: a result never depends on the number of threads or on what else is in the batch.
//! Never knows: model files, families, tokens, requests.
#![allow(clippy::needless_range_loop, reason = "lanes, rows and blocks are counted together")]

pub mod cpu;
pub mod cuda;
mod dtype;
pub mod reference;

pub use dtype::DType;
