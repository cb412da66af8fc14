//! A generation in flight: what the engine says becomes text, is charged, and goes out.
//! Promises: room first, charge second: nothing is paid for that there is no room to hand over.
//! Never knows: how it began, how its end is told.

use super::super::choice::{Choice, Fault, next_event, take_ready};
use super::super::deadline::{Deadline, Late};
use super::super::delivery::{Admitted, Delivery, Finish, Gone, Outlet};
use super::super::error::ApiError;
use super::super::lifecycle::Running;
use super::super::observe::Observer;
use super::super::unsettled::Unsettled;
use super::{GenerationRequest, price};
use crate::metering::Meter;
use crate::text::AnswerPiece;

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
pub(super) enum Outcome {
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
            Fault::Unconstrainable => Self::Failed(ApiError::GrammarFailed),
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
pub(super) struct Generation {
    pub(super) request: GenerationRequest,
    pub(super) choices: Vec<Choice>,
    pub(super) meter: Meter,
    pub(super) outlet: Outlet,
    pub(super) running: Running,
    pub(super) observer: Observer,
    pub(super) created: i64,
    pub(super) unsettled: Unsettled,
    /// Output tokens so far that are reasoning.
    pub(super) reasoning_tokens: u32,
    pub(super) deadline: Deadline,
}

impl Generation {
    pub(super) async fn run(mut self) {
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
}
