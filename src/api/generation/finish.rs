//! The one exit of a generation.
//! Promises: the meter is closed, and the request's place is free, before the last delivery; a
//! plain answer that nobody took is given back.
//! Never knows: why an answer ended as it did.

use super::super::choice::Choice;
use super::super::delivery::{Delivery, End, Failure, Finish, Receipt, Summary, Usage};
use super::super::error::ApiError;
use super::drive::{Generation, Outcome};
use super::price;
use crate::ledger::{Balance, CloseError, Credits};

impl Generation {
    /// The one exit: ends the sequences, settles the meter, and tells the caller.
    pub(super) async fn finish(self, outcome: Outcome) {
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
        let counted = self.counted();
        let Self { request, choices, meter, outlet, running, observer, .. } = self;
        drop(choices);
        let is_reversed = !meter.keeps_charges();
        let ended = settled(meter.abandon(reason).await);
        let reversed = ended.filter(|_| is_reversed).map_or(0, |closed| closed.credits.0);
        observer.ended(reason, reversed);
        // The caller's next request finds the place of this one free.
        drop(request);
        if let Some(error) = error {
            // What was given back cost nothing, and there is nothing that it counts.
            let kept = ended.filter(|_| !is_reversed);
            let usage = kept.map(|closed| counted.paid(closed.credits, closed.balance));
            // Whoever hung up meanwhile misses nothing.
            let _ = outlet.send(Delivery::Failed(Failure { error, usage })).await;
        }
        drop(running);
    }

    /// The end of an answer.
    async fn conclude(mut self, cut: Finish) {
        let finishes = self.choices.iter_mut().map(|choice| choice.conclude(cut));
        let finishes: Vec<Finish> = finishes.collect();
        let counted = self.counted();
        let Self { request, choices, meter, outlet, running, observer, unsettled, .. } = self;
        let stop_strings: Vec<_> = choices.iter().map(Choice::stop_string).collect();
        let ends = finishes.iter().zip(&stop_strings);
        let ends: Vec<End> = ends.map(|(finish, stop)| request.end(*finish, stop)).collect();
        drop(choices);

        // Close before replying: a retry must find the answer, not an open meter. Until the caller
        // has taken a plain one it may be reversed, and is given to nobody else.
        let _held = (!request.streamed).then(|| unsettled.hold(meter.id()));
        let reason = End::store(&ends);
        let Some(closed) = settled(meter.close(&reason).await) else {
            let _ = outlet.send(Delivery::Failed(ApiError::LedgerUnavailable.into())).await;
            return;
        };
        let usage = counted.paid(closed.credits(), closed.balance());
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

    fn counted(&self) -> Counted {
        // A prompt that several choices continue counts once, so does what was cached of it.
        let first_choices = self.choices.iter().step_by(self.request.choices_per_prompt);
        Counted(Usage {
            prompt_tokens: self.request.prompt_tokens(),
            cached_tokens: first_choices.map(Choice::cached_tokens).sum(),
            completion_tokens: self.meter.tokens(),
            reasoning_tokens: self.reasoning_tokens,
            credits: 0,
            credit_multiplier: price(&self.request.model).credits_per_token,
            balance: 0,
            credits_exhausted: self.meter.exhausted(),
        })
    }
}

/// The counts of a request whose meter is not closed yet.
struct Counted(Usage);

impl Counted {
    /// With what the closed meter says.
    fn paid(self, credits: Credits, balance: Balance) -> Usage {
        Usage { credits: credits.0, balance: balance.0, ..self.0 }
    }
}

/// Reports a meter that the ledger could not settle; it stays open until the next start does it.
pub(super) fn settled<T>(outcome: Result<T, CloseError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::error!(%error, "a meter could not be settled")).ok()
}
