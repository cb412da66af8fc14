//! What refusals and failures look like, and the headers that answers have.
//! Promises: one shape of error for every route.
//! Never knows: which route fails how.

use serde_json::{Map, Value, json};

use super::super::limits::RATE_LIMIT_HEADERS;
use super::schema::{Schema, integer, named, object, optional, required, text, word};

/// The header that every answer has.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Status, name of the component, and what it means.
const ERRORS: [(&str, &str, &str); 15] = [
    (
        "400",
        "BadRequest",
        "A field, parameter or header is missing, malformed, out of its bounds or asks for what \
         this server has not got; `param` names it. Codes: `invalid_json`, \
         `context_length_exceeded`, or none.",
    ),
    (
        "401",
        "Unauthorized",
        "No key or session was sent, or one that is unknown, revoked or over \
         (`invalid_api_key`), or the password is wrong (`wrong_password`).",
    ),
    (
        "402",
        "PaymentRequired",
        "The balance (`credit_balance_exhausted`) or the key's own limit (`key_limit_reached`) \
         does not pay one output token. `metadata` has the numbers. Nothing was charged.",
    ),
    (
        "403",
        "Forbidden",
        "The key, session or role is valid and may not do this, or the account is closed or \
         frozen (`account_frozen`).",
    ),
    (
        "404",
        "NotFound",
        "What the path or body names does not exist here, or is another account's. Codes: \
         `model_not_found`, `voucher_unknown`, or none.",
    ),
    ("408", "RequestTimeout", "The body took too long to arrive."),
    (
        "409",
        "StillRunning",
        "The request with this `Idempotency-Key` has not ended (`idempotency_running`), or others \
         run on the model (`model_in_use`).",
    ),
    (
        "410",
        "Gone",
        "The answer to this `Idempotency-Key` is no longer stored (`idempotency_expired`).",
    ),
    ("413", "TooLarge", "The body is longer than this server reads."),
    ("415", "NotJson", "The body is not declared as JSON."),
    (
        "422",
        "Conflict",
        "What was asked for contradicts what is there: trying again changes nothing. Codes: \
         `idempotency_mismatch`, `voucher_used`, `voucher_expired`, `voucher_void`, or none.",
    ),
    (
        "429",
        "TooSoon",
        "The plan's limits, or the server's on tries, do not allow it now \
         (`rate_limit_exceeded`).",
    ),
    ("500", "Failed", "The model or the server failed. The server's log says why."),
    (
        "502",
        "ProviderRefused",
        "The payment provider refused, or answered what can not be used \
         (`payment_provider_refused`).",
    ),
    (
        "503",
        "Unavailable",
        "Not now; try again. Codes: `queue_full`, `too_busy`, `model_loading`, \
         `model_unavailable`, `ledger_unavailable`, `payment_provider_unavailable`, \
         `shutting_down`.",
    ),
];

/// The schema that all of them share.
pub(super) fn schema() -> Schema {
    let kinds = [
        "invalid_request_error",
        "insufficient_quota",
        "permission_error",
        "rate_limit_error",
        "server_error",
    ];
    let metadata = object(
        "With status 402 only: what is missing.",
        [
            required("balance", integer("Credits that the balance or the key's limit leaves.")),
            required("required", integer("Credits that one output token costs.")),
            required("top_up_url", text("The page that sells credits, at this server's address.")),
        ],
    );
    let error = object(
        "What went wrong. The four first fields are always there.",
        [
            required("message", text("For people: the value, the bound, the remedy.")),
            required("type", word("The kind of error.", &kinds)),
            required("param", text("The field or parameter that is wrong.").or_null()),
            required("code", text("For programs; see the status.").or_null()),
            optional("metadata", metadata),
        ],
    );
    object("Every refusal and failure of every route.", [required("error", error)])
}

/// What a status is called and means.
///
/// # Panics
///
/// If an operation names a status that has no row above.
fn row(status: &str) -> (&'static str, &'static str) {
    let row = ERRORS.iter().find(|(found, ..)| *found == status);
    let (_, name, about) = row.unwrap_or_else(|| panic!("no error has the status {status}"));
    (name, about)
}

/// The response of a status, as an operation has it.
pub(super) fn response(status: &str) -> Value {
    let (name, _) = row(status);
    json!({ "$ref": format!("#/components/responses/{name}") })
}

/// The same in another shape.
pub(super) fn response_as(status: &str, shape: Schema) -> Value {
    let (_, about) = row(status);
    let mut headers = Map::from_iter([header(REQUEST_ID)]);
    match status {
        "401" => headers.extend([header("www-authenticate")]),
        "409" | "503" => headers.extend([header("retry-after")]),
        "429" => {
            headers.extend([header("retry-after")]);
            headers.extend(rate_limit_headers());
        }
        _ => {}
    }
    json!({
        "description": about,
        "headers": headers,
        "content": { "application/json": { "schema": shape.json() } },
    })
}

/// All responses of the shared shape, as components.
pub(super) fn responses() -> Map<String, Value> {
    let responses = ERRORS
        .iter()
        .map(|(status, name, _)| ((*name).to_owned(), response_as(status, named("Error"))));
    responses.collect()
}

/// A header of the components, as an answer refers to it.
pub(super) fn header(name: &str) -> (String, Value) {
    (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
}

/// The headers that tell where an account stands.
pub(super) fn rate_limit_headers() -> impl Iterator<Item = (String, Value)> {
    RATE_LIMIT_HEADERS.into_iter().flatten().map(|name| header(name.as_str()))
}

/// All headers, as components.
pub(super) fn headers() -> Map<String, Value> {
    let always = |schema: Schema| (true, schema);
    let sometimes = |schema: Schema| (false, schema);
    let mut headers: Vec<(String, (bool, Schema))> = [
        (
            REQUEST_ID,
            always(text(
                "The id of this request: the caller's own `x-request-id`, or one made here.",
            )),
        ),
        (
            "retry-after",
            sometimes(integer("Whole seconds until another try makes sense.").within(1..=120)),
        ),
        ("www-authenticate", always(text("The scheme of keys and sessions: `Bearer`."))),
        (
            "x-credits-charged",
            sometimes(integer("Credits that the answer cost. Not with streams.").at_least(0)),
        ),
        (
            "x-credits-balance",
            sometimes(integer("The account's balance after it. Not with streams.").at_least(0)),
        ),
        (
            "idempotent-replayed",
            sometimes(word(
                "The answer is a stored one, given again for its `Idempotency-Key` at 0 credits.",
                &["true"],
            )),
        ),
        ("etag", always(text("Names this version; send it back as `if-none-match`."))),
        ("cache-control", always(text("How long the answer may be kept."))),
        ("set-cookie", always(text("The browser's cookie, which no script can read."))),
        ("content-security-policy", always(text("What a browser may do with the file."))),
        ("content-disposition", sometimes(text("The name of the file, for CSV."))),
    ]
    .map(|(name, header)| (name.to_owned(), header))
    .into();
    let limits = ["requests a minute", "input tokens a minute"];
    for (names, limit) in RATE_LIMIT_HEADERS.into_iter().zip(limits) {
        let [max, left, reset] = names.map(|name| name.as_str().to_owned());
        let plan = "Only where the plan has such a limit.";
        let about = |what: &str| format!("{what} ({limit}). {plan}");
        headers.push((max, sometimes(integer(&about("The plan's limit")).at_least(0))));
        headers.push((left, sometimes(integer(&about("What is left of it now")).at_least(0))));
        let reset_about = about("When it is whole again, such as `1.5s`");
        headers.push((reset, sometimes(text(&reset_about))));
    }
    let components = headers.into_iter().map(|(name, (is_required, schema))| {
        let mut schema = schema.json();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let header = json!({ "description": about, "required": is_required, "schema": schema });
        (name, header)
    });
    components.collect()
}
