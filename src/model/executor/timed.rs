//! An executor that notes how long each step of another takes.
//! Promises: results are those of the other executor; some 50 ns a step are added.
//! Never knows: what a step does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Chooser, Executor, Outputs};
use crate::model::batch::ForwardBatch;
use crate::model::error::ModelError;

/// The steps, in the order of a forward pass.
const STEPS: [&str; 7] = [
    "embed",
    "1 norm, QKV, rope, KV",
    "2 attention",
    "3 output projection",
    "4 norm, gate and up",
    "5 down",
    "norm, logits",
];

/// Time spent in each step, all layers and calls together.
#[derive(Debug, Default)]
pub struct StepTimes {
    nanos: [AtomicU64; STEPS.len()],
}

impl StepTimes {
    /// What each step has taken since the last call, and starts anew.
    pub fn take(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let times = self.nanos.each_ref().map(|nanos| nanos.swap(0, Ordering::Relaxed));
        STEPS.into_iter().zip(times.map(Duration::from_nanos))
    }
}

/// Runs another executor's steps under a clock.
#[derive(Debug)]
pub(crate) struct TimedExecutor {
    inner: Box<dyn Executor>,
    times: Arc<StepTimes>,
}

impl TimedExecutor {
    pub(crate) fn new(inner: Box<dyn Executor>, times: Arc<StepTimes>) -> Self {
        Self { inner, times }
    }

    fn timed<'a, T>(
        &'a mut self,
        step: usize,
        run: impl FnOnce(&'a mut dyn Executor) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let started = Instant::now();
        let result = run(&mut *self.inner);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.nanos[step].fetch_add(nanos, Ordering::Relaxed);
        result
    }
}

impl Executor for TimedExecutor {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.timed(0, |inner| inner.embed(batch))
    }

    fn norm_qkv(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.timed(1, |inner| inner.norm_qkv(layer, batch))
    }

    fn attention(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.timed(2, |inner| inner.attention(layer, batch))
    }

    fn attention_output(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.timed(3, |inner| inner.attention_output(layer, batch))
    }

    fn gate_up(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.timed(4, |inner| inner.gate_up(layer, batch))
    }

    fn down(&mut self, layer: usize, batch: &ForwardBatch) -> Result<(), ModelError> {
        self.timed(5, |inner| inner.down(layer, batch))
    }

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        self.timed(6, |inner| inner.outputs(batch))
    }

    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        self.inner.chooser()
    }
}
