//! `mizan bench streams`: decoding at a long context, alone and in large batches, and prefill; each
//! with what it reads or computes at least, and what share of a machine's bounds that is.
//!
//! Decode: all prompts are computed once, and stay in the prefix cache. A round begins all streams
//! anew, so that they start within a few steps of each other. It is measured from the moment when
//! the last of them has its first token to the moment when the first one ends: in between, each
//! step decodes one token of every stream and nothing else. Scheduler, sampler (greedy) and the
//! reading of tokens are in it; tokenizer, HTTP and ledger are not. Prefill: from handing a prompt
//! that nobody has seen to the engine to its first token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::report::median;
use super::step_tokens;
use crate::cli::{load_model_config, pull};
use crate::config::{Device, KvType, StoreFlags};
use crate::engine::SequenceStream;
use crate::engine::{Engine, EngineOptions, Event, FinishReason, SamplingParams, SequenceRequest};
use crate::model::{BLOCK_SIZE, Model};
use crate::registry::{DecoderLimits, open_decoder};

#[derive(Debug, Args)]
pub(crate) struct StreamsFlags {
    /// A model of models.toml, or the path of a model file
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// How many streams decode at once: one workload each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,64,256")]
    streams: Vec<usize>,
    /// Tokens of each stream's prompt
    #[arg(long, default_value_t = 1_024)]
    prompt: usize,
    /// Tokens decoded of each stream while all decode
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Tokens of the one prompt whose prefill is measured; 0: none
    #[arg(long, default_value_t = 2_048)]
    prefill: usize,
    /// Measured rounds, after one that only warms up
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads that compute [default: the CPUs this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// Where the model runs [default: as in the settings]
    #[arg(long)]
    device: Option<Device>,
    /// What the memory can read, in GB/s: also show the share of it that decoding reaches
    #[arg(long, value_name = "GB/S")]
    bandwidth: Option<f64>,
    /// What the machine can multiply, in TFLOP/s: also show the share of it that prefill reaches
    #[arg(long, value_name = "TFLOP/S")]
    peak: Option<f64>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
}

/// The figures of one number of streams.
#[derive(Debug, Default)]
struct Decoding {
    streams: usize,
    /// Of all streams together, a round each.
    tokens_per_second: Vec<f64>,
    /// Positions that a row reads, itself among them: the mean over rows and rounds.
    context: f64,
    /// That a step reads at least: the weights once, keys and values of every stream.
    bytes_per_step: f64,
}

/// The figures of one prompt.
#[derive(Debug)]
struct Prefill {
    tokens: usize,
    tokens_per_second: Vec<f64>,
    /// Of its matrix products.
    flops: f64,
}

pub(super) fn run(flags: &StreamsFlags) -> Result<()> {
    let StreamsFlags { prompt, tokens, rounds, prefill, .. } = *flags;
    let most = flags.streams.iter().copied().max().unwrap_or_default();
    let counts = flags.streams.iter().copied().chain([prompt, rounds]);
    ensure!(most > 0 && counts.into_iter().all(|count| count > 0), "all counts start at 1");
    ensure!(tokens > 1, "there is nothing between the tokens of an answer of one");
    let (mut config, entry) = load_model_config(flags.store.clone(), flags.model.clone())?;
    let files = pull::fetch(&entry, &config)?;
    config.threads = flags.threads.unwrap_or(config.threads);
    config.device = flags.device.unwrap_or(config.device);
    let model = Model::open(&files.path)?;
    let max_tokens = step_tokens(&config, most);
    let lead = lead(most, max_tokens);
    let room = model.config.max_context;
    let longest = prefill.max(prompt + tokens + lead);
    ensure!(longest < room, "the model's context has {room} tokens, and {longest} are wanted");
    // Twice what the streams decode: what an earlier round has left is not pushed out by the next,
    // and with it the prompts.
    let of_stream = (prompt + 1).div_ceil(BLOCK_SIZE) + 2 * ((tokens + lead) / BLOCK_SIZE + 1);
    let limits = DecoderLimits {
        max_tokens,
        max_outputs: most,
        num_blocks: most * of_stream + 2 * (prefill / BLOCK_SIZE + 1),
        threads: config.threads,
        device: config.device,
        // What the bytes of a step are counted for.
        kv_type: KvType::Bf16,
    };
    let started = Instant::now();
    let mut streams = Streams::start(open_decoder(&files.path, limits)?, most, lead)?;
    let loaded = started.elapsed().as_secs_f64();
    println!("{}, {} threads, loaded in {loaded:.2} s", entry.id, config.threads);
    println!("{:30}{:>10}{:>10}{:>10}{:>9}", "", "median", "least", "most", "context");
    let mut figures = json!({ "model": entry.id, "threads": config.threads, "prompt": prompt });
    if prefill > 0 {
        let measured = streams.prefill(&model, prefill, rounds)?;
        measured.print(flags.peak);
        figures["prefill"] = measured.json(flags.peak);
    }
    let mut decoding = Vec::new();
    for &count in &flags.streams {
        let measured = streams.decode(&model, count, prompt, tokens, rounds)?;
        measured.print(flags.bandwidth);
        decoding.push(measured.json(flags.bandwidth));
    }
    figures["decode"] = decoding.into();
    let Some(path) = &flags.json else { return Ok(()) };
    std::fs::write(path, format!("{figures:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Tokens that the first of so many streams may have before the last has one: a step each, in which
/// others compute what of their prompts is not in the prefix cache, a block at most.
fn lead(streams: usize, max_tokens: usize) -> usize {
    let for_prompts = max_tokens.saturating_sub(streams).max(BLOCK_SIZE);
    (streams * (BLOCK_SIZE + 1)).div_ceil(for_prompts) + 4
}

/// An engine, and prompts for it.
struct Streams {
    engine: Engine,
    vocab_size: usize,
    lead: usize,
    readers: tokio::runtime::Runtime,
    /// Of the next prompt that nobody has seen: far from those of streams.
    fresh: usize,
}

impl Streams {
    fn start(decoder: crate::model::Decoder, most: usize, lead: usize) -> Result<Self> {
        let shape = *decoder.shape();
        let options = EngineOptions {
            max_batch: most,
            max_step_tokens: shape.max_tokens,
            max_waiting: most,
            num_blocks: shape.num_blocks,
            prefix_cache: true,
            speculative_rows: 0,
            name: "bench".to_owned(),
        };
        let readers = tokio::runtime::Builder::new_current_thread().build()?;
        let engine = Engine::start(decoder, options)?;
        Ok(Self { engine, vocab_size: shape.vocab_size, lead, readers, fresh: 1 << 20 })
    }

    /// One prompt of `tokens` tokens a round.
    fn prefill(&mut self, model: &Model, tokens: usize, rounds: usize) -> Result<Prefill> {
        let mut rates = Vec::new();
        for round in 0..=rounds {
            let prompt = ids(self.fresh, tokens, self.vocab_size);
            self.fresh += 1;
            let begun = Instant::now();
            let times = self.answers(vec![prompt], 1)?;
            if round > 0 {
                rates.push(tokens as f64 / (times[0][0] - begun).as_secs_f64());
            }
        }
        Ok(Prefill { tokens, tokens_per_second: rates, flops: model.prompt_flops(tokens) })
    }

    fn decode(
        &self,
        model: &Model,
        streams: usize,
        prompt: usize,
        tokens: usize,
        rounds: usize,
    ) -> Result<Decoding> {
        let prompts: Vec<_> =
            (0..streams).map(|stream| ids(stream, prompt, self.vocab_size)).collect();
        self.answers(prompts.clone(), 1)?;
        let mut measured = Decoding { streams, ..Decoding::default() };
        for round in 0..=rounds {
            let times = self.answers(prompts.clone(), tokens + self.lead)?;
            let window = Window::of(&times).context("a stream stood still while others ran")?;
            let steps = window.steps;
            ensure!(steps >= tokens / 2, "all streams decoded together for {steps} steps only");
            if round > 0 {
                let rate = (steps * streams) as f64 / window.elapsed.as_secs_f64();
                measured.tokens_per_second.push(rate);
                measured.context += (prompt as f64 + window.mean_index) / rounds as f64;
            }
        }
        let read = streams as f64 * model.kv_bytes_read(measured.context);
        measured.bytes_per_step = model.step_weight_bytes() as f64 + read;
        Ok(measured)
    }

    /// Submits the prompts at once; when each of the `tokens` tokens of each came.
    fn answers(&self, prompts: Vec<Vec<u32>>, tokens: usize) -> Result<Vec<Vec<Instant>>> {
        self.readers.block_on(async {
            let mut readers = JoinSet::new();
            for (lane, prompt) in prompts.into_iter().enumerate() {
                let request = SequenceRequest {
                    lane: lane as u64,
                    prompt,
                    max_tokens: tokens,
                    stop_ids: Arc::from([]),
                    sampling: SamplingParams { ignore_stop_ids: true, ..SamplingParams::default() },
                    constraint: None,
                };
                readers.spawn(read(self.engine.submit(request)?));
            }
            readers.join_all().await.into_iter().collect()
        })
    }
}

/// When each token came, to the end.
async fn read(mut stream: SequenceStream) -> Result<Vec<Instant>> {
    let mut times = Vec::new();
    loop {
        match stream.next().await.context("the engine has stopped")? {
            Event::Token(_) => times.push(Instant::now()),
            Event::Finished(reason) => {
                ensure!(reason == FinishReason::Length, "a sequence ended: {reason:?}");
                return Ok(times);
            }
            Event::Prompt(_) | Event::Vector(_) => {} // Nobody asked for it.
        }
    }
}

/// The ids of a prompt: no two begin alike.
fn ids(prompt: usize, count: usize, vocab_size: usize) -> Vec<u32> {
    let id = |position: usize| {
        // The finalizer of MurmurHash3, over both.
        let mut mixed = ((prompt as u64) << 32 | position as u64).wrapping_add(1);
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            mixed = (mixed ^ (mixed >> 33)).wrapping_mul(factor);
        }
        ((mixed ^ (mixed >> 33)) % vocab_size as u64) as u32
    };
    (0..count).map(id).collect()
}

/// While all streams decode.
#[derive(Debug, PartialEq)]
struct Window {
    elapsed: Duration,
    /// Steps in it, of one token of each stream.
    steps: usize,
    /// Of the tokens of these steps: how many came before each in its stream.
    mean_index: f64,
}

impl Window {
    /// Of when each stream's tokens came: after the last stream's first, until the first stream's
    /// last. Timed by the last stream's own tokens: those of a step are read one after the other.
    /// `None` if a stream stood still in between.
    fn of(streams: &[Vec<Instant>]) -> Option<Self> {
        let last = streams.iter().max_by_key(|times| times.first())?;
        let (&begin, end) = (last.first()?, streams.iter().filter_map(|times| times.last()).min()?);
        let steps = last.partition_point(|time| time <= end).checked_sub(1)?;
        let (count, end) = (streams.len(), last[steps]);
        let counted = streams.iter().flat_map(|times| times.iter().enumerate());
        let within = counted.filter(|(_, time)| begin < **time && **time <= end);
        let indices: Vec<usize> = within.map(|(index, _)| index).collect();
        let (sum, tokens) = (indices.iter().sum::<usize>(), indices.len());
        let mean_index = sum as f64 / tokens.max(1) as f64;
        // Of its first and last step some may be read just outside.
        let is_whole = tokens.abs_diff(steps * count) <= count;
        is_whole.then_some(Self { elapsed: end - begin, steps, mean_index })
    }
}

impl Decoding {
    /// Bytes a second, at so many tokens a second.
    fn bytes_per_second(&self, rate: f64) -> f64 {
        self.bytes_per_step * rate / self.streams as f64
    }

    fn print(&self, bandwidth: Option<f64>) {
        let (label, context) = (format!("decode, {} streams", self.streams), self.context);
        let middle = print_rates(&label, &self.tokens_per_second);
        let read = self.bytes_per_second(middle) / 1e9;
        print!("{context:9.0}  {:.2} GB a step, {read:.0} GB/s", self.bytes_per_step / 1e9);
        println!("{}", share(bandwidth.map(|bandwidth| read / bandwidth)));
    }

    fn json(&self, bandwidth: Option<f64>) -> Value {
        let mut figures = json!({
            "streams": self.streams,
            "mean_context": self.context,
            "bytes_per_step": self.bytes_per_step,
            "tokens_per_second": self.tokens_per_second,
        });
        if let Some(bandwidth) = bandwidth {
            let read = self.bytes_per_second(median(&mut self.tokens_per_second.clone()));
            figures["share_of_bandwidth"] = json!(read / (bandwidth * 1e9));
        }
        figures
    }
}

impl Prefill {
    fn flops_per_second(&self, rate: f64) -> f64 {
        self.flops * rate / self.tokens as f64
    }

    fn print(&self, peak: Option<f64>) {
        let label = format!("prefill of {} tokens", self.tokens);
        let middle = print_rates(&label, &self.tokens_per_second);
        let reached = self.flops_per_second(middle) / 1e12;
        let share = share(peak.map(|peak| reached / peak));
        println!("{:9}  {reached:.2} TFLOP/s{share}", "");
    }

    fn json(&self, peak: Option<f64>) -> Value {
        let mut figures = json!({
            "tokens": self.tokens,
            "flops": self.flops,
            "tokens_per_second": self.tokens_per_second,
        });
        if let Some(peak) = peak {
            let reached = self.flops_per_second(median(&mut self.tokens_per_second.clone()));
            figures["share_of_peak"] = json!(reached / (peak * 1e12));
        }
        figures
    }
}

/// Prints median, least and most; the median.
fn print_rates(label: &str, rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    let middle = median(&mut sorted);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    print!("{label:30}{middle:10.1}{least:10.1}{most:10.1}");
    middle
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| format!(", {:.1} % of the bound", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_while_all_decode_counts() {
        let begin = Instant::now();
        let at = |millis: &[u64]| -> Vec<Instant> {
            millis.iter().map(|&millis| begin + Duration::from_millis(millis)).collect()
        };
        // The second begins at 30, the first ends at 60: three steps of each.
        let streams = [at(&[10, 20, 30, 40, 50, 60]), at(&[30, 40, 50, 60, 70, 80])];
        let elapsed = Duration::from_millis(30);
        let mean_index = (3.0 + 4.0 + 5.0 + 1.0 + 2.0 + 3.0) / 6.0;
        assert_eq!(Window::of(&streams), Some(Window { elapsed, steps: 3, mean_index }));
        // The same, where the second is read a moment after the first.
        let streams = [at(&[10, 20, 30, 40, 50, 60]), at(&[31, 41, 51, 61, 71, 81])];
        let window = Window::of(&streams).expect("they run together");
        assert_eq!((window.steps, window.elapsed), (2, Duration::from_millis(20)));
        // One waits while the other runs.
        let streams = [at(&[10, 20, 30, 40, 50, 60, 70, 80]), at(&[15, 75])];
        assert_eq!(Window::of(&streams), None);
        assert_eq!(Window::of(&[at(&[1, 2]), at(&[3, 4])]), None);
        assert_eq!(Window::of(&[]), None);
    }

    #[test]
    fn prompts_begin_differently_and_stay_in_the_vocabulary() {
        let prompts: Vec<_> = (0..300).map(|prompt| ids(prompt, BLOCK_SIZE, 997)).collect();
        let different: std::collections::HashSet<_> = prompts.iter().collect();
        assert_eq!(different.len(), 300);
        assert!(prompts.iter().flatten().all(|&id| id < 997));
    }

    #[test]
    fn a_share_is_of_bytes_or_products_a_second() {
        let decoding = Decoding {
            streams: 4,
            tokens_per_second: vec![8.0],
            context: 1.0,
            bytes_per_step: 3e9,
        };
        assert_eq!(decoding.json(Some(12.0))["share_of_bandwidth"], 0.5);
        assert_eq!(decoding.json(None).get("share_of_bandwidth"), None);
        let prefill = Prefill { tokens: 10, tokens_per_second: vec![20.0], flops: 1e12 };
        assert_eq!(prefill.json(Some(4.0))["share_of_peak"], 0.5);
    }
}
