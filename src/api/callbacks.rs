//! Where payment providers call, and where they send the customer's browser back to. Both are open
//! to everybody: a provider proves itself by its signature, and an order's id can not be guessed.
//! Promises: a callback is answered 200 only when it needs not be sent again; neither tells
//! anything that the caller did not know.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::AppState;
use super::billing::{checked, find};
use super::body::RawBody;
use super::dashboard;
use super::error::ApiError;
use super::url::Path;
use crate::billing::{CallbackError, Verdict};
use crate::ledger::{TopupInfo, TopupState};
use crate::payments::Headers;

/// `POST /api/v1/payments/{provider}/webhook`
pub(super) async fn webhook(
    State(state): State<AppState>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<Value>, ApiError> {
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let callback = state
        .billing
        .authenticate(&provider, &pairs.collect::<Headers<'_>>(), &body)
        .inspect_err(|error| {
            if let CallbackError::Forged(why) = error {
                tracing::warn!(%provider, %why, "a callback was not believed");
            }
        })?;
    let verdict = state.sell(move |billing| billing.callback(&callback)).await??;
    let word = match verdict {
        Verdict::Checked(_) | Verdict::Mismatch => "received",
        Verdict::NotOurs => "ignored",
    };
    Ok(Json(json!({ "status": word })))
}

/// `GET /topups/{id}/return`: the customer comes back from the provider's page.
pub(super) async fn customer_returned(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Response {
    let topup = match find(&state, &id).await {
        Ok(topup) => checked(&state, topup).await,
        Err(error) => Err(error),
    };
    let (status, page) = match &topup {
        Ok(topup) => (StatusCode::OK, page_of(topup)),
        Err(error @ ApiError::UnknownTopup) => {
            (error.status(), page("Top-up", "There is no such order."))
        }
        Err(error) => {
            let text = "How the order stands can not be told now. Reload this page in a minute.";
            (error.status(), page("Top-up", text))
        }
    };
    // Nothing on this page comes from elsewhere, and it runs no script.
    let policy = format!(
        "default-src 'none'; style-src {}; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'none'",
        dashboard::inline_hash(STYLE)
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(page)).into_response()
}

fn page_of(topup: &TopupInfo) -> String {
    let bought = format!("{} credits for {} KWD", topup.credits, topup.fils);
    let (title, what) = match topup.state {
        TopupState::Paid => ("Paid", "Thank you. The credits are on your account."),
        TopupState::Created | TopupState::Pending => {
            ("Not decided yet", "Your bank has not answered. Reload this page in a minute.")
        }
        TopupState::Failed => ("Not paid", "The payment failed. Nothing was taken."),
        TopupState::Cancelled => ("Cancelled", "The payment was cancelled. Nothing was taken."),
        TopupState::Expired => ("Expired", "The order was not paid in time. Order again."),
    };
    page(title, &format!("{bought}. {what}"))
}

/// In the page itself: it has to look right even where the dashboard's files do not come through.
const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--line:#dfe3e8;--text:#1a1f26;\
--soft:#5b6672;--deed:#0b6e4f;--on-deed:#fff}\
@media(prefers-color-scheme:dark){:root{--page:#12161b;--card:#1b2128;--line:#2d3640;\
--text:#e8ecf0;--soft:#a3aeb9;--deed:#4cc399;--on-deed:#0c1512}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;\
background:var(--page);color:var(--text);font:1.05rem/1.55 system-ui,sans-serif}\
main{width:100%;max-width:30rem;padding:2rem;border:1px solid var(--line);border-radius:12px;\
background:var(--card)}\
h1{margin:0 0 .5rem;font-size:1.5rem}p{margin:0 0 1.5rem;color:var(--soft)}\
a{display:inline-block;padding:.6rem 1.1rem;border-radius:8px;background:var(--deed);\
color:var(--on-deed);text-decoration:none;font-weight:600}\
a:focus-visible{outline:3px solid var(--deed);outline-offset:3px}";

/// Both are this file's own words and numbers: there is nothing in them to escape.
fn page(title: &str, text: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} - Mizan</title>\
         <style>{STYLE}</style><main><h1>{title}</h1><p>{text}</p>\
         <a href=\"/#/billing\">Billing &amp; Plans</a></main></html>"
    )
}
