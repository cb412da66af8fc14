//! An executor that chooses its tokens itself, as one on a device does: what another computes, with
//! the host's sampler, kept back until it is asked for.

use std::collections::VecDeque;

use mizan::engine::sampler::Sampler;
use mizan::model::{
    Choices, Chooser, Executor, ForwardBatch, ModelError, Outputs, SampleError, SampledToken,
};

type Chosen = Vec<Result<SampledToken, SampleError>>;

#[derive(Debug)]
pub struct Beside<E> {
    inner: E,
    vocab_size: usize,
    sampler: Sampler,
    /// The step's batch, with the tokens that were fed to it.
    batch: ForwardBatch,
    logits: Vec<f32>,
    hidden: Vec<f32>,
    read: Vec<f32>,
    /// The newest step's ids, by the number of their choice.
    newest: Vec<u32>,
    uncollected: VecDeque<Chosen>,
}

impl<E: Executor> Beside<E> {
    pub fn new(inner: E, vocab_size: usize) -> Self {
        Self {
            inner,
            vocab_size,
            sampler: Sampler::default(),
            batch: ForwardBatch::default(),
            logits: Vec::new(),
            hidden: Vec::new(),
            read: Vec::new(),
            newest: Vec::new(),
            uncollected: VecDeque::new(),
        }
    }

    fn row(&self, output: usize) -> &[f32] {
        &self.logits[output * self.vocab_size..][..self.vocab_size]
    }
}

impl<E: Executor> Executor for Beside<E> {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.batch = batch.clone();
        for fed in &batch.fed {
            assert_eq!(batch.tokens[fed.row as usize], 0, "what stands for a token is none");
            self.batch.tokens[fed.row as usize] = self.newest[fed.choice as usize];
        }
        self.inner.embed(&self.batch)
    }

    fn norm_qkv(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.inner.norm_qkv(layer, &self.batch)
    }

    fn attention(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.inner.attention(layer, &self.batch)
    }

    fn attention_output(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.inner.attention_output(layer, &self.batch)
    }

    fn gate_up(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.inner.gate_up(layer, &self.batch)
    }

    fn down(&mut self, layer: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        self.inner.down(layer, &self.batch)
    }

    fn outputs(&mut self, _batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        self.inner.outputs(&self.batch)
    }

    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        Some(self)
    }
}

impl<E: Executor> Chooser for Beside<E> {
    fn queue_outputs(&mut self, _batch: &ForwardBatch) -> Result<(), ModelError> {
        let Outputs { logits, hidden } = self.inner.outputs(&self.batch)?;
        self.logits = logits.to_vec();
        self.hidden = hidden.to_vec();
        Ok(())
    }

    fn read(&mut self, outputs: &[usize]) -> Result<Outputs<'_>, ModelError> {
        self.read = outputs.iter().flat_map(|output| self.row(*output)).copied().collect();
        Ok(Outputs { logits: &self.read, hidden: &self.hidden })
    }

    fn choose(&mut self, choices: &Choices) -> Result<(), ModelError> {
        let mut sampler = std::mem::take(&mut self.sampler);
        let outputs = choices.list.iter().map(|choice| choice.output);
        let chosen: Chosen = outputs
            .enumerate()
            .map(|(nth, output)| sampler.choose(self.row(output), choices, nth))
            .collect();
        self.sampler = sampler;
        let id = |chosen: &Result<SampledToken, _>| chosen.as_ref().map_or(0, |token| token.id);
        self.newest = chosen.iter().map(id).collect();
        self.uncollected.push_back(chosen);
        assert!(self.uncollected.len() <= 2, "more steps ahead than promised");
        // Nothing is read after this.
        self.logits.fill(f32::NAN);
        Ok(())
    }

    fn collect(&mut self, chosen: &mut Chosen) -> Result<(), ModelError> {
        chosen.append(&mut self.uncollected.pop_front().expect("choices that were queued"));
        Ok(())
    }
}
