//! `--schema`: decoding within a JSON schema against plain decoding of as many tokens. As the
//! server runs it: tokenizer, chat template, masks, engine; prompt lookup is off.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;

use super::report::median;
use crate::catalog::{ModelEntry, Speculation};
use crate::config::Config;
use crate::engine::{Constraint, Event, SamplingParams, SequenceRequest, SequenceStream};
use crate::grammar::{self, Grammar};
use crate::registry::{LoadedModel, Registry};
use crate::text::{ChatMessage, TemplateOptions};

/// Tokens of an answer, at most.
const MAX_TOKENS: usize = 256;

/// What is compared: a model, and the schema that its answers keep to.
struct Bench {
    model: Arc<LoadedModel>,
    prompt: Vec<u32>,
    constraint: Box<dyn Constraint>,
}

/// Both in turn, `rounds` times after one that only warms up: one answer, then `streams` at once.
pub(super) async fn print(
    config: &Config,
    entry: &ModelEntry,
    schema: &Path,
    streams: usize,
    rounds: usize,
) -> Result<()> {
    let text = std::fs::read_to_string(schema).context("the schema can not be read")?;
    let schema = serde_json::from_str(&text).context("the schema is no JSON")?;
    let registry = Registry::new(Config { speculation: Speculation::Off, ..config.clone() }.into());
    let model = Arc::new(registry).get(&entry.id).await?;
    let Some(template) = &model.chat_template else {
        bail!("{} has no chat template: it does no tasks", model.entry.id);
    };
    let task = format!("Write a JSON document that fits this schema:\n{text}");
    let prompt = template.render(&[ChatMessage::new("user", task)], &TemplateOptions::default())?;
    let prompt = model.tokenizer.encode_prompt(&prompt);
    let grammar = Grammar::JsonSchema { schema, strict: false };
    let begun = Instant::now();
    let constraint = grammar::compile(grammar, &model.grammar, 0).await?;
    println!("compiled in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let bench = Bench { model, prompt, constraint };
    for streams in [1, streams] {
        bench.compare(streams, rounds).await?;
    }
    Ok(())
}

impl Bench {
    async fn compare(&self, streams: usize, rounds: usize) -> Result<()> {
        let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        let mut num_tokens = 0;
        for round in 0..=rounds {
            let (within, lengths) = self.answers(vec![None; streams]).await?;
            num_tokens = lengths.iter().sum();
            let (plain, _) = self.answers(lengths.into_iter().map(Some).collect()).await?;
            if round > 0 {
                rates[0].push(plain);
                rates[1].push(within);
                ratios.push(within / plain);
            }
        }
        println!("{streams} at once, {num_tokens} tokens together:");
        for (name, rates) in ["plain decoding", "within the schema"].into_iter().zip(&mut rates) {
            println!("{name:18}{:10.1} tokens/s", median(rates));
        }
        let middle = median(&mut ratios);
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        println!("{:18}{middle:10.3} ({least:.3} to {most:.3})", "ratio");
        Ok(())
    }

    /// Tokens a second of answers that run at once, and the length of each: as many tokens as it
    /// says, or what the schema makes of it.
    async fn answers(&self, lengths: Vec<Option<usize>>) -> Result<(f64, Vec<usize>)> {
        let request = |(seed, length): (usize, Option<usize>)| SequenceRequest {
            lane: 0,
            prompt: self.prompt.clone(),
            max_tokens: length.unwrap_or(MAX_TOKENS),
            stop_ids: self.model.tokenizer.end_of_turn().into(),
            sampling: SamplingParams {
                temperature: 1.0,
                seed: seed as u64,
                ignore_stop_ids: length.is_some(),
                ..SamplingParams::default()
            },
            constraint: length.is_none().then(|| self.constraint.clone()),
        };
        let requests: Vec<_> = lengths.into_iter().enumerate().map(request).collect();
        let mut readers = JoinSet::new();
        let begun = Instant::now();
        for (index, request) in requests.into_iter().enumerate() {
            readers.spawn(read(index, self.model.engine.submit(request)?));
        }
        let mut lengths = readers.join_all().await;
        let elapsed = begun.elapsed();
        lengths.sort_unstable();
        let lengths: Vec<usize> = lengths.into_iter().map(|(_, length)| length).collect();
        ensure!(lengths.iter().all(|length| *length > 0), "the model answers nothing");
        Ok((lengths.iter().sum::<usize>() as f64 / elapsed.as_secs_f64(), lengths))
    }
}

/// Reads to the end, and says how many tokens came.
async fn read(index: usize, mut stream: SequenceStream) -> (usize, usize) {
    let mut length = 0;
    while let Some(Event::Token(_)) = stream.next().await {
        length += 1;
    }
    (index, length)
}
