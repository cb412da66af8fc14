//! Errors in Anthropic's shape, put on in one place: whatever refuses a request, the answer passes
//! here on its way out.
//! Promises: no error of these routes leaves in another shape; statuses and headers stay as they
//! are, since Anthropic's clients try the same ones again.
//! Never knows: why a request was refused.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::middleware;

/// Where Anthropic's clients look for the id of a request.
pub(in super::super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What Anthropic's clients send with every request.
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Whether the caller's headers are those of one of Anthropic's clients.
pub(in super::super) fn is_their_client(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION)
}

/// Gives errors Anthropic's shape on its routes, and their answers its header for the request's
/// id. Comes after all that may refuse, and after what gives the answer its id.
pub(in super::super) async fn in_shape(request: Request, next: Next) -> Response {
    let is_asked = is_asked(request.uri().path(), request.headers());
    let mut response = next.run(request).await;
    if !is_asked {
        return response;
    }
    let id = response.headers().get(middleware::REQUEST_ID).cloned();
    if let Some(id) = &id {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let mut body = body(&error);
    body["request_id"] = id.as_ref().and_then(|id| id.to_str().ok()).into();
    let (mut parts, _) = response.into_parts();
    let body = body.to_string();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(parts, Body::from(body))
}

/// Its own routes whoever calls, and those that look the same at OpenAI if its client calls.
fn is_asked(path: &str, headers: &HeaderMap) -> bool {
    let path = path.strip_prefix("/api").unwrap_or(path);
    let is_below = |route| {
        let rest = path.strip_prefix(route);
        rest.is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'))
    };
    is_below("/v1/messages") || (is_below("/v1/models") && is_their_client(headers))
}

/// `{"type": "error", "error": {...}}`: the body of a refusal, and the event of a failed stream.
pub(super) fn body(error: &ApiError) -> Value {
    let message = match error {
        // The shape has no place of its own for the field.
        ApiError::InvalidField { param, message } if !message.contains(param.as_str()) => {
            format!("{param}: {message}")
        }
        // The words by which agents know that they have to shorten the conversation.
        ApiError::ContextLength { prompt_tokens, context_length, .. } => format!(
            "prompt is too long: {prompt_tokens} tokens > {context_length} maximum; shorten the \
             prompt"
        ),
        ApiError::PromptLimit { why, .. } => format!("prompt is too long: {why}"),
        error => error.to_string(),
    };
    json!({ "type": "error", "error": { "type": kind(error.status()), "message": message } })
}

/// Anthropic's word for a status. It says 529 for an overload, and its clients take any status from
/// 500 on as a reason to try again.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::PAYMENT_REQUIRED => "billing_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::REQUEST_TIMEOUT => "timeout_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_clients_decide() {
        let (nobody, mut client) = (HeaderMap::new(), HeaderMap::new());
        client.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        for (path, others, theirs) in [
            ("/v1/messages", true, true),
            ("/api/v1/messages", true, true),
            ("/v1/messages/count_tokens", true, true),
            ("/v1/messages/batches", true, true),
            ("/v1/messagesx", false, false),
            ("/v1/models", false, true),
            ("/api/v1/models/x", false, true),
            ("/v1/chat/completions", false, false),
            ("/messages", false, false),
        ] {
            assert_eq!(is_asked(path, &nobody), others, "{path}");
            assert_eq!(is_asked(path, &client), theirs, "{path}");
        }
    }

    #[test]
    fn the_field_is_named_once() {
        let message = |error: ApiError| body(&error)["error"]["message"].clone();
        let named = ApiError::field("model", "'model' is required");
        assert_eq!(message(named), "'model' is required");
        let unnamed = ApiError::field("tools[0].type", "no such type");
        assert_eq!(message(unnamed), "tools[0].type: no such type");
    }
}
