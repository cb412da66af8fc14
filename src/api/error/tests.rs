//! Every error has OpenAI's shape.

use super::*;

fn check(error: ApiError, status: u16, kind: &str, code: Option<&str>, param: Option<&str>) {
    let body = error.body();
    let shape = &body["error"];
    assert_eq!(error.status().as_u16(), status, "{error:?}");
    assert_eq!(shape["type"], kind, "{error:?}");
    assert_eq!(shape["code"].as_str(), code, "{error:?}");
    assert_eq!(shape["param"].as_str(), param, "{error:?}");
    let message = shape["message"].as_str().expect("a message");
    assert!(!message.is_empty(), "{error:?}");
    let keys: Vec<&String> = shape.as_object().expect("an object").keys().collect();
    assert_eq!(keys[..4], ["message", "type", "param", "code"], "{error:?}");
}

#[test]
fn every_error_has_openais_shape() {
    use ApiError::*;
    let invalid = "invalid_request_error";
    let context = ContextLength { param: "messages", prompt_tokens: 9, context_length: 8 };
    let unavailable = ModelUnavailable { model: "m".to_owned(), why: "gone".to_owned() };
    check(ApiError::field("n", "'n' is 0"), 400, invalid, None, Some("n"));
    check(BadRequest("no".to_owned()), 400, invalid, None, None);
    check(InvalidJson("eof".to_owned()), 400, invalid, Some("invalid_json"), None);
    check(context, 400, invalid, Some("context_length_exceeded"), Some("messages"));
    let input = InputLength { index: 0, tokens: 9, context_length: 8 };
    check(input, 400, invalid, Some("context_length_exceeded"), Some("input"));
    check(MissingKey, 401, invalid, Some("invalid_api_key"), None);
    check(InvalidKey, 401, invalid, Some("invalid_api_key"), None);
    let credits = OutOfCredits { required: 2, balance: 1 };
    check(credits, 402, "insufficient_quota", Some("credit_balance_exhausted"), None);
    let limit = KeyLimitReached { required: 2, balance: 1 };
    check(limit, 402, "insufficient_quota", Some("key_limit_reached"), None);
    let limit = RateLimit::Concurrent { limit: 1 };
    check(RateLimited(limit), 429, "rate_limit_error", Some("rate_limit_exceeded"), None);
    let too_long =
        PromptLimit { param: "prompt", why: super::PromptLimit::Minute { tokens: 9, max: 8 } };
    check(too_long, 400, invalid, Some("context_length_exceeded"), Some("prompt"));
    check(NotOperator, 403, "permission_error", None, None);
    check(NotAnAccount, 403, "permission_error", None, None);
    check(MissingScope(Scope::Billing), 403, "permission_error", None, None);
    check(ClosedRoute, 403, "permission_error", None, None);
    check(NeedsKey, 403, "permission_error", None, None);
    check(NeedsSession, 403, "permission_error", None, None);
    check(Forbidden("more".to_owned()), 403, "permission_error", None, None);
    check(PlaygroundRevoked, 403, "permission_error", Some("playground_revoked"), None);
    check(CrossSite, 403, "permission_error", Some("csrf"), None);
    check(UnknownFile("x".to_owned()), 404, invalid, None, None);
    check(WrongPassword, 401, invalid, Some("wrong_password"), None);
    let tries = TooManySignIns { retry_after_secs: 9 };
    check(tries, 429, "rate_limit_error", Some("rate_limit_exceeded"), None);
    check(UnknownUser, 404, invalid, None, None);
    check(AccountClosed, 403, "permission_error", None, None);
    check(AccountFrozen, 403, "permission_error", Some("account_frozen"), None);
    check(UnknownModel("m".to_owned()), 404, invalid, Some("model_not_found"), Some("model"));
    check(UnknownGeneration("g".to_owned()), 404, invalid, None, None);
    check(UnknownAccount("a".to_owned()), 404, invalid, None, None);
    check(UnknownResponse("r".to_owned()), 404, invalid, None, None);
    let previous = UnknownPreviousResponse("r".to_owned());
    let (code, param) = ("previous_response_not_found", "previous_response_id");
    check(previous, 400, invalid, Some(code), Some(param));
    check(UnknownKey, 404, invalid, None, None);
    check(UnknownTopup, 404, invalid, None, None);
    check(UnknownRefund, 404, invalid, None, None);
    check(UnknownBatch("b".to_owned()), 404, invalid, None, None);
    check(UnknownVoucher, 404, invalid, Some("voucher_unknown"), None);
    let used = VoucherRefused { code: "voucher_used", message: "used".to_owned() };
    check(used, 422, invalid, Some("voucher_used"), None);
    let tries = TooManyTries { what: "orders", max: 1, retry_after_secs: 1 };
    check(tries, 429, "rate_limit_error", Some("rate_limit_exceeded"), None);
    check(UnknownProvider, 404, invalid, None, None);
    check(ForgedCallback, 400, invalid, None, None);
    let code = Some("payment_provider_unavailable");
    check(PaymentUnavailable, 503, "server_error", code, None);
    let refused = PaymentRefused("no".to_owned());
    check(refused, 502, "server_error", Some("payment_provider_refused"), None);
    check(UnknownRoute("/x".to_owned()), 404, invalid, None, None);
    check(MethodNotAllowed("PUT".to_owned()), 405, invalid, None, None);
    check(IdempotencyRunning, 409, invalid, Some("idempotency_running"), None);
    check(IdempotencyExpired, 410, invalid, Some("idempotency_expired"), None);
    check(BodyTooLarge { max_bytes: 1 }, 413, invalid, None, None);
    check(BodyTooSlow, 408, invalid, None, None);
    check(NotJson, 415, invalid, None, None);
    check(Conflict("taken".to_owned()), 422, invalid, None, None);
    check(IdempotencyMismatch, 422, invalid, Some("idempotency_mismatch"), None);
    check(GrammarFailed, 400, invalid, Some("grammar_failed"), None);
    check(EngineFailed, 500, "server_error", None, None);
    check(Internal, 500, "server_error", None, None);
    check(QueueFull { max_waiting: 1 }, 503, "server_error", Some("queue_full"), None);
    check(TooBusy { max_secs: 1 }, 503, "server_error", Some("too_busy"), None);
    let loading = ModelLoading("m".to_owned());
    check(loading, 503, "server_error", Some("model_loading"), None);
    check(unavailable, 503, "server_error", Some("model_unavailable"), None);
    check(ModelInUse("busy".to_owned()), 409, invalid, Some("model_in_use"), None);
    check(LedgerUnavailable, 503, "server_error", Some("ledger_unavailable"), None);
    check(ShuttingDown, 503, "server_error", Some("shutting_down"), None);
}

#[test]
fn only_refusals_for_lack_of_credits_say_what_is_needed() {
    let body = ApiError::OutOfCredits { required: 2, balance: 1 }.body();
    assert_eq!(
        body["error"]["metadata"],
        json!({ "balance": 1, "required": 2, "top_up_url": "/#/billing" })
    );
    assert!(ApiError::Internal.body()["error"].get("metadata").is_none());
}
