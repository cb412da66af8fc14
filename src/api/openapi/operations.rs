//! For load balancers, Prometheus and readers of this document.

use super::operation::{Group, get};
use super::schema::{any, constant, map, object, required, text, word};

pub(super) fn group() -> Group {
    let status = |schema| object("How it is.", [required("status", schema)]);
    let not_ready = ["stopping", "ledger unavailable", "ledger damaged"];
    Group {
        tag: "Operations",
        about: "For load balancers, Prometheus and tools.",
        operations: vec![
            get("/health", "health", "Whether the process answers")
                .answers("It does.", status(constant("ok", "It answers."))),
            get("/ready", "ready", "Whether requests would be served")
                .answers("They would.", status(constant("ready", "It serves.")))
                .answers_as(
                    503,
                    "They would not.",
                    "application/json",
                    status(word("Why not.", &not_ready)),
                ),
            get("/metrics", "metrics", "Figures for Prometheus").answers_as(
                200,
                "The figures.",
                "text/plain",
                text("Prometheus' text format, version 0.0.4."),
            ),
            get("/openapi.json", "openapi", "This document")
                .answers("The document.", map("OpenAPI 3.1.", any("A part of it.")))
                .with_headers(&["etag", "cache-control"])
                .answers_empty(304, "It is the one that `if-none-match` names.")
                .with_headers(&["etag", "cache-control"]),
        ],
        schemas: Vec::new(),
    }
}
