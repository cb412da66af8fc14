//! `POST /api/v1/sessions/cookie`: a browser signs in, with a name and a password or with a key,
//! and is given a cookie.
//! Promises: the answer's body holds no secret; a page of another site signs nobody in; whoever was
//! signed in in that browser before is not any more.
//! Never knows: what who signed in may do.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::super::AppState;
use super::super::auth::Principal;
use super::super::authenticate;
use super::super::body::JsonBody;
use super::super::error::ApiError;
use super::super::sessions;
use super::cookie::{Jar, cookie_of};
use super::same_origin::FromOwnPage;
use super::tickets::Ticket;

/// `POST /api/v1/sessions/cookie`
pub(in super::super) async fn sign_in(
    State(state): State<AppState>,
    _: FromOwnPage,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = body.fields();
    let now_ms = state.clock.now_ms();
    let (principal, value, expires_ms) = match fields.string("key")? {
        Some(key) => {
            if fields.get("name").is_some() || fields.get("password").is_some() {
                return Err(fields.refuse("key", "give a 'key', or a 'name' and a 'password'"));
            }
            let principal = authenticate::of_key(&state, key.trim().to_owned()).await?;
            let (ticket, until_ms) = match &principal {
                Principal::Key(key) => (Ticket::Key(key.id), key.expires_ms),
                Principal::Operator(_) => (Ticket::Operator, None),
                Principal::User { .. } => return Err(ApiError::Internal),
            };
            let (value, expires_ms) = state.tickets.issue(ticket, now_ms, until_ms);
            (principal, value, expires_ms)
        }
        None => {
            let (session, _) = sessions::start(&state, &fields).await?;
            let principal = authenticate::of_session(&state, session.secret.clone()).await?;
            (principal, session.secret, session.expires_ms)
        }
    };
    // Its cookie is about to be replaced, and nobody could end it then.
    if let Some(earlier) = cookie_of(&headers).filter(|earlier| !earlier.is_empty()) {
        sessions::end_cookie(&state, &earlier).await?;
    }
    let me = sessions::describe(&state, principal, true).await?;
    let answer = ([(header::CACHE_CONTROL, "no-store")], Json(me));
    Ok(Jar::of(&state, &headers).keep(&value, (expires_ms - now_ms) / 1000, answer))
}
