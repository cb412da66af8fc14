//! Which sequences run, with how many ids, in which blocks.
//!
//! A sequence is queued in its lane, in the batch, or paused because its reader is behind. Only
//! those in the batch own blocks, so whenever the batch is empty any sequence fits: nothing can
//! wait for ever. A step's blocks are all taken in `schedule`, before the model runs.
//!
//! Memory runs out only when sequences of the batch grow. Then the best served lane's sequence
//! that was admitted last is preempted: it gives its blocks back, keeps its ids, and computes them
//! again when it is its lane's turn. An admission leaves a spare block for each sequence of the
//! batch, so that none is preempted as soon as it came.
//!
//! Promises: no row without its block; a preempted sequence emits nothing twice; whoever is not
//! preempted computes at least one new id in each step that has rows left for it.
//! Never knows: logits, text, what a lane stands for.

mod beside;

use std::ops::Range;

use super::EngineOptions;
use super::block_manager::{BlockManager, BlockTable};
use super::lanes::Lanes;
use super::request::FinishReason;
use super::runner::Part;
use super::sampler::{SampleError, SamplerState};
use super::sequence::{Advance, Rows, Sequence};
use super::speculate::MAX_DRAFT;
use super::stats::Stats;
use super::stream::Outlet;
use crate::model::{BLOCK_SIZE, SampledToken, TokenLogprobs};

/// Service of an id that was sampled, where one of the prompt that had to be computed is 1: the
/// weights that the paper on fairness uses (arXiv 2401.00588; see `lanes.rs`).
const OUTPUT_SERVICE: u64 = 2;

/// Something a step did to a sequence, named by its id; for traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Taken into the batch, with this many ids found in the prefix cache.
    Admit(u64, usize),
    /// Found its ids up to here computed by another sequence meanwhile.
    CatchUp(u64, usize),
    /// Gave its blocks back because others need them.
    Preempt(u64),
    /// Gave its blocks back because its reader is behind.
    Pause(u64),
    /// Queued again because its reader has caught up.
    Resume(u64),
    /// Dropped because its reader is gone.
    Abort(u64),
    /// Computes these positions of its prompt, or of all its ids after a preemption.
    Prefill(u64, Range<usize>),
    /// Computes its last id.
    Decode(u64),
    /// Computes as many drafted ids after it.
    Draft(u64, usize),
    /// The first of the drafted ids, as many, were what was sampled.
    Accept(u64, usize),
    /// Goes on with an id that is not known yet.
    Presume(u64),
    /// There was no such id: what was computed for it is of no use.
    Discard(u64),
    /// Ended.
    Finish(u64, FinishReason),
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Scheduler {
    max_batch: usize,
    max_step_tokens: usize,
    /// Rows of a step whose logits can be had.
    max_outputs: usize,
    speculative_rows: usize,
    /// Tokens are chosen by the executor, so that only what can be described ahead is drafted.
    is_beside: bool,
    waiting: Lanes<Sequence>,
    /// The batch; after `schedule`, the least served lane's first, and the next victim last.
    running: Vec<Sequence>,
    paused: Vec<Sequence>,
    blocks: BlockManager,
    /// This step's rows, in the order of the model's batch.
    scheduled: Vec<Rows>,
    num_admissions: u64,
    /// Readers that are still to be told that it is over.
    ended: Vec<(Outlet, FinishReason)>,
    actions: Vec<Action>,
    /// Only the counters; `stats` adds the gauges.
    counters: Stats,
}

impl Scheduler {
    pub(super) fn new(options: &EngineOptions, max_outputs: usize, is_beside: bool) -> Self {
        Self {
            max_batch: options.max_batch,
            max_step_tokens: options.max_step_tokens,
            max_outputs,
            speculative_rows: options.speculative_rows,
            is_beside,
            waiting: Lanes::default(),
            running: Vec::new(),
            paused: Vec::new(),
            blocks: BlockManager::new(options.num_blocks, options.prefix_cache),
            scheduled: Vec::new(),
            num_admissions: 0,
            ended: Vec::new(),
            actions: Vec::new(),
            counters: Stats::default(),
        }
    }

    pub(super) fn enqueue(&mut self, sequence: Sequence) {
        self.waiting.enter(sequence.lane, sequence);
    }

    /// Chooses the next step's rows. False: there is nothing to run until someone submits or reads.
    pub(super) fn schedule(&mut self) -> bool {
        self.actions.clear();
        self.scheduled.clear();
        self.drop_aborted();
        self.resume_paused();
        self.grow_running();
        self.admit_waiting();
        self.catch_up();
        self.choose_rows();
        self.draft_ahead();
        !self.scheduled.is_empty()
    }

    /// The step's rows as the model needs them.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.scheduled.iter().map(|Rows { index, rows, logits, hidden }| {
            let sequence = &self.running[*index];
            Part {
                ids: &sequence.ids,
                pending: sequence.pending,
                rows: rows.clone(),
                draft: sequence.lookup.draft(),
                table: &sequence.table,
                logits: logits.clone(),
                hidden: hidden.clone(),
            }
        })
    }

    /// Takes over what the step says of prompts beside what follows them; before `commit`. `score`:
    /// the log probability of an id at the n-th row of the step's logits, with those of so many
    /// most likely ones; `hidden`: the n-th row of its hidden states.
    pub(super) fn read_prompts<'h>(
        &mut self,
        mut score: impl FnMut(usize, u32, usize) -> Result<TokenLogprobs, SampleError>,
        hidden: impl Fn(usize) -> &'h [f32],
    ) {
        let (mut first_output, mut first_hidden) = (0, 0);
        for step in &self.scheduled {
            let sequence = &mut self.running[step.index];
            sequence.read_prompt(
                step,
                |nth, id, num_top| score(first_output + nth, id, num_top),
                |nth| hidden(first_hidden + nth),
            );
            first_output += step.logits.len() + sequence.lookup.draft().len();
            first_hidden += step.hidden.len();
        }
    }

    /// Takes over the rest of what the step computed: samples and emits tokens, keeps full blocks,
    /// ends and pauses sequences. `sample`: the choice at the n-th row of the step's logits.
    pub(super) fn commit(
        &mut self,
        mut sample: impl FnMut(usize, &SamplerState) -> Result<SampledToken, SampleError>,
    ) {
        let mut num_outputs = 0;
        for Rows { index, rows, logits, .. } in &self.scheduled {
            let sequence = &mut self.running[*index];
            self.waiting.charge(sequence.lane, sequence.serve(rows.end));
            // The last of its own rows, and what is drafted after it.
            let first_output = (num_outputs + logits.len()).saturating_sub(1);
            num_outputs += logits.len() + sequence.lookup.draft().len();
            if sequence.has_ended_before(rows) {
                self.actions.push(Action::Discard(sequence.id));
                continue;
            }
            let is_whole = sequence.is_whole_at(rows.end);
            sequence.computed = rows.end;
            if is_whole {
                let advance = sequence.advance(|row, state| sample(first_output + row, state));
                let Advance { num_emitted, num_accepted } = advance;
                self.counters.generated_tokens += num_emitted as u64;
                self.counters.accepted_tokens += num_accepted as u64;
                self.waiting.charge(sequence.lane, OUTPUT_SERVICE * num_emitted as u64);
                if num_accepted > 0 {
                    self.actions.push(Action::Accept(sequence.id, num_accepted));
                }
            }
            // What lies beyond is of drafts that were wrong: it is neither kept nor counted, and
            // is written again before it is read.
            let computed = &sequence.ids[..sequence.computed];
            self.blocks.keep_full(&mut sequence.table, computed);
            self.blocks.shrink(&mut sequence.table, sequence.ids.len());
        }
        self.counters.steps += 1;
        self.emit();
        self.conclude_step();
    }

    /// Hands out the step's tokens, all at once: who reads them wakes up once, finds what belongs
    /// together, and takes no processor from the sampling of the rest.
    fn emit(&mut self) {
        for Rows { index, .. } in &self.scheduled {
            self.running[*index].emit();
        }
    }

    /// Ends every sequence of the step: the model failed, and what their blocks hold is unknown.
    pub(super) fn fail(&mut self) {
        for Rows { index, .. } in &self.scheduled {
            self.running[*index].ending = Some(FinishReason::Failed);
        }
        self.counters.failed_steps += 1;
        self.remove_ended();
    }

    /// Ends every sequence there is.
    pub(super) fn abort_all(&mut self) {
        for sequence in &mut self.running {
            sequence.ending = Some(FinishReason::Aborted);
        }
        self.remove_ended();
        for sequence in self.waiting.drain().chain(self.paused.drain(..)) {
            self.ended.push((sequence.outlet, FinishReason::Aborted));
        }
    }

    /// Tells the readers of what has ended. Last of all, so that whoever is told finds the memory
    /// and the figures as they are without it.
    pub(super) fn announce(&mut self) {
        for (outlet, reason) in self.ended.drain(..) {
            outlet.finish(reason);
        }
    }

    /// What the last step did, in order.
    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            waiting: self.waiting.num_waiting(),
            running: self.running.len(),
            paused: self.paused.len(),
            blocks: self.blocks.counts(),
            ..self.counters
        }
    }

    /// The service a lane has had.
    pub(super) fn service(&self, lane: u64) -> u64 {
        self.waiting.service(lane)
    }

    /// Proves that the blocks' books are right. Panics if not.
    pub(super) fn check(&self) {
        self.blocks.check(self.running.iter().map(|sequence| &sequence.table));
        assert!(self.running.len() <= self.max_batch);
        for sequence in &self.running {
            assert!(sequence.computed < sequence.ids.len());
            assert!(sequence.computed <= sequence.table.capacity());
            let needed = sequence.ids.len().next_multiple_of(BLOCK_SIZE);
            assert!(sequence.table.capacity() <= needed, "a block that no id needs");
        }
    }

    fn drop_aborted(&mut self) {
        let Self { waiting, running, paused, blocks, actions, .. } = self;
        let gone = |sequence: &mut Sequence| sequence.outlet.is_closed();
        for sequence in running.extract_if(.., gone) {
            actions.push(Action::Abort(sequence.id));
            blocks.release(sequence.table);
            waiting.leave(sequence.lane);
        }
        for sequence in paused.extract_if(.., gone) {
            actions.push(Action::Abort(sequence.id));
            waiting.leave(sequence.lane);
        }
        waiting.remove_if(|sequence| {
            let is_gone = sequence.outlet.is_closed();
            if is_gone {
                actions.push(Action::Abort(sequence.id));
            }
            is_gone
        });
    }

    fn resume_paused(&mut self) {
        let Self { waiting, paused, actions, .. } = self;
        for sequence in paused.extract_if(.., |sequence| sequence.outlet.try_resume()) {
            actions.push(Action::Resume(sequence.id));
            waiting.put_back(sequence.lane, sequence);
        }
    }

    /// Gives every sequence of the batch the block that its newest id needs, from the least served
    /// lane's on; whoever is at the other end pays for it.
    fn grow_running(&mut self) {
        let waiting = &self.waiting;
        self.running.sort_by_key(|s| (waiting.service(s.lane), s.admission));
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &self.running[index];
            let needs_block = sequence.table.capacity() < sequence.ids.len() && sequence.may_run();
            if needs_block && !self.blocks.grow(&mut self.running[index].table) {
                // Perhaps this one itself; then the loop ends here.
                let victim = self.running.pop().expect("one is at the index");
                self.preempt(victim);
            } else {
                index += 1;
            }
        }
    }

    fn preempt(&mut self, mut victim: Sequence) {
        self.blocks.release(victim.take_blocks());
        self.counters.preemptions += 1;
        self.actions.push(Action::Preempt(victim.id));
        self.waiting.put_back(victim.lane, victim);
    }

    /// Takes sequences in while there is a place and memory, from the lane with the least service,
    /// what it has been promised included: the prompts in the batch.
    fn admit_waiting(&mut self) {
        while self.running.len() < self.max_batch {
            let promised = |lane| {
                let of_lane = self.running.iter().filter(|sequence| sequence.lane == lane);
                of_lane.map(|sequence| sequence.unserved() as u64).sum::<u64>()
            };
            let Some((lane, sequence)) = self.waiting.peek(promised) else { break };
            if !self.has_rows_for(lane) {
                break;
            }
            // A spare block for each sequence there would be, but for one that is alone.
            let num_running = self.running.len();
            let headroom = if num_running == 0 { 0 } else { num_running + 1 };
            let (ids, num_spared) = (&sequence.ids, sequence.num_spared());
            let Some(admitted) = self.blocks.admit(ids, num_spared, headroom) else { break };
            let sequence = self.waiting.take(lane).expect("it was just there");
            self.start(sequence, admitted);
        }
    }

    /// Whether a newcomer of this lane has something to do: the prompts in the batch leave part of
    /// the step free, or all are of other lanes that are served at least as well.
    fn has_rows_for(&self, lane: u64) -> bool {
        let prefills = || self.running.iter().filter(|sequence| sequence.remaining() > 1);
        let num_single = self.running.len() - prefills().count();
        let rows_of = |sequence: &Sequence| match sequence.purpose.is_scoring() {
            true => sequence.remaining().min(self.max_outputs),
            false => sequence.remaining(),
        };
        let num_rows = prefills().map(rows_of).sum::<usize>() + num_single;
        let service = self.waiting.service(lane);
        num_rows < self.max_step_tokens
            || prefills().all(|s| s.lane != lane && self.waiting.service(s.lane) >= service)
    }

    fn start(&mut self, mut sequence: Sequence, (table, num_cached): (BlockTable, usize)) {
        if sequence.admission.is_none() {
            self.counters.prompt_tokens += sequence.prompt_len as u64;
        }
        sequence.table = table;
        self.counters.cached_tokens += sequence.skip_to(num_cached) as u64;
        sequence.admission = Some(self.num_admissions);
        self.num_admissions += 1;
        self.actions.push(Action::Admit(sequence.id, num_cached));
        self.running.push(sequence);
    }

    /// Has prompts skip what another sequence of the batch has computed since they were admitted:
    /// of prompts that come at once and begin alike, one is computed.
    fn catch_up(&mut self) {
        for sequence in self.running.iter_mut().filter(|sequence| sequence.remaining() > 1) {
            let num_spared = sequence.num_spared();
            let spared = &sequence.ids[..num_spared];
            let computed = self.blocks.catch_up(&mut sequence.table, spared);
            if computed > sequence.computed {
                self.counters.cached_tokens += sequence.skip_to(computed) as u64;
                self.actions.push(Action::CatchUp(sequence.id, computed));
            }
        }
    }

    /// One row for each sequence with one id to compute; the rest of the step for the others, the
    /// least served lane's first. Of a prompt that is scored only so many as can have logits, with
    /// one left for each other sequence.
    fn choose_rows(&mut self) {
        let Self { waiting, running, scheduled, actions, .. } = self;
        running.sort_by_key(|s| (waiting.service(s.lane), s.admission));
        let mut room = self.max_step_tokens;
        let mut spare_outputs = self.max_outputs.saturating_sub(running.len());
        for is_short in [true, false] {
            for (index, sequence) in running.iter().enumerate() {
                let remaining = sequence.remaining();
                let num_rows = remaining.min(room);
                if (remaining == 1) != is_short || num_rows == 0 || !sequence.may_run() {
                    continue;
                }
                let mut rows = sequence.computed..sequence.computed + num_rows;
                let num_more = sequence.logits(&rows).len().saturating_sub(1);
                // They are the last of its rows.
                rows.end -= num_more.saturating_sub(spare_outputs);
                spare_outputs = spare_outputs.saturating_sub(num_more);
                room -= rows.len();
                actions.push(if sequence.is_decode(&rows) {
                    Action::Decode(sequence.id)
                } else {
                    Action::Prefill(sequence.id, rows.clone())
                });
                let (logits, hidden) = (sequence.logits(&rows), sequence.hidden(&rows));
                scheduled.push(Rows { index, rows, logits, hidden });
            }
        }
        scheduled.sort_by_key(|step| !step.hidden.is_empty());
    }

    /// Adds drafted ids to a step that only decodes, as far as it has few rows: the rest is shared
    /// among its sequences. A draft takes one block at most, while each sequence of the batch could
    /// have another; `commit` takes it back unless the next id needs it.
    fn draft_ahead(&mut self) {
        const { assert!(MAX_DRAFT <= BLOCK_SIZE) };
        let Self { running, blocks, scheduled, actions, counters, .. } = self;
        let num_rows = scheduled.len();
        let is_decode = |Rows { index, rows, .. }: &Rows| running[*index].is_decode(rows);
        let is_known = running.iter().all(|sequence| sequence.pending.is_none());
        if num_rows >= self.speculative_rows || !is_known || !scheduled.iter().all(is_decode) {
            return;
        }
        let mut room = self.speculative_rows - num_rows;
        let num_running = running.len();
        for (num_done, Rows { index, .. }) in scheduled.iter().enumerate() {
            let Sequence { ids, table, .. } = &running[*index];
            let spare_block = if blocks.num_available() > num_running { BLOCK_SIZE } else { 0 };
            let capacity = table.capacity() - ids.len() + spare_block;
            let share = room.div_ceil(num_rows - num_done);
            let sequence = &mut running[*index];
            if self.is_beside && !sequence.may_go_on() {
                continue;
            }
            let num_drafted = sequence.guess(share.min(capacity));
            if num_drafted == 0 {
                continue;
            }
            room -= num_drafted;
            counters.drafted_tokens += num_drafted as u64;
            actions.push(Action::Draft(sequence.id, num_drafted));
            if sequence.table.capacity() < sequence.ids.len() + num_drafted {
                let has_grown = blocks.grow(&mut sequence.table);
                assert!(has_grown, "a block was spare");
            }
        }
    }

    fn remove_ended(&mut self) {
        let Self { waiting, running, blocks, actions, ended, .. } = self;
        for sequence in running.extract_if(.., |sequence| sequence.ending.is_some()) {
            let Sequence { id, lane, table, outlet, ending, .. } = sequence;
            let reason = ending.expect("this is what was asked for");
            actions.push(Action::Finish(id, reason));
            blocks.release(table);
            waiting.leave(lane);
            ended.push((outlet, reason));
        }
    }

    /// Takes sequences out of the batch whose readers have no room for another token. They give
    /// their blocks back: what a reader leaves lying must not cost others memory.
    fn pause_unread(&mut self) {
        let Self { running, paused, blocks, actions, counters, .. } = self;
        let is_unread = |s: &mut Sequence| !s.outlet.has_room() && s.outlet.pause();
        for mut sequence in running.extract_if(.., is_unread) {
            actions.push(Action::Pause(sequence.id));
            blocks.release(sequence.take_blocks());
            // Its own reader's doing: what is computed again is service, and counted as such.
            sequence.served = 0;
            counters.pauses += 1;
            paused.push(sequence);
        }
    }
}
