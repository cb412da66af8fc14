//! Checks a model's logits against an independent implementation on the user's own file.
//! Promises: a file that the other implementation would compute wrongly is refused with the reason,
//! so that a difference always means a fault.
//! Never knows: how the report is shown.

mod comparison;
mod oracle;
mod recorded;

use std::path::Path;

pub use comparison::{Comparison, Gates};
pub use oracle::oracle_logits;
pub use recorded::Recorded;

use super::batch::{BLOCK_SIZE, BatchSequence, ForwardBatch};
use super::decoder::Decoder;
use super::error::ModelError;
use super::load::Model;

/// Why no comparison could be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The oracle can not compute this model, or not these tokens, correctly.
    #[error("candle-transformers can not check this model: {0}")]
    Refused(String),
    /// Another implementation's logits are not to be had.
    #[error("there is nothing to compare with: {0}")]
    Recorded(String),
    /// The oracle failed while it ran.
    #[error("candle-transformers failed: {0}")]
    Oracle(candle_core::Error),
    /// Our own side failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Runs `tokens` through candle-transformers and through `decoder`, and compares all logits.
///
/// `path` is the GGUF file that `model` was opened from. Uses blocks 0 and up of the decoder's KV
/// memory, so the decoder must be idle.
pub fn verify(
    path: &Path,
    model: &Model,
    decoder: &mut Decoder,
    tokens: &[u32],
) -> Result<Comparison, VerifyError> {
    let expected = oracle_logits(path, model, tokens)?;
    let actual = logits_of_each_position(decoder, tokens)?;
    Ok(Comparison::of(&expected, &actual, model.config.vocab_size))
}

/// The logits after each token of a sequence that starts at position 0.
/// `[tokens.len(), vocab_size]`
///
/// Runs steps as large as the decoder takes. Uses KV blocks 0 and up.
pub fn logits_of_each_position(
    decoder: &mut Decoder,
    tokens: &[u32],
) -> Result<Vec<f32>, ModelError> {
    let shape = *decoder.shape();
    let step = shape.max_tokens.min(shape.max_outputs).max(1);
    let mut logits = Vec::with_capacity(tokens.len() * shape.vocab_size);
    for first in (0..tokens.len()).step_by(step) {
        let end = tokens.len().min(first + step);
        let batch = chunk_of_one_sequence(tokens, first..end);
        logits.extend_from_slice(decoder.forward(&batch)?);
    }
    Ok(logits)
}

/// The step that computes positions `range` of a sequence in blocks 0, 1, 2 and so on.
fn chunk_of_one_sequence(tokens: &[u32], range: std::ops::Range<usize>) -> ForwardBatch {
    let positions: Vec<u32> = range.clone().map(|position| position as u32).collect();
    let rows = range.len() as u32;
    let num_blocks = range.end.div_ceil(BLOCK_SIZE) as u32;
    ForwardBatch {
        tokens: tokens[range.clone()].to_vec(),
        fed: Vec::new(),
        slots: positions.clone(),
        positions,
        sequences: vec![BatchSequence {
            rows: 0..rows,
            blocks: 0..num_blocks,
            context_len: range.end as u32,
        }],
        block_tables: (0..num_blocks).collect(),
        outputs: (0..rows).collect(),
        hidden: Vec::new(),
    }
}
