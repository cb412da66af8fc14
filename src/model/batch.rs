//! One step's input: which token goes where, and what it may read.
//! Promises: a batch that passes `check` lets an executor index without further tests.
//! Never knows: why these tokens were chosen, text, accounts.

use std::ops::Range;

use super::decoder::DecoderShape;
use super::error::ModelError;

/// KV positions in a block.
pub const BLOCK_SIZE: usize = 16;

/// One step's input, filled by the engine.
///
/// A *row* is one token of the step. The rows of a sequence are contiguous and in position order,
/// so a step may mix single decode tokens with chunks of prompts.
#[derive(Debug, Clone, Default)]
pub struct ForwardBatch {
    /// Token of each row. `[num_tokens]`
    pub tokens: Vec<u32>,
    /// Rows whose token is not known here, ascending. `[num_fed]`
    pub fed: Vec<FedToken>,
    /// Position of each row in its sequence, from 0. `[num_tokens]`
    pub positions: Vec<u32>,
    /// KV slot that each row writes: `block * BLOCK_SIZE + offset`. `[num_tokens]`
    pub slots: Vec<u32>,
    /// The sequences, in the order of their rows; together they cover all rows.
    pub sequences: Vec<BatchSequence>,
    /// The sequences' block tables, one after the other. `[sum of blocks]`
    pub block_tables: Vec<u32>,
    /// Rows whose logits are wanted, ascending. `[num_outputs]`
    pub outputs: Vec<u32>,
    /// Rows whose final hidden states are wanted, ascending; all come after those of `outputs`, so
    /// that an executor has each kind in one piece. `[num_hidden]`
    pub hidden: Vec<u32>,
}

/// A row whose token an executor has chosen itself, perhaps not yet. `tokens` has any id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FedToken {
    /// The row.
    pub row: u32,
    /// Its token is the n-th of those that were chosen from the step before.
    pub choice: u32,
}

/// One sequence's part of a [`ForwardBatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSequence {
    /// Its rows. Never empty.
    pub rows: Range<u32>,
    /// Its block table within `block_tables`: entry `p / BLOCK_SIZE` holds position `p`.
    pub blocks: Range<u32>,
    /// Positions readable after this step: the last row's position + 1.
    pub context_len: u32,
}

impl ForwardBatch {
    /// Empties the batch and keeps its memory, so that the next step allocates nothing.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.fed.clear();
        self.positions.clear();
        self.slots.clear();
        self.sequences.clear();
        self.block_tables.clear();
        self.outputs.clear();
        self.hidden.clear();
    }

    /// Rows in this step.
    pub fn num_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The block table of one of this batch's sequences.
    pub fn block_table(&self, sequence: &BatchSequence) -> &[u32] {
        &self.block_tables[sequence.blocks.start as usize..sequence.blocks.end as usize]
    }

    /// Tests every invariant that an executor relies on to index without checks of its own.
    ///
    /// Linear in rows and sequences, so it is run on every step. Fails with
    /// [`ModelError::Batch`].
    pub fn check(&self, shape: &DecoderShape) -> Result<(), ModelError> {
        self.find_fault(shape).map_or(Ok(()), |fault| Err(ModelError::Batch(fault)))
    }

    fn find_fault(&self, shape: &DecoderShape) -> Option<String> {
        let rows = self.num_tokens();
        if rows == 0 || rows > shape.max_tokens {
            return Some(format!("{rows} rows, expected 1 to {}", shape.max_tokens));
        }
        if self.positions.len() != rows || self.slots.len() != rows {
            return Some(format!(
                "{rows} tokens but {} positions and {} slots",
                self.positions.len(),
                self.slots.len()
            ));
        }
        if let Some(token) = self.tokens.iter().find(|&&token| token as usize >= shape.vocab_size) {
            return Some(format!("token {token} in a vocabulary of {}", shape.vocab_size));
        }
        if !are_rows(self.fed.iter().map(|fed| fed.row), 0..rows) {
            return Some(format!("fed rows {:?} of {rows}", self.fed));
        }
        if self.outputs.len() > shape.max_outputs {
            return Some(format!("{} outputs, at most {}", self.outputs.len(), shape.max_outputs));
        }
        if !are_rows(self.outputs.iter().copied(), 0..rows) {
            return Some(format!("outputs {:?} of {rows} rows", self.outputs));
        }
        let after_outputs = self.outputs.last().map_or(0, |&row| row as usize + 1);
        if !are_rows(self.hidden.iter().copied(), after_outputs..rows) {
            let hidden = &self.hidden;
            return Some(format!("hidden states {hidden:?} of rows {after_outputs} to {rows}"));
        }
        let mut next_row = 0;
        for (index, sequence) in self.sequences.iter().enumerate() {
            if sequence.rows.start != next_row {
                return Some(format!("sequence {index} starts at {}", sequence.rows.start));
            }
            next_row = sequence.rows.end;
            if let Some(fault) = self.find_sequence_fault(sequence, shape) {
                return Some(format!("sequence {index}: {fault}"));
            }
        }
        (next_row as usize != rows).then(|| format!("sequences cover {next_row} of {rows} rows"))
    }

    fn find_sequence_fault(
        &self,
        sequence: &BatchSequence,
        shape: &DecoderShape,
    ) -> Option<String> {
        let rows = sequence.rows.start as usize..sequence.rows.end as usize;
        if rows.is_empty() || rows.end > self.num_tokens() {
            return Some(format!("rows {rows:?} of {}", self.num_tokens()));
        }
        let blocks = sequence.blocks.start as usize..sequence.blocks.end as usize;
        if blocks.start > blocks.end || blocks.end > self.block_tables.len() {
            return Some(format!("blocks {blocks:?} of {}", self.block_tables.len()));
        }
        let table = &self.block_tables[blocks];
        if let Some(block) = table.iter().find(|&&block| block as usize >= shape.num_blocks) {
            return Some(format!("block {block} of {}", shape.num_blocks));
        }
        let context_len = sequence.context_len as usize;
        if context_len > shape.max_context || context_len > table.len() * BLOCK_SIZE {
            return Some(format!(
                "context of {context_len} in {} blocks, at most {}",
                table.len(),
                shape.max_context
            ));
        }
        let Some(first) = context_len.checked_sub(rows.len()) else {
            return Some(format!("{} rows in a context of {context_len}", rows.len()));
        };
        for (row, position) in rows.zip(first..) {
            if self.positions[row] as usize != position {
                return Some(format!("position {} where {position} is due", self.positions[row]));
            }
            let slot = table[position / BLOCK_SIZE] as usize * BLOCK_SIZE + position % BLOCK_SIZE;
            if self.slots[row] as usize != slot {
                return Some(format!("slot {} where {slot} is due", self.slots[row]));
            }
        }
        None
    }
}

/// Whether these are ascending rows of `range`.
fn are_rows(rows: impl Iterator<Item = u32>, range: Range<usize>) -> bool {
    let mut least = range.start;
    for row in rows {
        if !(least..range.end).contains(&(row as usize)) {
            return false;
        }
        least = row as usize + 1;
    }
    true
}
