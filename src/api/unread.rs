//! Bodies of requests that were refused before they were read: taken off the connection and thrown
//! away, up to a bound, before the answer is sent.
//!
//! A server that answers and closes while its client still sends makes the operating system throw
//! away what the client has not yet read: the client sees a broken connection, not the refusal, and
//! tries again. And a connection that is kept must stand at the end of a request.
//!
//! Promises: a refusal reaches a client that sends its body in a bounded size and time, and its
//! connection can be used again; any other client is told that the connection closes.
//! Never knows: what bodies mean, why a request was refused.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// As much as is thrown away: several times what an ordinary request has.
const MAX_DRAINED: usize = 16 << 20;

/// As long as a refusal may wait for its request to have arrived.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Answers when the request has been read, by whoever answers it or else here.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Who waits to be told to go on has sent nothing yet, and is better told of the refusal.
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let lent = Lent(Arc::new(Mutex::new(Some(body))));
    let rest = lent.clone();
    let mut response = next.run(Request::from_parts(parts, Body::new(lent))).await;
    let Some(rest) = rest.take() else { return response };
    if waits || !is_drained(rest).await {
        close(response.headers_mut());
    }
    response
}

fn close(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// Reads to the end; `false` if that is too far, too slow, or will not come.
async fn is_drained(mut body: Body) -> bool {
    if body.size_hint().lower() > MAX_DRAINED as u64 {
        return false;
    }
    let reading = async {
        let mut drained = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            drained += frame.data_ref().map_or(0, Bytes::len);
            if drained > MAX_DRAINED {
                return false;
            }
        }
        true
    };
    timeout(DRAIN_TIMEOUT, reading).await.unwrap_or(false)
}

/// A body, lent to whoever handles the request; `None` once it was read to its end or broke.
#[derive(Clone, Debug)]
struct Lent(Arc<Mutex<Option<Body>>>);

impl Lent {
    fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(body) = lent.as_mut() else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            *lent = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
