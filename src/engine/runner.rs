//! Turns what was scheduled into the model's input, and runs it.
//! Promises: the batch passes `ForwardBatch::check`; its memory is reused from step to step.
//! Never knows: why these rows, what becomes of the logits.

use std::ops::Range;

use super::block_manager::BlockTable;
use crate::model::{
    BLOCK_SIZE, BatchSequence, Chooser, Decoder, DecoderShape, FedToken, ForwardBatch, ModelError,
    Outputs,
};

/// One sequence's part of a step.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// All ids of the sequence.
    pub(super) ids: &'a [u32],
    /// The last id is that of this choice of the step before.
    pub(super) pending: Option<u32>,
    /// The positions to compute.
    pub(super) rows: Range<usize>,
    /// Ids to compute at the positions after `rows`, as if they were the sequence's.
    pub(super) draft: &'a [u32],
    pub(super) table: &'a BlockTable,
    /// The positions of `rows` whose logits are wanted: the last ones. Those of each drafted id are
    /// wanted too.
    pub(super) logits: Range<usize>,
    /// The positions of `rows` whose hidden states are wanted. Parts with such positions come after
    /// those with logits.
    pub(super) hidden: Range<usize>,
}

/// Owns the model.
#[derive(Debug)]
pub(super) struct Runner {
    decoder: Decoder,
    batch: ForwardBatch,
}

impl Runner {
    pub(super) fn new(decoder: Decoder) -> Self {
        Self { decoder, batch: ForwardBatch::default() }
    }

    /// Runs the parts in one step: the logits and hidden states that they want, in order, each
    /// one's drafts after its own.
    pub(super) fn forward<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
    ) -> Result<Outputs<'_>, ModelError> {
        self.fill(parts);
        let DecoderShape { vocab_size, hidden_size, .. } = *self.shape();
        let batch = &self.batch;
        let outputs = self.decoder.run(batch)?;
        for (what, got, expected) in [
            ("logits", outputs.logits.len(), batch.outputs.len() * vocab_size),
            ("values of hidden states", outputs.hidden.len(), batch.hidden.len() * hidden_size),
        ] {
            if got != expected {
                return Err(ModelError::Executor(format!("{got} {what} where {expected} are due")));
            }
        }
        Ok(outputs)
    }

    /// Queues the parts as one step, for a model that chooses tokens itself.
    pub(super) fn queue<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
    ) -> Result<(), ModelError> {
        self.fill(parts);
        self.decoder.queue(&self.batch)
    }

    /// What chooses tokens, if the model does.
    pub(super) fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        self.decoder.chooser()
    }

    fn fill<'a>(&mut self, parts: impl Iterator<Item = Part<'a>>) {
        self.batch.clear();
        parts.for_each(|part| self.add(&part));
    }

    pub(super) fn shape(&self) -> &DecoderShape {
        self.decoder.shape()
    }

    fn add(&mut self, part: &Part<'_>) {
        let Part { ids, pending, rows, draft, table, logits, hidden } = part;
        let context_len = rows.end + draft.len();
        let batch = &mut self.batch;
        let first_row = batch.tokens.len() as u32;
        let first_block = batch.block_tables.len() as u32;
        let blocks = &table.blocks()[..context_len.div_ceil(BLOCK_SIZE)];
        batch.block_tables.extend(blocks.iter().map(|block| block.0));
        batch.tokens.extend_from_slice(&ids[rows.clone()]);
        batch.tokens.extend_from_slice(draft);
        if let Some(choice) = *pending {
            let row = batch.tokens.len() as u32 - 1;
            batch.fed.push(FedToken { row, choice });
        }
        for position in rows.start..context_len {
            let block = blocks[position / BLOCK_SIZE].0;
            batch.positions.push(position as u32);
            batch.slots.push(block * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32);
        }
        let end_row = batch.tokens.len() as u32;
        batch.sequences.push(BatchSequence {
            rows: first_row..end_row,
            blocks: first_block..batch.block_tables.len() as u32,
            context_len: context_len as u32,
        });
        let row_of = |position: usize| first_row + (position - rows.start) as u32;
        if !logits.is_empty() {
            batch.outputs.extend(row_of(logits.start)..end_row);
        }
        if !hidden.is_empty() {
            batch.hidden.extend(row_of(hidden.start)..row_of(hidden.end));
        }
    }
}
