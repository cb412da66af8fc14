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
    headers: HeaderMap,
) -> Response {
    let topup = match find(&state, &id).await {
        Ok(topup) => checked(&state, topup).await,
        Err(error) => Err(error),
    };
    let language = Language::of(&headers);
    let (status, page) = match &topup {
        Ok(topup) => (StatusCode::OK, page_of(topup, language)),
        Err(error) => {
            let words = if matches!(error, ApiError::UnknownTopup) { &UNKNOWN } else { &UNTOLD };
            let (title, text) = words[language as usize];
            (error.status(), page(language, title, text, "/#/billing"))
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
        (header::VARY, "accept-language"),
    ];
    (status, headers, Html(page)).into_response()
}

/// What the page is written in: as the dashboard, before anybody chooses.
#[derive(Clone, Copy, Debug)]
enum Language {
    English = 0,
    Arabic = 1,
}

impl Language {
    /// The one that the browser asks for first, if it is one of these.
    fn of(headers: &HeaderMap) -> Self {
        let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|asked| asked.to_str().ok());
        let first = asked.unwrap_or_default().split([',', ';', '-']).next().unwrap_or_default();
        if first.trim().eq_ignore_ascii_case("ar") { Self::Arabic } else { Self::English }
    }
}

/// A title and a text, in each language.
type Words = [(&'static str, &'static str); 2];

const UNKNOWN: Words = [("Top-up", "There is no such order."), ("الشحن", "لا يوجد طلب كهذا.")];

const UNTOLD: Words = [
    ("Top-up", "How the order stands can not be told now. Reload this page in a minute."),
    ("الشحن", "تعذّرت معرفة حالة الطلب الآن. أعد تحميل هذه الصفحة بعد دقيقة."),
];

fn page_of(topup: &TopupInfo, language: Language) -> String {
    let words: Words = match topup.state {
        TopupState::Paid => [
            ("Paid", "Thank you. The credits are on your account."),
            ("تم الدفع", "شكرًا لك. أُضيف الرصيد إلى حسابك."),
        ],
        TopupState::Created | TopupState::Pending => [
            ("Not decided yet", "Your bank has not answered. Reload this page in a minute."),
            ("لم يُحسم بعد", "لم يردّ مصرفك بعد. أعد تحميل هذه الصفحة بعد دقيقة."),
        ],
        TopupState::Failed => [
            ("Not paid", "The payment failed. Nothing was taken."),
            ("لم يتم الدفع", "فشلت عملية الدفع. لم يُخصم أي مبلغ."),
        ],
        TopupState::Cancelled => [
            ("Cancelled", "The payment was cancelled. Nothing was taken."),
            ("أُلغي", "أُلغيت عملية الدفع. لم يُخصم أي مبلغ."),
        ],
        TopupState::Expired => [
            ("Expired", "The order was not paid in time. Order again."),
            ("انتهت المهلة", "لم يُدفع الطلب في موعده. اطلب مرة أخرى."),
        ],
    };
    let (title, what) = words[language as usize];
    let bought = match language {
        Language::English => format!("{} credits for {} KWD", topup.credits, topup.fils),
        Language::Arabic => format!("وحدات الرصيد: {}، المبلغ: {} د.ك", topup.credits, topup.fils),
    };
    let back = format!("/#/billing?order={}", topup.id);
    page(language, title, &format!("{bought}. {what}"), &back)
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

/// All are this file's own words, numbers and ids: there is nothing in them to escape.
fn page(language: Language, title: &str, text: &str, back: &str) -> String {
    let (html, billing) = match language {
        Language::English => ("<html lang=\"en\">", "Billing &amp; Plans"),
        Language::Arabic => ("<html lang=\"ar\" dir=\"rtl\">", "الفواتير والباقات"),
    };
    format!(
        "<!doctype html>{html}<meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} - Mizan</title>\
         <style>{STYLE}</style><main><h1>{title}</h1><p>{text}</p>\
         <a href=\"{back}\">{billing}</a></main></html>"
    )
}
