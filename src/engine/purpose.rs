//! What the rows of a prompt are computed for beside being continued: log probabilities of the
//! prompt's own ids, or one vector of all of it.
//! Promises: the same values however the prompt is cut into steps, alone or in a batch: rows are
//! taken in their order, one by one. After a preemption nothing is taken twice.
//! Never knows: the scheduler, who reads.

use std::ops::Range;

use super::sampler::SampleError;
use crate::model::{Pooling, TokenLogprobs};

/// See the module's page.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Its last row is sampled from.
    Continue,
    /// So is the last row, and all before it say how likely the ids after them were.
    Score(Scores),
    /// Nothing is sampled.
    Embed(Pool),
}

/// The log probabilities of a prompt's ids, from the second on, as far as they are computed.
#[derive(Debug)]
pub(super) struct Scores {
    /// Most likely ids that each comes with.
    num_top: usize,
    /// Ids that have one in the end: the n-th of them comes of row n.
    num_due: usize,
    num_scored: usize,
    /// Those that are not sent yet: all or none.
    logprobs: Option<Vec<TokenLogprobs>>,
}

/// The hidden states of a prompt, as far as they are computed, on their way to one vector.
#[derive(Debug)]
pub(super) struct Pool {
    pooling: Pooling,
    /// The sum of `num_rows` hidden states. Empty before the first.
    sum: Vec<f64>,
    num_rows: usize,
}

impl Purpose {
    /// How many of a sequence's first rows need not be computed if their keys and values are
    /// there; `len`: all of its ids. Of the last one something is wanted always.
    pub(super) fn num_spared(&self, len: usize) -> usize {
        match self {
            Self::Score(scores) if !scores.is_done() => scores.num_scored,
            Self::Embed(Pool { pooling: Pooling::Mean | Pooling::First, .. }) => 0,
            _ => len - 1,
        }
    }

    /// Of these rows of a sequence of `len` ids, those whose logits are wanted: the last ones.
    pub(super) fn logits(&self, rows: &Range<usize>, len: usize) -> Range<usize> {
        let start = match self {
            Self::Score(scores) if !scores.is_done() => scores.num_scored.max(rows.start),
            Self::Continue | Self::Score(_) if rows.end == len => len - 1,
            _ => rows.end,
        };
        start.min(rows.end)..rows.end
    }

    /// Of these rows of a sequence of `len` ids, those whose hidden states are wanted.
    pub(super) fn hidden(&self, rows: &Range<usize>, len: usize) -> Range<usize> {
        let Self::Embed(pool) = self else { return 0..0 };
        let wanted = match pool.pooling {
            Pooling::Mean => 0..len,
            Pooling::First => 0..1,
            Pooling::Last => len - 1..len,
        };
        let (start, end) = (rows.start.max(wanted.start), rows.end.min(wanted.end));
        start..end.max(start)
    }

    /// Whether logits of more rows than the last are wanted.
    pub(super) fn is_scoring(&self) -> bool {
        matches!(self, Self::Score(scores) if !scores.is_done())
    }

    /// Forgets what is computed again after a preemption.
    pub(super) fn restart(&mut self) {
        if let Self::Embed(pool) = self {
            *pool = Pool::new(pool.pooling);
        }
    }
}

impl Scores {
    /// Of a prompt of this length.
    pub(super) fn new(prompt_len: usize, num_top: usize) -> Self {
        Self { num_top, num_due: prompt_len - 1, num_scored: 0, logprobs: Some(Vec::new()) }
    }

    fn is_done(&self) -> bool {
        self.num_scored == self.num_due
    }

    /// Takes what the logits of the next rows of the prompt `ids` say. `score`: the n-th row's log
    /// probability of an id, with those of so many most likely ones. Once all are there they are
    /// given out.
    pub(super) fn take(
        &mut self,
        rows: Range<usize>,
        ids: &[u32],
        mut score: impl FnMut(usize, u32, usize) -> Result<TokenLogprobs, SampleError>,
    ) -> Result<Option<Vec<TokenLogprobs>>, SampleError> {
        for (nth, row) in rows.enumerate().take_while(|(_, row)| *row < self.num_due) {
            let Some(logprobs) = &mut self.logprobs else { break };
            logprobs.push(score(nth, ids[row + 1], self.num_top)?);
            self.num_scored += 1;
        }
        Ok(if self.is_done() { self.logprobs.take() } else { None })
    }
}

impl Pool {
    pub(super) fn new(pooling: Pooling) -> Self {
        Self { pooling, sum: Vec::new(), num_rows: 0 }
    }

    /// Takes the next wanted row.
    pub(super) fn add(&mut self, hidden: &[f32]) {
        self.sum.resize(hidden.len(), 0.0);
        for (sum, value) in self.sum.iter_mut().zip(hidden) {
            *sum += f64::from(*value);
        }
        self.num_rows += 1;
    }

    /// The vector, once all wanted rows are in; `None` if the model yielded what is not a number.
    pub(super) fn vector(&self) -> Option<Vec<f32>> {
        let num_rows = self.num_rows as f64;
        let vector: Vec<f32> = self.sum.iter().map(|sum| (sum / num_rows) as f32).collect();
        vector.iter().all(|value| value.is_finite()).then_some(vector)
    }
}
