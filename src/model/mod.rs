//! The model: weights, configuration and forward pass of every family.
//!
//! [`Model::open`] maps a GGUF file or a safetensors folder, an [`Executor`] computes the five
//! steps of a layer on it, and a [`Decoder`] orders them for a [`ForwardBatch`] that the engine
//! fills.
//!
//! Promises: one decoder for all families, steered by [`ModelConfig`]; a file that is damaged or
//! not understood is refused with the place and the reason, never run.
//! Never knows: text, requests, scheduling, credits.

mod batch;
mod choice;
mod config;
mod cost;
mod decoder;
mod error;
pub mod executor;
mod load;
mod names;
mod pooling;
mod rope;
pub mod verify;
mod weights;

pub use batch::{BLOCK_SIZE, BatchSequence, FedToken, ForwardBatch};
pub use choice::{
    Change, Choice, Choices, MAX_TOP_LOGPROBS, SampleError, SampledToken, TokenLogprobs,
};
pub use config::{Activation, LayerConfig, ModelConfig, RopeStyle};
pub use decoder::{Decoder, DecoderShape};
pub use error::{FileProblem, ModelError};
pub use executor::{Chooser, Executor, ExecutorLimits, Outputs};
pub use load::Model;
pub use pooling::{DeclaredPooling, Pooling};
pub use rope::{RopeScaling, RopeTable};
pub use weights::{GgufMetadata, LayerWeights, Tensor, Weights};
