//! The keys of an account: its own routes, and the operator's.

use super::account::{limit_reset, scopes};
use super::operation::{Group, Operation, delete, get, post};
use super::schema::{
    Field, Schema, boolean, either, integer, list, list_of, named, object, optional, request,
    required, seconds, text, word,
};
use crate::api::keys::MAX_SECS;
use crate::ledger::{MAX_AMOUNT, MAX_NAME_CHARS, NewKeyRequest, Scope, Scopes};

pub(super) fn group() -> Group {
    let of_account = |operation: Operation| operation.path("name", text("The account's name."));
    let keys = "/api/v1/admin/accounts/{name}/keys";
    Group {
        tag: "Keys",
        about: "What programs show to be let in. A secret is shown once.",
        operations: vec![
            list_keys(get("/api/v1/keys", "listKeys", "List the account's keys")),
            create(post("/api/v1/keys", "createKey", "Make a key"))
                .about("A key can be given no scope that its maker has not got."),
            revoke(delete("/api/v1/keys/{id}", "revokeKey", "Revoke a key")),
            list_keys(of_account(get(keys, "listKeysOfAccount", "List an account's keys"))),
            create(of_account(post(keys, "createKeyOfAccount", "Make a key for an account"))),
            revoke(delete("/api/v1/admin/keys/{id}", "revokeAnyKey", "Revoke any key")),
        ],
        schemas: vec![("Key", key()), ("NewKey", new_key()), ("NewKeyRequest", new_key_request())],
    }
}

fn list_keys(operation: Operation) -> Operation {
    operation.answers("The keys.", list_of("All of them, revoked ones too.", named("Key")))
}

fn create(operation: Operation) -> Operation {
    operation
        .body(named("NewKeyRequest"))
        .answers("The key and its secret.", named("NewKey"))
        .fails(&[404, 422])
}

fn revoke(operation: Operation) -> Operation {
    let revoked = object(
        "It is refused from now on.",
        [required("id", integer("Its id.")), required("revoked", boolean("True."))],
    );
    operation.path("id", integer("The key's id.")).answers("It is revoked.", revoked)
}

fn new_key_request() -> Schema {
    let words = Scope::ALL.map(Scope::as_str);
    let default: Vec<&str> = NewKeyRequest::DEFAULT_SCOPES.iter().map(Scope::as_str).collect();
    let scopes = either(
        "What it may do.",
        [
            list("As words.", word("A scope.", &words)).not_empty(),
            text("The words joined by commas.").example(Scopes::ALL.to_string()),
        ],
    );
    let credits = |about: &str| integer(about).within(0..=MAX_AMOUNT);
    request(
        "The key to be made.",
        [
            required("label", text("What it is called.").chars(1..=MAX_NAME_CHARS)),
            optional("scopes", scopes.default(default)),
            optional("limit", credits("Credits it may spend in one period. Default: no limit.")),
            optional("limit_reset", limit_reset()),
            optional("total_limit", credits("Credits it may spend in its life.")),
            optional(
                "expires_at",
                seconds("From then on it is refused; in the future.").within(0..=MAX_SECS),
            ),
        ],
    )
}

fn of_request() -> Vec<Field> {
    vec![
        required("scopes", scopes("What it may do.")),
        required("limit", integer("Credits it may spend in one period.").or_null()),
        required("limit_reset", limit_reset().or_null()),
        required("total_limit", integer("Credits it may spend in its life.").or_null()),
        required("expires_at", seconds("From then on it is refused.").or_null()),
    ]
}

fn named_key() -> Vec<Field> {
    vec![
        required("id", integer("Its id.")),
        required("prefix", text("Its first characters, by which people know it.")),
        required("label", text("What it is called.")),
    ]
}

fn new_key() -> Schema {
    let mut fields = named_key();
    fields.extend([
        required("secret", text("The key itself. It can not be read again.")),
        required("account", text("The account's name.")),
    ]);
    fields.extend(of_request());
    object("A key that was just made.", fields)
}

fn key() -> Schema {
    let mut fields = named_key();
    fields.extend(of_request());
    fields.extend([
        required("user", integer("Who made it; null: the operator.").or_null()),
        required("usage", integer("Credits it has spent.").at_least(0)),
        required("created_at", seconds("When it was made.")),
        required("last_used_at", seconds("When it was used last.").or_null()),
        required("expired", boolean("Whether its time is over.")),
        required("revoked", boolean("Whether it was revoked.")),
    ]);
    object("A key, without its secret.", fields)
}
