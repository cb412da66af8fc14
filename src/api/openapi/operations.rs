//! For load balancers, Prometheus and readers of this document.

use super::operation::{Group, Operation, get};
use super::schema::{any, constant, map, object, required, text, word};

/// The headers of the dashboard's files.
const OF_FILES: &[&str] = &["etag", "cache-control", "content-security-policy"];

/// A path that answers with the dashboard's one page.
fn page(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    get(path, id, summary)
        .answers_as(200, "The page.", "text/html", text("HTML."))
        .with_headers(OF_FILES)
        .answers_empty(304, "It is the one that `if-none-match` names.")
        .with_headers(OF_FILES)
}

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
            page("/", "dashboard", "The dashboard"),
            page("/docs", "docs", "The dashboard at its reference of this API"),
            get("/assets/{*path}", "asset", "A file of the dashboard")
                .path("path", text("Its path."))
                .answers_as(200, "The file.", "text/javascript", text("A module."))
                .or_as("text/css", text("A style sheet."))
                .or_as("text/html", text("The page."))
                .or_as("text/plain", text("A text."))
                .or_as("application/json", any("Some data."))
                .or_as("image/svg+xml", text("A drawing."))
                .or_as("image/png", text("A picture."))
                .or_as("application/octet-stream", text("Something else."))
                .with_headers(OF_FILES)
                .answers_empty(304, "It is the one that `if-none-match` names.")
                .with_headers(OF_FILES),
            get("/openapi.json", "openapi", "This document")
                .answers("The document.", map("OpenAPI 3.1.", any("A part of it.")))
                .with_headers(&["etag", "cache-control"])
                .answers_empty(304, "It is the one that `if-none-match` names.")
                .with_headers(&["etag", "cache-control"]),
        ],
        schemas: Vec::new(),
    }
}
