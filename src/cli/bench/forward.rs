//! The forward pass alone, of one sequence: what llama.cpp's `llama-bench` calls `pp` and `tg`.
//! Never knows: sampler, scheduler, tokenizer.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::token_at;
use crate::model::{BLOCK_SIZE, BatchSequence, Decoder, ForwardBatch};

/// One sequence in the first blocks of a pool of its own.
pub(super) struct Forward {
    decoder: Decoder,
    batch: ForwardBatch,
}

impl Forward {
    pub(super) fn new(decoder: Decoder) -> Self {
        Self { decoder, batch: ForwardBatch::default() }
    }

    pub(super) fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// Runs a prompt of `tokens` ids from an empty context; logits of the last row only.
    pub(super) fn prefill(&mut self, tokens: usize) -> Result<Duration> {
        let started = Instant::now();
        let step = self.decoder.shape().max_tokens;
        for start in (0..tokens).step_by(step) {
            let end = (start + step).min(tokens);
            self.step(start, end, end == tokens)?;
        }
        Ok(started.elapsed())
    }

    /// Runs `tokens` steps of one row each, from an empty context.
    pub(super) fn decode(&mut self, tokens: usize) -> Result<Duration> {
        let started = Instant::now();
        for position in 0..tokens {
            self.step(position, position + 1, true)?;
        }
        Ok(started.elapsed())
    }

    fn step(&mut self, start: usize, end: usize, wants_logits: bool) -> Result<()> {
        let vocab_size = self.decoder.shape().vocab_size;
        let batch = &mut self.batch;
        batch.clear();
        for position in start..end {
            batch.tokens.push(token_at(position, vocab_size));
            batch.positions.push(position as u32);
            batch.slots.push(position as u32); // Block i holds positions 16 i to 16 i + 15.
        }
        batch.block_tables.extend(0..end.div_ceil(BLOCK_SIZE) as u32);
        batch.sequences.push(BatchSequence {
            rows: 0..(end - start) as u32,
            blocks: 0..batch.block_tables.len() as u32,
            context_len: end as u32,
        });
        if wants_logits {
            batch.outputs.push((end - start - 1) as u32);
        }
        self.decoder.forward(&self.batch)?;
        Ok(())
    }
}
