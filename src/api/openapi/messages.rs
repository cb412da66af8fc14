//! Anthropic's Messages.

use super::super::anthropic::{MAX_STOPS, MAX_TEMPERATURE, MAX_TOOL_NAME, MAX_TOOLS};
use super::super::openai::MAX_STOP_BYTES;
use super::generation::{PAID_HEADERS, ignored, max_credits, model, paid, refused, sampling_of};
use super::operation::{Group, Operation, post};
use super::schema::{
    Field, Schema, any, boolean, constant, either, integer, list, map, named, null, object,
    optional, request, required, text, word,
};

pub(super) fn group() -> Group {
    let create = theirs(post("/v1/messages", "createMessage", "Answer a conversation"))
        .also_at("/api/v1/messages")
        .about(
            "Anthropic's route, for its clients. The key may also be sent as `x-api-key`. A turn \
             of the assistant that is the last one is gone on with.",
        )
        .body(named("MessageRequest"))
        .answers("The answer; with `stream: true` its events.", named("Message"))
        .or_as("text/event-stream", stream())
        .with_headers(PAID_HEADERS);
    let count = theirs(post("/v1/messages/count_tokens", "countTokens", "Count a prompt's tokens"))
        .also_at("/api/v1/messages/count_tokens")
        .about("The count is that of `/v1/messages` of the same body. It costs nothing.")
        .body(named("CountTokensRequest"))
        .answers(
            "The count.",
            object(
                "How long the prompt is.",
                [required("input_tokens", integer("Its tokens.").at_least(0))],
            ),
        )
        .fails(&[404]);
    Group {
        tag: "Messages",
        about: "Conversations, as Anthropic's messages; errors are in Anthropic's shape.",
        operations: vec![paid(create), count],
        schemas: vec![
            ("MessageRequest", create_request()),
            ("CountTokensRequest", count_request()),
            ("InputMessage", message()),
            ("InputBlock", input_block()),
            ("MessageTool", tool()),
            ("Message", object("A whole answer.", answer(named("MessageUsage")))),
            ("OutputBlock", output_block()),
            ("MessageUsage", usage()),
            ("MessageEvent", event()),
            ("MessageError", error()),
        ],
    }
}

/// Of the shape that Anthropic's clients read.
fn theirs(operation: Operation) -> Operation {
    operation.errors_as(named("MessageError"))
}

fn stream() -> Schema {
    text(
        "Events, each with its name in a line `event:`: `message_start`; for each block \
         `content_block_start`, `content_block_delta`..., `content_block_stop`; then \
         `message_delta` with what it cost, and `message_stop`. A failure is an event `error`, and \
         the last; `ping` keeps the connection alive.",
    )
    .holding("application/json", named("MessageEvent"))
}

fn prompt() -> Vec<Field> {
    let block = || list("As blocks of text.", named("InputBlock"));
    let choice = request(
        "Whether and what the model calls.",
        [
            required(
                "type",
                word("`any`: something; `tool`: the named one.", &["auto", "any", "tool", "none"]),
            ),
            optional("name", text("With `type: tool`: the name of one of `tools`.")),
            optional("disable_parallel_tool_use", boolean("One call at most.").default(false)),
        ],
    );
    let thinking = request(
        "Whether the model reasons first. Default: as the model does.",
        [
            required("type", word("Whether.", &["enabled", "adaptive", "disabled"])),
            optional("budget_tokens", any("Accepted and ignored.")),
        ],
    );
    vec![
        model(),
        required(
            "messages",
            list("The conversation so far, the oldest turn first.", named("InputMessage"))
                .not_empty(),
        ),
        optional("system", either("What the model is told first.", [text("As text."), block()])),
        optional(
            "tools",
            list("The tools that the model may call.", named("MessageTool")).items(0..=MAX_TOOLS),
        ),
        optional("tool_choice", choice),
        optional("thinking", thinking),
        optional("output_config", output_config()),
    ]
}

fn count_request() -> Schema {
    request("The prompt that is counted.", prompt())
}

fn create_request() -> Schema {
    let stop = text("One such string, counted in bytes.").chars(1..=MAX_STOP_BYTES);
    let mut fields = prompt();
    fields.push(required(
        "max_tokens",
        integer("The most output tokens; bounded by the rest of the context.").at_least(1),
    ));
    fields.extend(sampling_of(0.0..=MAX_TEMPERATURE));
    fields.extend([
        optional(
            "stop_sequences",
            list("Strings that end the answer and are not part of it.", stop).items(0..=MAX_STOPS),
        ),
        optional("stream", boolean("Send the answer as events.").default(false)),
        optional("output_format", output_format("The older place of `output_config.format`.")),
        max_credits(),
        refused("container", "null"),
        refused("mcp_servers", "empty"),
    ]);
    fields.extend(ignored(&["metadata", "service_tier"]));
    request("A conversation to go on with, and how.", fields)
}

fn output_config() -> Schema {
    request(
        "How the model answers.",
        [
            optional(
                "effort",
                word(
                    "How much it reasons, for models that know.",
                    &["low", "medium", "high", "xhigh", "max"],
                ),
            ),
            optional("format", output_format("What the answer has to look like.")),
        ],
    )
}

fn output_format(about: &str) -> Schema {
    request(
        about,
        [
            required("type", constant("json_schema", "The kind of format.")),
            required("schema", any("The JSON schema; one that can not be enforced is refused.")),
            optional("strict", boolean("Refuse a schema of a looser form.").default(false)),
        ],
    )
}

fn message() -> Schema {
    let content = [text("As text."), list("As blocks.", named("InputBlock"))];
    request(
        "One turn.",
        [
            required("role", word("Whose turn it is.", &["user", "assistant", "system"])),
            required("content", either("What is said.", content)),
        ],
    )
}

fn input_block() -> Schema {
    let kinds = ["text", "thinking", "redacted_thinking", "tool_use", "tool_result"];
    let result = either(
        "With `tool_result`: what came of it.",
        [text("As text."), list("As blocks of text.", map("A block of text.", any("A field.")))],
    );
    request(
        "A part of a turn.",
        [
            required("type", word("The kind of block; others are refused.", &kinds)),
            optional("text", text("With `text`: the text.")),
            optional("thinking", text("With `thinking`: what the assistant thought.")),
            optional("signature", text("With `thinking`: not needed, and not read.")),
            optional("id", text("With `tool_use`: names the call.")),
            optional("name", text("With `tool_use`: the tool's name.")),
            optional("input", map("With `tool_use`: the arguments.", any("An argument."))),
            optional("tool_use_id", text("With `tool_result`: the call.")),
            optional("content", result),
            optional("is_error", boolean("With `tool_result`: it failed.").default(false)),
            optional("cache_control", any("Accepted and ignored: prompts are cached anyway.")),
        ],
    )
}

fn tool() -> Schema {
    request(
        "A tool.",
        [
            optional("type", constant("custom", "The kind of tool: the caller's own only.")),
            required(
                "name",
                text("Its name.").chars(1..=MAX_TOOL_NAME).pattern("^[A-Za-z0-9_-]+$"),
            ),
            optional("description", text("What it does, for the model.")),
            required("input_schema", map("JSON schema of its arguments.", any("A keyword."))),
            optional("strict", boolean("Hold calls to the schema.").default(false)),
        ],
    )
}

fn stop_reason() -> Schema {
    word(
        "Why it ended; `max_tokens` also if the credits did.",
        &["end_turn", "stop_sequence", "tool_use", "max_tokens", "model_context_window_exceeded"],
    )
    .or_null()
}

/// Keys that Anthropic's schema requires, of things that this server has not got.
fn absent(names: &[&'static str]) -> Vec<Field> {
    names.iter().map(|name| required(name, null("Nothing of the kind is here."))).collect()
}

/// Why and how an answer ended.
fn ending() -> Vec<Field> {
    let mut fields = vec![
        required("stop_reason", stop_reason()),
        required("stop_sequence", text("The string that ended it.").or_null()),
    ];
    fields.extend(absent(&["stop_details", "container"]));
    fields
}

fn answer(usage: Schema) -> Vec<Field> {
    let mut fields = vec![
        required("id", text("Names the generation; its record is kept under it.")),
        required("type", constant("message", "The kind of object.")),
        required("role", constant("assistant", "Whose turn it is.")),
        required("model", text("The model's own id.")),
        required("content", list("What is said.", named("OutputBlock"))),
        required("usage", usage),
    ];
    fields.extend(ending());
    fields
}

fn output_block() -> Schema {
    let kind = |name| required("type", constant(name, "The kind of block."));
    either(
        "A part of the answer.",
        [
            object(
                "Text.",
                [
                    kind("text"),
                    required("text", text("The text.")),
                    required("citations", null("Nothing of the kind is here.")),
                ],
            ),
            object(
                "What the model thought.",
                [
                    kind("thinking"),
                    required("thinking", text("The text.")),
                    required("signature", text("Empty: thinking needs no proof here.")),
                ],
            ),
            object(
                "A call of a tool.",
                [
                    kind("tool_use"),
                    required("id", text("Names the call; the result refers to it.")),
                    required("name", text("The tool's name.")),
                    required("input", map("The arguments.", any("An argument."))),
                    required(
                        "caller",
                        object(
                            "Who calls: the model itself.",
                            [required("type", constant("direct", "The kind of caller."))],
                        ),
                    ),
                ],
            ),
        ],
    )
}

fn usage() -> Schema {
    let thinking = [required(
        "thinking_tokens",
        integer("Output tokens that are thinking; they are charged like others.").at_least(0),
    )];
    let count = |about: &str| integer(about).at_least(0);
    let absent = absent(&["cache_creation", "server_tool_use", "service_tier", "inference_geo"]);
    object(
        "What an answer used and cost; the costs at its end only.",
        absent.into_iter().chain([
            required("input_tokens", count("Prompt tokens that were not cached.")),
            required("cache_creation_input_tokens", count("Always 0.")),
            required("cache_read_input_tokens", count("Prompt tokens that were cached.")),
            required("output_tokens", count("Output tokens: those that are charged.")),
            optional("output_tokens_details", object("Of the output tokens.", thinking)),
            optional("credits", count("Credits that were charged.")),
            optional("credit_multiplier", integer("Credits for each output token.").at_least(1)),
            optional("balance", count("The account's balance afterwards.")),
            optional("credits_exhausted", boolean("Whether the credits ended the answer.")),
        ]),
    )
}

fn event() -> Schema {
    let kind = |name| required("type", constant(name, "The kind of event."));
    let index = || required("index", integer("Which block.").at_least(0));
    let delta = object(
        "What is added; one of these beside the type.",
        [
            required(
                "type",
                word(
                    "The kind of addition.",
                    &["text_delta", "thinking_delta", "signature_delta", "input_json_delta"],
                ),
            ),
            optional("text", text("More text.")),
            optional("thinking", text("More thinking.")),
            optional("signature", text("Empty.")),
            optional("partial_json", text("More of the arguments, as JSON.")),
        ],
    );
    either(
        "One event.",
        [
            object(
                "The answer begins.",
                [kind("message_start"), required("message", named("Message"))],
            ),
            object(
                "A block begins.",
                [
                    kind("content_block_start"),
                    index(),
                    required("content_block", named("OutputBlock")),
                ],
            ),
            object(
                "A block goes on.",
                [kind("content_block_delta"), index(), required("delta", delta)],
            ),
            object("A block ends.", [kind("content_block_stop"), index()]),
            object(
                "The answer has ended.",
                [
                    kind("message_delta"),
                    required("delta", object("How.", ending())),
                    required("usage", named("MessageUsage")),
                ],
            ),
            object("There is no more.", [kind("message_stop")]),
            object("The connection is alive.", [kind("ping")]),
            named("MessageError"),
        ],
    )
}

fn error() -> Schema {
    let kinds = [
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "timeout_error",
        "request_too_large",
        "rate_limit_error",
        "overloaded_error",
        "api_error",
    ];
    let error = object(
        "What went wrong.",
        [
            required("type", word("The kind of error.", &kinds)),
            required("message", text("For people: the value, the bound, the remedy.")),
        ],
    );
    object(
        "An error, as Anthropic's clients read it.",
        [
            required("type", constant("error", "The kind of object.")),
            required("error", error),
            optional("request_id", text("The id of the request; not in streams.").or_null()),
        ],
    )
}
