//! One turn of the engine: read the mailbox, choose a batch, run it, sample, hand the tokens out.
//! Promises: no waiting and no clock in here: the same submissions between the same steps give the
//! same steps. A model's error ends the sequences of its batch, and only those; whoever is told
//! that its device is lost ends the rest.
//! Never knows: the thread it runs in.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::runner::Runner;
use super::sampler::Sampler;
use super::scheduler::{Action, Scheduler};
use super::sequence::Sequence;
use super::stats::Stats;
use super::{EngineOptions, Shared};
use crate::model::{Decoder, DecoderShape, ModelError, Outputs};

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A batch ran; there may be more to do at once.
    Ran,
    /// Nothing to run until a sequence is submitted, read or dropped.
    Idle,
    /// What the model runs on has failed: no step can run any more.
    Lost,
}

/// The engine without its thread. [`super::Engine::without_thread`] makes one.
#[derive(Debug)]
pub struct EngineCore {
    inbox: Receiver<Sequence>,
    scheduler: Scheduler,
    runner: Runner,
    sampler: Sampler,
    turns: u64,
    name: String,
    shared: Arc<Shared>,
}

impl EngineCore {
    pub(super) fn new(
        decoder: Decoder,
        options: &EngineOptions,
        inbox: Receiver<Sequence>,
        shared: Arc<Shared>,
    ) -> Self {
        let scheduler = Scheduler::new(options, decoder.shape().max_outputs);
        shared.stats.publish(scheduler.stats());
        Self {
            inbox,
            scheduler,
            runner: Runner::new(decoder),
            sampler: Sampler::default(),
            turns: 0,
            name: options.name.clone(),
            shared,
        }
    }

    /// One turn. A panic of the model passes through; the core must not be used after it, nor after
    /// [`Turn::Lost`].
    pub fn step(&mut self) -> Turn {
        while let Ok(sequence) = self.inbox.try_recv() {
            self.scheduler.enqueue(sequence);
        }
        let turn = if self.scheduler.schedule() {
            self.run_scheduled()
        } else {
            // Linear in the blocks, which a caller in a hurry would notice in a large pool.
            if cfg!(debug_assertions) {
                self.scheduler.check();
            }
            Turn::Idle
        };
        self.turns += 1;
        self.conclude();
        turn
    }

    fn run_scheduled(&mut self) -> Turn {
        let DecoderShape { vocab_size, hidden_size, .. } = *self.runner.shape();
        match self.runner.forward(self.scheduler.parts()) {
            Ok(Outputs { logits, hidden }) => {
                let row = |output: usize| &logits[output * vocab_size..][..vocab_size];
                self.scheduler.read_prompts(
                    |output, id, num_top| self.sampler.logprobs(row(output), id, num_top),
                    |nth| &hidden[nth * hidden_size..][..hidden_size],
                );
                self.scheduler.commit(|output, state| self.sampler.sample(row(output), state));
                Turn::Ran
            }
            Err(error) => {
                tracing::error!(engine = self.name, %error, "the model failed on a batch");
                self.scheduler.fail();
                if !matches!(error, ModelError::Device(_)) {
                    return Turn::Ran;
                }
                // Before anyone is told: whoever then asks again gets another engine.
                self.shared.fail();
                Turn::Lost
            }
        }
    }

    /// Ends every open sequence with [`super::FinishReason::Aborted`].
    pub fn abort_all(&mut self) {
        while let Ok(sequence) = self.inbox.try_recv() {
            self.scheduler.enqueue(sequence);
        }
        self.scheduler.abort_all();
        self.conclude();
    }

    fn conclude(&mut self) {
        self.shared.stats.publish(Stats { turns: self.turns, ..self.scheduler.stats() });
        self.scheduler.announce();
    }

    /// What the last step did, in order.
    pub fn actions(&self) -> &[Action] {
        self.scheduler.actions()
    }

    /// The service that a lane has had: ids computed for it, sampled ones counted twice.
    pub fn service(&self, lane: u64) -> u64 {
        self.scheduler.service(lane)
    }

    /// Proves that every block is free, cached or owned, as the sequences say. Panics if not.
    pub fn check(&self) {
        self.scheduler.check();
    }
}
