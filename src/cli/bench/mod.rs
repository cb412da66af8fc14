//! `mizan bench`: tokens a second of one model on this machine, offline, and what charging costs.
//!
//! `decode` is here, the others have files of their own. Rounds are reported one by one, so that a
//! noisy machine shows; what each workload is, `workload` says. Prompt-lookup is off: the ids are
//! not text.

mod charging;
mod copy;
mod forward;
mod generations;
mod ledger;
mod profile;
mod report;
mod schema;
mod streams;
mod temporary;
mod thread_times;
mod through_engine;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

use crate::config::{Config, Device, KvType, StoreFlags};
use crate::model::BLOCK_SIZE;
use crate::registry::{DecoderLimits, default_step_tokens, open_decoder};

use super::{load_model_config, pull, runtime};
use forward::Forward;
use report::{Report, Series};
use through_engine::ThroughEngine;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Prefill, decode and batched decode of one model, offline
    Decode(DecodeFlags),
    /// Tokens a second of many streams at a long context, and their share of what memory allows
    Streams(streams::StreamsFlags),
    /// What a charge costs, on books from empty to large ones
    Ledger(ledger::LedgerFlags),
    /// What charging takes away from one model's tokens a second, offline
    Charging(charging::ChargingFlags),
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
    /// Streams that run at once, each with a prompt of 128 tokens and 64 to decode
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// Tokens of the long prompt, after which 64 are decoded
    #[arg(long, default_value_t = 2_000)]
    long_prompt: usize,
    /// Measured rounds, after one that only warms up
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads that compute [default: the CPUs this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// Where the model runs [default: as in the settings]
    #[arg(long)]
    device: Option<Device>,
    /// How a GPU keeps keys and values [default: as in the settings]
    #[arg(long, value_name = "bf16|fp8")]
    kv_type: Option<KvType>,
    /// Only show where the time of a token goes: each step's share of prefill and decode
    #[arg(long, conflicts_with = "json")]
    profile: bool,
    /// Only compare prompt lookup with plain decoding, on a file that is given back with one name
    /// changed
    #[arg(long, conflicts_with_all = ["json", "profile"])]
    copy: bool,
    /// Only compare decoding within the JSON schema of this file with plain decoding
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "profile", "copy"])]
    schema: Option<PathBuf>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
}

/// Of each of many streams: ids of its prompt, and ids to decode.
const STREAM_PROMPT: usize = 128;
const STREAM_TOKENS: usize = 64;

/// Streams whose prompts begin alike, the ids they share, and the ids of each alone.
const SHARING_STREAMS: usize = 4;
const SHARED_PROMPT: usize = 400;
const OWN_PROMPT: usize = 32;

pub(crate) fn run(command: BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Decode(flags) => decode(&flags),
        BenchCommand::Streams(flags) => streams::run(&flags),
        BenchCommand::Ledger(flags) => ledger::run(&flags),
        BenchCommand::Charging(flags) => charging::run(&flags),
    }
}

fn decode(flags: &DecodeFlags) -> Result<()> {
    let DecodeFlags { prompt, tokens, streams, long_prompt, rounds, .. } = *flags;
    ensure!(
        [prompt, tokens, streams, long_prompt, rounds].into_iter().all(|count| count > 0),
        "all counts start at 1"
    );
    let (mut config, entry) = load_model_config(flags.store.clone(), flags.model.clone())?;
    let files = pull::fetch(&entry, &config)?;
    config.threads = flags.threads.unwrap_or(config.threads);
    config.device = flags.device.unwrap_or(config.device);
    config.kv_type = flags.kv_type.unwrap_or(config.kv_type);
    if flags.copy {
        return runtime()?.block_on(copy::print(&config, &entry, rounds));
    }
    if let Some(schema) = &flags.schema {
        return runtime()?.block_on(schema::print(&config, &entry, schema, streams, rounds));
    }
    let threads = config.threads;
    let long = long_prompt + STREAM_TOKENS;
    let blocks = |sequences: usize, len: usize| sequences * (len + 1).div_ceil(BLOCK_SIZE);
    let num_blocks = [
        blocks(1, prompt.max(tokens).max(long)),
        blocks(streams, STREAM_PROMPT + STREAM_TOKENS),
        blocks(SHARING_STREAMS, SHARED_PROMPT + OWN_PROMPT + 1),
    ];
    // A block for each sequence stays free, so that nothing that is measured is preempted.
    let num_blocks = num_blocks.into_iter().max().unwrap_or_default() + 2 * streams + 2;
    let max_outputs = streams.max(SHARING_STREAMS);
    let limits = DecoderLimits {
        max_tokens: step_tokens(&config, max_outputs),
        max_outputs,
        num_blocks,
        threads,
        device: config.device,
        kv_type: config.kv_type,
    };

    let started = Instant::now();
    let decoder = open_decoder(&files.path, limits)?;
    let max_context = decoder.shape().max_context;
    ensure!(prompt.max(tokens) <= max_context, "the model's context has {max_context} tokens");
    println!("{}, {threads} threads, loaded in {:.2} s", entry.id, started.elapsed().as_secs_f64());

    if flags.profile {
        return profile::print(decoder, prompt, tokens, rounds);
    }
    let mut report = Report::new(entry.id, threads);
    let mut forward = Forward::new(decoder);
    report.add(Series::rates("prefill", format!("pp{prompt}"), prompt), rounds, || {
        forward.prefill(prompt)
    })?;
    report.add(Series::rates("decode", format!("tg{tokens}"), tokens), rounds, || {
        forward.decode(tokens)
    })?;
    let mut engine = ThroughEngine::start(forward.into_decoder(), streams.max(SHARING_STREAMS))?;
    let total = streams * (STREAM_PROMPT + STREAM_TOKENS);
    let label = format!("{streams} x {STREAM_PROMPT} in, {STREAM_TOKENS} out");
    report.add(Series::rates("batched", label, total), rounds, || {
        engine.answer_all(streams, STREAM_PROMPT, STREAM_TOKENS)
    })?;
    if long <= max_context {
        let label = format!("{long_prompt} in, {STREAM_TOKENS} out");
        report.add(Series::rates("long", label, long), rounds, || {
            engine.answer_all(1, long_prompt, STREAM_TOKENS)
        })?;
    }
    let label = format!("{SHARING_STREAMS} x {SHARED_PROMPT} shared + {OWN_PROMPT} in");
    report.add(Series::seconds("first_tokens", label), rounds, || {
        engine.first_tokens(SHARING_STREAMS, SHARED_PROMPT, OWN_PROMPT)
    })?;
    report.finish(flags.json.as_deref())
}

/// Rows of one step, as the server has them: one at least for each of `max_batch` sequences.
fn step_tokens(config: &Config, max_batch: usize) -> usize {
    let default = || default_step_tokens(config.device);
    config.max_step_tokens.unwrap_or_else(default).max(max_batch)
}

/// Ids that look like text only in that they differ: the work does not depend on them.
fn token_at(position: usize, vocab_size: usize) -> u32 {
    (position.wrapping_mul(2_654_435_761) % vocab_size) as u32
}

#[cfg(test)]
mod tests {
    use super::token_at;

    #[test]
    fn every_position_has_a_token_of_the_vocabulary() {
        assert!((0..10_000).all(|position| token_at(position, 997) < 997));
    }
}
