//! Requests through engine, text stream and ledger, as `api/generation` runs them: a task and a
//! reader for each; room, then charge, then delivery. No HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::engine::{Event, FinishReason, SamplingParams, SequenceRequest, SequenceStream};
use crate::ledger::{AccountId, Credits, KeyId, Ledger, MeterId, MeterRequest, NewKeyRequest};
use crate::metering::{Meter, Price};
use crate::registry::LoadedModel;
use crate::text::{Piece, Segment, TextStream};

/// Something to go on with, in words that every model knows.
const STORY: &str = "The harbour lay quiet in the early morning, and the boats came home one by \
                     one. On the quay the merchants set up their scales, called out the price of \
                     the day, and wrote down what each of them had sold. A boy carried baskets \
                     from the water to the market and counted them aloud. When the sun stood over \
                     the roofs, his father asked him how many there had been, ";

/// Enough for any bench, and what one grant may hold.
const CREDITS: Credits = Credits(1_000_000_000_000);

const NAME: &str = "bench";

/// Requests that all begin at once.
pub(super) struct Generations {
    model: Arc<LoadedModel>,
    /// No two are alike. The prefix cache has all but the end of each after the first run.
    prompts: Vec<Vec<u32>>,
    tokens: usize,
}

/// Books with an account that can pay for everything.
pub(super) struct Payer {
    ledger: Ledger,
    account: AccountId,
    key: KeyId,
}

/// What one run of all requests gave.
pub(super) struct Run {
    /// From before the first was begun to the end of the last.
    pub(super) elapsed: Duration,
    /// Between a delivery and the one before it in the same answer, shortest first.
    pub(super) gaps: Vec<Duration>,
    /// How long text that was ready waited for its charge, shortest first.
    pub(super) waits: Vec<Duration>,
    /// Ids whose text was delivered, of each request.
    pub(super) delivered: Vec<Vec<u32>>,
    /// Meters of the requests; none without a payer.
    meters: Vec<MeterId>,
}

/// What one request gave.
struct Answer {
    index: usize,
    ids: Vec<u32>,
    gaps: Vec<Duration>,
    waits: Vec<Duration>,
    meter: Option<MeterId>,
}

impl Generations {
    /// `streams` requests of `prompt` tokens, to be answered with `tokens` each.
    pub(super) fn new(
        model: Arc<LoadedModel>,
        streams: usize,
        prompt: usize,
        tokens: usize,
    ) -> Result<Self> {
        let room = model.context_length.min(model.engine.max_sequence_len());
        ensure!(prompt + tokens <= room, "the model has room for {room} tokens");
        let prompts = (0..streams).map(|number| {
            let text = format!("{number} boats. {}", STORY.repeat(prompt.div_ceil(16)));
            let mut ids = model.tokenizer.encode_prompt(&[Segment::Content(text)]);
            ids.truncate(prompt);
            ids
        });
        let prompts = prompts.collect();
        Ok(Self { model, prompts, tokens })
    }

    /// Runs all requests to their ends, charged to `payer` if there is one.
    pub(super) async fn run(&self, payer: Option<&Payer>) -> Result<Run> {
        let mut tasks = JoinSet::new();
        let begun = Instant::now();
        for (index, prompt) in self.prompts.iter().enumerate() {
            let request = SequenceRequest {
                lane: 0,
                prompt: prompt.clone(),
                max_tokens: self.tokens,
                stop_ids: self.model.tokenizer.end_of_turn().into(),
                sampling: SamplingParams { ignore_stop_ids: true, ..SamplingParams::default() },
                constraint: None,
            };
            let opening = payer.map(|payer| (payer.ledger.clone(), payer.request(self, prompt)));
            tasks.spawn(answer(index, Arc::clone(&self.model), request, opening));
        }
        let answers: Result<Vec<Answer>> = tasks.join_all().await.into_iter().collect();
        let elapsed = begun.elapsed();
        let mut answers = answers?;
        answers.sort_by_key(|answer| answer.index);
        let all = |of: fn(&Answer) -> &[Duration]| {
            let mut all: Vec<Duration> = answers.iter().flat_map(of).copied().collect();
            all.sort_unstable();
            all
        };
        Ok(Run {
            elapsed,
            gaps: all(|answer| &answer.gaps),
            waits: all(|answer| &answer.waits),
            meters: answers.iter().filter_map(|answer| answer.meter).collect(),
            delivered: answers.into_iter().map(|answer| answer.ids).collect(),
        })
    }
}

impl Run {
    /// Ids whose text was delivered.
    pub(super) fn tokens(&self) -> usize {
        self.delivered.iter().map(Vec::len).sum()
    }
}

impl Payer {
    /// Fresh books' first account.
    pub(super) async fn create(ledger: Ledger) -> Result<Self> {
        let account = ledger.create_account(NAME, "default", NAME).await?;
        ledger.grant(account, CREDITS, NAME, NAME).await?;
        let key = ledger.create_key(NewKeyRequest::new(account, NAME), NAME).await?.id;
        Ok(Self { ledger, account, key })
    }

    fn request(&self, generations: &Generations, prompt: &[u32]) -> MeterRequest {
        let model = &generations.model;
        MeterRequest {
            account: self.account,
            key: self.key,
            model: model.entry.id.clone(),
            model_digest: model.digest,
            credits_per_token: Price::of(&model.entry.tier, &model.tier).credits_per_token,
            streamed: true,
            input_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX),
            idempotency_key: None,
            body_hash: [0; 32],
        }
    }

    /// Says so unless exactly what `run` delivered was charged and is stored.
    pub(super) fn check(&self, run: &Run) -> Result<()> {
        ensure!(run.meters.len() == run.delivered.len(), "a request had no meter");
        for (meter, delivered) in run.meters.iter().zip(&run.delivered) {
            let record = self.ledger.generation(self.account, *meter)?;
            let record = record.with_context(|| format!("the books have no {meter}"))?;
            let stored = record.token_ids.unwrap_or_default().remove(&0).unwrap_or_default();
            ensure!(
                stored == *delivered && record.output_tokens as usize == delivered.len(),
                "{meter}: {} tokens delivered, {} charged, {} stored",
                delivered.len(),
                record.output_tokens,
                stored.len()
            );
        }
        Ok(())
    }
}

/// One request, from opening its meter to closing it.
async fn answer(
    index: usize,
    model: Arc<LoadedModel>,
    request: SequenceRequest,
    opening: Option<(Ledger, MeterRequest)>,
) -> Result<Answer> {
    let mut meter = match opening {
        Some((ledger, request)) => Some(Meter::open(&ledger, request).await?),
        None => None,
    };
    let mut sequence = model.engine.submit(request)?;
    let mut text = TextStream::new(Arc::clone(&model.tokenizer), Vec::new());
    // As in the server, a delivery is made while its reader has the one before.
    let (outlet, deliveries) = mpsc::channel(1);
    let reader = tokio::spawn(read(deliveries));
    let (mut pieces, mut waits, mut is_open) = (Vec::new(), Vec::new(), true);
    while is_open {
        let event = sequence.next().await.context("the engine has stopped")?;
        is_open = take(event, &mut text, &mut pieces)?;
        if pieces.is_empty() {
            continue;
        }
        let room = outlet.reserve().await?;
        is_open = is_open && take_ready(&mut sequence, &mut text, &mut pieces)?;
        if let Some(meter) = &mut meter {
            let asked = Instant::now();
            let paid = meter.charge(0, pieces.iter().map(|piece| piece.ids.as_slice())).await?;
            waits.push(asked.elapsed());
            ensure!(!paid.exhausted, "the bench's account is empty");
        }
        room.send(std::mem::take(&mut pieces));
    }
    drop(outlet);
    let id = meter.as_ref().map(Meter::id);
    if let Some(meter) = meter {
        meter.close("length").await?;
    }
    let (ids, gaps) = reader.await?;
    Ok(Answer { index, ids, gaps, waits, meter: id })
}

/// Whether more may come.
fn take(event: Event, text: &mut TextStream, pieces: &mut Vec<Piece>) -> Result<bool> {
    match event {
        Event::Token(token) => {
            text.push(token.id, pieces);
            Ok(true)
        }
        Event::Finished(FinishReason::Length) => {
            text.finish(pieces);
            Ok(false)
        }
        Event::Prompt(_) | Event::Vector(_) => Ok(true), // Nobody asked for it.
        Event::Finished(reason) => bail!("a sequence ended: {reason:?}"),
    }
}

/// Takes what came while the reader was busy.
fn take_ready(
    sequence: &mut SequenceStream,
    text: &mut TextStream,
    pieces: &mut Vec<Piece>,
) -> Result<bool> {
    while let Some(event) = sequence.try_next() {
        if !take(event, text, pieces)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All ids that were delivered, and the times between deliveries.
async fn read(mut deliveries: mpsc::Receiver<Vec<Piece>>) -> (Vec<u32>, Vec<Duration>) {
    let (mut ids, mut gaps, mut last) = (Vec::new(), Vec::new(), None);
    while let Some(pieces) = deliveries.recv().await {
        let now = Instant::now();
        gaps.extend(last.replace(now).map(|last| now - last));
        ids.extend(pieces.into_iter().flat_map(|piece| piece.ids));
    }
    (ids, gaps)
}
