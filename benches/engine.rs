//! The three models of the README through `mizan bench decode`, and beside each, in the same run,
//! the same file with candle's own kernels (candle-transformers' quantized models).
//!
//! `cargo bench --bench engine [-- ID...]` measures; `cargo test` only runs a few tokens of one
//! model. Files are taken from `MIZAN_TEST_MODELS`, by default the folder of the tests, and fetched
//! if they are not there.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Result, Tensor};
use candle_transformers::models::{quantized_gemma3, quantized_llama, quantized_qwen2};

#[path = "../tests/it/support/models.rs"]
mod models;

/// As many as candle's rounds can be waited for.
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let real = arguments.iter().any(|argument| argument == "--bench");
    let mut ids: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if ids.is_empty() {
        ids = vec!["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m"];
        ids.truncate(if real { 3 } else { 1 });
    }
    let (prompt, tokens) = if real { (512, 128) } else { (8, 2) };
    for id in ids {
        let path = models::path(id);
        ours(&path, prompt, tokens, real);
        candles(&path, prompt, tokens, if real { ROUNDS } else { 1 })
            .unwrap_or_else(|error| panic!("{id} with candle: {error}"));
    }
}

fn ours(path: &Path, prompt: usize, tokens: usize, real: bool) {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizan"));
    command.args(["bench", "decode"]).arg(path).arg("--data").arg(data.path());
    command.args(["--prompt", &prompt.to_string(), "--tokens", &tokens.to_string()]);
    if !real {
        command.args(["--rounds", "1", "--streams", "2", "--long-prompt", "20"]);
    }
    let status = command.status().expect("the binary runs");
    assert!(status.success(), "{status}");
}

/// A model of candle-transformers: ids at a position to the logits of the last.
type Forward = Box<dyn FnMut(&Tensor, usize) -> Result<Tensor>>;

fn open(path: &Path) -> Result<(Forward, usize)> {
    let mut file = BufReader::new(File::open(path)?);
    let content = Content::read(&mut file)?;
    let metadata = |key: &str| content.metadata.get(key).cloned();
    let architecture = metadata("general.architecture").and_then(|a| a.to_string().ok().cloned());
    let vocab_size = metadata("tokenizer.ggml.tokens").and_then(|t| t.to_vec().ok().map(Vec::len));
    let vocab_size = vocab_size.ok_or_else(|| candle_core::Error::msg("no vocabulary"))?;
    let device = Device::Cpu;
    let forward: Forward = match architecture.as_deref() {
        Some("llama") => {
            let mut model = quantized_llama::ModelWeights::from_gguf(content, &mut file, &device)?;
            Box::new(move |ids, position| model.forward(ids, position))
        }
        Some("qwen2") => {
            let mut model = quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &device)?;
            Box::new(move |ids, position| model.forward(ids, position))
        }
        _ => {
            let mut model = quantized_gemma3::ModelWeights::from_gguf(content, &mut file, &device)?;
            Box::new(move |ids, position| model.forward(ids, position))
        }
    };
    Ok((forward, vocab_size))
}

/// Prefill and decode as `mizan bench decode` measures them: a first round warms up.
fn candles(path: &Path, prompt: usize, tokens: usize, rounds: usize) -> Result<()> {
    let (mut forward, vocab_size) = open(path)?;
    let mut step = |start: usize, end: usize| -> Result<()> {
        let ids: Vec<u32> =
            (start..end).map(|i| (i.wrapping_mul(2_654_435_761) % vocab_size) as u32).collect();
        // Position 0 starts a new sequence: candle's models drop their cache there.
        forward(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?, start)?;
        Ok(())
    };
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let started = Instant::now();
        step(0, prompt)?;
        let after_prompt = Instant::now();
        for position in 0..tokens {
            step(position, position + 1)?;
        }
        if round > 0 {
            prefill.push(prompt as f64 / (after_prompt - started).as_secs_f64());
            decode.push(tokens as f64 / after_prompt.elapsed().as_secs_f64());
        }
    }
    for (name, label, mut rates) in
        [("prefill", format!("pp{prompt}"), prefill), ("decode", format!("tg{tokens}"), decode)]
    {
        rates.sort_by(f64::total_cmp);
        let [median, least, most] = [rates[rounds / 2], rates[0], rates[rounds - 1]];
        let name = format!("candle {name}");
        println!("{name:16}{label:26}{median:10.1}{least:10.1}{most:10.1} tokens/s");
    }
    Ok(())
}
