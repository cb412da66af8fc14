//! OpenAI's Responses.

use super::super::openai::{MAX_TOOL_NAME, MAX_TOOLS, MAX_TOP_LOGPROBS};
use super::super::responses::{
    EFFORTS, INCLUDABLE, MAX_ID, MAX_ITEMS, MAX_METADATA, MAX_METADATA_VALUE, MAX_NAME, USUAL_ITEMS,
};
use super::generation::{
    PAID_HEADERS, format_extensions, ignored, model, paid, refused, sampling, streaming,
    template_variables,
};
use super::operation::{Group, Operation, delete, get, post};
use super::schema::{
    Field, Schema, any, boolean, constant, either, integer, list, map, named, number, object,
    object_name, optional, request, required, seconds, text, word,
};

pub(super) fn group() -> Group {
    let create = post("/v1/responses", "createResponse", "Answer, and keep the conversation")
        .also_at("/api/v1/responses")
        .about(
            "OpenAI's newer route. What is kept is kept for a time that the operator sets, and can \
             be gone on from by `previous_response_id`.",
        )
        .body(named("ResponseRequest"))
        .answers("The response; with `stream: true` its events.", named("Response"))
        .or_as("text/event-stream", stream())
        .with_headers(PAID_HEADERS);
    let one = "/v1/responses/{id}";
    let operations = vec![
        paid(create),
        of_response(get(one, "getResponse", "Show a response again"))
            .also_at("/api/v1/responses/{id}")
            .query("stream", word("Kept responses are whole.", &["false"]))
            .answers("As it was answered.", named("Response")),
        of_response(delete(one, "deleteResponse", "Forget a response"))
            .also_at("/api/v1/responses/{id}")
            .answers("It is gone.", deleted()),
        of_response(get(
            "/v1/responses/{id}/input_items",
            "listInputItems",
            "List what a response answered",
        ))
        .also_at("/api/v1/responses/{id}/input_items")
        .about("Earlier turns of its conversation too, as far as they are kept.")
        .query("after", text("Go on behind the item with this id."))
        .query("limit", integer("Items in one answer.").within(1..=MAX_ITEMS).default(USUAL_ITEMS))
        .query("order", word("The oldest or the newest first.", &["asc", "desc"]).default("desc"))
        .answers("A page of items.", named("ResponseItems")),
    ];
    Group {
        tag: "Responses",
        about: "Conversations, as OpenAI's responses.",
        operations,
        schemas: vec![
            ("ResponseRequest", create_request()),
            ("ResponseInputItem", input_item()),
            ("ResponseTool", tool()),
            ("Response", response()),
            ("ResponseItem", item()),
            ("ResponseItems", items()),
            ("ResponsePart", part()),
            ("ResponseUsage", usage()),
            ("ResponseEvent", event()),
        ],
    }
}

fn of_response(operation: Operation) -> Operation {
    operation.path("id", text("The response's id, `resp_...`."))
}

fn stream() -> Schema {
    text(
        "Events, each with its `type` in a line `event:`, numbered by `sequence_number`: \
         `response.created`, `response.in_progress`; for each item \
         `response.output_item.added`, its parts and their deltas, `response.output_item.done`; \
         last `response.completed`, `.incomplete` or `.failed`. There is no `[DONE]`.",
    )
    .holding("application/json", named("ResponseEvent"))
}

fn name_of(about: &str) -> Schema {
    text(&format!("{about} Said again, and not used.")).chars(0..=MAX_NAME)
}

fn reasoning() -> Vec<Field> {
    vec![
        optional("effort", word("How much; `none` turns it off.", &EFFORTS)),
        optional("summary", text("Accepted: reasoning is given whole, never as a summary.")),
    ]
}

fn metadata() -> Schema {
    map(
        &format!("The caller's own: up to {MAX_METADATA} pairs; said again."),
        text("A value.").chars(0..=MAX_METADATA_VALUE),
    )
}

fn create_request() -> Schema {
    let input =
        [text("What the user says."), list("Items, the oldest first.", named("ResponseInputItem"))];
    let mut fields = vec![
        model(),
        optional("input", either("What is added to the conversation.", input)),
        optional("instructions", text("What the model is told first; not kept for later turns.")),
        optional("previous_response_id", text("The response to go on from.")),
        optional("store", boolean("Keep the response.").default(true)),
        optional(
            "max_output_tokens",
            integer("The most output tokens. Default, and bound: the rest of the context.")
                .at_least(1),
        ),
        optional("max_tool_calls", integer("Said again, and not used.").at_least(1)),
        optional("reasoning", request("Whether the model reasons first.", reasoning())),
        optional("text", text_settings()),
        optional("tools", list("What may be called.", named("ResponseTool")).items(0..=MAX_TOOLS)),
        optional("tool_choice", tool_choice()),
        optional(
            "parallel_tool_calls",
            boolean("Whether one answer may have several calls.").default(true),
        ),
        optional("metadata", metadata()),
        optional(
            "top_logprobs",
            integer("Tell how likely each token was, and so many of the likeliest.")
                .within(0..=MAX_TOP_LOGPROBS)
                .default(0),
        ),
        optional(
            "include",
            list("What else to tell.", word("Only log probabilities are there.", &INCLUDABLE)),
        ),
        template_variables(),
        optional("user", name_of("Whom it is for.")),
        optional("prompt_cache_key", name_of("A name of the prompt.")),
        optional("safety_identifier", name_of("Whom it is for.")),
        refused("background", "`false`"),
        refused("conversation", "null"),
        refused("prompt", "null"),
        refused("context_management", "empty"),
        refused("moderation", "null"),
        refused("truncation", "`disabled`"),
    ];
    fields.extend(sampling());
    fields.extend(streaming());
    fields.extend(format_extensions());
    fields.extend(ignored(&["service_tier"]));
    request("What is said, and how to answer it.", fields)
}

fn text_settings() -> Schema {
    let format = request(
        "What the answer has to look like.",
        [
            required("type", word("The kind of format.", &["text", "json_object", "json_schema"])),
            optional("name", text("What the schema is called; not used.")),
            optional("schema", any("With `json_schema`: the schema.")),
            optional("strict", boolean("Refuse a schema of a looser form.").default(false)),
        ],
    );
    request(
        "How the answer is written.",
        [
            optional("format", format),
            optional("verbosity", text("Said again, and not used.").default("medium")),
        ],
    )
}

fn tool_choice() -> Schema {
    let named_tool = request(
        "This tool.",
        [
            required("type", constant("function", "The kind of choice.")),
            required("name", text("The name of one of `tools`.")),
        ],
    );
    let tool = map("A tool, by `type` and `name`.", any("A field."));
    let allowed = request(
        "Only these tools.",
        [
            required("type", constant("allowed_tools", "The kind of choice.")),
            optional("mode", word("Whether one must be called.", &["auto", "required"])),
            required("tools", list("Those of `tools`.", tool)),
        ],
    );
    let word = word("`required`: something.", &["none", "auto", "required"]);
    either("Whether and what the model calls.", [word, named_tool, allowed])
}

fn tool() -> Schema {
    request(
        "A function that the model may call.",
        [
            required("type", constant("function", "The kind of tool: functions only.")),
            required(
                "name",
                text("Its name.").chars(1..=MAX_TOOL_NAME).pattern("^[A-Za-z0-9_.-]+$"),
            ),
            optional("description", text("What it does, for the model.")),
            optional("parameters", map("JSON schema of its arguments.", any("A keyword."))),
            optional("strict", boolean("Hold calls to the schema.").default(false)),
        ],
    )
}

fn input_item() -> Schema {
    let kinds = ["message", "function_call", "function_call_output", "reasoning", "item_reference"];
    let parts = || list("As parts.", map("A part of text.", any("A field.")));
    let roles = ["system", "developer", "user", "assistant"];
    let texts = |about: &str| either(about, [text("As text."), parts()]);
    request(
        "Something that was said, thought, called or answered; as responses have it, or shorter.",
        [
            optional("type", word("The kind of item.", &kinds).default("message")),
            optional("id", text("Its id, if it has one.").chars(1..=MAX_ID)),
            optional("status", word("Said again.", &STATUSES[..3])),
            optional("role", word("Of a message: who says it.", &roles)),
            optional("content", texts("Of a message or reasoning: the text.")),
            optional("summary", texts("Of reasoning: a summary.")),
            optional("encrypted_content", any("Of reasoning: not read.")),
            optional("call_id", text("Of a call and its result: which call.")),
            optional("name", text("Of a call: the tool.")),
            optional("arguments", text("Of a call: its arguments, as JSON.")),
            optional("output", texts("Of a result: what came of the call.")),
        ],
    )
}

/// Where an item or a response stands; items know the first three.
const STATUSES: [&str; 4] = ["in_progress", "completed", "incomplete", "failed"];

fn status() -> Field {
    required("status", word("Where it stands.", &STATUSES[..3]))
}

fn part() -> Schema {
    let kind = |name| required("type", constant(name, "The kind of part."));
    let words = |name| object("Text.", [kind(name), required("text", text("The text."))]);
    either(
        "A part of an item's text.",
        [
            object(
                "What the model says.",
                [
                    kind("output_text"),
                    required("text", text("The text.")),
                    required("annotations", list("None.", any("An annotation."))),
                    required(
                        "logprobs",
                        list("How likely its tokens were, if asked for.", any("A token.")),
                    ),
                ],
            ),
            words("reasoning_text"),
            words("summary_text"),
            words("input_text"),
        ],
    )
}

fn item() -> Schema {
    let kind = |name| required("type", constant(name, "The kind of item."));
    let id = || required("id", text("Its id."));
    let call = || required("call_id", text("Names the call."));
    let parts = |about: &str| list(about, named("ResponsePart"));
    either(
        "An item of a conversation.",
        [
            object(
                "A message.",
                [
                    kind("message"),
                    id(),
                    status(),
                    required(
                        "role",
                        word("Who says it.", &["system", "developer", "user", "assistant"]),
                    ),
                    required("content", parts("What is said.")),
                ],
            ),
            object(
                "What the model thought.",
                [
                    kind("reasoning"),
                    id(),
                    status(),
                    required("summary", parts("None of this server's.")),
                    required("content", parts("All of it.")),
                ],
            ),
            object(
                "A call of a tool.",
                [
                    kind("function_call"),
                    id(),
                    status(),
                    call(),
                    required("name", text("The tool's name.")),
                    required("arguments", text("Its arguments, as JSON in a string.")),
                ],
            ),
            object(
                "What came of a call.",
                [
                    kind("function_call_output"),
                    id(),
                    status(),
                    call(),
                    required("output", either("It.", [text("As text."), parts("As parts.")])),
                ],
            ),
        ],
    )
}

fn items() -> Schema {
    object(
        "A page of items.",
        [
            object_name("list"),
            required("data", list("The items.", named("ResponseItem"))),
            required("has_more", boolean("Whether there are more behind them.")),
            required("first_id", text("The first one's id.")),
            required("last_id", text("The last one's id: the `after` of the next page.")),
        ],
    )
}

fn deleted() -> Schema {
    object(
        "A response that is gone.",
        [
            required("id", text("Its id.")),
            object_name("response"),
            required("deleted", boolean("True.")),
        ],
    )
}

fn response() -> Schema {
    let said_again = |about: &str| text(&format!("{about} As it was sent.")).or_null();
    let error = object(
        "Why there is no more of it.",
        [required("code", text("For programs.")), required("message", text("For people."))],
    );
    let incomplete = object(
        "Why it is not whole.",
        [required(
            "reason",
            constant("max_output_tokens", "Tokens, credits or time came to an end."),
        )],
    );
    let count = |about: &str| integer(about).at_least(0).or_null();
    object(
        "A response.",
        [
            required("id", text("Its id; the generation's is behind `resp_`.")),
            object_name("response"),
            required("created_at", seconds("When it was begun.")),
            required("completed_at", seconds("When it was whole.").or_null()),
            required("status", word("Where it stands.", &STATUSES)),
            required("background", boolean("Always false.")),
            required("error", error.or_null()),
            required("incomplete_details", incomplete.or_null()),
            required("model", text("The model's own id.")),
            required("output", list("What was answered.", named("ResponseItem"))),
            required("usage", named("ResponseUsage").or_null()),
            required("instructions", said_again("What the model was told first.")),
            required("max_output_tokens", count("As it was sent.")),
            required("max_tool_calls", count("As it was sent.")),
            required("metadata", metadata()),
            required("parallel_tool_calls", boolean("As it was obeyed.")),
            required("previous_response_id", said_again("The response it went on from.")),
            required("prompt_cache_key", said_again("A name of the prompt.")),
            required("safety_identifier", said_again("Whom it was for.")),
            required("user", said_again("Whom it was for.")),
            required(
                "reasoning",
                object(
                    "As it was sent.",
                    [
                        required("effort", word("How much.", &EFFORTS).or_null()),
                        required("summary", text("As it was sent.").or_null()),
                    ],
                ),
            ),
            required("service_tier", constant("default", "There is one.")),
            required("store", boolean("Whether it can be asked for again.")),
            required("frequency_penalty", number("As it was obeyed.")),
            required("presence_penalty", number("As it was obeyed.")),
            required("temperature", number("As it was obeyed.").or_null()),
            required("top_p", number("As it was obeyed.").or_null()),
            required("top_logprobs", integer("As it was obeyed.").at_least(0)),
            required("text", map("How the answer is written; as it was sent.", any("A field."))),
            required("tool_choice", any("As it was sent.")),
            required("tools", list("As they were sent.", map("A tool.", any("A field.")))),
            required("truncation", constant("disabled", "Prompts are never cut.")),
        ],
    )
}

fn usage() -> Schema {
    let count = |about: &str| integer(about).at_least(0);
    let input = [
        required("cached_tokens", count("Those that were cached.")),
        required("cache_write_tokens", count("Always 0.")),
    ];
    let output = [required("reasoning_tokens", count("Those that are reasoning."))];
    object(
        "What a response used and cost.",
        [
            required("input_tokens", count("Tokens of the prompt, which cost nothing.")),
            required("input_tokens_details", object("Of the input tokens.", input)),
            required("output_tokens", count("Output tokens: those that are charged.")),
            required("output_tokens_details", object("Of the output tokens.", output)),
            required("total_tokens", count("Both.")),
            required("credits", count("Credits that were charged.")),
            required("credit_multiplier", integer("Credits for each output token.").at_least(1)),
            required("balance", count("The account's balance afterwards.")),
            required("credits_exhausted", boolean("Whether the credits ended the answer.")),
        ],
    )
}

fn event() -> Schema {
    let number = || required("sequence_number", integer("Rises by one.").at_least(0));
    let kinds = |words: &[&str]| required("type", word("The kind of event.", words));
    let place = || {
        [
            required("output_index", integer("Which item.").at_least(0)),
            optional("item_id", text("Its id.")),
            optional("content_index", integer("Which of its parts.").at_least(0)),
        ]
    };
    let mut of_item = vec![
        kinds(&["response.output_item.added", "response.output_item.done"]),
        required("item", named("ResponseItem")),
        number(),
    ];
    of_item.extend(place());
    let mut of_part = vec![
        kinds(&["response.content_part.added", "response.content_part.done"]),
        required("part", named("ResponsePart")),
        number(),
    ];
    of_part.extend(place());
    let mut of_text = vec![
        kinds(&[
            "response.output_text.delta",
            "response.output_text.done",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
        ]),
        optional("delta", text("What is added.")),
        optional("text", text("All of the text.")),
        optional("arguments", text("All of the arguments.")),
        optional("name", text("The tool that is called.")),
        optional("logprobs", list("Of what is added.", any("A token."))),
        number(),
    ];
    of_text.extend(place());
    let whole = [
        kinds(&[
            "response.created",
            "response.in_progress",
            "response.completed",
            "response.incomplete",
            "response.failed",
        ]),
        required("response", named("Response")),
        number(),
    ];
    let error = [
        kinds(&["error"]),
        required("message", text("What went wrong.")),
        required("code", text("For programs.").or_null()),
        required("param", text("The field that is wrong.").or_null()),
        number(),
    ];
    either(
        "One event.",
        [
            object("What became of the response.", whole),
            object("An item begins or has ended.", of_item),
            object("A part begins or has ended.", of_part),
            object("Text or arguments go on, or have ended.", of_text),
            object("A failure; `response.failed` follows.", error),
        ],
    )
}
