//! Token ids in, token ids out: many sequences at once through one model, in one thread. A text's
//! ids may also be scored, or made a vector of, in the same batches.
//!
//! A caller submits a [`SequenceRequest`] and reads a [`SequenceStream`]. The engine's thread turns
//! in steps (`step.rs`): read the mailbox, choose a batch, run it, sample, hand the tokens out.
//! Each batch mixes the next token of every running sequence with a bounded part of the prompts
//! (continuous batching, chunked prefill); keys and values live in blocks shared by equal prefixes.
//! While few sequences run, ids that earlier ones suggest are computed ahead (prompt lookup).
//!
//! Promises: the same prompt, parameters and seed give the same tokens alone, in any batch, in
//! chunks, preempted, drafted or from the prefix cache, if the executor's rows do not depend on the
//! batch; `submit` never blocks; no reader makes the engine wait; a stream always ends; an idle
//! engine sleeps.
//!
//! Never knows: text, HTTP, accounts, credits. A lane is a number.

pub mod block_manager;
mod constraint;
mod embedding;
pub mod lanes;
mod prefix_cache;
mod purpose;
mod request;
mod runner;
pub mod sampler;
mod scheduler;
mod sequence;
mod speculate;
mod stats;
mod step;
mod stream;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use crate::model::{BLOCK_SIZE, Decoder, DecoderShape};

pub use crate::model::{Pooling, SampledToken, TokenLogprobs};
pub use constraint::{Allowed, Constraint, ConstraintError, Progress};
pub use embedding::{EmbeddingRequest, EmbeddingStream};
pub use request::{Event, FinishReason, SamplingParams, SequenceRequest, SubmitError};
pub use scheduler::Action;
pub use speculate::SPECULATIVE_ROWS;
pub use stats::{BlockCounts, Stats};
pub use step::{EngineCore, Turn};
pub use stream::{EVENT_CAPACITY, SequenceStream};

use sequence::Sequence;
use stats::StatsBoard;
use stream::{Outlet, Place};

/// The bounds an engine works within; those of the decoder are kept too, whichever is smaller.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Sequences in a batch, at most.
    pub max_batch: usize,
    /// Rows in a step, at most: one for each sequence that decodes, the rest for prompts.
    pub max_step_tokens: usize,
    /// Sequences that wait for a place in the batch, at most.
    pub max_waiting: usize,
    /// Blocks of [`BLOCK_SIZE`] positions in the KV cache.
    pub num_blocks: usize,
    /// Whether computed blocks are kept for later prompts that start alike.
    pub prefix_cache: bool,
    /// Rows in a step up to which ids are drafted (`speculate.rs`), those of the sequences
    /// included: [`SPECULATIVE_ROWS`], or 0 for no drafts.
    pub speculative_rows: usize,
    /// Names the thread and the log's lines.
    pub name: String,
}

impl EngineOptions {
    /// The options as the engine keeps them: none above what the decoder can do, none 0.
    fn clamp_to(self, shape: &DecoderShape) -> Self {
        let max_step_tokens = self.max_step_tokens.clamp(1, shape.max_tokens.max(1));
        // Every sequence of the batch may want a row and its logits in the same step.
        let max_batch = self.max_batch.min(shape.max_outputs).clamp(1, max_step_tokens);
        let num_blocks = self.num_blocks.min(shape.num_blocks);
        // All of these rows want logits.
        let max_speculative_rows = max_step_tokens.min(shape.max_outputs);
        let speculative_rows = self.speculative_rows.min(max_speculative_rows);
        Self { max_batch, max_step_tokens, num_blocks, speculative_rows, ..self }
    }
}

/// A handle to a running engine. Clones are the same engine; dropping the last one stops it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Handle>,
}

struct Handle {
    options: EngineOptions,
    vocab_size: usize,
    max_sequence_len: usize,
    /// Never full: no more sequences are open than fit.
    mailbox: SyncSender<Sequence>,
    num_open: Arc<AtomicUsize>,
    next_id: AtomicU64,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the handle, the streams and the engine's thread share.
#[derive(Debug, Default)]
struct Shared {
    stats: StatsBoard,
    is_stopped: AtomicBool,
    /// The engine ended by a panic, or what its model runs on failed.
    is_failed: AtomicBool,
    /// Not set for an engine that is stepped by hand.
    thread: OnceLock<Thread>,
}

impl Shared {
    /// Has the engine look around, now or at its next step; never lost, never blocks.
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn stop(&self) {
        self.is_stopped.store(true, Release);
        self.wake();
    }

    /// Nothing runs any more: from now on streams without an end have failed.
    fn fail(&self) {
        self.is_failed.store(true, Release);
        self.is_stopped.store(true, Release);
    }
}

impl Engine {
    /// Starts an engine's thread. Fails if the operating system gives none.
    pub fn start(decoder: Decoder, options: EngineOptions) -> std::io::Result<Engine> {
        let (engine, core) = Engine::without_thread(decoder, options);
        let shared = Arc::clone(&engine.inner.shared);
        let thread = thread::Builder::new()
            .name(engine.inner.options.name.clone())
            .spawn(move || run(core, &shared))?;
        engine.inner.shared.thread.get_or_init(|| thread.thread().clone());
        *engine.inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(engine)
    }

    /// An engine that turns only when [`EngineCore::step`] is called: for simulations and tests.
    pub fn without_thread(decoder: Decoder, options: EngineOptions) -> (Engine, EngineCore) {
        let shape = *decoder.shape();
        let options = options.clamp_to(&shape);
        let shared = Arc::new(Shared::default());
        let max_open = options.max_batch + options.max_waiting;
        let (mailbox, inbox) = std::sync::mpsc::sync_channel(max_open);
        let core = EngineCore::new(decoder, &options, inbox, Arc::clone(&shared));
        let handle = Handle {
            vocab_size: shape.vocab_size,
            max_sequence_len: shape.max_context.min(options.num_blocks * BLOCK_SIZE),
            options,
            mailbox,
            num_open: Arc::default(),
            next_id: AtomicU64::new(0),
            shared,
            thread: Mutex::new(None),
        };
        (Engine { inner: Arc::new(handle) }, core)
    }

    /// Queues a sequence, or says at once why not.
    ///
    /// `QueueFull` means that `max_batch + max_waiting` sequences are open, counted from here to
    /// their ending, so that the answer does not depend on the moment within a step.
    pub fn submit(&self, request: SequenceRequest) -> Result<SequenceStream, SubmitError> {
        let handle = &*self.inner;
        let is_scored = request.sampling.prompt_logprobs.is_some();
        // One id must be left to sample, unless none is to be.
        let is_continued = request.max_tokens > 0 || !is_scored;
        handle.validate(&request.prompt, usize::from(is_continued))?;
        request.sampling.validate(handle.vocab_size)?;
        let (outlet, stream) = handle.open()?;
        if request.max_tokens == 0 && !is_scored {
            outlet.finish(FinishReason::Length);
            return Ok(stream);
        }
        handle.queue(Sequence::new(stream.id(), request, handle.max_sequence_len, outlet))?;
        Ok(stream)
    }

    /// Queues a text to make a vector of, or says at once why not, as [`Engine::submit`] does.
    pub fn embed(&self, request: EmbeddingRequest) -> Result<EmbeddingStream, SubmitError> {
        let handle = &*self.inner;
        handle.validate(&request.prompt, 0)?;
        let (outlet, stream) = handle.open()?;
        handle.queue(Sequence::to_embed(stream.id(), request, outlet))?;
        Ok(EmbeddingStream::new(stream))
    }

    /// Counters and gauges as of the engine's last step.
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats.read()
    }

    /// Sequences from their submission to their ending, also those that no step has seen yet.
    pub fn num_open(&self) -> usize {
        self.inner.num_open.load(Relaxed)
    }

    /// The options in force, after the decoder's bounds.
    pub fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    /// Ids in a sequence, prompt and output together, at most: the context or the whole KV cache.
    pub fn max_sequence_len(&self) -> usize {
        self.inner.max_sequence_len
    }

    /// False once the engine was stopped or has ended by a fault: it takes nothing more.
    pub fn is_running(&self) -> bool {
        !self.inner.shared.is_stopped.load(Acquire)
    }

    /// Ends all open sequences with [`FinishReason::Aborted`] after the step that is running.
    pub fn stop(&self) {
        self.inner.shared.stop();
    }

    /// Waits until the engine's thread has ended and given its memory back. Call `stop` first.
    pub fn join(&self) {
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // `run` catches every panic, so this only waits.
            let _ = thread.join();
        }
    }
}

impl Handle {
    /// Refuses a prompt that leaves no room for `num_more` ids, or is none.
    fn validate(&self, prompt: &[u32], num_more: usize) -> Result<(), SubmitError> {
        let max = self.max_sequence_len.saturating_sub(num_more);
        if prompt.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        if prompt.len() > max {
            return Err(SubmitError::PromptTooLong { prompt: prompt.len(), max });
        }
        match prompt.iter().find(|&&id| id as usize >= self.vocab_size) {
            Some(&id) => Err(SubmitError::InvalidToken(id)),
            None => Ok(()),
        }
    }

    /// A place for one more sequence, and its channel.
    fn open(&self) -> Result<(Outlet, SequenceStream), SubmitError> {
        if self.shared.is_stopped.load(Acquire) {
            return Err(SubmitError::Stopped);
        }
        let EngineOptions { max_batch, max_waiting, .. } = self.options;
        let place = Place::take(&self.num_open, max_batch + max_waiting)
            .ok_or(SubmitError::QueueFull { max_waiting })?;
        let id = self.next_id.fetch_add(1, Relaxed);
        Ok(stream::channel(id, Arc::clone(&self.shared), place))
    }

    fn queue(&self, sequence: Sequence) -> Result<(), SubmitError> {
        match self.mailbox.try_send(sequence) {
            Ok(()) => self.shared.wake(),
            Err(TrySendError::Disconnected(_)) => return Err(SubmitError::Stopped),
            Err(TrySendError::Full(_)) => unreachable!("the mailbox has a slot for each place"),
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { options, shared, .. } = &*self.inner;
        f.debug_struct("Engine").field("options", options).field("shared", shared).finish()
    }
}

/// The engine's thread: turns until it is stopped, sleeps while there is nothing to do.
fn run(mut core: EngineCore, shared: &Shared) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        while !shared.is_stopped.load(Acquire) {
            match core.step() {
                Turn::Ran => {}
                // A wake-up since the step makes this return at once.
                Turn::Idle => thread::park(),
                Turn::Lost => return Err("what its model runs on failed"),
            }
        }
        core.abort_all();
        Ok(())
    }));
    if let Err(why) = outcome.unwrap_or(Err("a panic")) {
        // Before the sequences are dropped, so that their streams end as failed.
        shared.fail();
        tracing::error!("an engine ended: {why}; its sequences fail, it takes no more");
    }
}
