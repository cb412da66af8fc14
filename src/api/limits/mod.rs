//! A plan's limits, which protect the machine: requests and input tokens a minute, requests at the
//! same time, the largest prompt. Input costs nothing, so nothing else bounds it.
//!
//! Every call of a route that needs the scope `inference` is a request, whatever becomes of it:
//! one that fails or is reversed has cost the machine its work. A refusal by these limits counts
//! for nothing. A request has its place among those at the same time until its handler is done,
//! and a generation until its task is: [`Admission`] is held by both.
//!
//! Promises: an answer of these routes tells where the caller stands, in OpenAI's headers; a limit
//! that the plan has not got costs no header, no lock and no look at the clock.
//! Never knows: credits, which are separate.

mod accounts;
mod bucket;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

pub(super) use accounts::Limiter;
pub(super) use bucket::Standing;
pub use refusal::{PromptLimit, RateLimit};

use super::AppState;
use super::access::Access;
use super::auth::Principal;
use super::error::ApiError;
use crate::catalog::{DEFAULT_PLAN, Plan};
use crate::ledger::{AccountId, Clock, Scope};
use accounts::Place;
use refusal::duration;

/// For each limit: what it is, what is left of it, and when it is whole again.
pub(super) const RATE_LIMIT_HEADERS: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

/// One account and its plan.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    limiter: Limiter,
    clock: Arc<dyn Clock>,
    account: AccountId,
    plan: Plan,
}

/// A request that the limits let in. Its clones are one request, which ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    quota: Quota,
    /// Held, never read.
    _place: Arc<Place>,
}

impl Quota {
    fn of(state: &AppState, account: AccountId, plan: &str) -> Self {
        let (_, plan) = in_force(state, plan);
        Self { limiter: state.limiter.clone(), clock: state.clock.clone(), account, plan }
    }

    fn begin(&self) -> Result<Place, RateLimit> {
        self.limiter.begin(self.account, &self.plan, &*self.clock)
    }

    fn write_headers(&self, headers: &mut HeaderMap) {
        let standings = self.limiter.standings(self.account, &self.plan, &*self.clock);
        for (standing, [limit, remaining, reset]) in standings.iter().zip(RATE_LIMIT_HEADERS) {
            let Some(standing) = standing else { continue };
            headers.insert(limit, HeaderValue::from(standing.limit));
            headers.insert(remaining, HeaderValue::from(standing.remaining));
            let until = HeaderValue::try_from(duration(standing.reset_ms));
            headers.insert(reset, until.expect("digits and letters are a header value"));
        }
    }
}

/// The plan of an account, and its name. The one that the account was given may have left the file
/// since.
fn in_force<'a>(state: &AppState, name: &'a str) -> (&'a str, Plan) {
    let plans = &state.config.catalog.plans;
    match plans.get(name) {
        Some(plan) => (name, *plan),
        None => (DEFAULT_PLAN, plans.get(DEFAULT_PLAN).copied().unwrap_or_default()),
    }
}

/// A plan, and what is left of it now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance<'a> {
    pub(super) name: &'a str,
    pub(super) plan: Plan,
    pub(super) requests: Option<Standing>,
    pub(super) input_tokens: Option<Standing>,
    /// Requests that could begin beside those that run.
    pub(super) concurrent: Option<u32>,
}

/// Where `account` stands, whose plan is called `plan`.
pub(super) fn allowance<'a>(state: &AppState, account: AccountId, plan: &'a str) -> Allowance<'a> {
    let (name, plan) = in_force(state, plan);
    let [requests, input_tokens] = state.limiter.standings(account, &plan, &*state.clock);
    let left = |limit: u32| limit.saturating_sub(state.limiter.running(account));
    let concurrent = plan.max_concurrent_requests.map(left);
    Allowance { name, plan, requests, input_tokens, concurrent }
}

impl Admission {
    /// Refuses prompts that the plan never takes, however long the caller waits. `param` is the
    /// field that they came in.
    pub(super) fn check_prompts(
        &self,
        param: &'static str,
        prompts: &[Vec<u32>],
    ) -> Result<(), ApiError> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let total: usize = prompts.iter().map(Vec::len).sum();
        let plan = &self.quota.plan;
        let exceeded = |max: &u32, tokens: usize| tokens > *max as usize;
        if let Some(max) = plan.max_prompt_tokens.filter(|max| exceeded(max, longest)) {
            let why = PromptLimit::Prompt { tokens: longest, max };
            return Err(ApiError::PromptLimit { param, why });
        }
        if let Some(max) = plan.max_input_tokens_per_minute.filter(|max| exceeded(max, total)) {
            let why = PromptLimit::Minute { tokens: total, max };
            return Err(ApiError::PromptLimit { param, why });
        }
        Ok(())
    }

    /// Counts the tokens of all prompts, which are about to be computed.
    pub(super) fn take_input(&self, tokens: usize) -> Result<(), RateLimit> {
        let Quota { limiter, clock, account, plan } = &self.quota;
        limiter.take_input(*account, plan, &**clock, tokens as u64)
    }
}

impl FromRequestParts<AppState> for Admission {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!(path = parts.uri.path(), "no scope 'inference' guards this route");
            ApiError::Internal
        })
    }
}

/// Puts the limits before the routes that they apply to, and says on every answer where they are.
pub(super) async fn enforce(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let extensions = request.extensions_mut();
    let (Some(Access::Scope(Scope::Inference)), Some(Principal::Key(key))) =
        (extensions.get::<Access>(), extensions.get::<Principal>())
    else {
        return next.run(request).await;
    };
    let quota = Quota::of(&state, key.account, &key.plan);
    let mut response = match quota.begin() {
        Ok(place) => {
            let admission = Admission { quota: quota.clone(), _place: Arc::new(place) };
            // Kept here too until the handler is done: it may drop the request before.
            extensions.insert(admission.clone());
            let response = next.run(request).await;
            drop(admission);
            response
        }
        Err(refusal) => ApiError::from(refusal).into_response(),
    };
    quota.write_headers(response.headers_mut());
    response
}
