//! What the engine counts.
//! Promises: figures of one `Stats` belong together: all are of the same instant between steps.
//! Never knows: how figures are shown.

use std::sync::{Mutex, PoisonError};

/// Counters since the engine started, and gauges as of its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that wait for a place in the batch.
    pub waiting: usize,
    /// Sequences in the batch; they own blocks.
    pub running: usize,
    /// Sequences whose reader is behind; they own no blocks.
    pub paused: usize,
    /// The KV memory.
    pub blocks: BlockCounts,
    /// Turns of the engine that ran a batch.
    pub steps: u64,
    /// Turns of the engine, those that found nothing to run included. Stands still when idle.
    pub turns: u64,
    /// Prompt ids of the sequences admitted so far.
    pub prompt_tokens: u64,
    /// Of those, ids that the prefix cache had.
    pub cached_tokens: u64,
    /// Ids sampled and emitted.
    pub generated_tokens: u64,
    /// Ids drafted from what came before; each was a row of a step.
    pub drafted_tokens: u64,
    /// Of those, ids that were then sampled; they are among `generated_tokens`.
    pub accepted_tokens: u64,
    /// Times that a sequence gave its blocks up for another.
    pub preemptions: u64,
    /// Times that a sequence gave its blocks up because its reader was behind.
    pub pauses: u64,
    /// Batches on which the model failed.
    pub failed_steps: u64,
}

/// Blocks by state; `free + cached + owned = total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// Without content.
    pub free: usize,
    /// In no sequence, but with content that the prefix cache may hand out again.
    pub cached: usize,
    /// In at least one sequence's block table.
    pub owned: usize,
    /// All.
    pub total: usize,
}

/// Where the engine leaves its figures after each turn.
#[derive(Debug, Default)]
pub(super) struct StatsBoard(Mutex<Stats>);

impl StatsBoard {
    pub(super) fn publish(&self, stats: Stats) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    pub(super) fn read(&self) -> Stats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
