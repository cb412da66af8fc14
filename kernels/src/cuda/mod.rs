//! Kernels for NVIDIA GPUs: what a host needs to run them.
//!
//! The kernels are `kernels/cuda/*.cu`. Here is their host side: how weights are packed
//! ([`PackedMatrix`]), typed memory of a device ([`Buffer`]), and a safe function for each launch.
//! A device is anything that implements [`Gpu`]: `CandleGpu` (feature `cuda`), which compiles the
//! kernels with nvcc and runs them on candle's device, and `Emulator` (feature `emulation`), which
//! compiles the same files with a C++ compiler and runs them thread by thread on the CPU, so that
//! all of this is tested where there is no GPU.
//!
//! Promises: a launch that is accepted reads and writes only the memory it names; a result of a row
//! does not depend on the other rows of its launch, but where the vendor's library multiplies
//! ([`Library`]) on how many those are.
//! Never knows: models, layers, tokens' meaning.

#[cfg(feature = "cuda")]
mod candle;
#[cfg(any(test, feature = "emulation"))]
mod emulator;
mod launch;
mod memory;
mod packing;
#[cfg(test)]
mod tests;

#[cfg(feature = "cuda")]
pub use candle::{CandleGpu, Launches};
#[cfg(any(test, feature = "emulation"))]
pub use emulator::{Emulator, Order};
pub use launch::{
    AddNormed, Attention, AttentionItems, AttentionScratch, CHOSEN_WORDS, Change, Choice, Choices,
    Chosen, DENSE_TOKENS, DenseScratch, Division, Embed, Fed, Feed, ITEM_WORDS, Indices, Input,
    KvBuffer, KvType, KvView, KvViewMut, Library, MAX_GROUP, MAX_TOP_LOGPROBS, NO_LOGPROBS,
    NO_MASK, NO_SLOT, NOT_COUNTED, Next, NoToken, Normed, Output, PREFILL_WORDS, Prefill,
    PrefillTiles, Product, ProjectHeads, Sample, StepRows, Unpack, list_items, list_tiles,
};
pub use memory::{
    Arrival, Arriving, Buffer, DenseProduct, Gpu, GpuError, Memory, Recording, View, ViewMut, Word,
};
pub use packing::{DeviceMatrix, Format, GROUP, PackedMatrix, TILE};

/// Names of all kernels, as the `.cu` files export them.
pub const KERNELS: [&str; 65] = [
    "product_bf16_8",
    "product_bf16_32",
    "product_bf16_128x64",
    "product_bf16_256x64",
    "product_q4_0_8",
    "product_q4_0_32",
    "product_q4_0_128x64",
    "product_q4_0_256x64",
    "product_q4_1_8",
    "product_q4_1_32",
    "product_q4_1_128x64",
    "product_q4_1_256x64",
    "product_q5_0_8",
    "product_q5_0_32",
    "product_q5_0_128x64",
    "product_q5_0_256x64",
    "product_q5_1_8",
    "product_q5_1_32",
    "product_q5_1_128x64",
    "product_q5_1_256x64",
    "product_q8_0_8",
    "product_q8_0_32",
    "product_q8_0_128x64",
    "product_q8_0_256x64",
    "product_q4_k_8",
    "product_q4_k_32",
    "product_q4_k_128x64",
    "product_q4_k_256x64",
    "product_q5_k_8",
    "product_q5_k_32",
    "product_q5_k_128x64",
    "product_q5_k_256x64",
    "product_q6_k_8",
    "product_q6_k_32",
    "product_q6_k_128x64",
    "product_q6_k_256x64",
    "expand_q4_0",
    "expand_q4_1",
    "expand_q5_0",
    "expand_q5_1",
    "expand_q8_0",
    "expand_q4_k",
    "expand_q5_k",
    "expand_q6_k",
    "conclude_sums",
    "feed",
    "embed",
    "add_normed",
    "normed",
    "unpack",
    "project_heads",
    "project_heads_fp8",
    "attention_64",
    "attention_128",
    "attention_256",
    "attention_64_fp8",
    "attention_128_fp8",
    "attention_256_fp8",
    "prefill_64",
    "prefill_128",
    "prefill_256",
    "prefill_64_fp8",
    "prefill_128_fp8",
    "prefill_256_fp8",
    "sample",
];
