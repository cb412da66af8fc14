//! What is on offer.

use super::operation::{Group, Operation, get};
use super::schema::{
    Field, Schema, boolean, constant, either, integer, list, list_of, named, object, object_name,
    required, seconds, text,
};

pub(super) fn group() -> Group {
    let priced = "With its tier, price and context length.";
    Group {
        tag: "Models",
        about: "What can be asked for, and for how much.",
        operations: vec![
            all(get("/v1/models", "listModels", "List the models"), named("Model")),
            one(get("/v1/models/{*id}", "getModel", "Show a model"), named("Model")),
            all(
                get("/api/v1/models", "listPricedModels", "List the models with their prices"),
                named("PricedModel"),
            ),
            one(
                get("/api/v1/models/{*id}", "getPricedModel", "Show a model with its price"),
                named("PricedModel"),
            ),
        ],
        schemas: vec![
            ("Model", object("A model.", model())),
            ("ModelForAnthropic", model_for_anthropic()),
            (
                "PricedModel",
                object(
                    priced,
                    model().into_iter().chain([
                        required("tier", text("Its tier, which sets the price.")),
                        required(
                            "credit_multiplier",
                            integer("Credits for each output token.").at_least(1),
                        ),
                        required(
                            "context_length",
                            integer("Tokens of prompt and answer together, if known.").or_null(),
                        ),
                        required("loaded", boolean("Whether it is in memory.")),
                    ]),
                ),
            ),
        ],
    }
}

/// Anthropic's clients are answered in Anthropic's shape.
fn shaped(operation: Operation) -> Operation {
    operation
        .about("With the header `anthropic-version` the answer has Anthropic's shape.")
        .header("anthropic-version", text("The version of Anthropic's API that the client speaks."))
        .errors_as(either("By who asks.", [named("Error"), named("MessageError")]))
}

fn all(operation: Operation, model: Schema) -> Operation {
    let list_for_anthropic = object(
        "For Anthropic's clients: all of them, on one page.",
        [
            required("data", list("The models.", named("ModelForAnthropic"))),
            required("has_more", boolean("Always false.")),
            required("first_id", text("The first one's id.").or_null()),
            required("last_id", text("The last one's id.").or_null()),
        ],
    );
    let models = list_of("Models whose files are here.", model);
    shaped(operation).answers("The models.", either("By who asks.", [models, list_for_anthropic]))
}

fn one(operation: Operation, model: Schema) -> Operation {
    shaped(operation)
        .path("id", text("The model's id, or an alias. It may have slashes."))
        .answers("The model.", either("By who asks.", [model, named("ModelForAnthropic")]))
}

fn model_for_anthropic() -> Schema {
    let tokens = |about: &str| integer(about).at_least(0).or_null();
    object(
        "A model, as Anthropic's clients read it.",
        [
            required("type", constant("model", "The kind of object.")),
            required("id", text("Its id.")),
            required("display_name", text("The same.")),
            required("created_at", text("When the server was started.").format("date-time")),
            required("lifecycle", constant("active", "Where it stands.")),
            required("max_input_tokens", tokens("Tokens of prompt and answer, if known.")),
            required("max_tokens", tokens("The same.")),
        ],
    )
}

fn model() -> Vec<Field> {
    vec![
        required("id", text("Its id.")),
        object_name("model"),
        required("created", seconds("When the server was started.")),
        required("owned_by", text("Whose it is.")),
    ]
}
