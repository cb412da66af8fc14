//! Embeddings.

use super::super::openai::MAX_INPUTS;
use super::generation::{ignored, model, token_id};
use super::operation::{Group, post};
use super::schema::{
    Schema, boolean, constant, either, integer, list, named, number, object, object_name, optional,
    request, required, text, word,
};

pub(super) fn group() -> Group {
    Group {
        tag: "Embeddings",
        about: "Vectors of texts, as OpenAI's embeddings. They cost no credits.",
        operations: vec![
            post("/v1/embeddings", "createEmbedding", "Turn texts into vectors")
                .also_at("/api/v1/embeddings")
                .about(
                    "Vectors have length 1. Input is free, so this costs 0 credits; it counts \
                     against the plan's limits.",
                )
                .body(named("EmbeddingRequest"))
                .answers("A vector for each text.", named("Embeddings"))
                .with_headers(&["x-credits-charged", "x-credits-balance"])
                .fails(&[404]),
        ],
        schemas: vec![("EmbeddingRequest", create_request()), ("Embeddings", answer())],
    }
}

fn create_request() -> Schema {
    let ids = || list("As token ids.", token_id()).not_empty();
    let input = either(
        "What vectors are made of; none of them may be longer than the model's context.",
        [
            text("As text."),
            list("Several texts.", text("A text.")).items(1..=MAX_INPUTS),
            ids(),
            list("Several lists of ids.", ids()).items(1..=MAX_INPUTS),
        ],
    );
    let mut fields = vec![
        model(),
        required("input", input),
        optional(
            "encoding_format",
            word("How vectors are written.", &["float", "base64"]).default("float"),
        ),
        optional(
            "dimensions",
            integer(
                "Only so many values of each vector, for models that were trained for that. \
                 Default: all.",
            )
            .at_least(1),
        ),
    ];
    fields.extend(ignored(&["user"]));
    request("Texts, and how their vectors are written.", fields)
}

fn answer() -> Schema {
    let vector = either(
        "The vector.",
        [
            list("As numbers.", number("A value.")),
            text("As base64 of little-endian 32-bit floats."),
        ],
    );
    let item = object(
        "One text's.",
        [
            object_name("embedding"),
            required("index", integer("Which text.").at_least(0)),
            required("embedding", vector),
        ],
    );
    let usage = object(
        "What it used; it costs nothing.",
        [
            required("prompt_tokens", integer("Tokens of all texts.").at_least(0)),
            required("total_tokens", integer("The same.").at_least(0)),
            required("credits", integer("Credits that were charged: none.").at_least(0)),
            required("credit_multiplier", integer("Credits for each output token.").at_least(1)),
            required("balance", integer("The account's balance.").at_least(0)),
            required("credits_exhausted", boolean("Always false.")),
        ],
    );
    object(
        "The vectors.",
        [
            required("object", constant("list", "The kind of object.")),
            required("data", list("In the order of the texts.", item)),
            required("model", text("The model's own id.")),
            required("usage", usage),
        ],
    )
}
