//! Being told that a balance is low: a team's own notices, and any team's for the operator.

use super::super::notices::MAX_LISTED;
use super::operation::{Group, Operation, get, put};
use super::schema::{
    Schema, boolean, constant, data_of, integer, list_of, named, object, optional, request,
    required, seconds, text,
};
use crate::ledger::{MAX_AMOUNT, MAX_NOTICE_URL_CHARS};

pub(super) fn group() -> Group {
    let of_account = |operation: Operation| operation.path("name", text("The account's name."));
    let own = "/api/v1/notices/low-balance";
    let any = "/api/v1/admin/accounts/{name}/notices/low-balance";
    Group {
        tag: "Notices",
        about: "Signed webhooks that tell of a low balance.",
        operations: vec![
            list(get("/api/v1/notices", "listNotices", "List what the account was told")),
            show(get(own, "getLowBalance", "Show when the account is told")),
            set(put(own, "setLowBalance", "Set when the account is told")),
            list(of_account(get(
                "/api/v1/admin/accounts/{name}/notices",
                "listNoticesOfAccount",
                "List what an account was told",
            ))),
            show(of_account(get(any, "getLowBalanceOfAccount", "Show when an account is told"))),
            set(of_account(put(any, "setLowBalanceOfAccount", "Set when an account is told"))),
        ],
        schemas: vec![
            ("LowBalance", low_balance()),
            ("Notice", notice()),
            ("LowBalanceRequest", low_balance_request()),
        ],
    }
}

fn list(operation: Operation) -> Operation {
    let about = format!("The newest first, {MAX_LISTED} at most.");
    operation.answers("The notices.", list_of(&about, named("Notice")))
}

fn show(operation: Operation) -> Operation {
    operation.answers("The setting.", data_of(named("LowBalance")))
}

fn set(operation: Operation) -> Operation {
    operation
        .body(named("LowBalanceRequest"))
        .answers("The setting.", data_of(named("LowBalance")))
        .fails(&[422])
}

fn low_balance_request() -> Schema {
    let below = "Tell when the balance is below so many credits. Without it, nobody is told.";
    let url = "Where to. Default: it only shows here and in the log of notices.";
    request(
        "When to tell, and where.",
        [
            optional("below", integer(below).within(1..=MAX_AMOUNT)),
            optional("url", text(url).chars(1..=MAX_NOTICE_URL_CHARS).format("uri")),
        ],
    )
}

fn low_balance() -> Schema {
    object(
        "When a team is told that its balance is low.",
        [
            required("below", integer("Below so many credits; null: never.").or_null()),
            required("url", text("Where it is told.").or_null()),
            required("balance", integer("The balance now.").at_least(0)),
            required("is_low", boolean("Whether it is below.")),
            required("told_at", seconds("When it was told last.").or_null()),
            optional("secret", text("What notices are signed with; shown when `url` is set.")),
        ],
    )
}

fn notice() -> Schema {
    object(
        "A notice.",
        [
            required("id", text("Its id.")),
            required("type", constant("balance.low", "What it tells.")),
            required("created", seconds("When the balance fell.")),
            required("balance", integer("The balance then.").at_least(0)),
            required("threshold", integer("The bound that it fell below.")),
            required("url", text("Where it is sent.").or_null()),
            required("tries", integer("How often it was sent.").at_least(0)),
            required("next_try_at", seconds("When it is sent again.").or_null()),
            required("sent_at", seconds("When it was taken.").or_null()),
            required("error", text("Why it was not taken.").or_null()),
        ],
    )
}
