//! `/api/v1/admin/export`: rows of the books, streamed.
//! Promises: memory for a part at a time; no thread waits for a slow reader.
//! Never knows: what rows are made of.

use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, channel};

use super::AppState;
use super::error::ApiError;
use super::operator::Operator;
use super::url::Query;
use crate::ledger::{ExportFormat, ExportQuery};

/// The query as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    account: Option<String>,
    from: Option<String>,
    to: Option<String>,
    format: Option<String>,
    what: Option<String>,
}

/// `GET /api/v1/admin/export?account=&from=&to=&format=csv|jsonl&what=journal|usage`
pub(super) async fn rows(
    _: Operator,
    State(state): State<AppState>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let query = ExportQuery {
        from: parsed("from", &asked.from)?,
        to: parsed("to", &asked.to)?,
        what: parsed("what", &asked.what)?.unwrap_or_default(),
        format: parsed("format", &asked.format)?.unwrap_or_default(),
        account: asked.account.filter(|name| !name.is_empty()),
    };
    let format = query.format;
    let begun = state.read_ledger(move |ledger| Ok(ledger.export(&query))).await?;
    let mut export = begun?;
    // One part waits while the one before is sent.
    let (parts, receiver) = channel(1);
    tokio::spawn(async move {
        loop {
            let part = state
                .read_ledger(move |ledger| {
                    let part = ledger.export_part(&mut export)?;
                    Ok((export, part))
                })
                .await;
            let text = match part {
                Ok((rest, Some(text))) => {
                    export = rest;
                    text
                }
                Ok((_, None)) => return,
                Err(error) => {
                    // The connection breaks off, so that nobody takes a part for the whole.
                    let _ = parts.send(Err(error)).await;
                    return;
                }
            };
            if !text.is_empty() && parts.send(Ok(Bytes::from(text))).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Body::from_stream(Parts(receiver)));
    let kind = match format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::JsonLines => "application/jsonl; charset=utf-8",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// A value of the query; one that is empty says nothing.
fn parsed<T: FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: &Option<String>,
) -> Result<Option<T>, ApiError> {
    let text = text.as_deref().filter(|text| !text.is_empty());
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error| ApiError::field(name, format!("'{name}': {error}")))
}

/// What the task reads, as it reads it.
pub(super) struct Parts(pub(super) Receiver<Result<Bytes, ApiError>>);

impl Stream for Parts {
    type Item = Result<Bytes, ApiError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(context)
    }
}
