//! What is on offer.

use super::operation::{Group, get};
use super::schema::{
    Field, boolean, integer, list_of, named, object, object_name, required, seconds, text,
};

pub(super) fn group() -> Group {
    let id = || text("The model's id, or an alias. It may have slashes.");
    let priced = "With its tier, price and context length.";
    Group {
        tag: "Models",
        about: "What can be asked for, and for how much.",
        operations: vec![
            get("/v1/models", "listModels", "List the models")
                .answers("The models.", list_of("Models whose files are here.", named("Model"))),
            get("/v1/models/{*id}", "getModel", "Show a model")
                .path("id", id())
                .answers("The model.", named("Model")),
            get("/api/v1/models", "listPricedModels", "List the models with their prices")
                .answers("The models.", list_of("The same with prices.", named("PricedModel"))),
            get("/api/v1/models/{*id}", "getPricedModel", "Show a model with its price")
                .about(priced)
                .path("id", id())
                .answers("The model.", named("PricedModel")),
        ],
        schemas: vec![
            ("Model", object("A model.", model())),
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

fn model() -> Vec<Field> {
    vec![
        required("id", text("Its id.")),
        object_name("model"),
        required("created", seconds("When the server was started.")),
        required("owned_by", text("Whose it is.")),
    ]
}
