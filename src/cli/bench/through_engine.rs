//! Many sequences through the engine, as the server runs them: scheduler, sampler (greedy), prefix
//! cache. No tokenizer, HTTP or ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::token_at;
use crate::engine::{
    Engine, EngineOptions, Event, FinishReason, SamplingParams, SequenceRequest, SequenceStream,
};
use crate::model::Decoder;

pub(super) struct ThroughEngine {
    engine: Engine,
    vocab_size: usize,
    readers: tokio::runtime::Runtime,
    /// The first id's number of the next prompt: no two prompts share what they are not to share,
    /// or the prefix cache would answer.
    next: usize,
}

impl ThroughEngine {
    pub(super) fn start(decoder: Decoder, max_batch: usize) -> Result<Self> {
        let shape = *decoder.shape();
        let options = EngineOptions {
            max_batch,
            max_step_tokens: shape.max_tokens,
            max_waiting: max_batch,
            num_blocks: shape.num_blocks,
            prefix_cache: true,
            speculative_rows: 0,
            name: "bench".to_owned(),
        };
        let readers = tokio::runtime::Builder::new_current_thread().build()?;
        let engine = Engine::start(decoder, options)?;
        Ok(Self { engine, vocab_size: shape.vocab_size, readers, next: 0 })
    }

    /// Submits `streams` prompts of `prompt` ids at once, which have nothing in common, and reads
    /// `tokens` ids of each.
    pub(super) fn answer_all(
        &mut self,
        streams: usize,
        prompt: usize,
        tokens: usize,
    ) -> Result<Duration> {
        let prompts = (0..streams).map(|_| self.fresh_ids(prompt)).collect();
        self.run(prompts, tokens)
    }

    /// Submits `streams` prompts at once that begin with the same `shared` ids, and reads the first
    /// id of each.
    pub(super) fn first_tokens(
        &mut self,
        streams: usize,
        shared: usize,
        own: usize,
    ) -> Result<Duration> {
        let shared = self.fresh_ids(shared);
        let prompts = (0..streams).map(|_| [shared.clone(), self.fresh_ids(own)].concat());
        let prompts = prompts.collect();
        self.run(prompts, 1)
    }

    fn fresh_ids(&mut self, count: usize) -> Vec<u32> {
        let first = self.next;
        self.next += count;
        (first..self.next).map(|number| token_at(number, self.vocab_size)).collect()
    }

    fn run(&self, prompts: Vec<Vec<u32>>, tokens: usize) -> Result<Duration> {
        let sampling = SamplingParams { ignore_stop_ids: true, ..SamplingParams::default() };
        let requests = prompts.into_iter().enumerate().map(|(lane, prompt)| SequenceRequest {
            lane: lane as u64,
            prompt,
            max_tokens: tokens,
            stop_ids: Arc::from([]),
            sampling: sampling.clone(),
            constraint: None,
        });
        let requests: Vec<_> = requests.collect();
        let started = Instant::now();
        self.readers.block_on(async {
            let mut readers = JoinSet::new();
            for request in requests {
                readers.spawn(read(self.engine.submit(request)?));
            }
            for ending in readers.join_all().await {
                ensure!(ending == Some(FinishReason::Length), "a sequence ended: {ending:?}");
            }
            Ok(started.elapsed())
        })
    }
}

/// Reads to the end, and says how it came.
async fn read(mut stream: SequenceStream) -> Option<FinishReason> {
    while let Some(event) = stream.next().await {
        if let Event::Finished(reason) = event {
            return Some(reason);
        }
    }
    None
}
