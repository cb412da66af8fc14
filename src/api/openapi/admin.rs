//! What the operator does to accounts and balances, and what the books hold.

use super::super::admin::{DEFAULT_ENTRIES, MAX_ENTRIES};
use super::operation::{Group, Operation, get, patch, post};
use super::schema::{
    Field, Schema, any, boolean, integer, list, list_of, named, object, object_name, optional,
    request, required, seconds, text, word,
};
use crate::catalog::DEFAULT_PLAN;
use crate::ledger::{MAX_AMOUNT, MAX_NAME_CHARS, MAX_REASON_CHARS};

pub(super) fn group() -> Group {
    let account = |operation: Operation| operation.path("name", text("The account's name."));
    let one = "/api/v1/admin/accounts/{name}";
    Group {
        tag: "Admin",
        about: "Running the place: accounts, balances, plans, books.",
        operations: vec![
            get("/api/v1/admin/accounts", "listAccounts", "List the accounts")
                .answers("The accounts.", list_of("Closed ones too.", named("Account"))),
            post("/api/v1/admin/accounts", "createAccount", "Make an account")
                .body(request(
                    "The account.",
                    [required("name", name()), optional("plan", plan().default(DEFAULT_PLAN))],
                ))
                .answers("The account.", named("Account"))
                .fails(&[422]),
            account(get(one, "getAccount", "Show an account and its keys"))
                .answers("The account.", account_with_keys()),
            account(patch(one, "changeAccount", "Change an account's plan, freeze it or thaw it"))
                .about("Give one of the fields at least. A frozen account generates nothing.")
                .body(request(
                    "What changes.",
                    [
                        optional("plan", plan()),
                        optional("frozen", boolean("Whether it is frozen.")),
                    ],
                ))
                .answers("The account.", named("Account"))
                .fails(&[422]),
            account(post(
                "/api/v1/admin/accounts/{name}/close",
                "closeAccount",
                "Close an account for good",
            ))
            .answers("The account.", named("Account"))
            .fails(&[422]),
            balance_change(
                account(post(
                    "/api/v1/admin/accounts/{name}/grants",
                    "grantCredits",
                    "Give credits",
                )),
                integer("Credits to give.").within(1..=MAX_AMOUNT),
            ),
            balance_change(
                account(post(
                    "/api/v1/admin/accounts/{name}/corrections",
                    "correctBalance",
                    "Correct a balance",
                ))
                .about("A new entry in the journal; nothing is changed in place."),
                integer("Credits to give, or to take with a minus; not 0.")
                    .within(-MAX_AMOUNT..=MAX_AMOUNT),
            ),
            get("/api/v1/admin/plans", "listPlans", "List the plans")
                .answers("The plans.", list_of("Of the server's settings.", named("Plan"))),
            get("/api/v1/admin/audit", "listAudit", "List what operators did")
                .query("before", integer("Entries before the one with this id."))
                .query(
                    "limit",
                    integer("Entries in one answer; more are cut.")
                        .within(1..=MAX_ENTRIES)
                        .default(DEFAULT_ENTRIES),
                )
                .query("actor", text("Only what this one did."))
                .query(
                    "action",
                    text("Only this action, or all that begin with it and a dot.")
                        .example("account"),
                )
                .answers("The entries.", audit_page()),
            export(),
        ],
        schemas: vec![
            ("Account", object("An account.", account_fields())),
            ("BalanceChange", balance()),
            ("Plan", object("The limits of a plan.", plan_limits())),
            ("AuditEntry", audit_entry()),
        ],
    }
}

fn name() -> Schema {
    text("Its name.").chars(1..=MAX_NAME_CHARS)
}

fn plan() -> Schema {
    text("The plan's name; `GET /api/v1/admin/plans` lists them.")
}

/// Why the books are changed.
pub(super) fn reason() -> Schema {
    text("Why; the journal keeps it.").chars(1..=MAX_REASON_CHARS)
}

fn balance_change(operation: Operation, credits: Schema) -> Operation {
    operation
        .idempotent("The same key changes the balance once.")
        .body(request(
            "The change and its reason.",
            [required("credits", credits), required("reason", reason())],
        ))
        .answers("The balance.", named("BalanceChange"))
}

fn balance() -> Schema {
    object(
        "A balance that was changed.",
        [
            required("account", text("The account's name.")),
            required("credits", integer("The change.")),
            required("balance", integer("The balance afterwards.").at_least(0)),
        ],
    )
}

fn account_fields() -> Vec<Field> {
    vec![
        required("id", integer("Its id.")),
        required("name", text("Its name.")),
        required("plan", text("Its plan, which sets its limits.")),
        required("balance", integer("Credits it has.").at_least(0)),
        required("total_credits", integer("All that it ever got.").at_least(0)),
        required("total_usage", integer("All that it spent.").at_least(0)),
        required("open", integer("Credits of requests that run now.").at_least(0)),
        required("created_at", seconds("When it was made.")),
        required("closed_at", seconds("When it was closed.").or_null()),
        required("frozen_at", seconds("When it was frozen.").or_null()),
    ]
}

fn account_with_keys() -> Schema {
    let mut fields = account_fields();
    fields.push(required("keys", list("Its keys.", named("Key"))));
    object("An account and its keys.", fields)
}

/// The fields of a plan.
pub(super) fn plan_limits() -> Vec<Field> {
    let limit = |about: &str| integer(&format!("{about} Null: no limit.")).at_least(0).or_null();
    vec![
        required("name", text("Its name.")),
        required("max_requests_per_minute", limit("Requests a minute.")),
        required("max_input_tokens_per_minute", limit("Input tokens a minute.")),
        required("max_prompt_tokens", limit("Tokens of one prompt.")),
        required("max_concurrent_requests", limit("Requests at the same time.")),
    ]
}

fn audit_page() -> Schema {
    object(
        "A part of the audit.",
        [
            object_name("list"),
            required("data", list("The latest first.", named("AuditEntry"))),
            required("has_more", boolean("Whether there are earlier ones.")),
            required("next", integer("What `before` is for the next ones.").or_null()),
        ],
    )
}

fn audit_entry() -> Schema {
    object(
        "What somebody did.",
        [
            required("id", integer("Its number.")),
            required("at", seconds("When.")),
            required("actor", text("Who.")),
            required("action", text("What.")),
            required("detail", any("To what, and how.")),
        ],
    )
}

fn export() -> Operation {
    let time = |about: &str| {
        text(&format!("{about} A day of Kuwait such as `2026-03-01`.")).format("date")
    };
    get("/api/v1/admin/export", "exportBooks", "Export rows of the books")
        .about("Sent while they are read; what can not be read to its end breaks off.")
        .query("account", text("Only of this account, by name."))
        .query("from", time("The first day."))
        .query("to", time("The last day."))
        .query("what", word("Transfers, or requests.", &["journal", "usage"]).default("journal"))
        .query("format", word("How rows are written.", &["csv", "jsonl"]).default("csv"))
        .answers_as(200, "The rows.", "text/csv", text("With a line of names."))
        .or_as("application/jsonl", text("A JSON object on each line."))
        .fails(&[404])
}
