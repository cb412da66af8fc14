//! How an account gets credits, and what payment providers call.

use super::super::billing::MAX_EMAIL_BYTES;
use super::operation::{Group, get, post};
use super::schema::{
    Field, Schema, any, constant, either, integer, list, list_of, named, object, object_name,
    optional, request, required, seconds, text, word,
};
use crate::ledger::TopupState;

pub(super) fn group() -> Group {
    let topup = || text("The order's id.");
    let asks = &[502, 503];
    let order = request(
        "What is bought.",
        [
            required("pack", text("The pack's id.").example("starter")),
            optional(
                "provider",
                text("Who takes the payment, by name; needed if there are several."),
            ),
            optional(
                "email",
                text("Where the provider may send its own receipt.")
                    .chars(1..=MAX_EMAIL_BYTES)
                    .format("email"),
            ),
        ],
    );
    Group {
        tag: "Billing",
        about: "Packs, orders, vouchers, and payment providers' callbacks.",
        operations: vec![
            get("/api/v1/packs", "listPacks", "List what is for sale")
                .answers("The packs, and who takes payments.", packs()),
            post("/api/v1/topups", "createTopup", "Order a pack")
                .about("The credits come when the provider says that it is paid; `next` says how.")
                .idempotent("The same key orders once. Without one, each request is an order.")
                .body(order)
                .answers("The order.", named("OrderedTopup"))
                .fails(&[404, 409, 422, 429])
                .fails(asks),
            get("/api/v1/topups", "listTopups", "List the account's orders")
                .answers("The orders.", list_of("The newest first.", named("Topup"))),
            get("/api/v1/topups/{id}", "getTopup", "Show an order")
                .about("Asks the provider, not more often than every few seconds, if it is open.")
                .path("id", topup())
                .answers("The order.", named("OrderedTopup"))
                .fails(asks),
            get("/api/v1/topups/{id}/receipt", "getPurchaseReceipt", "Prove a purchase")
                .path("id", topup())
                .answers("The receipt.", named("SignedReceipt"))
                .fails(&[422]),
            post("/api/v1/vouchers/redeem", "redeemVoucher", "Get credits for a code")
                .body(request(
                    "The voucher.",
                    [required("code", text("Its code; case and dashes do not count."))],
                ))
                .answers(
                    "The credits are there.",
                    object(
                        "What came of it.",
                        [
                            required("credits", integer("Credits of the voucher.").at_least(1)),
                            required("balance", integer("The balance afterwards.").at_least(0)),
                        ],
                    ),
                )
                .fails(&[404, 422, 429]),
            post("/api/v1/payments/{provider}/webhook", "takeCallback", "Hear from a provider")
                .about("For payment providers, who prove themselves by their signature.")
                .path("provider", text("The provider's name."))
                .raw_body("application/json", any("What the provider sends."))
                .answers(
                    "It needs not be sent again.",
                    object(
                        "What was done with it.",
                        [required(
                            "status",
                            word(
                                "`ignored`: it was about no order of ours.",
                                &["received", "ignored"],
                            ),
                        )],
                    ),
                )
                .fails(asks),
            get("/topups/{id}/return", "returnFromProvider", "Come back from paying")
                .about("A page for the customer's browser.")
                .path("id", topup())
                .answers_as(200, "How the order stands.", "text/html", page())
                .answers_as(404, "There is no such order.", "text/html", page())
                .answers_as(503, "It can not be told now.", "text/html", page()),
        ],
        schemas: vec![("Topup", object("An order.", topup_fields())), ("OrderedTopup", ordered())],
    }
}

fn page() -> Schema {
    text("A page without scripts.")
}

/// An amount of money.
pub(super) fn kwd(about: &str) -> Schema {
    text(&format!("{about} KWD, with three decimals.")).example("2.000")
}

fn packs() -> Schema {
    let pack = object(
        "A pack.",
        [
            required("id", text("Its id.")),
            required("credits", integer("What is in it.").at_least(1)),
            required("price_fils", integer("Its price in fils; 1000 are 1 KWD.").at_least(1)),
            required("price_kwd", kwd("Its price.")),
            required("currency", constant("KWD", "Of the price.")),
            required(
                "price_per_credit_kwd",
                text("What one credit costs, for people: five decimals, cut."),
            ),
        ],
    );
    object(
        "What is for sale.",
        [
            object_name("list"),
            required("data", list("The packs.", pack)),
            required("providers", list("Who takes payments.", text("A provider's name."))),
        ],
    )
}

/// The fields of an order that customers and operators see.
pub(super) fn topup_fields() -> Vec<Field> {
    let mut statuses: Vec<&str> = TopupState::ALL.iter().map(|state| state.as_str()).collect();
    statuses.extend(["partially_refunded", "refunded"]);
    vec![
        required("id", text("Its id.")),
        object_name("topup"),
        required("status", word("Where it stands.", &statuses)),
        required("pack", text("The pack that is bought.")),
        required("credits", integer("What is in it.").at_least(1)),
        required("price_fils", integer("The price in fils.").at_least(1)),
        required("price_kwd", kwd("The price.")),
        required("provider", text("Who takes the payment.")),
        required("refunded_credits", integer("Credits that went back.").at_least(0)),
        required("refunded_kwd", kwd("Money that went back.")),
        required("created_at", seconds("When it was ordered.")),
        required("expires_at", seconds("From then on it can not be paid.")),
        required("paid_at", seconds("When it was paid.").or_null()),
    ]
}

fn ordered() -> Schema {
    let redirect = object(
        "Open this page.",
        [
            required("type", constant("redirect", "The kind of step.")),
            required("url", text("Where the customer pays.").format("uri")),
        ],
    );
    let instructions = object(
        "Follow these words.",
        [
            required("type", constant("instructions", "The kind of step.")),
            required("text", text("What the customer has to do.")),
        ],
    );
    let next = either("What the customer does next; null: nothing.", [redirect, instructions]);
    let mut fields = topup_fields();
    fields.push(required("next", next.or_null()));
    object("An order, and how to pay for it.", fields)
}
