//! What chat and text completions have in common: sampling, streaming, `usage`.

use std::ops::RangeInclusive;

use super::super::openai::{MAX_CHOICES, MAX_STOP_BYTES, MAX_STOP_IDS, MAX_STOPS};
use super::super::sampling::{
    LOGIT_BIAS, MIN_P, PENALTY, REPETITION_PENALTY, TEMPERATURE, TOP_K, TOP_P,
};
use super::operation::{Group, Operation};
use super::schema::{
    Field, Schema, any, boolean, either, integer, list, map, named, number, object, optional,
    request, required, text, word,
};

/// Why a choice ended.
const FINISH_REASONS: [&str; 3] = ["stop", "length", "tool_calls"];

/// The schemas that the routes share; there are no routes of this file.
pub(super) fn group() -> Group {
    Group {
        tag: "Generation",
        about: "",
        operations: Vec::new(),
        schemas: vec![
            ("Usage", usage()),
            ("RunningUsage", running_usage()),
            ("StreamOptions", stream_options()),
            ("ResponseFormat", response_format()),
        ],
    }
}

/// How answers that cost credits may be repeated, and how they are refused.
pub(super) fn paid(operation: Operation) -> Operation {
    operation
        .idempotent(
            "A request that is sent again with the same key and body gets the stored answer for 0 \
             credits. With another body it is refused (422), while the first one runs too (409), \
             and when the answer is no longer stored (410).",
        )
        .fails(&[402, 404, 409, 410])
}

/// The headers of a plain answer that costs credits.
pub(super) const PAID_HEADERS: &[&str] =
    &["x-credits-charged", "x-credits-balance", "idempotent-replayed"];

/// Which model.
pub(super) fn model() -> Field {
    let about = "The model's id, or one of its aliases; `GET /v1/models` lists them.";
    required("model", text(about).example("smollm2-135m-instruct"))
}

/// Which model, and how many answers.
pub(super) fn model_and_choices() -> Vec<Field> {
    vec![
        model(),
        optional(
            "n",
            integer("How many answers are generated; each is charged.")
                .within(1..=MAX_CHOICES)
                .default(1),
        ),
    ]
}

/// How tokens are chosen, and where answers end.
pub(super) fn sampling() -> Vec<Field> {
    let stop = "Strings that end the answer and are not part of it.";
    let one_stop = || text("One such string, counted in bytes.").chars(1..=MAX_STOP_BYTES);
    let mut fields = sampling_of(TEMPERATURE);
    fields.extend([
        optional("stop", either(stop, [one_stop(), list(stop, one_stop()).items(0..=MAX_STOPS)])),
        optional(
            "stop_token_ids",
            list("Token ids that end the answer and are not part of it.", token_id())
                .items(0..=MAX_STOP_IDS),
        ),
        max_credits(),
    ]);
    fields
}

/// `max_credits`.
pub(super) fn max_credits() -> Field {
    let about = "The most that all answers of this request may cost together; it has to pay for \
                 one token. An answer that it ends is told as one that had no more tokens.";
    optional("max_credits", integer(about).at_least(1))
}

/// How tokens are chosen.
pub(super) fn sampling_of(temperature: RangeInclusive<f64>) -> Vec<Field> {
    let models = "The model's entry in the server's settings may have another default.";
    let penalty = |what: &str| number(what).within(PENALTY).default(0);
    vec![
        optional(
            "temperature",
            number(&format!("How much chance decides; 0 always takes the likeliest. {models}"))
                .within(temperature)
                .default(1),
        ),
        optional(
            "top_p",
            number(&format!("Only the likeliest tokens that make up this share. {models}"))
                .within(TOP_P)
                .default(1),
        ),
        optional(
            "top_k",
            integer(&format!("Only so many of the likeliest tokens; -1 and 0: all. {models}"))
                .within(TOP_K)
                .default(0),
        ),
        optional(
            "min_p",
            number(&format!(
                "Only tokens at least this times as likely as the likeliest. {models}"
            ))
            .within(MIN_P)
            .default(0),
        ),
        optional(
            "repetition_penalty",
            number(&format!(
                "Divides the logits of tokens that prompt or answer have; 1: off. {models}"
            ))
            .within(REPETITION_PENALTY)
            .default(1),
        ),
        optional(
            "frequency_penalty",
            penalty("Taken off a token's logit for each time that the answer has it."),
        ),
        optional("presence_penalty", penalty("Taken off a token's logit once the answer has it.")),
        optional(
            "seed",
            integer(
                "Same prompt, parameters and seed: same answer. Further choices take the seeds \
                 after it. Default: chance.",
            )
            .within(i64::MIN..=i64::MAX),
        ),
        optional(
            "logit_bias",
            map(
                "What is added to tokens' logits, by token id written as a string.",
                number("The bias.").within(LOGIT_BIAS),
            ),
        ),
        optional(
            "min_tokens",
            integer("The answer does not end of itself before it has so many tokens.")
                .at_least(0)
                .default(0),
        ),
        optional(
            "ignore_eos",
            boolean("The answer goes on until it has all its tokens: for load tests.")
                .default(false),
        ),
    ]
}

/// Variables of the model's chat template.
pub(super) fn template_variables() -> Field {
    let thinking = "Whether the model reasons first. Default: as the model does.";
    optional(
        "chat_template_kwargs",
        request(
            "Variables of the model's chat template: these, and any others that it has.",
            [optional("enable_thinking", boolean(thinking))],
        ),
    )
}

/// Whether and how the answer is streamed.
pub(super) fn streaming() -> Vec<Field> {
    vec![
        optional(
            "stream",
            boolean("Send the answer as server-sent events while it is generated.").default(false),
        ),
        optional("stream_options", named("StreamOptions")),
    ]
}

/// What an answer has to look like.
pub(super) fn format() -> Vec<Field> {
    let mut fields = vec![optional("response_format", named("ResponseFormat"))];
    fields.extend(format_extensions());
    fields
}

/// The same by vLLM's names.
pub(super) fn format_extensions() -> Vec<Field> {
    let schema = || {
        either(
            "A JSON schema that the answer fits.",
            [map("As an object.", any("A keyword.")), text("As text."), boolean("Any JSON.")],
        )
    };
    let choice = || list("The answer is one of these.", text("An answer."));
    let regex = || text("A regular expression that the whole answer matches.");
    let grammar = || text("A Lark grammar that the answer follows.");
    vec![
        optional(
            "structured_outputs",
            request(
                "vLLM's field; one of its fields at most.",
                [
                    optional("json_object", boolean("Any JSON object.").default(false)),
                    optional("json", schema()),
                    optional("regex", regex()),
                    optional("choice", choice()),
                    optional("grammar", grammar()),
                ],
            ),
        ),
        optional("guided_json", schema()),
        optional("guided_regex", regex()),
        optional("guided_choice", choice()),
        optional("guided_grammar", grammar()),
    ]
}

/// Fields that clients send and that change nothing here.
pub(super) fn ignored(names: &[&'static str]) -> impl Iterator<Item = Field> {
    names.iter().map(|name| optional(name, any("Accepted and ignored.")))
}

/// Those of OpenAI's generating routes.
pub(super) const IGNORED: &[&str] = &[
    "user",
    "store",
    "metadata",
    "service_tier",
    "verbosity",
    "prompt_cache_key",
    "safety_identifier",
    "cache_prompt",
];

/// A field of OpenAI's that this server has not got.
pub(super) fn refused(name: &'static str, unless: &str) -> Field {
    optional(name, any(&format!("Not supported: refused, unless it is {unless}.")))
}

/// The id of a token of the model's vocabulary.
pub(super) fn token_id() -> Schema {
    integer("A token id of the model.").within(0..=i64::from(u32::MAX))
}

/// The start of an answer, and of each chunk.
pub(super) fn head(id: &str, object_names: &[&str]) -> Vec<Field> {
    vec![
        required("id", text("Names the generation; its record is kept under it.").example(id)),
        required("object", word("The kind of object.", object_names)),
        required("created", integer("When it was begun. Unix seconds.")),
        required("model", text("The model's own id, also if it was called by an alias.")),
        required("system_fingerprint", text("Names the model's weights.")),
    ]
}

/// `finish_reason` of a choice that has ended.
pub(super) fn finish_reason() -> Schema {
    word(
        "Why it ended: the model's own end or a stop string (`stop`), as many tokens or credits as \
         there are (`length`), or to have tools called (`tool_calls`).",
        &FINISH_REASONS,
    )
}

fn stream_options() -> Schema {
    request(
        "Only with `stream: true`.",
        [
            optional(
                "include_usage",
                boolean("A last chunk has `usage` and no choices.").default(false),
            ),
            optional(
                "continuous_usage_stats",
                boolean(
                    "Every chunk has the counters so far; needs `include_usage`. Do not add them \
                     up.",
                )
                .default(false),
            ),
        ],
    )
}

fn response_format() -> Schema {
    let json_schema = request(
        "With `type: json_schema`.",
        [
            optional("name", text("What the schema is called; not used.")),
            optional("description", text("What it is for; not used.")),
            required("schema", any("The JSON schema; one that can not be enforced is refused.")),
            optional(
                "strict",
                boolean("Refuse a schema that is not of OpenAI's strict form.").default(false),
            ),
        ],
    );
    request(
        "What the answer has to look like; enforced token by token.",
        [
            required("type", word("The kind of format.", &["text", "json_object", "json_schema"])),
            optional("json_schema", json_schema),
        ],
    )
}

fn counters() -> Vec<Field> {
    vec![
        required(
            "prompt_tokens",
            integer("Tokens of the prompts, which cost nothing.").at_least(0),
        ),
        required(
            "completion_tokens",
            integer("Output tokens of all choices: those that are charged.").at_least(0),
        ),
        required("total_tokens", integer("Both.").at_least(0)),
    ]
}

fn running_usage() -> Schema {
    object("What an answer that goes on has used so far.", counters())
}

fn usage() -> Schema {
    let cached = [required(
        "cached_tokens",
        integer("Prompt tokens that the server had already computed.").at_least(0),
    )];
    let reasoning = [required(
        "reasoning_tokens",
        integer("Output tokens that are reasoning; they are charged like others.").at_least(0),
    )];
    let mut fields = counters();
    fields.extend([
        required("prompt_tokens_details", object("Of the prompt tokens.", cached)),
        required("completion_tokens_details", object("Of the output tokens.", reasoning)),
        required("credits", integer("Credits that were charged.").at_least(0)),
        required("credit_multiplier", integer("Credits for each output token.").at_least(1)),
        required("balance", integer("The account's balance afterwards.").at_least(0)),
        required("credits_exhausted", boolean("Whether the answer ended because the credits did.")),
    ]);
    object("What an answer used and cost.", fields)
}
