//! The forward pass of every family: the order of the steps, and nothing else.
//! Promises: a batch that reaches the executor has passed `ForwardBatch::check`.
//! Never knows: what a step computes, on which device, for which family.

use std::sync::Arc;

use super::batch::ForwardBatch;
use super::config::ModelConfig;
use super::error::ModelError;
use super::executor::{Executor, ExecutorLimits, Outputs, StepTimes, TimedExecutor};

/// The bounds within which a decoder works; all of them are fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderShape {
    /// Layers of the model.
    pub num_layers: usize,
    /// Logits in a row; token ids are below it.
    pub vocab_size: usize,
    /// Values in a hidden state.
    pub hidden_size: usize,
    /// KV blocks of the executor; block ids are below it.
    pub num_blocks: usize,
    /// Rows in a step, at most.
    pub max_tokens: usize,
    /// Rows with logits in a step, at most.
    pub max_outputs: usize,
    /// Positions in a sequence, at most.
    pub max_context: usize,
}

impl DecoderShape {
    /// The shape of a decoder whose executor was made for this model with these limits.
    pub fn new(config: &ModelConfig, limits: &ExecutorLimits) -> Self {
        Self {
            num_layers: config.num_layers,
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            num_blocks: limits.num_blocks,
            max_tokens: limits.max_tokens,
            max_outputs: limits.max_outputs,
            max_context: config.max_context,
        }
    }
}

/// Runs an [`Executor`]'s steps in order.
#[derive(Debug)]
pub struct Decoder {
    executor: Box<dyn Executor>,
    shape: DecoderShape,
}

impl Decoder {
    /// `shape` must describe the executor: it is what batches are checked against.
    pub fn new(executor: Box<dyn Executor>, shape: DecoderShape) -> Self {
        Self { executor, shape }
    }

    /// The same decoder, with a clock at each of its executor's steps.
    pub fn timed(self) -> (Self, Arc<StepTimes>) {
        let times = Arc::new(StepTimes::default());
        let executor = Box::new(TimedExecutor::new(self.executor, Arc::clone(&times)));
        (Self { executor, shape: self.shape }, times)
    }

    /// Runs one step and returns the logits of `batch.outputs`. `[num_outputs, vocab_size]`
    ///
    /// After an error the KV slots that the batch names hold no defined values.
    pub fn forward(&mut self, batch: &ForwardBatch) -> Result<&[f32], ModelError> {
        Ok(self.run(batch)?.logits)
    }

    /// The same, with the hidden states of `batch.hidden`.
    pub fn run(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        batch.check(&self.shape)?;
        let executor = &mut self.executor;
        executor.embed(batch)?;
        for layer in 0..self.shape.num_layers {
            executor.norm_qkv(layer, batch)?;
            executor.attention(layer, batch)?;
            executor.attention_output(layer, batch)?;
            executor.gate_up(layer, batch)?;
            executor.down(layer, batch)?;
        }
        executor.outputs(batch)
    }

    /// The bounds that batches must keep.
    pub fn shape(&self) -> &DecoderShape {
        &self.shape
    }
}
