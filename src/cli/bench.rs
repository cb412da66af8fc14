//! `mizan bench decode MODEL`: tokens a second of prefill and of single-stream decode.
//!
//! What llama.cpp's `llama-bench` calls `pp512` and `tg128`: the forward pass alone, on fixed token
//! ids, without tokenizer, sampler, HTTP or ledger. Rounds are reported one by one, so that a noisy
//! machine shows.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::model::{BLOCK_SIZE, BatchSequence, Decoder, ForwardBatch};
use crate::registry;

use super::{load_model_config, pull};
use crate::config::StoreFlags;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Prefill and single-stream decode of one model, offline
    Decode(DecodeFlags),
}

#[derive(Debug, Args)]
pub(crate) struct DecodeFlags {
    /// A model of models.toml, or the path of a model file
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens decoded one by one
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Measured rounds, after one that only warms up
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads that compute [default: the CPUs this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
}

/// Rows of one step, as the server's default.
const MAX_STEP_TOKENS: usize = 512;

pub(crate) fn run(command: BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Decode(flags) => decode(flags),
    }
}

fn decode(flags: DecodeFlags) -> Result<()> {
    ensure!(flags.prompt > 0 && flags.tokens > 0 && flags.rounds > 0, "all counts start at 1");
    let (config, entry) = load_model_config(flags.store, flags.model)?;
    let files = pull::fetch(&entry, &config)?;
    let threads = flags.threads.unwrap_or(config.threads);
    let positions = flags.prompt.max(flags.tokens);
    let started = Instant::now();
    let mut bench = Bench::new(&files.path, positions, threads)?;
    let loaded = started.elapsed();

    println!("{}, {threads} threads, loaded in {:.2} s", entry.id, loaded.as_secs_f64());
    bench.prefill(flags.prompt)?;
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for round in 1..=flags.rounds {
        prefill.push(rate(flags.prompt, bench.prefill(flags.prompt)?));
        decode.push(rate(flags.tokens, bench.decode(flags.tokens)?));
        println!(
            "round {round}: prefill {:8.1} tokens/s, decode {:8.1} tokens/s",
            prefill[round - 1],
            decode[round - 1]
        );
    }
    println!(
        "median:  prefill {:8.1} tokens/s, decode {:8.1} tokens/s   (pp{} tg{})",
        median(&prefill),
        median(&decode),
        flags.prompt,
        flags.tokens
    );
    if let Some(path) = &flags.json {
        let figures = json!({
            "model": entry.id,
            "threads": threads,
            "prefill": {"tokens": flags.prompt, "tokens_per_second": prefill},
            "decode": {"tokens": flags.tokens, "tokens_per_second": decode},
        });
        std::fs::write(path, format!("{figures:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One sequence in the first blocks of a pool of its own.
struct Bench {
    decoder: Decoder,
    batch: ForwardBatch,
}

impl Bench {
    fn new(path: &std::path::Path, positions: usize, threads: usize) -> Result<Self> {
        let decoder = registry::open_decoder(
            path,
            registry::DecoderLimits {
                max_tokens: MAX_STEP_TOKENS,
                max_outputs: 1,
                num_blocks: positions.div_ceil(BLOCK_SIZE),
                threads,
            },
        )?;
        ensure!(
            positions <= decoder.shape().max_context,
            "the model's context has {} tokens",
            decoder.shape().max_context
        );
        Ok(Self { decoder, batch: ForwardBatch::default() })
    }

    /// Runs a prompt of `tokens` ids from an empty context; logits of the last row only.
    fn prefill(&mut self, tokens: usize) -> Result<Duration> {
        let started = Instant::now();
        for start in (0..tokens).step_by(MAX_STEP_TOKENS) {
            let end = (start + MAX_STEP_TOKENS).min(tokens);
            self.step(start, end, end == tokens)?;
        }
        Ok(started.elapsed())
    }

    /// Runs `tokens` steps of one row each, from an empty context.
    fn decode(&mut self, tokens: usize) -> Result<Duration> {
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

/// Ids that look like text only in that they differ: the work does not depend on them.
fn token_at(position: usize, vocab_size: usize) -> u32 {
    (position.wrapping_mul(2_654_435_761) % vocab_size) as u32
}

fn rate(tokens: usize, time: Duration) -> f64 {
    tokens as f64 / time.as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn every_position_has_a_token_of_the_vocabulary() {
        assert!((0..10_000).all(|position| token_at(position, 997) < 997));
    }
}
