//! Turns what was scheduled into the model's input, and runs it.
//! Promises: the batch passes `ForwardBatch::check`; its memory is reused from step to step.
//! Never knows: why these rows, what becomes of the logits.

use std::ops::Range;

use super::block_manager::BlockTable;
use crate::model::{BLOCK_SIZE, BatchSequence, Decoder, ForwardBatch, ModelError};

/// One sequence's part of a step.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// All ids of the sequence.
    pub(super) ids: &'a [u32],
    /// The positions to compute.
    pub(super) rows: Range<usize>,
    /// Ids to compute at the positions after `rows`, as if they were the sequence's.
    pub(super) draft: &'a [u32],
    pub(super) table: &'a BlockTable,
    /// Whether the logits of the last of `rows` are wanted, and of each drafted id.
    pub(super) wants_logits: bool,
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

    /// Runs the parts in one step: the logits of those that want them, in order, each one's drafts
    /// after its own.
    /// `[num_outputs, vocab_size]`
    pub(super) fn forward<'a>(
        &mut self,
        parts: impl Iterator<Item = Part<'a>>,
    ) -> Result<&[f32], ModelError> {
        self.batch.clear();
        for part in parts {
            self.add(&part);
        }
        let expected = self.batch.outputs.len() * self.vocab_size();
        let logits = self.decoder.forward(&self.batch)?;
        if logits.len() != expected {
            let got = logits.len();
            return Err(ModelError::Executor(format!("{got} logits where {expected} are due")));
        }
        Ok(logits)
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.decoder.shape().vocab_size
    }

    fn add(&mut self, part: &Part<'_>) {
        let Part { ids, rows, draft, table, wants_logits } = part;
        let context_len = rows.end + draft.len();
        let batch = &mut self.batch;
        let first_row = batch.tokens.len() as u32;
        let first_block = batch.block_tables.len() as u32;
        let blocks = &table.blocks()[..context_len.div_ceil(BLOCK_SIZE)];
        batch.block_tables.extend(blocks.iter().map(|block| block.0));
        batch.tokens.extend_from_slice(&ids[rows.clone()]);
        batch.tokens.extend_from_slice(draft);
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
        if *wants_logits {
            batch.outputs.extend(end_row - 1 - draft.len() as u32..end_row);
        }
    }
}
