//! What the fake and the scripted model share: executors without weights, which keep token ids
//! where others keep keys and values.

use mizan::model::{BLOCK_SIZE, BatchSequence, ForwardBatch};

/// Where a sequence's `position` is kept, as its block table says.
pub(crate) fn slot(batch: &ForwardBatch, sequence: &BatchSequence, position: u32) -> usize {
    let at = position as usize;
    batch.block_table(sequence)[at / BLOCK_SIZE] as usize * BLOCK_SIZE + at % BLOCK_SIZE
}

/// The steps of an `Executor` that only multiply weights: they do nothing.
macro_rules! steps_of_weights {
    () => {
        fn attention_output(&mut self, _: usize, _: &ForwardBatch) -> Result<(), ModelError> {
            Ok(())
        }

        fn gate_up(&mut self, _: usize, _: &ForwardBatch) -> Result<(), ModelError> {
            Ok(())
        }

        fn down(&mut self, _: usize, _: &ForwardBatch) -> Result<(), ModelError> {
            Ok(())
        }
    };
}

pub(crate) use steps_of_weights;
