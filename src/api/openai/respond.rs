//! From a generation that runs to its answer: writes what it delivers, whole or as a stream, in the
//! shapes of the route that asked.
//! Never knows: which route that is.

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::super::AppState;
use super::super::delivery::{Finish, Release};
use super::super::error::ApiError;
use super::super::event_stream::event_stream;
use super::super::generation::Started;
use super::super::middleware::{CREDITS_BALANCE, CREDITS_CHARGED, REPLAYED};
use super::request::StreamOptions;
use super::stream::Chunks;
use super::types::{Envelope, Head, WireUsage};

/// How a route writes its choices.
pub(super) trait Wire: Send + Unpin + 'static {
    /// One element of `choices` in a whole answer.
    type Choice: Serialize;
    /// One element of `choices` in a chunk.
    type Chunk: Serialize;

    /// The start of ids.
    const ID_PREFIX: &'static str;
    /// `object` of a whole answer.
    const OBJECT: &'static str;
    /// `object` of a chunk.
    const CHUNK_OBJECT: &'static str;

    /// A whole choice.
    fn choice(&mut self, release: Release, finish: Finish) -> Self::Choice;

    /// The next parts of a choice, of which there is at least one, or a log probability.
    fn chunks(&mut self, release: Release) -> Vec<Self::Chunk>;

    /// What has to come before the end of a choice without any text.
    fn opening(&mut self, choice: usize) -> Option<Self::Chunk>;

    /// The end of a choice.
    fn finish(&mut self, choice: usize, finish: Finish) -> Self::Chunk;
}

/// Answers with what a generation delivers.
pub(super) async fn respond<W: Wire>(
    state: &AppState,
    started: Started,
    stream: Option<StreamOptions>,
    mut wire: W,
) -> Result<Response, ApiError> {
    let Started { model, num_choices, admitted, deliveries } = started;
    let object = if stream.is_some() { W::CHUNK_OBJECT } else { W::OBJECT };
    let head = Head::new(W::ID_PREFIX, object, &admitted, &model);
    let mut response = match stream {
        Some(options) => {
            let prompt_tokens = admitted.prompt_tokens;
            let chunks = Chunks { wire, head, options, prompt_tokens, completion_tokens: 0 };
            event_stream(deliveries, state.config.keep_alive, chunks)
        }
        None => {
            let answer = deliveries.collect(num_choices).await?;
            let (usage, finishes) = (answer.summary.usage, answer.summary.finishes);
            let choices = answer.choices.into_iter().zip(finishes);
            let choices = choices.map(|(release, finish)| wire.choice(release, finish)).collect();
            let usage_json = Some(Some(WireUsage::from(&usage)));
            let mut response =
                Json(Envelope { head: &head, choices, usage: usage_json }).into_response();
            let headers = response.headers_mut();
            headers.insert(CREDITS_CHARGED, HeaderValue::from(usage.credits));
            headers.insert(CREDITS_BALANCE, HeaderValue::from(usage.balance));
            // From here to the connection there is no await: the answer is on its way.
            answer.summary.receipt.confirm();
            response
        }
    };
    if admitted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
