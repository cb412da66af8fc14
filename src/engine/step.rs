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
use crate::model::{
    Choices, Decoder, DecoderShape, ModelError, Outputs, SampleError, SampledToken,
};

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
    /// What the newest step chooses, if its executor does.
    choices: Choices,
    chosen: Vec<Result<SampledToken, SampleError>>,
    /// A step was left behind whose tokens are presumed.
    is_ahead: bool,
    turns: u64,
    name: String,
    shared: Arc<Shared>,
}

impl EngineCore {
    pub(super) fn new(
        mut decoder: Decoder,
        options: &EngineOptions,
        inbox: Receiver<Sequence>,
        shared: Arc<Shared>,
    ) -> Self {
        let is_beside = decoder.chooser().is_some();
        let scheduler = Scheduler::new(options, decoder.shape().max_outputs, is_beside);
        shared.stats.publish(scheduler.stats());
        Self {
            inbox,
            scheduler,
            runner: Runner::new(decoder),
            sampler: Sampler::default(),
            choices: Choices::default(),
            chosen: Vec::new(),
            is_ahead: false,
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
        let outcome = match (self.scheduler.schedule(), self.runner.chooser()) {
            (true, None) => self.run_here(),
            (true, Some(_)) => self.run_beside(),
            (false, _) if self.is_ahead => self.settle().map(|()| self.scheduler.conclude_step()),
            (false, _) => {
                // Linear in the blocks, which a caller in a hurry would notice in a large pool.
                if cfg!(debug_assertions) {
                    self.scheduler.check();
                }
                self.turns += 1;
                self.conclude();
                return Turn::Idle;
            }
        };
        let turn = outcome.map_or_else(|error| self.fail(&error), |()| Turn::Ran);
        self.turns += 1;
        self.conclude();
        turn
    }

    /// A step whose logits come here.
    fn run_here(&mut self) -> Result<(), ModelError> {
        let DecoderShape { vocab_size, hidden_size, .. } = *self.runner.shape();
        let Outputs { logits, hidden } = self.runner.forward(self.scheduler.parts())?;
        let row = |output: usize| &logits[output * vocab_size..][..vocab_size];
        self.scheduler.read_prompts(
            |output, id, num_top| self.sampler.logprobs(row(output), id, num_top),
            |nth| &hidden[nth * hidden_size..][..hidden_size],
        );
        self.scheduler.commit(|output, state| self.sampler.sample(row(output), state));
        Ok(())
    }

    /// A step whose tokens are chosen where its logits are. While it runs, what the step before it
    /// has chosen is handed out, and then, if it can be, the next one is made.
    fn run_beside(&mut self) -> Result<(), ModelError> {
        self.runner.queue(self.scheduler.parts())?;
        self.read_prompts()?;
        self.choices.clear();
        self.scheduler.describe(&mut self.choices);
        if let Some(chooser) = self.runner.chooser() {
            chooser.choose(&self.choices)?;
        }
        if self.is_ahead {
            self.settle()?;
        }
        let list = &self.choices.list;
        let choice_of = |output: usize| list.binary_search_by_key(&output, |c| c.output).ok();
        if self.scheduler.may_go_on() {
            self.scheduler.presume(|output| choice_of(output).map(|choice| choice as u32));
            self.is_ahead = true;
            return Ok(());
        }
        collect(&mut self.runner, &mut self.chosen)?;
        self.scheduler.commit(|output, _| {
            let choice = choice_of(output).expect("whatever is sampled was described");
            self.chosen[choice].clone()
        });
        Ok(())
    }

    fn read_prompts(&mut self) -> Result<(), ModelError> {
        let outputs = self.scheduler.scored_outputs();
        let DecoderShape { vocab_size, hidden_size, .. } = *self.runner.shape();
        let is_read = !outputs.is_empty() || self.scheduler.wants_hidden();
        let Outputs { logits, hidden } = match self.runner.chooser().filter(|_| is_read) {
            Some(chooser) => chooser.read(&outputs)?,
            None => Outputs { logits: &[], hidden: &[] },
        };
        let row = |output: usize| {
            let nth = outputs.binary_search(&output).expect("it was read");
            &logits[nth * vocab_size..][..vocab_size]
        };
        self.scheduler.read_prompts(
            |output, id, num_top| self.sampler.logprobs(row(output), id, num_top),
            |nth| &hidden[nth * hidden_size..][..hidden_size],
        );
        Ok(())
    }

    /// Hands out what the step that was left behind has chosen.
    fn settle(&mut self) -> Result<(), ModelError> {
        self.is_ahead = false;
        collect(&mut self.runner, &mut self.chosen)?;
        self.scheduler.settle(|choice| self.chosen[choice as usize].clone());
        Ok(())
    }

    fn fail(&mut self, error: &ModelError) -> Turn {
        tracing::error!(engine = self.name, %error, "the model failed on a batch");
        self.scheduler.fail();
        if !matches!(error, ModelError::Device(_)) {
            return Turn::Ran;
        }
        // Before anyone is told: whoever then asks again gets another engine.
        self.shared.fail();
        Turn::Lost
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

/// Waits for the choices of the oldest step whose choices are not known.
fn collect(
    runner: &mut Runner,
    chosen: &mut Vec<Result<SampledToken, SampleError>>,
) -> Result<(), ModelError> {
    chosen.clear();
    runner.chooser().map_or(Ok(()), |chooser| chooser.collect(chosen))
}
