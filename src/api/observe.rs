//! What is measured of a generation, and of every answer.
//! Never knows: what is done with the figures.

use std::sync::Arc;
use std::time::Instant;

use super::delivery::Release;
use crate::telemetry::{Counter, Histogram, Metrics};

/// The figures of one generation while it runs.
#[derive(Debug)]
pub(super) struct Observer {
    metrics: Arc<Metrics>,
    model: String,
    credits_per_token: u64,
    started: Instant,
    /// Of each choice.
    last_release: Vec<Option<Instant>>,
    time_to_first_token: Arc<Histogram>,
    inter_token_latency: Arc<Histogram>,
    credits_charged: Arc<Counter>,
}

impl Observer {
    /// Starts the clock of a request.
    pub(super) fn new(
        metrics: &Arc<Metrics>,
        model: &str,
        credits_per_token: i64,
        num_choices: usize,
    ) -> Self {
        Self {
            credits_per_token: credits_per_token.unsigned_abs(),
            started: Instant::now(),
            last_release: vec![None; num_choices],
            time_to_first_token: metrics.time_to_first_token.with(&[model]),
            inter_token_latency: metrics.inter_token_latency.with(&[model]),
            credits_charged: metrics.credits_charged.with(&[model]),
            metrics: Arc::clone(metrics),
            model: model.to_owned(),
        }
    }

    /// Text was paid for and goes out.
    pub(super) fn released(&mut self, release: &Release) {
        let now = Instant::now();
        self.credits_charged.add(u64::from(release.tokens) * self.credits_per_token);
        if self.last_release.iter().all(Option::is_none) {
            self.time_to_first_token.observe(now - self.started);
        }
        if let Some(last) = self.last_release[release.choice].replace(now) {
            // Tokens that go out together share the time since the ones before.
            for _ in 0..release.tokens {
                self.inter_token_latency.observe((now - last) / release.tokens);
            }
        }
    }

    /// The generation is over; `reversed` credits were given back.
    pub(super) fn ended(&self, finish_reason: &str, reversed: i64) {
        self.metrics.generations.with(&[&self.model, finish_reason]).add(1);
        self.metrics.request_duration.with(&[&self.model]).observe(self.started.elapsed());
        if reversed > 0 {
            self.metrics.credits_reversed.with(&[&self.model]).add(reversed.unsigned_abs());
        }
    }
}
