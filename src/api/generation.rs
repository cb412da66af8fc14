//! One answer: the task that owns its sequences, its texts and its meter, and has one exit.
//! Promises: what is delivered was charged and committed before; the meter is closed once, however
//! the request ends; a caller who hangs up stops the engine within one step.
//! Never knows: JSON, HTTP, which route asked.
//!
//! ```text
//! submit -> [ engine events -> text releases pieces -> room? -> charge -> deliver ] -> finish
//! ```
//!
//! The handler that asked may vanish at any await, so it owns nothing: it reads [`Deliveries`],
//! and dropping them is how a disconnect looks from here.

use std::sync::Arc;

use super::AppState;
use super::auth::Caller;
use super::choice::{Choice, Fault, next_event, take_ready};
use super::deadline::{Deadline, Late};
use super::delivery::{
    Admitted, Deliveries, Delivery, End, Finish, Gone, Outlet, Receipt, Summary, Usage,
};
use super::error::ApiError;
use super::lifecycle::Running;
use super::limits::{Admission, RateLimit};
use super::observe::Observer;
use super::replay;
use super::unsettled::Unsettled;
use crate::engine::{Constraint, SamplingParams, SequenceRequest};
use crate::ledger::{CloseError, MeterId, MeterRequest, OpenError};
use crate::metering::{Meter, Price};
use crate::registry::LoadedModel;
use crate::text::{AnswerPiece, AnswerRules, AnswerStream};

/// What to generate, for whom.
#[derive(Debug)]
pub(super) struct GenerationRequest {
    pub(super) model: Arc<LoadedModel>,
    pub(super) caller: Caller,
    /// Its place among the account's requests, until the answer is made.
    pub(super) admission: Admission,
    /// Each non-empty and short enough to leave room for a token.
    pub(super) prompts: Vec<Vec<u32>>,
    /// Answers to each prompt.
    pub(super) choices_per_prompt: usize,
    /// `None`: as many as the context holds.
    pub(super) max_tokens: Option<usize>,
    pub(super) sampling: SamplingParams,
    /// What every answer keeps to, at its beginning.
    pub(super) constraint: Option<Box<dyn Constraint>>,
    /// How the text of the answers is read.
    pub(super) answers: AnswerRules,
    /// Strings that end an answer and are not part of it.
    pub(super) stop: Vec<String>,
    /// Ids that end an answer, besides those that end the model's turn.
    pub(super) stop_ids: Vec<u32>,
    /// Credits that all answers together may cost; they pay for one token at least.
    pub(super) max_credits: Option<i64>,
    /// Whether text goes out while it is generated.
    pub(super) streamed: bool,
    pub(super) idempotency_key: Option<String>,
    pub(super) body_sha256: [u8; 32],
}

/// A generation that runs: whatever can be refused has been checked.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) model: Arc<LoadedModel>,
    pub(super) num_choices: usize,
    pub(super) admitted: Admitted,
    /// What follows the admission.
    pub(super) deliveries: Deliveries,
}

/// Starts a generation, or says why not.
pub(super) async fn start(
    state: &AppState,
    request: GenerationRequest,
) -> Result<Started, ApiError> {
    let (model, num_choices) = (request.model.clone(), request.num_choices());
    let mut deliveries = spawn(state, request)?;
    let admitted = deliveries.admitted().await?;
    Ok(Started { model, num_choices, admitted, deliveries })
}

/// Its first delivery is `Admitted` or `Failed`.
fn spawn(state: &AppState, request: GenerationRequest) -> Result<Deliveries, ApiError> {
    let running = state.lifecycle.begin().ok_or(ApiError::ShuttingDown)?;
    let (outlet, deliveries) = Outlet::new(state.config.stall_timeout);
    let credits_per_token = price(&request.model).credits_per_token;
    let id = &request.model.entry.id;
    let observer = Observer::new(&state.metrics, id, credits_per_token, request.num_choices());
    tokio::spawn(run(state.clone(), request, outlet, running, observer));
    Ok(deliveries)
}

async fn run(
    state: AppState,
    request: GenerationRequest,
    outlet: Outlet,
    running: Running,
    observer: Observer,
) {
    let deadline = Deadline::new(&state.config);
    let refused = match begin(&state, &request).await {
        Ok((meter, choices)) => {
            let created = state.now_secs();
            let unsettled = state.unsettled.clone();
            let generation = Generation {
                request,
                choices,
                meter,
                outlet,
                running,
                observer,
                created,
                unsettled,
                reasoning_tokens: 0,
                deadline,
            };
            return generation.run().await;
        }
        Err(NotBegun::Stored(meter)) => {
            return replay::deliver(&state, request, meter, &outlet).await;
        }
        Err(NotBegun::Refused(error)) => error,
    };
    drop(request);
    // The handler may be gone, and then nobody needs to know.
    let _ = outlet.send(Delivery::Failed(refused)).await;
}

/// Why nothing is generated.
#[derive(Debug)]
enum NotBegun {
    /// The answer is in the books, as this meter's.
    Stored(MeterId),
    Refused(ApiError),
}

impl From<OpenError> for NotBegun {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Replay(meter) => Self::Stored(meter),
            error => Self::Refused(error.into()),
        }
    }
}

impl From<RateLimit> for NotBegun {
    fn from(limit: RateLimit) -> Self {
        Self::Refused(limit.into())
    }
}

/// Counts the input, opens the meter and hands the sequences to the engine; or undoes what of it
/// the books would show.
async fn begin(
    state: &AppState,
    request: &GenerationRequest,
) -> Result<(Meter, Vec<Choice>), NotBegun> {
    let take_input = || request.admission.take_input(request.prompt_tokens());
    // A stored answer computes no input, and whether there is one shows when the meter opens. All
    // other requests are refused before they cost the books a row.
    let may_be_stored = request.idempotency_key.is_some();
    if !may_be_stored {
        take_input()?;
    }
    let meter = open_meter(state, request).await?;
    let taken = if may_be_stored { take_input() } else { Ok(()) };
    match taken.map_err(ApiError::from).and_then(|()| submit(request)) {
        Ok(choices) => Ok((meter, choices)),
        Err(error) => {
            // The request was never taken: its idempotency key stays free for another try.
            settled(meter.abandon("refused").await);
            Err(NotBegun::Refused(error))
        }
    }
}

async fn open_meter(state: &AppState, request: &GenerationRequest) -> Result<Meter, OpenError> {
    let model = &request.model;
    let request = MeterRequest {
        account: request.caller.key.account,
        key: request.caller.key.id,
        model: model.entry.id.clone(),
        model_digest: model.digest,
        credits_per_token: price(model).credits_per_token,
        streamed: request.streamed,
        input_tokens: u32::try_from(request.prompt_tokens()).unwrap_or(u32::MAX),
        idempotency_key: request.idempotency_key.clone(),
        body_hash: request.body_sha256,
    };
    Meter::open(&state.ledger, request).await
}

/// What this model's tokens cost.
pub(super) fn price(model: &LoadedModel) -> Price {
    Price::of(&model.entry.tier, &model.tier)
}

/// Tokens that prompt and answer may have together: the model's bound, or the memory's.
pub(super) fn context_length(model: &LoadedModel) -> usize {
    model.context_length.min(model.engine.max_sequence_len())
}

/// Hands all sequences to the engine, or none.
fn submit(request: &GenerationRequest) -> Result<Vec<Choice>, ApiError> {
    let model = &request.model;
    let stop_ids = model.tokenizer.end_of_turn().iter().chain(&request.stop_ids);
    let stop_ids: Arc<[u32]> = stop_ids.copied().collect();
    let mut choices = Vec::with_capacity(request.num_choices());
    for prompt in &request.prompts {
        for _ in 0..request.choices_per_prompt {
            let room = context_length(model).saturating_sub(prompt.len());
            let mut sampling = request.sampling.clone();
            // Choices of one request differ, and the first is the one a lone request gets.
            sampling.seed = sampling.seed.wrapping_add(choices.len() as u64);
            let sequence = model.engine.submit(SequenceRequest {
                lane: request.caller.lane(),
                prompt: prompt.clone(),
                max_tokens: request.max_tokens.unwrap_or(room).min(room),
                stop_ids: stop_ids.clone(),
                sampling,
                constraint: request.constraint.clone(),
            })?;
            choices.push(Choice::new(sequence, request.answer_stream()));
        }
    }
    Ok(choices)
}

impl GenerationRequest {
    /// What makes parts of a choice's ids.
    pub(super) fn answer_stream(&self) -> AnswerStream {
        AnswerStream::new(self.model.tokenizer.clone(), self.stop.clone(), &self.answers)
    }

    /// The end of a choice, in which `stop` was found.
    fn end(&self, finish: Finish, stop: &Option<String>) -> End {
        let found = stop.as_ref().filter(|_| finish == Finish::StopString);
        let place = found.and_then(|found| self.stop.iter().position(|stop| stop == found));
        End { finish, stop: place.unwrap_or(0) }
    }

    pub(super) fn num_choices(&self) -> usize {
        self.prompts.len() * self.choices_per_prompt
    }

    /// Tokens of all prompts; one that several choices continue counts once.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(Vec::len).sum()
    }
}

/// Tokens that the request's own bound on credits still allows.
#[derive(Debug)]
struct Allowance(Option<i64>);

impl Allowance {
    fn left(request: &GenerationRequest, meter: &Meter) -> Self {
        let price = price(&request.model).credits_per_token;
        Self(request.max_credits.map(|max| max / price - i64::from(meter.tokens())))
    }

    /// How many of `pieces` it allows, first to last, which it then does not allow again.
    fn take(&mut self, pieces: &[AnswerPiece]) -> usize {
        let Some(left) = &mut self.0 else { return pieces.len() };
        let fits = |piece: &&AnswerPiece| {
            let tokens = piece.ids.len() as i64;
            let is_allowed = tokens <= *left;
            *left -= if is_allowed { tokens } else { 0 };
            is_allowed
        };
        pieces.iter().take_while(fits).count()
    }
}

/// Why a generation is over.
#[derive(Debug)]
enum Outcome {
    /// Every choice has ended and all its text is delivered.
    Complete,
    /// There is text that does not go out: the reason is its finish.
    Cut(Finish),
    /// The caller hung up, or stopped reading.
    CallerGone,
    /// The server is stopping.
    Stopped,
    /// The engine or the ledger failed.
    Failed(ApiError),
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Stopped => Self::Stopped,
            Fault::Failed => Self::Failed(ApiError::EngineFailed),
        }
    }
}

impl From<Gone> for Outcome {
    fn from(_: Gone) -> Self {
        Self::CallerGone
    }
}

/// A generation in flight.
#[derive(Debug)]
struct Generation {
    request: GenerationRequest,
    choices: Vec<Choice>,
    meter: Meter,
    outlet: Outlet,
    running: Running,
    observer: Observer,
    created: i64,
    unsettled: Unsettled,
    /// Output tokens so far that are reasoning.
    reasoning_tokens: u32,
    deadline: Deadline,
}

impl Generation {
    async fn run(mut self) {
        let outcome = match self.drive().await {
            Ok(()) => Outcome::Complete,
            Err(outcome) => outcome,
        };
        self.finish(outcome).await;
    }

    /// Delivers text until every choice has ended.
    async fn drive(&mut self) -> Result<(), Outcome> {
        let admitted = Admitted {
            id: self.meter.id().to_string(),
            created: self.created,
            prompt_tokens: self.request.prompt_tokens(),
            replayed: false,
        };
        self.outlet.send(Delivery::Admitted(admitted)).await?;
        while self.choices.iter().any(Choice::is_open) {
            let (index, event) = tokio::select! {
                biased;
                () = self.outlet.gone() => return Err(Outcome::CallerGone),
                () = self.running.stopping() => return Err(Outcome::Stopped),
                late = self.deadline.passed() => return Err(Self::late(late)),
                event = next_event(&mut self.choices) => event,
            };
            let taken = self.choices[index].take(event);
            // Text that was released before a fault still goes out.
            self.deliver().await?;
            taken?;
        }
        Ok(())
    }

    fn late(late: Late) -> Outcome {
        match late {
            Late::FirstToken(max) => Outcome::Failed(ApiError::TooBusy { max_secs: max.as_secs() }),
            Late::Answer => Outcome::Cut(Finish::Deadline),
        }
    }

    /// Charges and delivers the text that has been released, if there is any.
    async fn deliver(&mut self) -> Result<(), Outcome> {
        if !self.choices.iter().any(Choice::has_news) {
            return Ok(());
        }
        // Room first, charge second: nothing is paid for that there is no room to hand over.
        let room = tokio::select! {
            biased;
            () = self.running.stopping() => return Err(Outcome::Stopped),
            room = self.outlet.room() => room?,
        };
        // Tokens that came while the reader was busy go out together.
        let taken = take_ready(&mut self.choices);
        let mut releases = Vec::new();
        let mut charged = Ok(());
        let mut allowance = Allowance::left(&self.request, &self.meter);
        for (index, choice) in self.choices.iter_mut().enumerate() {
            if !choice.has_news() {
                continue;
            }
            let allowed = allowance.take(&choice.pieces);
            let pieces = choice.pieces[..allowed].iter().map(|piece| piece.ids.as_slice());
            let paid = match self.meter.charge(index as u32, pieces).await {
                Ok(paid) => paid,
                Err(error) => {
                    charged = Err(Outcome::Failed(error.into()));
                    break;
                }
            };
            let unpaid = choice.pieces.split_off(paid.pieces);
            let pieces = std::mem::replace(&mut choice.pieces, unpaid);
            if !pieces.is_empty() || choice.has_prompt_news() {
                let release = choice.release(index, pieces);
                self.reasoning_tokens += release.reasoning_tokens;
                if !release.parts.is_empty() {
                    self.observer.released(&release);
                }
                releases.push(release);
            }
            if paid.exhausted {
                charged = Err(Outcome::Cut(Finish::OutOfCredits));
                break;
            }
            if !choice.pieces.is_empty() {
                charged = Err(Outcome::Cut(Finish::MaxCredits));
                break;
            }
        }
        if !releases.is_empty() {
            self.deadline.begun();
            room.send(Delivery::Released(releases));
        }
        charged?;
        Ok(taken?)
    }

    /// The one exit: ends the sequences, settles the meter, and tells the caller.
    async fn finish(self, outcome: Outcome) {
        match outcome {
            // Whatever is open then, there is none.
            Outcome::Complete => self.conclude(Finish::Length).await,
            Outcome::Cut(finish) => self.conclude(finish).await,
            Outcome::CallerGone => self.abandon("disconnect", None).await,
            Outcome::Stopped => self.abandon("shutdown", Some(ApiError::ShuttingDown)).await,
            Outcome::Failed(error) => self.abandon("error", Some(error)).await,
        }
    }

    /// An end without a complete answer.
    async fn abandon(self, reason: &str, error: Option<ApiError>) {
        let Self { request, choices, meter, outlet, running, observer, .. } = self;
        drop(choices);
        let is_reversed = !meter.keeps_charges();
        let ended = settled(meter.abandon(reason).await);
        let reversed = ended.filter(|_| is_reversed).map_or(0, |closed| closed.credits.0);
        observer.ended(reason, reversed);
        // The caller's next request finds the place of this one free.
        drop(request);
        if let Some(error) = error {
            // Whoever hung up meanwhile misses nothing.
            let _ = outlet.send(Delivery::Failed(error)).await;
        }
        drop(running);
    }

    /// The end of an answer.
    async fn conclude(self, cut: Finish) {
        let Self { request, mut choices, meter, outlet, running, observer, unsettled, .. } = self;
        let reasoning_tokens = self.reasoning_tokens;
        let finishes: Vec<Finish> = choices.iter_mut().map(|choice| choice.conclude(cut)).collect();
        let stop_strings: Vec<_> = choices.iter().map(Choice::stop_string).collect();
        let ends = finishes.iter().zip(&stop_strings);
        let ends: Vec<End> = ends.map(|(finish, stop)| request.end(*finish, stop)).collect();
        // A prompt that several choices continue counts once, so does what was cached of it.
        let first_choices = choices.iter().step_by(request.choices_per_prompt);
        let cached_tokens = first_choices.map(|choice| choice.cached_tokens).sum();
        drop(choices);

        // Close before replying: a retry must find the answer, not an open meter. Until the caller
        // has taken a plain one it may be reversed, and is given to nobody else.
        let _held = (!request.streamed).then(|| unsettled.hold(meter.id()));
        let (completion_tokens, credits_exhausted) = (meter.tokens(), meter.exhausted());
        let reason = End::store(&ends);
        let Some(closed) = settled(meter.close(&reason).await) else {
            let _ = outlet.send(Delivery::Failed(ApiError::LedgerUnavailable)).await;
            return;
        };
        let usage = Usage {
            prompt_tokens: request.prompt_tokens(),
            cached_tokens,
            completion_tokens,
            reasoning_tokens,
            credits: closed.credits().0,
            credit_multiplier: price(&request.model).credits_per_token,
            balance: closed.balance().0,
            credits_exhausted,
        };
        let (receipt, confirmed) = Receipt::new();
        let summary = Box::new(Summary { finishes, stop_strings, usage, receipt });
        let is_streamed = request.streamed;
        // The caller's next request finds the place of this one free.
        drop(request);
        let sent = outlet.send(Delivery::Ended(summary)).await;
        if !is_streamed && (sent.is_err() || confirmed.await.is_err()) {
            let reversed = closed.credits().0;
            settled(closed.reverse("disconnect").await);
            observer.ended("disconnect", reversed);
        } else {
            observer.ended(reason.split(':').next().unwrap_or_default(), 0);
        }
        drop(running);
    }
}

/// Reports a meter that the ledger could not settle; it stays open until the next start does it.
fn settled<T>(outcome: Result<T, CloseError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::error!(%error, "a meter could not be settled")).ok()
}
