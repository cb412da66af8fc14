//! What every request goes through: request id, panics, CORS, paths and methods that do not exist,
//! then who may call and how often.
//! Promises: each answer, however it came about, has an `x-request-id` and, if it is an error,
//! OpenAI's shape, or Anthropic's where their clients ask.
//! Never knows: what routes do.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, CorsLayer};

use super::error::ApiError;
use super::limits::RATE_LIMIT_HEADERS;
use super::{AppState, access, anthropic, limits, unread};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const CREDITS_CHARGED: HeaderName = HeaderName::from_static("x-credits-charged");
pub(super) const CREDITS_BALANCE: HeaderName = HeaderName::from_static("x-credits-balance");

/// Says that an answer is a stored one, as other paid APIs say it.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A longer id of the caller's is not echoed: it goes into logs.
const MAX_REQUEST_ID_CHARS: usize = 128;

/// Puts the layers around `routes`; the last one here is the first that a request meets. Those of
/// routes alone know which one matched, and let paths and methods pass that do not exist.
pub(super) fn wrap(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    routes
        // Here for the handlers, whose answer still gets its limits' headers; below for the layers.
        .route_layer(CatchPanicLayer::custom(panicked))
        .route_layer(from_fn_with_state(state.clone(), limits::enforce))
        .route_layer(from_fn_with_state(state.clone(), access::authorize))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(state.config.max_body_bytes))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(&state.config.cors_origins))
        .layer(from_fn_with_state(state.clone(), with_request_id))
        .layer(from_fn(anthropic::in_shape))
        .layer(from_fn(unread::drain))
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::UnknownRoute(uri.path().to_owned())
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::MethodNotAllowed(method.to_string())
}

/// The panic itself is in the log: the process's hook wrote it.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal.into_response()
}

/// Pages of the configured origins may call, with any header that they send.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let exposed =
        [REQUEST_ID, anthropic::REQUEST_ID, header::RETRY_AFTER, CREDITS_CHARGED, CREDITS_BALANCE];
    let exposed = exposed.into_iter().chain(RATE_LIMIT_HEADERS.into_iter().flatten());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.collect::<Vec<_>>())
}

/// Echoes the caller's request id, or makes one; counts and logs the answer.
async fn with_request_id(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request.headers().get(REQUEST_ID).filter(|id| is_echoed(id)).cloned();
    let id = id.unwrap_or_else(new_request_id);
    let method = request.method().clone();
    // The route's pattern, not the path: callers can make up any number of paths.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status();
    state.metrics.http_requests.with(&[route, status.as_str()]).add(1);
    tracing::debug!(
        %method,
        route,
        status = status.as_u16(),
        ms = started.elapsed().as_millis() as u64,
        id = id.to_str().unwrap_or_default(),
        "answered"
    );
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    // No answer is ever another kind of thing than it says: not a script, not a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // And nothing that is no page of ours runs or is framed, should a browser show it as one.
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    response
}

fn is_echoed(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    !id.is_empty() && id.len() <= MAX_REQUEST_ID_CHARS && id.iter().all(u8::is_ascii_graphic)
}

fn new_request_id() -> HeaderValue {
    let id = format!("req_{:016x}", random_u64());
    HeaderValue::try_from(id).expect("hexadecimal digits are a header value")
}

/// A number that nobody can guess; where the system has none, one that differs all the same.
pub(super) fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64)
    })
}
