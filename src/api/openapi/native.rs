//! Text helpers, in llama-server's shapes.

use super::generation::{template_variables, token_id};
use super::operation::{Group, post};
use super::schema::{
    boolean, either, integer, list, named, object, optional, request, required, text,
};

pub(super) fn group() -> Group {
    let model = || optional("model", text("The model's id. Default: the server's first model."));
    let tokenize = request(
        "A text to be read.",
        [
            required("content", text("The text.")),
            model(),
            optional(
                "add_special",
                boolean("Put the beginning-of-text token first.").default(false),
            ),
            optional("parse_special", boolean("Read control tokens as such.").default(false)),
            optional("with_pieces", boolean("Show each token's text.").default(false)),
        ],
    );
    let piece = object(
        "With `with_pieces`.",
        [
            required("id", token_id()),
            required(
                "piece",
                either(
                    "What it stands for.",
                    [
                        text("Its text."),
                        list("Its bytes, if they are no text.", integer("A byte.").within(0..=255)),
                    ],
                ),
            ),
        ],
    );
    let tokens = list("The tokens.", either("A token.", [token_id(), piece]));
    let template = request(
        "A conversation; the fields are those of chat completions that a prompt is made of.",
        [
            required("messages", list("The conversation.", named("ChatMessage")).not_empty()),
            model(),
            optional("tools", list("The tools that the model is told of.", named("ChatTool"))),
            template_variables(),
        ],
    );
    let ids = request(
        "Tokens to be written.",
        [required("tokens", list("The tokens.", token_id())), model()],
    );
    Group {
        tag: "Text",
        about: "How a model reads text. These cost no credits.",
        operations: vec![
            post("/tokenize", "tokenize", "Turn text into tokens")
                .body(tokenize)
                .answers("The tokens.", object("The text's tokens.", [required("tokens", tokens)]))
                .fails(&[404]),
            post("/detokenize", "detokenize", "Turn tokens into text")
                .body(ids)
                .answers(
                    "The text.",
                    object("The tokens' text.", [required("content", text("The text."))]),
                )
                .fails(&[404]),
            post("/apply-template", "applyTemplate", "Show the prompt of a conversation")
                .body(template)
                .answers(
                    "The prompt.",
                    object(
                        "What the model would read.",
                        [required("prompt", text("As the chat template writes it."))],
                    ),
                )
                .fails(&[404]),
        ],
        schemas: Vec::new(),
    }
}
