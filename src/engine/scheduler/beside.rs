//! Steps of an executor that works beside the engine: their tokens are chosen there, and the next
//! step is made and queued before they are known.
//!
//! ```text
//! executor   |  step 1, choose  |  step 2, choose  |  step 3 ..
//! engine     | make 2 | wait 1, hand out | make 3 | wait 2, hand out | ..
//! ```
//! A sequence that goes on has its id presumed meanwhile: there is a place for it in its ids, and
//! its next row takes whatever the executor has chosen. If that was the end, the row is computed in
//! vain and nothing of it is seen. Ids by which choices themselves are made (penalties, grammars,
//! drafts) must be known first: a step with such a sequence is waited for.
//!
//! Promises: the same tokens as of steps one by one, none emitted that was not settled.
//! Never knows: how tokens are chosen.

use super::*;
use crate::model::Choices;

impl Scheduler {
    /// The outputs of this step by which prompts are scored, ascending.
    pub(in super::super) fn scored_outputs(&self) -> Vec<usize> {
        let mut scored = Vec::new();
        let mut first_output = 0;
        for Rows { index, logits, .. } in &self.scheduled {
            let sequence = &self.running[*index];
            let end = first_output + logits.len();
            if sequence.purpose.is_scoring() {
                scored.extend(first_output..end);
            }
            first_output = end + sequence.lookup.draft().len();
        }
        scored
    }

    /// Whether the step has hidden states.
    pub(in super::super) fn wants_hidden(&self) -> bool {
        self.scheduled.iter().any(|step| !step.hidden.is_empty())
    }

    /// Describes what this step is to choose; after `read_prompts`.
    pub(in super::super) fn describe(&mut self, choices: &mut Choices) {
        let mut num_outputs = 0;
        for Rows { index, rows, logits, .. } in &self.scheduled {
            let sequence = &mut self.running[*index];
            let first_output = (num_outputs + logits.len()).saturating_sub(1);
            num_outputs += logits.len() + sequence.lookup.draft().len();
            if sequence.is_whole_at(rows.end) {
                sequence.describe(first_output..num_outputs, choices);
            }
        }
    }

    /// Whether the next step can be made before this one's tokens are known. While few sequences
    /// run, that pays less than drafts, for which the last ids must be known.
    pub(in super::super) fn may_go_on(&self) -> bool {
        let is_plain = |Rows { index, .. }: &Rows| self.running[*index].may_go_on();
        self.scheduled.len() >= self.speculative_rows && self.scheduled.iter().all(is_plain)
    }

    /// Takes over what this step computes, except for its tokens: they are presumed. `choice_of`:
    /// the number of the choice that was described for an output.
    pub(in super::super) fn presume(&mut self, choice_of: impl Fn(usize) -> Option<u32>) {
        let mut num_outputs = 0;
        for Rows { index, rows, logits, .. } in &self.scheduled {
            let sequence = &mut self.running[*index];
            num_outputs += logits.len();
            self.waiting.charge(sequence.lane, sequence.serve(rows.end));
            if sequence.has_ended_before(rows) {
                self.actions.push(Action::Discard(sequence.id));
                continue;
            }
            let is_whole = sequence.is_whole_at(rows.end);
            sequence.computed = rows.end;
            self.blocks.keep_full(&mut sequence.table, &sequence.ids[..rows.end]);
            if let (true, None) = (is_whole, sequence.ending)
                && let Some(choice) = choice_of(num_outputs - 1)
            {
                self.actions.push(Action::Presume(sequence.id));
                sequence.presume(choice);
            }
        }
        self.counters.steps += 1;
        self.conclude_step();
    }

    /// Takes over and hands out what was chosen where an id was presumed. What has ended stays in
    /// the batch until the step that is being made is taken over too.
    pub(in super::super) fn settle(
        &mut self,
        chosen: impl Fn(u32) -> Result<SampledToken, SampleError>,
    ) {
        for sequence in &mut self.running {
            let Some(choice) = sequence.pending else { continue };
            if sequence.settle(chosen(choice)) {
                self.counters.generated_tokens += 1;
                self.waiting.charge(sequence.lane, OUTPUT_SERVICE);
            }
            sequence.emit();
        }
    }

    /// Takes those out of the batch that have ended, or whose reader is behind: the last of a step.
    pub(in super::super) fn conclude_step(&mut self) {
        self.remove_ended();
        self.pause_unread();
    }
}
