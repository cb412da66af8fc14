//! Chat completions.

use super::super::openai::{EFFORTS, MAX_TOOL_NAME, MAX_TOOLS, MAX_TOP_LOGPROBS, ROLES};
use super::generation::{
    IGNORED, PAID_HEADERS, finish_reason, format, head, ignored, model_and_choices, paid, refused,
    sampling, streaming, template_variables,
};
use super::operation::{Group, post};
use super::schema::{
    Field, Schema, any, boolean, constant, either, integer, list, map, named, null, number, object,
    optional, request, required, text, word,
};

pub(super) fn group() -> Group {
    let create = post("/v1/chat/completions", "createChatCompletion", "Answer a conversation")
        .also_at("/api/v1/chat/completions")
        .about(
            "OpenAI's route. Everything that can be refused is refused before the status 200. A \
             stream that fails later ends with a frame `{\"error\": {...}}` and without `[DONE]`. \
             A plain answer whose caller has gone is not charged.",
        )
        .body(named("ChatCompletionRequest"))
        .answers("The answer; with `stream: true` its chunks.", named("ChatCompletion"))
        .or_as("text/event-stream", stream())
        .with_headers(PAID_HEADERS);
    Group {
        tag: "Chat",
        about: "Conversations, as OpenAI's chat completions.",
        operations: vec![paid(create)],
        schemas: vec![
            ("ChatCompletionRequest", create_request()),
            ("ChatMessage", message()),
            ("ChatTool", tool()),
            ("ChatToolCall", tool_call()),
            ("ChatCompletion", answer()),
            ("ChatCompletionChunk", chunk()),
            ("ChatLogprobs", logprobs()),
            ("TokenLogprob", object("A token, and how likely it was.", token_logprob())),
        ],
    }
}

fn stream() -> Schema {
    text(
        "Frames `data: JSON`, each with a blank line behind it, then `data: [DONE]`. For each \
         choice: the role with the first text, text, the finish reason with an empty delta; then \
         `usage` if it was asked for. Comments (`: ping`) keep the connection alive.",
    )
    .holding("application/json", named("ChatCompletionChunk"))
}

fn create_request() -> Schema {
    let tool_choice = either(
        "Whether and what the model calls; `auto` if there are tools.",
        [
            word("`required`: something.", &["none", "auto", "required"]),
            request(
                "This tool.",
                [
                    optional("type", constant("function", "The kind of tool.")),
                    required(
                        "function",
                        request(
                            "The function.",
                            [required("name", text("The name of one of `tools`."))],
                        ),
                    ),
                ],
            ),
        ],
    );
    let mut fields = model_and_choices();
    fields.push(required(
        "messages",
        list("The conversation so far, the oldest message first.", named("ChatMessage"))
            .not_empty(),
    ));
    let cap = "The most output tokens of each answer. Default, and bound: the rest of the context.";
    fields.extend([
        optional("max_completion_tokens", integer(cap).at_least(1)),
        optional(
            "max_tokens",
            integer("The older name of `max_completion_tokens`, which wins.").at_least(1),
        ),
    ]);
    fields.extend(sampling());
    fields.extend([
        optional("logprobs", boolean("Tell how likely each output token was.").default(false)),
        optional(
            "top_logprobs",
            integer("With `logprobs`: and so many of the likeliest tokens at its place.")
                .within(0..=MAX_TOP_LOGPROBS)
                .default(0),
        ),
    ]);
    fields.extend(streaming());
    fields.extend([
        optional(
            "tools",
            list("The functions that the model may call.", named("ChatTool")).items(0..=MAX_TOOLS),
        ),
        optional("tool_choice", tool_choice),
        optional(
            "parallel_tool_calls",
            boolean("Whether one answer may have several calls.").default(true),
        ),
    ]);
    fields.extend(format());
    fields.extend(template_fields());
    fields.extend([
        refused("functions", "empty"),
        refused("function_call", "`none` or `auto`"),
        refused("modalities", "`[\"text\"]`"),
        refused("audio", "null"),
        refused("web_search_options", "null"),
        refused("include_reasoning", "`true`"),
    ]);
    fields.extend(ignored(IGNORED));
    request("A conversation to go on with, and how.", fields)
}

fn template_fields() -> [Field; 6] {
    let effort = || word("How much the model reasons, for models that know.", &EFFORTS);
    [
        optional(
            "enable_thinking",
            boolean("Whether the model reasons first. Default: as the effort says, or the model."),
        ),
        optional("reasoning_effort", effort()),
        optional(
            "reasoning",
            request("OpenRouter's field for the same.", [optional("effort", effort())]),
        ),
        template_variables(),
        optional(
            "continue_final_message",
            boolean(
                "Whether the answer goes on with the last message. Default: yes, if that is the \
                 assistant's text.",
            ),
        ),
        optional(
            "add_generation_prompt",
            boolean("`true`: the answer is a message of its own in any case."),
        ),
    ]
}

fn message() -> Schema {
    let part = request(
        "A part; the texts are joined by line breaks.",
        [
            required("type", constant("text", "The kind of part: only text is supported.")),
            required("text", text("The text.")),
        ],
    );
    request(
        "One message.",
        [
            required("role", word("Who says it; `developer` is read as `system`.", &ROLES)),
            optional(
                "content",
                either("What is said.", [text("As one text."), list("In parts.", part)]),
            ),
            optional("name", text("A name that the model's template may show.")),
            optional(
                "reasoning_content",
                text("What the assistant thought before it, as it was answered."),
            ),
            optional("reasoning", text("Another name of `reasoning_content`.")),
            optional(
                "tool_calls",
                list("The calls that the assistant made.", named("ChatToolCall")),
            ),
            optional("tool_call_id", text("Which call this is the result of (role `tool`).")),
        ],
    )
}

fn tool() -> Schema {
    let function = request(
        "The function.",
        [
            required(
                "name",
                text("Its name.").chars(1..=MAX_TOOL_NAME).pattern("^[A-Za-z0-9_.-]+$"),
            ),
            optional("description", text("What it does, for the model.")),
            optional("parameters", map("JSON schema of its arguments.", any("A keyword."))),
            optional(
                "strict",
                boolean("Hold calls to the schema even where the model is free to call.")
                    .default(false),
            ),
        ],
    );
    request(
        "A tool.",
        [
            required("type", constant("function", "The kind of tool: functions only.")),
            required("function", function),
        ],
    )
}

fn tool_call() -> Schema {
    object(
        "A call of a tool.",
        [
            required("id", text("Names the call; the result refers to it.")),
            required("type", constant("function", "The kind of tool.")),
            required(
                "function",
                object(
                    "What is called.",
                    [
                        required("name", text("The function's name.")),
                        required("arguments", text("Its arguments, as JSON in a string.")),
                    ],
                ),
            ),
        ],
    )
}

fn reasoning() -> [Field; 2] {
    [
        optional("reasoning_content", text("What the model thought before, if it did.")),
        optional("reasoning", text("The same: clients read one name or the other.")),
    ]
}

fn answer() -> Schema {
    let mut message = vec![
        required("role", constant("assistant", "Who says it.")),
        required("content", text("The text; null if there are calls only.").or_null()),
        required("refusal", null("OpenAI's field: this server does not refuse in words.")),
    ];
    message.extend(reasoning());
    message.push(optional("tool_calls", list("The calls, if any.", named("ChatToolCall"))));
    let choice = object(
        "One of the answers.",
        [
            required("index", integer("Which one.").at_least(0)),
            required("message", object("What the assistant says.", message)),
            required("logprobs", named("ChatLogprobs").or_null()),
            required("finish_reason", finish_reason()),
        ],
    );
    let mut fields = head("chatcmpl-0192...", &["chat.completion"]);
    fields.push(required("choices", list("The answers.", choice)));
    fields.push(required("usage", named("Usage")));
    object("A whole answer.", fields)
}

fn chunk() -> Schema {
    let call = object(
        "A call, or more of its arguments. `id`, `type` and the name come once.",
        [
            required("index", integer("Which call of the answer.").at_least(0)),
            optional("id", text("Names the call.")),
            optional("type", constant("function", "The kind of tool.")),
            required(
                "function",
                object(
                    "What is called.",
                    [
                        optional("name", text("The function's name.")),
                        required("arguments", text("The next piece of the arguments.")),
                    ],
                ),
            ),
        ],
    );
    let mut delta = vec![
        optional("role", constant("assistant", "Once, with the first piece.")),
        optional("content", text("The next piece of the text; null before a call.").or_null()),
    ];
    delta.extend(reasoning());
    delta.push(optional("tool_calls", list("The next pieces of calls.", call)));
    let choice = object(
        "More of one of the answers.",
        [
            required("index", integer("Which one.").at_least(0)),
            required("delta", object("What is added; nothing is said twice.", delta)),
            required("logprobs", named("ChatLogprobs").or_null()),
            required("finish_reason", finish_reason().or_null()),
        ],
    );
    let mut fields = head("chatcmpl-0192...", &["chat.completion.chunk"]);
    let usage = [named("Usage"), named("RunningUsage"), null("Not yet.")];
    fields.extend([
        required("choices", list("None in the chunk of `usage`.", choice)),
        optional("usage", either("Only if it was asked for.", usage)),
    ]);
    object("A piece of a streamed answer.", fields)
}

fn token_logprob() -> Vec<Field> {
    vec![
        required("token", text("Its text; lossy where a character spans tokens.")),
        required("logprob", number("The logarithm of its probability; -9999 for none.")),
        required("bytes", list("Its bytes, exactly.", integer("A byte.").within(0..=u8::MAX))),
    ]
}

fn logprobs() -> Schema {
    let mut token = token_logprob();
    token.push(required(
        "top_logprobs",
        list("The likeliest tokens at its place.", named("TokenLogprob")),
    ));
    object(
        "How likely the answer's tokens were.",
        [
            required("content", list("A row for each.", object("An output token.", token))),
            required("refusal", null("OpenAI's field.")),
        ],
    )
}
