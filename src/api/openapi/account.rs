//! What a key is, what the account has, its answers again, and proofs of what they cost.

use super::admin::plan_limits;
use super::operation::{Group, get};
use super::schema::{
    Field, Schema, boolean, constant, data_of, either, integer, list, named, object, required,
    seconds, text, word,
};
use super::usage::finish;
use crate::ledger::{LimitReset, Scope};

/// Where a generation stands.
pub(super) const STATUSES: [&str; 3] = ["running", "completed", "reversed"];

pub(super) fn group() -> Group {
    Group {
        tag: "Account",
        about: "What the caller is, has and was charged for.",
        operations: vec![
            get("/api/v1/key", "getKey", "Show the key that asks")
                .answers("The key.", data_of(named("OwnKey"))),
            get("/api/v1/plan", "getPlan", "Show the account's plan")
                .about("Its limits, and what is left of them now.")
                .answers("The plan.", data_of(own_plan())),
            get("/api/v1/credits", "getCredits", "Show the balance")
                .answers("The credits.", data_of(credits())),
            get("/api/v1/generations/{id}", "getGeneration", "Show one request again")
                .about(
                    "Its figures, and what was paid for as long as it is stored. The text is that \
                     of all ids, the beginning of a stop string included that the answer did not \
                     show.",
                )
                .path("id", generation_id())
                .answers("The request.", data_of(named("Generation"))),
            get("/api/v1/generations/{id}/receipt", "getChargeReceipt", "Prove what it cost")
                .path("id", generation_id())
                .answers("The receipt.", named("SignedReceipt"))
                .fails(&[422]),
            get(
                "/api/v1/receipt-key",
                "getReceiptKey",
                "Show the key that receipts are signed with",
            )
            .answers("The key.", data_of(receipt_key())),
        ],
        schemas: vec![
            ("OwnKey", own_key()),
            ("Generation", generation()),
            ("SignedReceipt", signed_receipt()),
            ("ChargeReceipt", charge_receipt()),
            ("PurchaseReceipt", purchase_receipt()),
            ("JournalLink", journal_link()),
        ],
    }
}

/// The id of a generation in a path.
pub(super) fn generation_id() -> Schema {
    text("The generation's id, with or without its prefix such as `chatcmpl-`.")
}

/// The scopes of a key or role, as answers list them.
pub(super) fn scopes(about: &str) -> Schema {
    list(about, word("A scope.", &Scope::ALL.map(Scope::as_str)))
}

/// `limit_reset`.
pub(super) fn limit_reset() -> Schema {
    let words = LimitReset::ALL.map(LimitReset::as_str);
    word("When the limit starts again, at midnight in Kuwait: never without it.", &words)
}

fn own_key() -> Schema {
    let used = |period: &str| integer(&format!("Credits it has spent {period}.")).at_least(0);
    object(
        "A key's own view of itself.",
        [
            required("label", text("What its owner calls it.")),
            required("scopes", scopes("What it may do.")),
            required("expires_at", seconds("From then on it is refused.").or_null()),
            required("limit", integer("Credits it may spend in one period.").or_null()),
            required("limit_reset", limit_reset().or_null()),
            required("limit_remaining", integer("What the limit leaves now.").or_null()),
            required("total_limit", integer("Credits it may spend in its life.").or_null()),
            required("total_limit_remaining", integer("What that leaves.").or_null()),
            required("usage", used("in its life")),
            required("usage_daily", used("today")),
            required("usage_weekly", used("this week")),
            required("usage_monthly", used("this month")),
            required("is_free_tier", boolean("OpenRouter's field: always false.")),
        ],
    )
}

fn own_plan() -> Schema {
    let left = |about: &str| integer(&format!("{about} Null: no limit.")).at_least(0).or_null();
    let remaining = object(
        "What could be asked for now.",
        [
            required("requests", left("Requests.")),
            required("input_tokens", left("Input tokens.")),
            required("concurrent_requests", left("Requests beside those that run.")),
        ],
    );
    let reset_ms = object(
        "Milliseconds until all of a limit is there again, if nothing is asked for meanwhile.",
        [
            required("requests", left("Of requests.")),
            required("input_tokens", left("Of input tokens.")),
        ],
    );
    let mut fields = plan_limits();
    fields.extend([required("remaining", remaining), required("reset_ms", reset_ms)]);
    object("The account's plan.", fields)
}

fn credits() -> Schema {
    object(
        "The account's credits.",
        [
            required("total_credits", integer("All that it ever got.").at_least(0)),
            required("total_usage", integer("All that it spent.").at_least(0)),
            required("balance", integer("What is left.").at_least(0)),
        ],
    )
}

/// The figures of one request that both its own page and the log have.
pub(super) fn figures() -> Vec<Field> {
    let millis = |about: &str| integer(&format!("{about} Milliseconds.")).or_null();
    vec![
        required("id", text("The generation's id, without a prefix.")),
        required("model", text("The model's id.")),
        required("created", seconds("When it was begun.")),
        required(
            "status",
            word("Where it stands; of a `reversed` one all credits went back.", &STATUSES),
        ),
        required("streamed", boolean("Whether it was streamed.")),
        required("finish_reason", finish().or_null()),
        required("tokens_prompt", integer("Tokens of the prompts.").at_least(0)),
        required("tokens_completion", integer("Output tokens.").at_least(0)),
        required("credits", integer("What it cost in the end.").at_least(0)),
        required("credit_multiplier", integer("Credits for each output token.").at_least(1)),
        required("generation_time", millis("From its beginning to its end.")),
        required("time_to_first_token", millis("From its beginning to its first charge.")),
    ]
}

fn generation() -> Schema {
    let choice = object(
        "One of the answers.",
        [
            required("index", integer("Which one.").at_least(0)),
            required("token_ids", list("What was paid for.", super::generation::token_id())),
            required("text", text("Its text, while the model is in memory.").or_null()),
        ],
    );
    let mut fields = figures();
    fields.push(required("choices", list("As long as they are stored.", choice).or_null()));
    object("One request.", fields)
}

fn receipt_key() -> Schema {
    object(
        "What receipts are checked with.",
        [
            required("algorithm", constant("Ed25519", "How receipts are signed.")),
            required("id", text("Names the key, as receipts do in `server_key`.")),
            required("public_key", text("The key.")),
        ],
    )
}

fn signed_receipt() -> Schema {
    let kinds = [named("ChargeReceipt"), named("PurchaseReceipt")];
    object(
        "A receipt and what proves it. Keep it as it is: the signature is over its bytes.",
        [
            required("receipt", either("What was signed.", kinds)),
            required("signature", text("Ed25519, in base64.")),
        ],
    )
}

fn charge_receipt() -> Schema {
    object(
        "Tokens were paid for with credits.",
        [
            required("kind", constant("charge", "The kind of receipt.")),
            required("request", text("The generation's id.")),
            required("account", text("The account's name.")),
            required("key", text("The first characters of the key that was used.")),
            required("model", text("The model's id.")),
            required("model_sha256", text("SHA-256 of its weights.")),
            required("input_tokens", integer("Tokens of the prompt.").at_least(0)),
            required("output_tokens", integer("Tokens that were paid for.").at_least(0)),
            required("ids_sha256", text("SHA-256 over their ids.")),
            required("credits_per_token", integer("The price of one.").at_least(0)),
            required("credits", integer("Their price.").at_least(0)),
            required("transfer", named("JournalLink")),
            required("server_key", text("The id of the key that signed.")),
        ],
    )
}

fn purchase_receipt() -> Schema {
    object(
        "Credits were paid for with money.",
        [
            required("kind", constant("purchase", "The kind of receipt.")),
            required("request", text("The top-up's id.")),
            required("account", text("The account's name.")),
            required("pack", text("The pack that was bought.")),
            required("credits", integer("What is in it.").at_least(1)),
            required("amount", text("What was paid, with three decimals.")),
            required("currency", text("Of which currency.")),
            required("provider", text("Through whom.")),
            required("reference", text("What the provider calls the payment.")),
            required("transfer", named("JournalLink")),
            required("server_key", text("The id of the key that signed.")),
        ],
    )
}

fn journal_link() -> Schema {
    object(
        "A link of the journal's chain.",
        [
            required("seq", integer("Its number.")),
            required("prev_hash", text("The hash of the one before.")),
            required("hash", text("Its own hash, which binds all before it.")),
            required("time", text("When it was written.").format("date-time")),
        ],
    )
}
