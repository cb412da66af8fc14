//! Prompt lookup: guesses a sequence's next ids from its own earlier ones.
//!
//! Text repeats itself: what is quoted, edited, listed, named again. If the last ids occurred
//! before, those that followed then are drafted (Saxena, "Prompt Lookup Decoding", 2023; the
//! `lookup` example of llama.cpp) and computed in the same step as the last id. Each row's logits
//! are plain decoding's as long as the drafts before it are right, so whoever samples row after row
//! up to the first draft that is not what was sampled has plain decoding's ids, several in a step.
//!
//! Promises: constant work for each id, amortized; a wrong guess costs rows of a step, never a
//! different id; where guesses are wrong, few are made.
//! Never knows: logits, blocks, other sequences.

use std::collections::HashMap;

/// Rows of a step up to which ids are drafted, those of the sequences included. A step of a few
/// rows is bound by reading the weights, so that further ones cost little: on two cores of an EPYC,
/// 4 rows take 1.1 to 1.2 times as long as one, 8 rows 1.3 to 1.6 times, 12 rows 1.5 to 2.2 times.
pub const SPECULATIVE_ROWS: usize = 8;

/// Ids in a draft, at most.
pub(super) const MAX_DRAFT: usize = SPECULATIVE_ROWS - 1;

/// Ids of the first draft, and of those after one that was wrong.
const FIRST_DRAFT: usize = 3;

/// Ids that must have occurred together before for a draft, at least and at most. Longer ones are
/// looked for first: they tell more.
const MIN_RUN: usize = 2;
const MAX_RUN: usize = 4;

/// Ids sampled without a draft after one of which nothing was right; twice as many each time that
/// happens again at once, up to the second.
const FIRST_PAUSE: usize = 2;
const MAX_PAUSE: usize = 32;

/// Ids noted in one step, at most: a long prompt must not hold up the others' next ids.
const MAX_NOTED: usize = 512;

/// Up to `MAX_RUN` ids; `NO_ID` fills up.
type Run = [u32; MAX_RUN];
const NO_ID: u32 = u32::MAX;

/// One sequence's drafts, and what they are made from.
#[derive(Debug)]
pub(super) struct PromptLookup {
    /// For each run of ids, the position after its latest occurrence that an id follows.
    follows: HashMap<Run, u32>,
    /// Runs that end at a position below this are in `follows`.
    noted: usize,
    draft: Vec<u32>,
    /// Ids of the next draft, at most.
    len: usize,
    /// Ids that the sequence must have before the next draft.
    resume_at: usize,
    /// What `resume_at` is put off by if nothing of the next draft is right.
    pause: usize,
}

impl Default for PromptLookup {
    fn default() -> Self {
        Self {
            follows: HashMap::new(),
            noted: 0,
            draft: Vec::new(),
            len: FIRST_DRAFT,
            resume_at: 0,
            pause: FIRST_PAUSE,
        }
    }
}

impl PromptLookup {
    /// The ids that are guessed to follow in this step; none between steps.
    pub(super) fn draft(&self) -> &[u32] {
        &self.draft
    }

    /// Guesses what follows `ids`, the whole sequence: `max_len` ids at most. How many it did.
    pub(super) fn guess(&mut self, ids: &[u32], max_len: usize) -> usize {
        let len = self.len.min(max_len);
        if len == 0 || ids.len() < self.resume_at {
            return 0;
        }
        self.note(ids);
        if let Some(start) = self.find(ids) {
            for at in start..start + len {
                // A copy may run into itself, as in LZ77: so a loop goes on.
                let id = ids.get(at).copied().unwrap_or_else(|| self.draft[at - ids.len()]);
                self.draft.push(id);
            }
        }
        self.draft.len()
    }

    /// Ends the draft, of which the first `num_accepted` ids were right, and learns from it. `len`:
    /// the sequence's ids now.
    pub(super) fn settle(&mut self, num_accepted: usize, len: usize) {
        let num_drafted = self.draft.len();
        self.draft.clear();
        if num_drafted == 0 {
            return;
        }
        if num_accepted == 0 {
            self.len = FIRST_DRAFT;
            self.resume_at = len + self.pause;
            self.pause = (2 * self.pause).min(MAX_PAUSE);
        } else {
            let is_all = num_accepted == num_drafted;
            let len = if is_all { self.len + num_drafted } else { num_accepted };
            self.len = len.clamp(FIRST_DRAFT, MAX_DRAFT);
            self.pause = FIRST_PAUSE;
        }
    }

    /// Notes the runs that an id follows by now.
    fn note(&mut self, ids: &[u32]) {
        for end in (self.noted..ids.len()).take(MAX_NOTED) {
            for len in MIN_RUN..=MAX_RUN.min(end) {
                self.follows.insert(run(&ids[end - len..end]), end as u32);
            }
            self.noted = end + 1;
        }
    }

    /// The position after the latest earlier occurrence of as many of the last ids as possible.
    fn find(&self, ids: &[u32]) -> Option<usize> {
        let lens = (MIN_RUN..=MAX_RUN.min(ids.len())).rev();
        let mut found = lens.filter_map(|len| self.follows.get(&run(&ids[ids.len() - len..])));
        found.next().map(|&at| at as usize)
    }
}

fn run(ids: &[u32]) -> Run {
    let mut run = [NO_ID; MAX_RUN];
    run[..ids.len()].copy_from_slice(ids);
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The draft after `ids` of a lookup that drafts as much as it may.
    fn check(ids: &[u32], expected: &[u32]) {
        let mut lookup = PromptLookup { len: MAX_DRAFT, ..PromptLookup::default() };
        lookup.guess(ids, 4);
        assert_eq!(lookup.draft(), expected, "after {ids:?}");
        // Noted id by id, it is the same.
        let mut steady = PromptLookup::default();
        for end in 1..=ids.len() {
            steady.draft.clear();
            (steady.len, steady.resume_at) = (MAX_DRAFT, 0);
            steady.guess(&ids[..end], 4);
        }
        assert_eq!(steady.draft(), expected, "after {ids:?}, id by id");
    }

    #[test]
    fn what_followed_the_last_ids_before_is_drafted() {
        check(&[], &[]);
        check(&[1], &[]);
        check(&[1, 2], &[]);
        check(&[1, 2, 3, 2], &[]);
        check(&[1, 2, 3, 4, 5, 6, 1, 2], &[3, 4, 5, 6]);
        // The latest occurrence counts ...
        check(&[1, 2, 3, 1, 2, 4, 9, 9, 1, 2], &[4, 9, 9, 1]);
        // ... but a longer one counts more.
        check(&[7, 1, 2, 3, 1, 2, 4, 9, 7, 1, 2], &[3, 1, 2, 4]);
    }

    #[test]
    fn a_loop_goes_on() {
        check(&[5, 5], &[]);
        check(&[5, 5, 5], &[5, 5, 5, 5]);
        check(&[1, 2, 3, 1, 2], &[3, 1, 2, 3]);
    }

    #[test]
    fn drafts_grow_while_they_are_right_and_pause_when_nothing_is() {
        let ids = [5; 20];
        let mut lookup = PromptLookup::default();
        let mut lens = Vec::new();
        for _ in 0..4 {
            let len = lookup.guess(&ids, usize::MAX);
            lens.push(len);
            lookup.settle(len, ids.len());
        }
        assert_eq!(lens, [3, 6, 7, 7]);
        lookup.guess(&ids, 100);
        lookup.settle(4, ids.len());
        assert_eq!(lookup.guess(&ids, 100), 4, "as many as were right");
        lookup.settle(0, ids.len());
        // Ids between one draft and the next, if none is ever right.
        let mut ids = ids.to_vec();
        let mut gaps = Vec::new();
        for _ in 0..7 {
            let before = ids.len();
            while lookup.guess(&ids, 100) == 0 {
                ids.push(5);
            }
            lookup.settle(0, ids.len());
            gaps.push(ids.len() - before);
        }
        assert_eq!(gaps, [2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn no_more_is_drafted_than_there_is_room_for() {
        let mut lookup = PromptLookup { len: MAX_DRAFT, ..PromptLookup::default() };
        assert_eq!(lookup.guess(&[5; 20], 0), 0);
        assert_eq!(lookup.guess(&[5; 20], 1), 1);
    }

    #[test]
    fn a_long_prompt_is_noted_over_several_steps() {
        let ids: Vec<u32> = (0..2 * MAX_NOTED as u32 + 10).collect();
        let mut lookup = PromptLookup::default();
        for noted in [MAX_NOTED, 2 * MAX_NOTED, ids.len(), ids.len()] {
            lookup.guess(&ids, 1);
            assert_eq!(lookup.noted, noted);
        }
    }
}
