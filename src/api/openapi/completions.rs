//! Text completions.

use super::super::openai::{DEFAULT_MAX_TOKENS, MAX_CHOICES, MAX_LOGPROBS};
use super::generation::{
    IGNORED, PAID_HEADERS, finish_reason, format, head, ignored, model_and_choices, paid, refused,
    sampling, streaming, token_id,
};
use super::operation::{Group, post};
use super::schema::{
    Schema, boolean, either, integer, list, map, named, null, number, object, optional, request,
    required, text,
};

pub(super) fn group() -> Group {
    let create = post("/v1/completions", "createCompletion", "Continue a text")
        .also_at("/api/v1/completions")
        .about("OpenAI's older route: the prompt is continued as it is, without a chat template.")
        .body(named("CompletionRequest"))
        .answers("The answer; with `stream: true` its chunks.", named("Completion"))
        .or_as("text/event-stream", stream())
        .with_headers(PAID_HEADERS);
    Group {
        tag: "Completions",
        about: "Texts to be continued, as OpenAI's completions.",
        operations: vec![paid(create)],
        schemas: vec![
            ("CompletionRequest", create_request()),
            ("Completion", answer()),
            ("CompletionChunk", chunk()),
            ("CompletionChoice", choice(finish_reason())),
            ("CompletionLogprobs", logprobs()),
        ],
    }
}

fn stream() -> Schema {
    text("Frames as those of chat completions; the finish reason comes with an empty text.")
        .holding("application/json", named("CompletionChunk"))
}

fn create_request() -> Schema {
    let ids = || list("As token ids.", token_id()).not_empty();
    let prompt = either(
        "What is continued. Several prompts are answered in one request: answer `i` of prompt `p` \
         has the index `p * n + i`.",
        [
            text("As text."),
            list("Several texts.", text("A text.")).not_empty(),
            ids(),
            list("Several lists of ids.", ids()).not_empty(),
        ],
    );
    let mut fields = model_and_choices();
    fields.extend([
        required("prompt", prompt),
        optional(
            "max_tokens",
            integer("The most output tokens of each answer; 0 with `echo` only.")
                .at_least(0)
                .default(DEFAULT_MAX_TOKENS),
        ),
    ]);
    fields.extend(sampling());
    fields.extend([
        optional(
            "logprobs",
            integer("Tell how likely each token was, and so many of the likeliest at its place.")
                .within(0..=MAX_LOGPROBS),
        ),
        optional(
            "best_of",
            integer("Only the value of `n` works: all answers are given.").within(1..=MAX_CHOICES),
        ),
        optional(
            "echo",
            boolean("Put the prompt before the answer; with `logprobs`, its tokens' too.")
                .default(false),
        ),
        refused("suffix", "empty"),
    ]);
    fields.extend(streaming());
    fields.extend(format());
    fields.extend(ignored(IGNORED));
    request("Texts to be continued, and how.", fields)
}

fn choice(finish_reason: Schema) -> Schema {
    object(
        "One of the answers, or more of it.",
        [
            required("text", text("The text.")),
            required("index", integer("Which one.").at_least(0)),
            required("logprobs", named("CompletionLogprobs").or_null()),
            required("finish_reason", finish_reason),
        ],
    )
}

fn answer() -> Schema {
    let mut fields = head("cmpl-0192...", &["text_completion"]);
    fields.extend([
        required("choices", list("The answers.", named("CompletionChoice"))),
        required("usage", named("Usage")),
    ]);
    object("A whole answer.", fields)
}

fn chunk() -> Schema {
    let mut fields = head("cmpl-0192...", &["text_completion"]);
    let usage = [named("Usage"), named("RunningUsage"), null("Not yet.")];
    fields.extend([
        required("choices", list("More of one.", choice(finish_reason().or_null()))),
        optional("usage", either("Only if it was asked for.", usage)),
    ]);
    object("A piece of a streamed answer.", fields)
}

fn logprobs() -> Schema {
    let logprob = || number("The logarithm of a probability; -9999 for none.");
    object(
        "How likely the answer's tokens were: parallel lists.",
        [
            required("tokens", list("The tokens' texts.", text("A text."))),
            required(
                "token_logprobs",
                list("How likely they were; null with nothing before.", logprob().or_null()),
            ),
            required(
                "top_logprobs",
                list(
                    "The likeliest tokens at each place.",
                    map("By their texts.", logprob()).or_null(),
                ),
            ),
            required(
                "text_offset",
                list(
                    "Where they begin.",
                    integer("Characters of the text before the token.").at_least(0),
                ),
            ),
        ],
    )
}
