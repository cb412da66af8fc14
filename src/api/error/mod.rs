//! Every way a request can be refused or fail, and what the caller sees of it.
//! Promises: one shape with all four keys, one `match` to status and code, without a wildcard.
//! Never knows: how the error came about beyond the types of the layers below.

mod sales;
mod sources;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::limits::{PromptLimit, RateLimit};
use crate::ledger::Scope;

/// The dashboard's page that sells credits, at this server's own address.
const TOP_UP_PAGE: &str = "/#/billing";

/// Why a request was not served. The message is for the caller: value, bound, remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// A field is missing, out of range or asks for what this server does not do.
    #[error("{message}")]
    InvalidField {
        /// Path of the field in the body, such as `messages[0].role`.
        param: String,
        /// What was sent, and what would be right.
        message: String,
    },
    /// A header, path or query that makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    /// The body does not say that it is JSON.
    #[error("the body must be JSON with the header 'content-type: application/json'")]
    NotJson,
    /// The body is longer than the server reads.
    #[error("the body is longer than the {max_bytes} bytes this server accepts")]
    BodyTooLarge {
        /// The bound.
        max_bytes: usize,
    },
    /// The body did not arrive in time.
    #[error("the body took too long to arrive")]
    BodyTooSlow,
    /// The prompt leaves no room for a single token.
    #[error(
        "this model's context holds {context_length} tokens, the prompt has {prompt_tokens} and \
         leaves no room for an answer; shorten the prompt"
    )]
    ContextLength {
        /// The field that is too long.
        param: &'static str,
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens the model takes, prompt and answer together.
        context_length: usize,
    },
    /// A text that nothing is to follow is too long.
    #[error(
        "this model's context holds {context_length} tokens and text {index} of 'input' has \
         {tokens}; shorten it, or cut it up"
    )]
    InputLength {
        /// Which of the texts, from 0.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens the model takes.
        context_length: usize,
    },
    /// The prompt is larger than the account's plan ever takes.
    #[error("{why}")]
    PromptLimit {
        /// The field that is too long.
        param: &'static str,
        /// Which bound of the plan.
        why: PromptLimit,
    },
    /// The account's plan does not take it now.
    #[error(transparent)]
    RateLimited(#[from] RateLimit),
    /// There is no header with a key in it.
    #[error("no API key: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'")]
    MissingKey,
    /// The key or session is unknown, revoked or over.
    #[error("this API key is not valid; it may have been revoked, or have expired")]
    InvalidKey,
    /// The balance does not pay one token.
    #[error(
        "the balance of {balance} credits can not pay one output token of this model, which costs \
         {required}; buy credits to go on"
    )]
    OutOfCredits {
        /// Credits one token costs.
        required: i64,
        /// Credits there are.
        balance: i64,
    },
    /// The key's own limit does not leave enough for one token.
    #[error(
        "the limit of this key leaves {balance} credits, and one output token of this model costs \
         {required}; raise the limit or wait for its reset"
    )]
    KeyLimitReached {
        /// Credits one token costs.
        required: i64,
        /// Credits the limit leaves.
        balance: i64,
    },
    /// The route is the operator's.
    #[error("only the operator may do this: send the operator's key")]
    NotOperator,
    /// The route is an account's, which the operator has not got.
    #[error("the operator's key opens the admin routes only: send an account's key")]
    NotAnAccount,
    /// The key, or the user's role, is for other things only.
    #[error("this key or role lacks the scope '{0}': use one that has it, or have one made")]
    MissingScope(Scope),
    /// Credits are spent with keys only, and a key's route tells of the key.
    #[error("a session is not enough here: send an API key of the account")]
    NeedsKey,
    /// The key behind a user's playground was revoked.
    #[error("your key 'Playground' was revoked: ask an owner of the account for a key")]
    PlaygroundRevoked,
    /// A browser's cookie comes with a request that another site may have made it send.
    #[error(
        "a browser's cookie counts for this server's own pages only: send the header \
         'x-mizan-dashboard: 1' from there, or a key as 'Authorization: Bearer KEY'"
    )]
    CrossSite,
    /// The route is for people who signed in.
    #[error("only who has signed in can do this: send a session's secret")]
    NeedsSession,
    /// What was asked for is more than the caller may give.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody was signed in. Whether there is such a name is not told.
    #[error("the name or the password is wrong")]
    WrongPassword,
    /// Somebody tries to guess a password, or all at once do.
    #[error("too many tries to sign in; try again in {retry_after_secs} seconds")]
    TooManySignIns {
        /// When to come again.
        retry_after_secs: u32,
    },
    /// The route is not in the table of who may call what, so nobody may.
    #[error("this route is closed to everybody")]
    ClosedRoute,
    /// The account is closed.
    #[error("the account of this key is closed")]
    AccountClosed,
    /// The account is frozen.
    #[error("the account of this key is frozen: ask the operator of this server")]
    AccountFrozen,
    /// There is no such model here.
    #[error("the model '{0}' does not exist here; GET /v1/models lists those that do")]
    UnknownModel(String),
    /// There is no such generation, or it is another account's.
    #[error("there is no generation '{0}'")]
    UnknownGeneration(String),
    /// There is no such response, or it is another account's.
    #[error("response with id '{0}' not found")]
    UnknownResponse(String),
    /// There is nothing to go on from. Clients look for these words.
    #[error(
        "previous response with id '{0}' not found: it was not stored, was deleted, or is older \
         than responses are kept here; send the whole conversation as 'input'"
    )]
    UnknownPreviousResponse(String),
    /// There is no such account.
    #[error("there is no account '{0}'")]
    UnknownAccount(String),
    /// There is no such key.
    #[error("there is no such key")]
    UnknownKey,
    /// There is no such order, or it is another account's.
    #[error("there is no such top-up")]
    UnknownTopup,
    /// There is no such refund.
    #[error("there is no such refund")]
    UnknownRefund,
    /// There is no such batch of vouchers.
    #[error("there is no batch of vouchers '{0}'")]
    UnknownBatch(String),
    /// There is no such voucher.
    #[error("there is no such voucher: compare the code, letter by letter")]
    UnknownVoucher,
    /// The voucher is no longer worth anything.
    #[error("{message}")]
    VoucherRefused {
        /// Why, for programs.
        code: &'static str,
        /// Why, for people.
        message: String,
    },
    /// The account has done this too often.
    #[error("at most {max} {what} a minute are taken; try again later")]
    TooManyTries {
        /// What was tried.
        what: &'static str,
        /// The bound.
        max: u32,
        /// When the next one is taken.
        retry_after_secs: u32,
    },
    /// No payment provider of this name is enabled.
    #[error("there is no such payment provider here")]
    UnknownProvider,
    /// A callback that is not the payment provider's.
    #[error("this callback is not believed")]
    ForgedCallback,
    /// The payment provider can not be reached or does not answer.
    #[error("the payment provider does not answer; try again shortly")]
    PaymentUnavailable,
    /// The payment provider refused, or answered what can not be used.
    #[error("{0}")]
    PaymentRefused(String),
    /// There is no such user, or it is another account's.
    #[error("there is no such user")]
    UnknownUser,
    /// What was asked for contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// There is nothing at this path.
    #[error("there is nothing at {0}")]
    UnknownRoute(String),
    /// The pages have no such file.
    #[error("the dashboard has no file '{0}'")]
    UnknownFile(String),
    /// The path exists, for other methods.
    #[error("{0} is not allowed here; the 'allow' header lists what is")]
    MethodNotAllowed(String),
    /// The idempotency key was used for another body.
    #[error("this Idempotency-Key was used with another request body; take a new key")]
    IdempotencyMismatch,
    /// The request with this idempotency key has not ended yet.
    #[error("the request with this Idempotency-Key is still running; try again when it has ended")]
    IdempotencyRunning,
    /// The answer to this idempotency key is no longer stored.
    #[error("the answer to this Idempotency-Key is no longer stored; take a new key")]
    IdempotencyExpired,
    /// What the answer has to keep to (a schema, tools, a regex ..) stopped working on the way.
    #[error(
        "what this answer has to keep to gave no next token: it takes too much work to follow, or \
         leads where no token of the model's goes; make it simpler"
    )]
    GrammarFailed,
    /// The model failed while answering.
    #[error("the model failed on this request; the server's log says why")]
    EngineFailed,
    /// Something in the server broke.
    #[error("the server failed on this request; its log says why")]
    Internal,
    /// As many requests wait as the server queues.
    #[error("the queue of {max_waiting} requests is full; try again shortly")]
    QueueFull {
        /// The bound.
        max_waiting: usize,
    },
    /// The request was not begun in time.
    #[error("the server is too busy to begin within {max_secs} seconds; try again shortly")]
    TooBusy {
        /// The bound.
        max_secs: u64,
    },
    /// The model is being read into memory.
    #[error("the model '{0}' is loading; try again shortly")]
    ModelLoading(String),
    /// The model can not be served now.
    #[error("the model '{model}' can not be served: {why}")]
    ModelUnavailable {
        /// Its id.
        model: String,
        /// What the operator has to know.
        why: String,
    },
    /// The model can not be put out of memory now.
    #[error("{0}")]
    ModelInUse(String),
    /// The ledger does not take charges, so nothing is generated.
    #[error("credits can not be charged at the moment, so nothing is generated")]
    LedgerUnavailable,
    /// The server is stopping.
    #[error("the server is stopping; try again shortly")]
    ShuttingDown,
}

/// What the wire shows of an error, message aside.
#[derive(Debug)]
struct Shape<'a> {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<&'a str>,
    retry_after_secs: Option<u32>,
}

impl<'a> Shape<'a> {
    /// 4xx: the request is wrong; sending it again changes nothing.
    fn invalid(status: StatusCode) -> Self {
        let kind = "invalid_request_error";
        Self { status, kind, code: None, param: None, retry_after_secs: None }
    }

    /// 402: there is nothing left to pay with.
    fn quota(code: &'static str) -> Self {
        let shape = Self::invalid(StatusCode::PAYMENT_REQUIRED).code(code);
        Self { kind: "insufficient_quota", ..shape }
    }

    /// 429: the request is right, and comes too soon.
    fn too_soon(retry_after_secs: u32) -> Self {
        let shape = Self::invalid(StatusCode::TOO_MANY_REQUESTS).code("rate_limit_exceeded");
        Self { kind: "rate_limit_error", ..shape.retry_after(retry_after_secs) }
    }

    /// 403: the key is valid, and may not do this.
    fn forbidden() -> Self {
        Self { kind: "permission_error", ..Self::invalid(StatusCode::FORBIDDEN) }
    }

    /// 500: the server is to blame.
    fn failed() -> Self {
        Self { kind: "server_error", ..Self::invalid(StatusCode::INTERNAL_SERVER_ERROR) }
    }

    /// 503: not now. Clients read a `Retry-After` of 1 to 120 seconds.
    fn unavailable(code: &'static str, retry_after_secs: u32) -> Self {
        let shape = Self::failed().code(code).retry_after(retry_after_secs);
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..shape }
    }

    fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    fn param(self, param: &'a str) -> Self {
        Self { param: Some(param), ..self }
    }

    fn retry_after(self, secs: u32) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }
}

impl ApiError {
    /// A field that is wrong: its path, and what would be right.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidField { param: param.into(), message: message.into() }
    }

    /// The one mapping from errors to HTTP.
    #[deny(clippy::wildcard_enum_match_arm)]
    fn shape(&self) -> Shape<'_> {
        type Status = StatusCode;
        match self {
            Self::InvalidField { param, .. } => Shape::invalid(Status::BAD_REQUEST).param(param),
            Self::BadRequest(_) => Shape::invalid(Status::BAD_REQUEST),
            Self::InvalidJson(_) => Shape::invalid(Status::BAD_REQUEST).code("invalid_json"),
            Self::NotJson => Shape::invalid(Status::UNSUPPORTED_MEDIA_TYPE),
            Self::BodyTooLarge { .. } => Shape::invalid(Status::PAYLOAD_TOO_LARGE),
            Self::BodyTooSlow => Shape::invalid(Status::REQUEST_TIMEOUT),
            Self::ContextLength { param, .. } => {
                Shape::invalid(Status::BAD_REQUEST).code("context_length_exceeded").param(param)
            }
            Self::InputLength { .. } => {
                Shape::invalid(Status::BAD_REQUEST).code("context_length_exceeded").param("input")
            }
            // The code by which clients know that they have to send less.
            Self::PromptLimit { param, .. } => {
                Shape::invalid(Status::BAD_REQUEST).code("context_length_exceeded").param(param)
            }
            Self::RateLimited(limit) => Shape::too_soon(limit.retry_after_secs()),
            Self::MissingKey => Shape::invalid(Status::UNAUTHORIZED).code("invalid_api_key"),
            Self::InvalidKey => Shape::invalid(Status::UNAUTHORIZED).code("invalid_api_key"),
            Self::OutOfCredits { .. } => Shape::quota("credit_balance_exhausted"),
            Self::KeyLimitReached { .. } => Shape::quota("key_limit_reached"),
            Self::NotOperator => Shape::forbidden(),
            Self::NotAnAccount => Shape::forbidden(),
            Self::MissingScope(_) => Shape::forbidden(),
            Self::NeedsKey => Shape::forbidden(),
            Self::PlaygroundRevoked => Shape::forbidden().code("playground_revoked"),
            Self::CrossSite => Shape::forbidden().code("csrf"),
            Self::NeedsSession => Shape::forbidden(),
            Self::Forbidden(_) => Shape::forbidden(),
            Self::WrongPassword => Shape::invalid(Status::UNAUTHORIZED).code("wrong_password"),
            Self::TooManySignIns { retry_after_secs } => Shape::too_soon(*retry_after_secs),
            Self::ClosedRoute => Shape::forbidden(),
            Self::AccountClosed => Shape::forbidden(),
            Self::AccountFrozen => Shape::forbidden().code("account_frozen"),
            Self::UnknownModel(_) => {
                Shape::invalid(Status::NOT_FOUND).code("model_not_found").param("model")
            }
            Self::UnknownGeneration(_) => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownResponse(_) => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownPreviousResponse(_) => Shape::invalid(Status::BAD_REQUEST)
                .code("previous_response_not_found")
                .param("previous_response_id"),
            Self::UnknownAccount(_) => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownKey => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownTopup => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownRefund => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownBatch(_) => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownVoucher => Shape::invalid(Status::NOT_FOUND).code("voucher_unknown"),
            Self::VoucherRefused { code, .. } => {
                Shape::invalid(Status::UNPROCESSABLE_ENTITY).code(code)
            }
            Self::TooManyTries { retry_after_secs, .. } => Shape::too_soon(*retry_after_secs),
            Self::UnknownProvider => Shape::invalid(Status::NOT_FOUND),
            Self::ForgedCallback => Shape::invalid(Status::BAD_REQUEST),
            Self::PaymentUnavailable => Shape::unavailable("payment_provider_unavailable", 10),
            Self::PaymentRefused(_) => {
                let shape = Shape::failed().code("payment_provider_refused");
                Shape { status: Status::BAD_GATEWAY, ..shape }
            }
            Self::UnknownUser => Shape::invalid(Status::NOT_FOUND),
            // Not 409, which clients try again.
            Self::Conflict(_) => Shape::invalid(Status::UNPROCESSABLE_ENTITY),
            Self::UnknownRoute(_) => Shape::invalid(Status::NOT_FOUND),
            Self::UnknownFile(_) => Shape::invalid(Status::NOT_FOUND),
            Self::MethodNotAllowed(_) => Shape::invalid(Status::METHOD_NOT_ALLOWED),
            Self::IdempotencyMismatch => {
                Shape::invalid(Status::UNPROCESSABLE_ENTITY).code("idempotency_mismatch")
            }
            Self::IdempotencyRunning => {
                Shape::invalid(Status::CONFLICT).code("idempotency_running").retry_after(1)
            }
            Self::IdempotencyExpired => Shape::invalid(Status::GONE).code("idempotency_expired"),
            Self::GrammarFailed => Shape::invalid(Status::BAD_REQUEST).code("grammar_failed"),
            Self::EngineFailed => Shape::failed(),
            Self::Internal => Shape::failed(),
            Self::QueueFull { .. } => Shape::unavailable("queue_full", 2),
            Self::TooBusy { .. } => Shape::unavailable("too_busy", 10),
            Self::ModelLoading(_) => Shape::unavailable("model_loading", 5),
            Self::ModelUnavailable { .. } => Shape::unavailable("model_unavailable", 60),
            Self::ModelInUse(_) => Shape::invalid(Status::CONFLICT).code("model_in_use"),
            Self::LedgerUnavailable => Shape::unavailable("ledger_unavailable", 10),
            Self::ShuttingDown => Shape::unavailable("shutting_down", 5),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.shape().status
    }

    /// `{"error": {...}}`: the body of a refusal, and the frame of a stream that fails.
    pub fn body(&self) -> Value {
        let Shape { kind, code, param, .. } = self.shape();
        let mut error =
            json!({ "message": self.to_string(), "type": kind, "param": param, "code": code });
        if let Self::OutOfCredits { required, balance, .. }
        | Self::KeyLimitReached { required, balance, .. } = self
        {
            error["metadata"] =
                json!({ "balance": balance, "required": required, "top_up_url": TOP_UP_PAGE });
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Shape { status, retry_after_secs, .. } = self.shape();
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(secs) = retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        // For routes that write it in another shape.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;
