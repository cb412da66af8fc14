//! Executors: what computes the decoder's steps, and where.
//! Promises: every executor computes the same function, up to rounding that its tests bound.
//! Never knows: the order of the steps, sequences beyond the batch, text.

pub mod cpu;
pub mod cuda;
pub mod reference;
mod timed;

pub use timed::StepTimes;
pub(crate) use timed::TimedExecutor;

use super::batch::ForwardBatch;
use super::choice::{Choices, SampleError, SampledToken};
use super::error::ModelError;

/// The bounds an executor reserves memory for. Nothing grows after it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorLimits {
    /// Rows in a step, at most.
    pub max_tokens: usize,
    /// Rows with logits in a step, at most.
    pub max_outputs: usize,
    /// KV blocks, of [`super::BLOCK_SIZE`] positions each.
    pub num_blocks: usize,
    /// Threads to compute with; at least 1.
    pub threads: usize,
}

/// What a step was computed for. Valid until the next one.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// Of the rows in `batch.outputs`. `[num_outputs, vocab_size]`
    pub logits: &'a [f32],
    /// Of the rows in `batch.hidden`: what the output matrix would be applied to, the final norm
    /// included. `[num_hidden, hidden_size]`
    pub hidden: &'a [f32],
}

/// The steps of a forward pass over one batch.
///
/// The caller runs `embed`, then the five steps of each layer in order, then `outputs`, always with
/// the same batch, which has passed [`ForwardBatch::check`]. In between the executor holds the
/// hidden state (`[num_tokens, hidden_size]`) and whatever one step leaves for the next.
pub trait Executor: Send + std::fmt::Debug {
    /// Looks the tokens up and scales them: sets the hidden state.
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// Step 1: norm, Q, K and V (with bias and q/k norm where the model has them), rope; K and V go
    /// to the batch's slots.
    fn norm_qkv(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// Step 2: attention of each row over its sequence's blocks, up to and with its own position.
    fn attention(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// Step 3: output projection (and post-norm), added to the hidden state.
    fn attention_output(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// Step 4: norm, gate and up, activation.
    fn gate_up(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// Step 5: down projection (and post-norm), added to the hidden state.
    fn down(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// Final norm of the rows in `batch.outputs` and `batch.hidden`; output matrix and softcap of
    /// the former. Called once for a batch.
    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError>;

    /// What chooses tokens where the logits are. `None`: the logits are computed where the caller
    /// is, who chooses.
    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        None
    }
}

/// An executor that works beside its caller: what it is asked for is queued and done in that order,
/// also choosing tokens, which later steps may go on from before the caller knows them.
pub trait Chooser {
    /// What [`Executor::outputs`] does, without its results.
    fn queue_outputs(&mut self, batch: &ForwardBatch) -> Result<(), ModelError>;

    /// The newest step's logits at these outputs, one row after the other, and all of its hidden
    /// states. Waits for the step. Not after `choose`, which changes logits.
    fn read(&mut self, outputs: &[usize]) -> Result<Outputs<'_>, ModelError>;

    /// Queues choices from the newest step's logits, at most one for each of its outputs.
    fn choose(&mut self, choices: &Choices) -> Result<(), ModelError>;

    /// Waits for the first of the `choose` that were not collected, and adds what it chose, in its
    /// order. At most two are not collected at a time.
    fn collect(
        &mut self,
        chosen: &mut Vec<Result<SampledToken, SampleError>>,
    ) -> Result<(), ModelError>;
}
