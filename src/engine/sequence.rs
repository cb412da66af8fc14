//! One sequence in the engine: its ids so far and how many of them are computed.
//! Promises: sampled ids stay when its blocks are taken away, and none is emitted twice; a drafted
//! id is nowhere but in the draft until it was sampled.
//! Never knows: other sequences, the batch.

use std::ops::Range;
use std::sync::Arc;

use super::block_manager::BlockTable;
use super::constraint::{Constraint, ConstraintError, Next, Progress, constrain};
use super::embedding::EmbeddingRequest;
use super::purpose::{Pool, Purpose, Scores};
use super::request::{Event, FinishReason, SamplingParams, SequenceRequest};
use super::sampler::{SampleError, SamplerState};
use super::speculate::PromptLookup;
use super::stream::Outlet;
use crate::model::{Choices, SampledToken, TokenLogprobs};

/// Stands in `ids` for an id that is not known yet. Nothing reads it.
const PRESUMED: u32 = 0;

/// A sequence, wherever it is: queued, in the batch or paused.
///
/// ```text
/// ids  [0, prompt_len)         the prompt
///      [prompt_len, len)       sampled, and emitted by the end of the step
///      [0, computed)           in the KV cache
///      [computed, len)         to compute; the last one's logits give the next id
/// draft                        guesses of [len, ..), computed in the same step as the last id
/// ```
/// There is no state "prefill" or "decode": a sequence that decodes has one id to compute, one
/// that was preempted has all of them, its sampled ids included.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: u64,
    pub(super) lane: u64,
    /// The prompt, then what was sampled.
    pub(super) ids: Vec<u32>,
    pub(super) prompt_len: usize,
    /// Number of its admission to the batch; the last admitted are the first preempted.
    pub(super) admission: Option<u64>,
    pub(super) table: BlockTable,
    pub(super) computed: usize,
    /// Ids of the prompt that count as service to the lane, or were found in the cache: computing
    /// them again after a preemption is no service.
    pub(super) served: usize,
    /// What the prompt's rows are computed for.
    pub(super) purpose: Purpose,
    pub(super) sampling: SamplerState,
    constraint: Option<Box<dyn Constraint>>,
    /// What the constraint allows next has been asked for and is in `sampling`.
    is_constrained: bool,
    /// The last of `ids` is a place for an id that is being chosen: the n-th of its step.
    pub(super) pending: Option<u32>,
    pub(super) lookup: PromptLookup,
    /// Set when it has ended; it leaves the batch at the end of the step.
    pub(super) ending: Option<FinishReason>,
    /// What this step sampled, not emitted yet.
    sampled: Vec<SampledToken>,
    pub(super) outlet: Outlet,
    max_len: usize,
}

impl Sequence {
    /// `max_len`: ids that it may grow to, prompt included.
    pub(super) fn new(id: u64, request: SequenceRequest, max_len: usize, outlet: Outlet) -> Self {
        let SequenceRequest { lane, prompt, max_tokens, stop_ids, sampling, mut constraint } =
            request;
        let purpose = match sampling.prompt_logprobs {
            Some(num_top) => Purpose::Score(Scores::new(prompt.len(), num_top)),
            None => Purpose::Continue,
        };
        let sampling = SamplerState::new(sampling, stop_ids, &prompt);
        if let Some(constraint) = &mut constraint {
            constraint.prepare();
        }
        let max_len = prompt.len().saturating_add(max_tokens).min(max_len);
        Self {
            id,
            lane,
            prompt_len: prompt.len(),
            ids: prompt,
            admission: None,
            table: BlockTable::default(),
            computed: 0,
            served: 0,
            purpose,
            sampling,
            constraint,
            is_constrained: false,
            pending: None,
            lookup: PromptLookup::default(),
            ending: None,
            sampled: Vec::new(),
            outlet,
            max_len,
        }
    }

    /// One that is only prefilled, for its vector.
    pub(super) fn to_embed(id: u64, request: EmbeddingRequest, outlet: Outlet) -> Self {
        let EmbeddingRequest { lane, prompt, pooling } = request;
        let max_len = prompt.len();
        let request = SequenceRequest {
            lane,
            prompt,
            max_tokens: 0,
            stop_ids: Arc::new([]),
            sampling: SamplingParams::default(),
            constraint: None,
        };
        let purpose = Purpose::Embed(Pool::new(pooling));
        Self { purpose, ..Self::new(id, request, max_len, outlet) }
    }

    /// Ids still to compute; never 0 between steps.
    pub(super) fn remaining(&self) -> usize {
        self.ids.len() - self.computed
    }

    /// Its blocks, to give back: what they hold is to be computed again, an id that is being chosen
    /// too.
    pub(super) fn take_blocks(&mut self) -> BlockTable {
        if self.pending.take().is_some() {
            self.ids.pop();
        }
        self.computed = 0;
        self.purpose.restart();
        std::mem::take(&mut self.table)
    }

    /// Takes its ids up to `computed` as computed: they were found in the cache. Returns how many
    /// ids of the prompt this spares; none once a token is out, as then each had been computed.
    pub(super) fn skip_to(&mut self, computed: usize) -> usize {
        let is_new = self.ids.len() == self.prompt_len;
        let spared =
            if is_new { computed.saturating_sub(self.served.max(self.computed)) } else { 0 };
        self.computed = computed;
        self.served = self.served.max(computed);
        self.outlet.add_cached_tokens(spared);
        spared
    }

    /// Notes that its rows up to `end` are computed, and returns how many ids of the prompt this
    /// serves.
    pub(super) fn serve(&mut self, end: usize) -> u64 {
        let newly_served = end.min(self.prompt_len).saturating_sub(self.served);
        self.served += newly_served;
        newly_served as u64
    }

    /// Whether these rows were made for an id that turned out not to follow.
    pub(super) fn has_ended_before(&self, rows: &Range<usize>) -> bool {
        rows.end > self.ids.len()
    }

    /// Ids of the prompt that will still count as service.
    pub(super) fn unserved(&self) -> usize {
        self.prompt_len.saturating_sub(self.served)
    }

    /// Whether computing up to `end` leaves nothing to compute: then it is sampled from, unless
    /// nothing is to be sampled.
    pub(super) fn is_whole_at(&self, end: usize) -> bool {
        end == self.ids.len()
    }

    /// How many of its first rows need not be computed if another sequence has computed them.
    pub(super) fn num_spared(&self) -> usize {
        self.purpose.num_spared(self.ids.len())
    }

    /// Of these rows, those whose logits are wanted: the last ones.
    pub(super) fn logits(&self, rows: &Range<usize>) -> Range<usize> {
        self.purpose.logits(rows, self.ids.len())
    }

    /// Of these rows, those whose hidden states are wanted.
    pub(super) fn hidden(&self, rows: &Range<usize>) -> Range<usize> {
        self.purpose.hidden(rows, self.ids.len())
    }

    /// Whether these rows are the computation of one sampled id, not of a prompt.
    pub(super) fn is_decode(&self, rows: &Range<usize>) -> bool {
        rows.len() == 1 && rows.start >= self.prompt_len && self.is_whole_at(rows.end)
    }

    /// Drafts ids to compute with the last one: `max_len` at most, and no more than may still be
    /// sampled and than the reader has room for, with the id that follows them. How many it did.
    pub(super) fn guess(&mut self, max_len: usize) -> usize {
        let may_follow = (self.max_len - self.ids.len()).min(self.outlet.room());
        self.lookup.guess(&self.ids, max_len.min(may_follow.saturating_sub(1)))
    }

    /// Takes what a step says of the prompt beside what follows it, and emits it once it is all
    /// there. `score`: of the n-th of the rows with logits; `hidden`: of those with hidden states.
    pub(super) fn read_prompt<'h>(
        &mut self,
        step: &Rows,
        score: impl FnMut(usize, u32, usize) -> Result<TokenLogprobs, SampleError>,
        hidden: impl Fn(usize) -> &'h [f32],
    ) {
        let is_whole = self.is_whole_at(step.rows.end);
        match &mut self.purpose {
            Purpose::Continue => {}
            Purpose::Score(scores) => match scores.take(step.logits.clone(), &self.ids, score) {
                Ok(None) => {}
                Ok(Some(logprobs)) => self.outlet.send(Event::Prompt(logprobs)),
                Err(error) => self.fail(error),
            },
            Purpose::Embed(pool) => {
                (0..step.hidden.len()).for_each(|nth| pool.add(hidden(nth)));
                match is_whole.then(|| pool.vector()) {
                    None => {}
                    Some(Some(vector)) => self.outlet.send(Event::Vector(vector)),
                    Some(None) => self.fail("its hidden states hold NaN or infinity"),
                }
            }
        }
    }

    /// Whether a step can go on with it: it can not if an id that is being chosen is its last, or
    /// all that its reader has room for.
    pub(super) fn may_run(&self) -> bool {
        self.pending.is_none() || (self.ids.len() < self.max_len && self.outlet.room() > 1)
    }

    /// Whether it may go on before the id that this step chooses is known.
    pub(super) fn may_go_on(&self) -> bool {
        let is_plain = self.constraint.is_none() && self.sampling.is_independent();
        is_plain && self.lookup.draft().is_empty() && !self.purpose.is_scoring()
    }

    /// Describes the choices of ids at these outputs: that after the last id, and after each
    /// drafted one as if it were right. None, if that was the end.
    pub(super) fn describe(&mut self, outputs: Range<usize>, choices: &mut Choices) {
        if !self.may_sample() {
            return;
        }
        let num_pending = usize::from(self.pending.is_some());
        for (nth, output) in outputs.enumerate() {
            self.sampling.describe(output, num_pending + nth, choices);
        }
    }

    /// Goes on with an id that is not known yet: the n-th choice of the step.
    pub(super) fn presume(&mut self, choice: u32) {
        self.pending = Some(choice);
        self.ids.push(PRESUMED);
    }

    /// Learns that id. True if it is to be emitted.
    pub(super) fn settle(&mut self, token: Result<SampledToken, SampleError>) -> bool {
        self.pending = None;
        self.ids.pop();
        match token {
            Ok(token) => self.accept(token),
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    fn fail(&mut self, why: impl std::fmt::Display) {
        tracing::error!(sequence = self.id, %why, "the model's values can not be used");
        self.ending = Some(FinishReason::Failed);
    }

    /// Samples from the row of the last id, then from that of each drafted id which is what was
    /// sampled before it. `sample`: the choice at the n-th of these rows. Ends a sequence of which
    /// nothing is to be sampled.
    pub(super) fn advance(
        &mut self,
        mut sample: impl FnMut(usize, &SamplerState) -> Result<SampledToken, SampleError>,
    ) -> Advance {
        let mut advance = Advance::default();
        while self.may_sample() {
            let token = match sample(advance.num_accepted, &self.sampling) {
                Ok(token) => token,
                Err(error) => {
                    self.fail(error);
                    break;
                }
            };
            let is_drafted = self.lookup.draft().get(advance.num_accepted) == Some(&token.id);
            if !self.accept(token) {
                break;
            }
            advance.num_emitted += 1;
            if !is_drafted {
                break;
            }
            // So its row read the right ids: its keys and values are what they should be.
            advance.num_accepted += 1;
            self.computed += 1;
        }
        if let (Some(constraint), None) = (&mut self.constraint, self.ending) {
            constraint.prepare();
        }
        self.lookup.settle(advance.num_accepted, self.ids.len());
        advance
    }

    /// Takes a sampled token, or notes the ending. True if it is to be emitted.
    fn accept(&mut self, token: SampledToken) -> bool {
        if self.sampling.is_stop(token.id) {
            self.ending = Some(FinishReason::Stop);
            return false;
        }
        let progress = match &mut self.constraint {
            Some(constraint) => constraint.accept(token.id),
            None => Ok(Progress::Open),
        };
        match progress {
            Ok(Progress::Open) => {}
            Ok(Progress::Complete) => self.ending = Some(FinishReason::Stop),
            Err(error) => {
                self.fail_by(&error);
                return false;
            }
        }
        self.ids.push(token.id);
        self.sampling.push(token.id);
        self.is_constrained = false;
        if self.ids.len() == self.max_len && self.ending.is_none() {
            self.ending = Some(FinishReason::Length);
        }
        self.sampled.push(token);
        true
    }

    /// Emits what was sampled.
    pub(super) fn emit(&mut self) {
        self.sampled.drain(..).for_each(|token| self.outlet.send(Event::Token(token)));
    }

    /// Whether there is an id to sample, of those that the constraint allows; notes the ending if
    /// there is none.
    fn may_sample(&mut self) -> bool {
        if self.ending.is_some() {
            return false;
        }
        if self.ids.len() == self.max_len {
            self.ending = Some(FinishReason::Length);
            return false;
        }
        let Some(constraint) = &mut self.constraint else { return true };
        if self.is_constrained {
            return true;
        }
        match constrain(&mut **constraint, &mut self.sampling) {
            Ok(Next::Sample) => {
                self.is_constrained = true;
                return true;
            }
            Ok(Next::End) => self.ending = Some(FinishReason::Stop),
            Err(error) => self.fail_by(&error),
        }
        false
    }

    fn fail_by(&mut self, error: &ConstraintError) {
        tracing::error!(sequence = self.id, %error, "the constraint failed");
        self.ending = Some(FinishReason::ConstraintFailed);
    }
}

/// What one step computes of a sequence of the batch.
#[derive(Debug)]
pub(super) struct Rows {
    /// Its place in the batch.
    pub(super) index: usize,
    /// Positions.
    pub(super) rows: Range<usize>,
    /// Of these, those whose logits are wanted: the last ones.
    pub(super) logits: Range<usize>,
    /// Of these, those whose hidden states are wanted.
    pub(super) hidden: Range<usize>,
}

/// What a step's sampling came to.
#[derive(Debug, Default)]
pub(super) struct Advance {
    /// Ids sampled and to be emitted.
    pub(super) num_emitted: usize,
    /// Of the drafted ids, those among them.
    pub(super) num_accepted: usize,
}
