//! Sums of usage, and the log of requests: an account's own, and all accounts' for the operator.

use super::super::request_log::{DEFAULT_LIMIT, MAX_LIMIT};
use super::super::time_span::{MAX_DAYS, USUAL_DAYS};
use super::account::figures;
use super::operation::{Group, Operation, get};
use super::schema::{
    Field, Schema, boolean, either, integer, list, named, number, object, object_name, optional,
    required, seconds, text, word,
};
use crate::ledger::UsageBy;

/// CSV, as answers to `format=csv`.
const CSV: &str = "text/csv";

pub(super) fn group() -> Group {
    let own = get("/api/v1/usage", "getUsage", "Sum up the account's use");
    let all = get("/api/v1/admin/usage", "getUsageOfAccounts", "Sum up the use of all accounts");
    let own_log = get("/api/v1/generations", "listGenerations", "List the account's requests");
    let full_log =
        get("/api/v1/admin/generations", "listGenerationsOfAccounts", "List all requests");
    Group {
        tag: "Usage",
        about: "Requests, tokens and credits: sums, and one line for each request.",
        operations: vec![
            sums(own, &[UsageBy::Day, UsageBy::Model, UsageBy::Key]),
            sums(
                all.query("account", one_account()).fails(&[404]),
                &[UsageBy::Day, UsageBy::Account, UsageBy::Model, UsageBy::Key],
            ),
            log(own_log),
            log(full_log.query("account", one_account())),
        ],
        schemas: vec![
            ("KeyName", key_name()),
            ("UsageSums", object("Sums.", sum_fields())),
            ("UsageRow", usage_row()),
            ("UsageReport", usage_report()),
            ("RequestRow", request_row()),
            ("RequestLog", request_log()),
        ],
    }
}

fn one_account() -> Schema {
    text("The name of the only account to show.")
}

/// A bound of a span of time.
pub(super) fn time(about: &str) -> Schema {
    let shapes = [
        text("A day in Kuwait.").format("date").example("2026-03-01"),
        integer("Unix seconds.").at_least(0),
    ];
    either(about, shapes)
}

fn format() -> Schema {
    word("What is answered; also by `accept: text/csv`.", &["json", "csv"]).default("json")
}

fn sums(operation: Operation, groups: &[UsageBy]) -> Operation {
    let groups: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
    let group_by = text(&format!(
        "What to tell apart, joined by commas, in the order of the rows: {}. Empty: nothing.",
        groups.join(", ")
    ));
    let from = format!("From then on. Default: the last {USUAL_DAYS} days of the span.");
    let to = format!("Until then; a day is part of it. At most {MAX_DAYS} days. Default: now.");
    operation
        .query("from", time(&from))
        .query("to", time(&to))
        .query("group_by", group_by.default(UsageBy::Day.as_str()))
        .query("format", format())
        .answers("The sums.", named("UsageReport"))
        .or_as(CSV, text("The rows, with a line of names."))
        .with_headers(&["content-disposition"])
}

fn log(operation: Operation) -> Operation {
    operation
        .about(
            "The newest first. As CSV it is sent while it is read, and `limit` is not bounded; a \
             table that can not be read to its end breaks off.",
        )
        .query("limit", integer("Rows in one answer.").within(1..=MAX_LIMIT).default(DEFAULT_LIMIT))
        .query("before", text("Go on behind the request with this id: `next` of the page before."))
        .query("model", text("Only of this model, by its id."))
        .query("key", integer("Only with the key of this id."))
        .query("finish", finish().about("Only those of which a choice ended for this reason."))
        .query("from", time("From then on."))
        .query("to", time("Until then; a day is part of it."))
        .query("format", format())
        .answers("A page of the log.", named("RequestLog"))
        .or_as(CSV, text("The rows, with a line of names."))
        .with_headers(&["content-disposition"])
        .fails(&[404])
}

/// `finish_reason` of a stored request.
pub(super) fn finish() -> Schema {
    text(
        "Why it ended: `stop`, `length`, `tool_calls`; joined by commas if the choices ended for \
         different reasons; `disconnect`, `shutdown`, `error`, `refused` if it was cut short.",
    )
}

fn key_name() -> Schema {
    object(
        "A key as people know it.",
        [
            required("id", integer("Its id.")),
            required("label", text("What its owner calls it.")),
            required("prefix", text("Its first characters.")),
        ],
    )
}

fn sum_fields() -> Vec<Field> {
    let count = |about: &str| integer(about).at_least(0);
    vec![
        required("requests", count("Requests that were taken.")),
        required("input_tokens", count("Tokens of prompts.")),
        required("output_tokens", count("Output tokens.")),
        required("credits", count("Credits that were spent.")),
        required("reversed", count("Credits that went back, which are not among those spent.")),
    ]
}

fn usage_row() -> Schema {
    let mut fields = vec![
        optional("day", text("The day in Kuwait.").format("date")),
        optional("account", text("The account's name.")),
        optional("model", text("The model's id.")),
        optional("key", named("KeyName")),
    ];
    fields.extend(sum_fields());
    object("Sums of what has the same group; of the groups, those that were asked for.", fields)
}

fn usage_report() -> Schema {
    object(
        "Sums of a span of time.",
        [
            object_name("list"),
            required("from", seconds("When the span begins.")),
            required("to", seconds("When it ends.")),
            required("data", list("A row for each group.", named("UsageRow"))),
            required("total", named("UsageSums")),
        ],
    )
}

fn request_row() -> Schema {
    let mut fields = figures();
    fields.extend([
        required("account", text("The account's name.")),
        required("key", named("KeyName")),
        required(
            "tokens_per_second",
            number("The tokens behind the first over the time that they took.").or_null(),
        ),
    ]);
    object("One request.", fields)
}

fn request_log() -> Schema {
    object(
        "A page of the log.",
        [
            object_name("list"),
            required("data", list("The rows.", named("RequestRow"))),
            required("has_more", boolean("Whether there may be more behind them.")),
            required("next", text("The `before` of the next page.").or_null()),
        ],
    )
}
