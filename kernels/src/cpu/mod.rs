//! The fast path on the CPU: packed weights, paged attention and the fused steps of a layer.
//!
//! A caller packs each weight matrix into an [`Arena`] ([`PackedMatrix::pack`]), makes a [`Cpu`]
//! (its threads) and a [`KvCache`], then runs the steps: [`ProjectHeads`], [`Attention`],
//! [`AddProduct`], [`GateUp`], [`AddProduct`] again, and at the end [`Logits`].
//! Promises: results are the same to the bit for any number of threads, any instruction set and
//! whatever else is in the step. No memory is taken after the start. Idle threads use no CPU.
//! Never knows: model files, families, tokens.

mod activations;
mod arena;
mod attention;
mod elementwise;
mod hand_out;
mod kv_cache;
mod packed;
mod pool;
mod shared;
mod simd;
mod steps;
#[cfg(test)]
pub(crate) mod testing;

pub use activations::{ActivationKind, Activations, Kinds};
pub use arena::{Arena, Part, part_bytes};
pub use attention::{Attention, AttentionScratch, AttentionSequence};
pub use elementwise::{GateActivation, rms_norm, rms_norm_in_place};
pub use hand_out::Cursor;
pub use kv_cache::{BLOCK_POSITIONS, KvCache, KvShape};
pub use packed::{GROUP, PackError, PackedMatrix};
pub use pool::{ThreadPool, Worker};
pub use simd::Isa;
pub use steps::{AddProduct, Cpu, GateUp, Logits, Normed, ProjectHeads, Projection};
