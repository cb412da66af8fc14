//! Choosing tokens on the GPU: the choices of a step go there, its tokens come back while the next
//! step runs, and that one finds them where they were chosen.
//!
//! Promises: nothing here waits but `read` and `collect`; a token is the one that the host's
//! sampler would choose from the same logits.
//! Never knows: what a choice is for.

use std::collections::VecDeque;

use kernels::cuda::{
    self, Arriving, Buffer, CHOSEN_WORDS, Fed, Feed, Gpu, GpuError, NO_LOGPROBS, NO_MASK,
    NOT_COUNTED, NoToken, Normed, Sample, View,
};

use super::CudaExecutor;
use crate::model::batch::{FedToken, ForwardBatch};
use crate::model::choice::{
    Choice, Choices, MAX_TOP_LOGPROBS, SampleError, SampledToken, TokenLogprobs,
};
use crate::model::error::ModelError;
use crate::model::executor::{Chooser, ExecutorLimits, Outputs};

const _: () = assert!(MAX_TOP_LOGPROBS == cuda::MAX_TOP_LOGPROBS, "as many as fit a choice");

/// Changes that there is room for from the start.
const NUM_CHANGES: usize = 1 << 16;

/// Choices of steps, on the GPU and on their way back.
#[derive(Debug)]
pub(super) struct DeviceChoices {
    vocab_size: usize,
    list: Vec<cuda::Choice>,
    changes: Vec<cuda::Change>,
    masks: Vec<u32>,
    fed: Vec<u32>,
    device_list: Buffer<cuda::Choice>,
    device_changes: Buffer<cuda::Change>,
    device_masks: Buffer<u32>, // [choices, words of a mask]
    device_fed: Buffer<u32>,   // [choices, 2]: row, choice
    chosen: Buffer<u32>,       // [choices, CHOSEN_WORDS]
    /// Choices of the newest step.
    num_newest: usize,
    uncollected: VecDeque<Uncollected>,
}

/// The choices of a step that nobody has asked for yet.
#[derive(Debug)]
struct Uncollected {
    /// `None`: there were none.
    words: Option<Arriving<u32>>,
    /// Of each, whether log probabilities were wanted.
    with_logprobs: Vec<bool>,
}

/// Bytes that the buffers take.
pub(super) fn bytes(limits: &ExecutorLimits, vocab_size: usize) -> usize {
    let words_each = 2 + CHOSEN_WORDS + vocab_size.div_ceil(32);
    let of_choices = limits.max_outputs * (4 * words_each + size_of::<cuda::Choice>());
    of_choices + NUM_CHANGES * size_of::<cuda::Change>()
}

impl DeviceChoices {
    pub(super) fn new(
        gpu: &dyn Gpu,
        limits: &ExecutorLimits,
        vocab_size: usize,
    ) -> Result<Self, GpuError> {
        let max = limits.max_outputs;
        Ok(Self {
            vocab_size,
            list: Vec::new(),
            changes: Vec::new(),
            masks: Vec::new(),
            fed: Vec::new(),
            device_list: Buffer::zeros(gpu, max)?,
            device_changes: Buffer::zeros(gpu, NUM_CHANGES)?,
            device_masks: Buffer::zeros(gpu, max * vocab_size.div_ceil(32))?,
            device_fed: Buffer::zeros(gpu, max * 2)?,
            chosen: Buffer::zeros(gpu, max * CHOSEN_WORDS)?,
            num_newest: 0,
            uncollected: VecDeque::new(),
        })
    }

    /// Puts tokens of the newest step among those of the next, before anything of it is launched.
    pub(super) fn feed(
        &mut self,
        gpu: &dyn Gpu,
        fed: &[FedToken],
        tokens: cuda::ViewMut<'_, u32>,
    ) -> Result<(), ModelError> {
        if fed.is_empty() {
            return Ok(());
        }
        let num_newest = self.num_newest;
        if let Some(fed) = fed.iter().find(|fed| fed.choice as usize >= num_newest) {
            return Err(ModelError::Batch(format!("choice {} of {num_newest}", fed.choice)));
        }
        self.fed.clear();
        self.fed.extend(fed.iter().flat_map(|fed| [fed.row, fed.choice]));
        self.device_fed.write(gpu, 0, &self.fed)?;
        let pairs = self.device_fed.view().slice(0..self.fed.len());
        // SAFETY: the batch was checked: rows are its own; choices have just been.
        let fed = unsafe { Fed::new(pairs, tokens.len(), num_newest) };
        let chosen = self.chosen.view();
        Feed { tokens, fed, chosen, vocab: self.vocab_size }.run(gpu)?;
        Ok(())
    }

    /// Queues choices from these logits, and the way back of what is chosen.
    fn queue(
        &mut self,
        gpu: &dyn Gpu,
        choices: &Choices,
        logits: &mut Buffer<f32>,
        num_outputs: usize,
    ) -> Result<(), ModelError> {
        self.check(choices, num_outputs)?;
        self.num_newest = choices.list.len();
        if choices.list.is_empty() {
            self.uncollected.push_back(Uncollected { words: None, with_logprobs: Vec::new() });
            return Ok(());
        }
        self.list.clear();
        self.changes.clear();
        self.masks.clear();
        choices.list.iter().for_each(|choice| self.translate(choice, choices));
        self.device_list.write(gpu, 0, &self.list)?;
        if self.changes.len() > self.device_changes.len() {
            let len = self.changes.len().next_power_of_two();
            self.device_changes = Buffer::zeros(gpu, len)?;
        }
        self.device_changes.write(gpu, 0, &self.changes)?;
        self.device_masks.write(gpu, 0, &self.masks)?;
        let list: View<'_, cuda::Choice> = self.device_list.view().slice(0..self.list.len());
        let changes = self.device_changes.view_mut().slice(0..self.changes.len());
        let masks = self.device_masks.view().slice(0..self.masks.len());
        // SAFETY: outputs were checked to be rows, each once; `translate` has given each choice
        // changes of its own, of ids below the vocabulary, each once, and a whole mask.
        let on_device =
            unsafe { cuda::Choices::new(list, changes, masks, [num_outputs, self.vocab_size]) };
        let (vocab, len) = (self.vocab_size, self.list.len() * CHOSEN_WORDS);
        let chosen = self.chosen.view_mut().slice(0..len);
        Sample { logits: logits.view_mut(), vocab, choices: on_device, chosen }.run(gpu)?;
        self.uncollected.push_back(Uncollected {
            words: Some(self.chosen.read_later(gpu, 0, len)?),
            with_logprobs: choices.list.iter().map(|c| c.top_logprobs.is_some()).collect(),
        });
        Ok(())
    }

    fn check(&self, choices: &Choices, num_outputs: usize) -> Result<(), ModelError> {
        let is_ascending = choices.list.is_sorted_by(|a, b| a.output < b.output);
        if !is_ascending || choices.list.last().is_some_and(|last| last.output >= num_outputs) {
            return Err(ModelError::Batch(format!("choices of other than {num_outputs} outputs")));
        }
        Ok(())
    }

    fn translate(&mut self, choice: &Choice, choices: &Choices) {
        let Self { vocab_size, list, changes, masks, .. } = self;
        let words = vocab_size.div_ceil(32);
        let first_change = changes.len();
        let known = choices.changes_of(choice).iter().filter(|c| (c.id as usize) < *vocab_size);
        changes.extend(known.map(|change| cuda::Change {
            id: change.id,
            count: change.count.unwrap_or(NOT_COUNTED),
            bias: change.bias,
        }));
        let mask = choices.mask_of(choice).map_or(NO_MASK, |mask| {
            let first_word = masks.len();
            masks.extend(mask.iter().take(words));
            masks.resize(first_word + words, 0);
            (first_word / words) as u32
        });
        let num = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        list.push(cuda::Choice {
            random: choice.random,
            row: num(choice.output),
            temperature: choice.temperature,
            top_k: num(choice.top_k),
            top_p: choice.top_p,
            floor: choice.min_p_log,
            repetition_penalty: choice.repetition_penalty,
            frequency_penalty: choice.frequency_penalty,
            presence_penalty: choice.presence_penalty,
            first_change: num(first_change),
            num_changes: num(changes.len() - first_change),
            mask,
            num_top: choice.top_logprobs.map_or(NO_LOGPROBS, |n| num(n.min(MAX_TOP_LOGPROBS))),
        });
    }

    fn collect(
        &mut self,
        chosen: &mut Vec<Result<SampledToken, SampleError>>,
    ) -> Result<(), ModelError> {
        let Some(Uncollected { words, with_logprobs }) = self.uncollected.pop_front() else {
            return Err(ModelError::Executor("nothing was chosen".to_owned()));
        };
        let words = words.map_or(Ok(Vec::new()), Arriving::wait)?;
        let each = words.chunks_exact(CHOSEN_WORDS).zip(with_logprobs);
        chosen.extend(each.map(|(words, with_logprobs)| {
            let chosen = cuda::Chosen::new(words);
            let id = chosen.token().map_err(|error| match error {
                NoToken::NotFinite => SampleError::NotFinite,
                NoToken::NothingAllowed => SampleError::NothingAllowed,
            })?;
            let logprobs = with_logprobs
                .then(|| TokenLogprobs { logprob: chosen.logprob(), top: chosen.top().collect() });
            Ok(SampledToken { id, logprobs })
        }));
        Ok(())
    }
}

impl Chooser for CudaExecutor {
    fn queue_outputs(&mut self, _batch: &ForwardBatch) -> Result<(), ModelError> {
        if self.is_replayed { Ok(()) } else { self.launch_logits() }
    }

    fn read(&mut self, outputs: &[usize]) -> Result<Outputs<'_>, ModelError> {
        let (config, gpu) = (&self.config, &*self.gpu);
        let (vocab, len) = (config.vocab_size, outputs.len() * config.vocab_size);
        let mut rows = &mut self.logits[..len];
        for run in outputs.chunk_by(|a, b| a + 1 == *b) {
            let (here, after) = rows.split_at_mut(run.len() * vocab);
            self.device_logits.read(gpu, run[0] * vocab, here)?;
            rows = after;
        }
        self.final_hidden.clear();
        if let Some(rows) = self.inputs.hidden() {
            self.final_hidden.resize(rows.len() * config.hidden_size, 0.0);
            Normed {
                hidden: self.state.hidden.view(),
                rows,
                norm: self.weights.output_norm.view(),
                eps: config.norm_eps,
                out: self.device_hidden.view_mut(),
            }
            .run(gpu)?;
            self.device_hidden.read(gpu, 0, &mut self.final_hidden)?;
        }
        Ok(Outputs { logits: &self.logits[..len], hidden: &self.final_hidden })
    }

    fn choose(&mut self, choices: &Choices) -> Result<(), ModelError> {
        let num_outputs = self.inputs.outputs().map_or(0, |outputs| outputs.len());
        self.choices.queue(&*self.gpu, choices, &mut self.device_logits, num_outputs)
    }

    fn collect(
        &mut self,
        chosen: &mut Vec<Result<SampledToken, SampleError>>,
    ) -> Result<(), ModelError> {
        self.choices.collect(chosen)
    }
}
