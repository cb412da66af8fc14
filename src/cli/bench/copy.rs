//! `--copy`: prompt lookup against plain decoding, on a file that is to be given back with one name
//! changed. As the server runs it: tokenizer, chat template, engine, greedy.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::report::median;
use crate::catalog::{ModelEntry, Speculation};
use crate::config::Config;
use crate::engine::{Event, SamplingParams, SequenceRequest};
use crate::registry::{LoadedModel, Registry};
use crate::text::{ChatMessage, TemplateOptions};

const TASK: &str = "Rename the variable price to cost in this code and give back the whole code, \
                    nothing else:\n```python\n";

const CODE: &str = "\
def total(prices, rate):
    result = 0
    for price in prices:
        if price > 0:
            result += price * rate
    return result

def average(prices, rate):
    if len(prices) == 0:
        return 0
    return total(prices, rate) / len(prices)

def largest(prices):
    best = prices[0]
    for price in prices:
        if price > best:
            best = price
    return best
```";

/// Enough for the whole file.
const MAX_TOKENS: usize = 200;

/// One answer.
struct Answer {
    ids: Vec<u32>,
    /// Of all tokens after the first, whose time is the prompt's.
    tokens_per_second: f64,
    steps: u64,
    drafted: u64,
    accepted: u64,
}

/// Both in turn, `rounds` times after one that only warms up.
pub(super) async fn print(config: &Config, entry: &ModelEntry, rounds: usize) -> Result<()> {
    let load = async |speculation| -> Result<(Arc<Registry>, Arc<LoadedModel>)> {
        let config = Config { speculation, ..config.clone() };
        let registry = Arc::new(Registry::new(Arc::new(config)));
        let model = registry.get(&entry.id).await?;
        Ok((registry, model))
    };
    let (_plain, plain) = load(Speculation::Off).await?;
    let (_lookup, lookup) = load(Speculation::PromptLookup).await?;
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..=rounds {
        let [off, on] = [answer(&plain).await?, answer(&lookup).await?];
        ensure!(off.ids == on.ids, "prompt lookup has changed the answer");
        if round == 0 {
            let (tokens, steps) = (on.ids.len(), on.steps);
            println!("{tokens} tokens in {steps} steps instead of {}:", off.steps);
            println!("{} drafted, {} of them right", on.drafted, on.accepted);
            continue;
        }
        rates[0].push(off.tokens_per_second);
        rates[1].push(on.tokens_per_second);
        ratios.push(on.tokens_per_second / off.tokens_per_second);
    }
    for (name, rates) in ["plain decoding", "prompt lookup"].into_iter().zip(&mut rates) {
        println!("{name:18}{:10.1} tokens/s", median(rates));
    }
    println!("{:18}{:10.2}", "ratio", median(&mut ratios));
    Ok(())
}

async fn answer(model: &LoadedModel) -> Result<Answer> {
    let message = ChatMessage::new("user", format!("{TASK}{CODE}"));
    let Some(template) = &model.chat_template else {
        bail!("{} has no chat template: it does no tasks", model.entry.id);
    };
    let prompt = template.render(&[message], &TemplateOptions::default())?;
    let before = model.engine.stats();
    let mut stream = model.engine.submit(SequenceRequest {
        lane: 0,
        prompt: model.tokenizer.encode_prompt(&prompt),
        max_tokens: MAX_TOKENS,
        stop_ids: model.tokenizer.end_of_turn().into(),
        sampling: SamplingParams::default(),
        constraint: None,
    })?;
    let (mut ids, mut first) = (Vec::new(), None);
    while let Some(Event::Token(token)) = stream.next().await {
        first.get_or_insert_with(Instant::now);
        ids.push(token.id);
    }
    let elapsed = first.context("the model answers nothing")?.elapsed();
    ensure!(ids.len() > 1, "the model answers with one token");
    let after = model.engine.stats();
    Ok(Answer {
        tokens_per_second: (ids.len() - 1) as f64 / elapsed.as_secs_f64(),
        steps: after.steps - before.steps,
        drafted: after.drafted_tokens - before.drafted_tokens,
        accepted: after.accepted_tokens - before.accepted_tokens,
        ids,
    })
}
