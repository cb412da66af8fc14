//! Who may call what: one table, and the one place that looks it up.
//!
//! To add a route: add it to the router, a row here, its line in the README. A route without a row
//! is closed to everybody, and a test fails: `tests/it/api/access.rs` walks every row with every
//! kind of caller, and compares this table with the router. [`Access`] says what a row may ask for.
//! Routes that need the scope `inference` are also what the limits of a plan count.
//!
//! A handler never checks who calls. It takes an extractor
//! ([`AccountCaller`](super::auth::AccountCaller), [`Caller`](super::auth::Caller),
//! [`Operator`](super::operator::Operator)), which reads the principal that was let in here.
//!
//! Promises: a handler runs only for a principal that its row allows; a refusal tells of no account
//! but the caller's.
//! Never knows: what routes do. Whose rows they show is for their queries, which name the account.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::auth::{Principal, Shown};
use super::authenticate::{authenticate, shown};
use super::dashboard::playground_key;
use super::error::ApiError;
use crate::ledger::{Scope, Scopes};

/// What a caller has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: nothing secret is there, or the caller proves itself in its own way, as a payment
    /// provider does by its signature.
    Public,
    /// Whoever is known: any valid key, any user who signed in, the operator.
    Known,
    /// Somebody who signed in: a user, or a browser that keeps a cookie, whatever it stands for.
    SignedIn,
    /// Any valid key of an account, and any of its users.
    Account,
    /// Any valid key of an account: the route tells of the key itself.
    Key,
    /// A key that has this scope, or a user whose role has it. Credits are spent with keys only:
    /// for `inference` a user has to be signed in by cookie, and spends through a key of its own.
    Scope(Scope),
    /// The operator: by key, through the control socket, or as a user of that role.
    Operator,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` stands for `HEAD` too.
    pub method: Method,
    /// The whole pattern, prefixes included, as the router has it.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
}

const PUBLIC: Access = Access::Public;
const KNOWN: Access = Access::Known;
const SIGNED_IN: Access = Access::SignedIn;
const ACCOUNT: Access = Access::Account;
const KEY: Access = Access::Key;
const INFERENCE: Access = Access::Scope(Scope::Inference);
const USAGE: Access = Access::Scope(Scope::Usage);
const BILLING: Access = Access::Scope(Scope::Billing);
const KEYS: Access = Access::Scope(Scope::Keys);
const USERS: Access = Access::Scope(Scope::Users);
const OPERATOR: Access = Access::Operator;

/// Every route.
pub const ROUTES: &[Route] = &[
    // Operations: for load balancers and Prometheus.
    get("/health", PUBLIC),
    get("/ready", PUBLIC),
    get("/metrics", PUBLIC),
    // The dashboard's pages, which hold nothing of anybody.
    get("/", PUBLIC),
    get("/docs", PUBLIC),
    get("/assets/{*path}", PUBLIC),
    // What there is to call.
    get("/openapi.json", PUBLIC),
    // What receipts are checked with: no secret, and also needed by those without an account.
    get("/api/v1/receipt-key", PUBLIC),
    // Generations.
    post("/v1/chat/completions", INFERENCE),
    post("/v1/completions", INFERENCE),
    post("/api/v1/chat/completions", INFERENCE),
    post("/api/v1/completions", INFERENCE),
    post("/v1/messages", INFERENCE),
    post("/api/v1/messages", INFERENCE),
    // Vectors: they cost no credits, but the machine's time.
    post("/v1/embeddings", INFERENCE),
    post("/api/v1/embeddings", INFERENCE),
    post("/v1/responses", INFERENCE),
    get("/v1/responses/{id}", INFERENCE),
    delete("/v1/responses/{id}", INFERENCE),
    get("/v1/responses/{id}/input_items", INFERENCE),
    post("/api/v1/responses", INFERENCE),
    get("/api/v1/responses/{id}", INFERENCE),
    delete("/api/v1/responses/{id}", INFERENCE),
    get("/api/v1/responses/{id}/input_items", INFERENCE),
    // Text helpers: they cost no credits, but the machine's time.
    post("/tokenize", INFERENCE),
    post("/detokenize", INFERENCE),
    post("/apply-template", INFERENCE),
    post("/v1/messages/count_tokens", INFERENCE),
    post("/api/v1/messages/count_tokens", INFERENCE),
    // What is on offer.
    get("/v1/models", ACCOUNT),
    get("/v1/models/{*id}", ACCOUNT),
    get("/api/v1/models", ACCOUNT),
    get("/api/v1/models/{*id}", ACCOUNT),
    // Coming in, and who one is.
    post("/api/v1/sessions", PUBLIC),
    post("/api/v1/sessions/cookie", PUBLIC),
    delete("/api/v1/sessions/current", SIGNED_IN),
    post("/api/v1/invitations/accept", PUBLIC),
    get("/api/v1/me", KNOWN),
    // A key may always know about itself, and whoever acts for an account what it may do.
    get("/api/v1/key", KEY),
    get("/api/v1/plan", ACCOUNT),
    // What the account has and used.
    get("/api/v1/credits", USAGE),
    get("/api/v1/usage", USAGE),
    get("/api/v1/generations", USAGE),
    get("/api/v1/generations/{id}", USAGE),
    // Buying credits. Whoever comes back from a bank has the order's id, and no key.
    get("/api/v1/packs", ACCOUNT),
    get("/api/v1/topups", BILLING),
    post("/api/v1/topups", BILLING),
    get("/api/v1/topups/{id}", BILLING),
    get("/api/v1/topups/{id}/receipt", BILLING),
    post("/api/v1/vouchers/redeem", BILLING),
    post("/api/v1/payments/{provider}/webhook", PUBLIC),
    get("/topups/{id}/return", PUBLIC),
    // Who and what may act for the account.
    get("/api/v1/keys", KEYS),
    post("/api/v1/keys", KEYS),
    delete("/api/v1/keys/{id}", KEYS),
    get("/api/v1/users", USERS),
    post("/api/v1/users", USERS),
    delete("/api/v1/users/{id}", USERS),
    post("/api/v1/users/{id}/invite", USERS),
    post("/api/v1/users/{id}/role", USERS),
    get("/api/v1/generations/{id}/receipt", USAGE),
    // When it is told that its balance is low.
    get("/api/v1/notices", BILLING),
    get("/api/v1/notices/low-balance", BILLING),
    put("/api/v1/notices/low-balance", BILLING),
    // Running the place.
    get("/api/v1/admin/accounts", OPERATOR),
    post("/api/v1/admin/accounts", OPERATOR),
    get("/api/v1/admin/accounts/{name}", OPERATOR),
    post("/api/v1/admin/accounts/{name}/close", OPERATOR),
    get("/api/v1/admin/accounts/{name}/keys", OPERATOR),
    post("/api/v1/admin/accounts/{name}/keys", OPERATOR),
    post("/api/v1/admin/accounts/{name}/grants", OPERATOR),
    delete("/api/v1/admin/keys/{id}", OPERATOR),
    patch("/api/v1/admin/accounts/{name}", OPERATOR),
    post("/api/v1/admin/accounts/{name}/corrections", OPERATOR),
    get("/api/v1/admin/plans", OPERATOR),
    get("/api/v1/admin/audit", OPERATOR),
    get("/api/v1/admin/topups", OPERATOR),
    get("/api/v1/admin/topups/{id}", OPERATOR),
    post("/api/v1/admin/topups/{id}/check", OPERATOR),
    post("/api/v1/admin/topups/{id}/confirm", OPERATOR),
    post("/api/v1/admin/topups/{id}/refunds", OPERATOR),
    post("/api/v1/admin/topups/{id}/settle", OPERATOR),
    get("/api/v1/admin/reconciliation", OPERATOR),
    get("/api/v1/admin/refunds", OPERATOR),
    post("/api/v1/admin/refunds/{id}/settle", OPERATOR),
    get("/api/v1/admin/revenue", OPERATOR),
    get("/api/v1/admin/models", OPERATOR),
    post("/api/v1/admin/models/load", OPERATOR),
    post("/api/v1/admin/models/unload", OPERATOR),
    get("/api/v1/admin/ledger", OPERATOR),
    post("/api/v1/admin/ledger/verify", OPERATOR),
    get("/api/v1/admin/vouchers", OPERATOR),
    post("/api/v1/admin/vouchers", OPERATOR),
    post("/api/v1/admin/vouchers/{batch}/void", OPERATOR),
    get("/api/v1/admin/users", OPERATOR),
    post("/api/v1/admin/users", OPERATOR),
    delete("/api/v1/admin/users/{id}", OPERATOR),
    post("/api/v1/admin/users/{id}/invite", OPERATOR),
    post("/api/v1/admin/users/{id}/role", OPERATOR),
    get("/api/v1/admin/export", OPERATOR),
    get("/api/v1/admin/accounts/{name}/notices", OPERATOR),
    get("/api/v1/admin/accounts/{name}/notices/low-balance", OPERATOR),
    put("/api/v1/admin/accounts/{name}/notices/low-balance", OPERATOR),
    get("/api/v1/admin/usage", OPERATOR),
    get("/api/v1/admin/generations", OPERATOR),
];

const fn get(path: &'static str, access: Access) -> Route {
    Route { method: Method::GET, path, access }
}

const fn post(path: &'static str, access: Access) -> Route {
    Route { method: Method::POST, path, access }
}

const fn patch(path: &'static str, access: Access) -> Route {
    Route { method: Method::PATCH, path, access }
}

const fn put(path: &'static str, access: Access) -> Route {
    Route { method: Method::PUT, path, access }
}

const fn delete(path: &'static str, access: Access) -> Route {
    Route { method: Method::DELETE, path, access }
}

/// Lets a request through to its route if the table allows that, with its [`Principal`], what it
/// showed, and the [`Access`] that it was given among the request's extensions.
pub(super) async fn authorize(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(access) = access_of(&parts) else {
        tracing::error!(method = %parts.method, path = parts.uri.path(), "a route without access");
        return ApiError::ClosedRoute.into_response();
    };
    parts.extensions.insert(access);
    if access == Access::Public {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let shown = shown(&parts, access);
    let mut response = match admit(&state, &parts, access, &shown).await {
        Ok(principal) => {
            parts.extensions.insert(principal);
            parts.extensions.insert(shown.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    if matches!(shown, Shown::Cookie(_)) {
        // A browser, and what is between, would give it to whoever signs in there next.
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    }
    response
}

/// Who calls, if the route lets it in. A user in the playground is its key there.
async fn admit(
    state: &AppState,
    parts: &Parts,
    access: Access,
    shown: &Shown,
) -> Result<Principal, ApiError> {
    let principal = authenticate(state, parts, shown).await?;
    permit(access, &principal, matches!(shown, Shown::Cookie(_)))?;
    match principal {
        Principal::User { account, session } if access == INFERENCE => {
            playground_key(state, account, &session.user).await.map(Principal::Key)
        }
        other => Ok(other),
    }
}

/// The row of the route that matched.
fn access_of(parts: &Parts) -> Option<Access> {
    let path = parts.extensions.get::<MatchedPath>()?.as_str();
    // The router answers HEAD with GET's handler.
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let row = ROUTES.iter().find(|route| route.path == path && route.method == method);
    row.map(|route| route.access)
}

/// Whether `access` lets this principal in.
fn permit(access: Access, principal: &Principal, by_cookie: bool) -> Result<(), ApiError> {
    use Principal::{Key, Operator, User};
    match (access, principal) {
        (Access::Public | Access::Known, _) => Ok(()),
        (Access::SignedIn, User { .. }) => Ok(()),
        (Access::SignedIn, Operator(operator)) if operator.session.is_some() => Ok(()),
        // A browser that keeps a cookie has signed in, whatever with.
        (Access::SignedIn, Key(_) | Operator(_)) if by_cookie => Ok(()),
        (Access::SignedIn, Key(_) | Operator(_)) => Err(ApiError::NeedsSession),
        (Access::Operator, Operator(_)) => Ok(()),
        (Access::Operator, Key(_) | User { .. }) => Err(ApiError::NotOperator),
        (Access::Account | Access::Key | Access::Scope(_), Operator(_)) => {
            Err(ApiError::NotAnAccount)
        }
        (Access::Account, Key(_) | User { .. }) | (Access::Key, Key(_)) => Ok(()),
        (Access::Key, User { .. }) => Err(ApiError::NeedsKey),
        (Access::Scope(Scope::Inference), User { .. }) if !by_cookie => Err(ApiError::NeedsKey),
        (Access::Scope(scope), Key(key)) => has(scope, key.scopes),
        (Access::Scope(scope), User { session, .. }) => {
            has(scope, Scopes::of_role(session.user.role))
        }
    }
}

fn has(scope: Scope, scopes: Scopes) -> Result<(), ApiError> {
    if scopes.contains(scope) { Ok(()) } else { Err(ApiError::MissingScope(scope)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::{Extension, Router};
    use tower::ServiceExt;

    use super::super::middleware;
    use super::super::operator::{OperatorKey, ThroughControlSocket};
    use super::*;
    use crate::catalog::Catalog;
    use crate::config::{Config, ServeFlags, StoreFlags};
    use crate::ledger::{Ledger, LedgerOptions, NewKeyRequest, SystemClock};
    use crate::registry::Registry;

    const OPERATORS_KEY: &str = "the operator's own secret";

    #[tokio::test]
    async fn a_route_without_a_row_is_closed_to_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = Some(folder.path().to_owned());
        let flags = ServeFlags::from(StoreFlags { config: None, data });
        let config = Arc::new(Config::resolve(flags, Catalog::shipped()).expect("settings"));
        let ledger = Ledger::open(&config.ledger_path(), LedgerOptions::default()).expect("books");
        let account = ledger.create_account("team", "default", "test").wait().expect("an account");
        let key =
            ledger.create_key(NewKeyRequest::new(account, "key"), "test").wait().expect("a key");
        let registry = Arc::new(Registry::new(Arc::clone(&config)));
        let state = AppState::new(config, registry, ledger, Arc::new(SystemClock))
            .with_operator_key(OperatorKey::of(OPERATORS_KEY));

        // Not spelled out where routes are made: it is none of the server's.
        let (unlisted, other_method) = ("/unlisted", "/health");
        let routes = Router::new()
            .route(unlisted, axum::routing::get(async || "a secret"))
            .route(other_method, axum::routing::post(async || "a secret"));
        let router = middleware::wrap(routes, &state).with_state(state);
        for secret in ["", "mz-0000", OPERATORS_KEY, &key.secret] {
            for router in [router.clone(), router.clone().layer(Extension(ThroughControlSocket))] {
                for (method, path) in [("GET", unlisted), ("HEAD", unlisted), ("POST", "/health")] {
                    let request = Request::builder()
                        .method(method)
                        .uri(path)
                        .header("authorization", format!("Bearer {secret}"))
                        .body(Body::empty())
                        .expect("a request");
                    let answer = router.clone().oneshot(request).await.expect("an answer");
                    assert_eq!(answer.status(), 403, "{method} {path} with {secret:?}");
                }
            }
        }
    }
}
