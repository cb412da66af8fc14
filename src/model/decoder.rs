//! The forward pass of every family: the order of the steps, and nothing else.
//! Promises: a batch that reaches the executor has passed `ForwardBatch::check`.
//! Never knows: what a step computes, on which device, for which family.

use std::sync::Arc;

use super::batch::ForwardBatch;
use super::config::ModelConfig;
use super::error::ModelError;
use super::executor::{Chooser, Executor, ExecutorLimits, Outputs, StepTimes, TimedExecutor};

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
        if !batch.fed.is_empty() {
            return Err(ModelError::Batch("tokens of no earlier choice".to_owned()));
        }
        self.run_layers(batch)?;
        self.executor.outputs(batch)
    }

    /// Runs a step as far as it can be run without waiting, of an executor that has a
    /// [`Chooser`]: its results are asked of that.
    pub fn queue(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.run_layers(batch)?;
        match self.executor.chooser() {
            Some(chooser) => chooser.queue_outputs(batch),
            None => Err(ModelError::Executor("it does not choose tokens".to_owned())),
        }
    }

    /// What chooses tokens, if the executor does.
    pub fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        self.executor.chooser()
    }

    fn run_layers(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
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
        Ok(())
    }

    /// The bounds that batches must keep.
    pub fn shape(&self) -> &DecoderShape {
        &self.shape
    }
}
