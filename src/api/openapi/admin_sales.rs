//! Orders, refunds and vouchers as the operator sees them.

use super::super::admin::{MAX_EXPIRE_DAYS, MAX_ORDERS, MAX_VOUCHERS, NEEDS};
use super::admin::reason;
use super::billing::{kwd, topup_fields};
use super::operation::{Group, Operation, get, post};
use super::schema::{
    Field, Schema, integer, list, list_of, named, object, object_name, optional, request, required,
    seconds, text, word,
};
use crate::ledger::{MAX_AMOUNT, MAX_NAME_CHARS, MAX_PROVIDER_ID_CHARS, RefundState, TopupState};

pub(super) fn group() -> Group {
    let mut operations = orders();
    operations.extend(refunds());
    operations.extend(vouchers());
    Group {
        tag: "Admin: sales",
        about: "Orders, refunds and vouchers of all accounts.",
        operations,
        schemas: vec![
            ("Order", object("An order, for the operator.", order_fields())),
            ("Refund", refund()),
            ("VoucherBatch", object("Vouchers that were made together.", batch_fields())),
            ("Revenue", revenue()),
        ],
    }
}

fn of_order(operation: Operation) -> Operation {
    operation.path("id", text("The order's id."))
}

fn orders() -> Vec<Operation> {
    let statuses: Vec<&str> = TopupState::ALL.iter().map(|state| state.as_str()).collect();
    let confirm = request(
        "What arrived.",
        [
            required(
                "amount_kwd",
                kwd("The amount; it has to be the order's.").pattern("^[0-9]+(\\.[0-9]{1,3})?$"),
            ),
            required(
                "reference",
                text("What the bank calls the transfer.").chars(1..=MAX_PROVIDER_ID_CHARS),
            ),
        ],
    );
    vec![
        get("/api/v1/admin/topups", "listOrders", "List orders")
            .query("account", text("Only of this account, by name."))
            .query("status", word("Only those that stand there.", &statuses))
            .query("provider", text("Only those of this provider."))
            .answers(
                "The orders.",
                list_of(&format!("The latest {MAX_ORDERS}, the newest first."), named("Order")),
            )
            .fails(&[404]),
        of_order(get("/api/v1/admin/topups/{id}", "getOrder", "Show an order"))
            .answers("With its refunds and what the provider sent.", order_page()),
        of_order(post("/api/v1/admin/topups/{id}/check", "checkOrder", "Ask the provider"))
            .answers("The order.", named("Order"))
            .fails(&[422, 502]),
        of_order(post(
            "/api/v1/admin/topups/{id}/confirm",
            "confirmOrder",
            "Confirm that a bank transfer arrived",
        ))
        .body(confirm)
        .answers("The order, paid.", named("Order"))
        .fails(&[422]),
        of_order(post(
            "/api/v1/admin/topups/{id}/settle",
            "settleOrder",
            "Say what was done about money that does not fit an order",
        ))
        .body(request("What was done.", [required("note", reason())]))
        .answers("The order.", named("Order"))
        .fails(&[422]),
        get("/api/v1/admin/reconciliation", "listUnreconciled", "List money that needs a look")
            .about(
                "First payments that do not fit their order, which nobody was given credits for; \
                 then transfers to confirm, then orders whose payment is awaited.",
            )
            .answers("The orders and refunds.", unreconciled()),
        get("/api/v1/admin/revenue", "getRevenue", "Sum up the money")
            .answers("By day of Kuwait and pack.", named("Revenue")),
    ]
}

fn refunds() -> Vec<Operation> {
    let ask = request(
        "What is given back.",
        [
            optional(
                "credits",
                integer("Credits to take back. Default: all that can be.").within(1..=MAX_AMOUNT),
            ),
            required("reason", reason()),
        ],
    );
    let settle = request(
        "What became of it.",
        [
            required(
                "outcome",
                word("`done`: the money is back; `failed`: it is not.", &["done", "failed"]),
            ),
            optional(
                "reference",
                text("What the provider calls the refund, or why it failed.")
                    .chars(1..=MAX_PROVIDER_ID_CHARS),
            ),
        ],
    );
    vec![
        of_order(post("/api/v1/admin/topups/{id}/refunds", "refundOrder", "Give money back"))
            .about("One whose fate is not known stays pending until it is settled.")
            .idempotent("The same key gives back once.")
            .body(ask)
            .answers("The refund.", named("Refund"))
            .fails(&[502]),
        get("/api/v1/admin/refunds", "listRefunds", "List refunds that wait for the operator")
            .answers("The refunds.", list_of("Those that are pending.", named("Refund"))),
        post("/api/v1/admin/refunds/{id}/settle", "settleRefund", "Say what became of a refund")
            .path("id", text("The refund's id."))
            .body(settle)
            .answers("The refund.", named("Refund"))
            .fails(&[422, 502]),
    ]
}

fn vouchers() -> Vec<Operation> {
    let new = request(
        "The batch.",
        [
            required("batch", text("What it is called.").chars(1..=MAX_NAME_CHARS)),
            required("credits", integer("Credits of each voucher.").within(1..=MAX_AMOUNT)),
            optional("count", integer("How many.").within(1..=MAX_VOUCHERS).default(1)),
            optional(
                "expire_days",
                integer("Days until they are worth nothing. Default: never.")
                    .within(1..=MAX_EXPIRE_DAYS),
            ),
        ],
    );
    let mut made = batch_fields();
    made.push(required("codes", list("The codes. They can not be read again.", text("A code."))));
    vec![
        get("/api/v1/admin/vouchers", "listVouchers", "List batches of vouchers")
            .answers("The batches.", list_of("Without their codes.", named("VoucherBatch"))),
        post("/api/v1/admin/vouchers", "createVouchers", "Make vouchers")
            .body(new)
            .answers("The batch and its codes.", object("Vouchers that were just made.", made))
            .fails(&[422]),
        post("/api/v1/admin/vouchers/{batch}/void", "voidVouchers", "Void a batch")
            .about("What is left of it can not be redeemed any more.")
            .path("batch", text("The batch's name."))
            .answers("The batch.", named("VoucherBatch")),
    ]
}

fn order_fields() -> Vec<Field> {
    let mut fields = topup_fields();
    fields.extend([
        required("account", text("The account's name.")),
        required("actor", text("Who ordered.")),
        required("provider_order_id", text("What the provider calls the order.").or_null()),
        required("provider_payment_id", text("What it calls the payment.").or_null()),
        required("checked_at", seconds("When the provider was asked last.").or_null()),
    ]);
    fields
}

fn order_page() -> Schema {
    let event = object(
        "Something that the provider sent.",
        [
            required("received_at", seconds("When it came.")),
            required("verdict", text("What was made of it.")),
        ],
    );
    let mut fields = order_fields();
    fields.extend([
        required("refunds", list("Its refunds.", named("Refund"))),
        required("events", list("What the provider sent.", event)),
    ]);
    object("An order with all that belongs to it.", fields)
}

fn unreconciled() -> Schema {
    let mut fields = order_fields();
    fields.extend([
        required("needs", word("What it waits for.", &NEEDS)),
        required("problem", text("What does not fit.").or_null()),
        required("seen_at", seconds("When that was seen.").or_null()),
    ]);
    object(
        "Money that needs a look.",
        [
            object_name("list"),
            required("data", list("Orders.", object("An order and what it needs.", fields))),
            required("refunds", list("Refunds that wait to be settled.", named("Refund"))),
        ],
    )
}

fn refund() -> Schema {
    object(
        "Money that goes back.",
        [
            required("id", text("Its id.")),
            object_name("refund"),
            required("topup", text("The order's id.")),
            required(
                "status",
                word("Where it stands.", &RefundState::ALL.map(RefundState::as_str)),
            ),
            required("credits", integer("Credits that were taken back.").at_least(1)),
            required("amount_kwd", kwd("What they are worth.")),
            required("reason", text("Why.")),
            required("actor", text("Who gave it.")),
            required("provider_refund_id", text("What the provider calls it.").or_null()),
            required("created_at", seconds("When it was begun.")),
            required("ended_at", seconds("When it was done or failed.").or_null()),
        ],
    )
}

fn batch_fields() -> Vec<Field> {
    vec![
        required("batch", text("What it is called.")),
        required("credits", integer("Credits of each voucher.").at_least(1)),
        required("count", integer("How many were made.").at_least(1)),
        required("redeemed", integer("How many were redeemed.").at_least(0)),
        required("created_at", seconds("When they were made.")),
        required("expires_at", seconds("From then on they are worth nothing.").or_null()),
        required("voided_at", seconds("When they were voided.").or_null()),
    ]
}

fn revenue() -> Schema {
    let day = object(
        "A day, a pack and a provider.",
        [
            required("day", text("The day in Kuwait.").format("date")),
            required("pack", text("The pack.")),
            required("provider", text("The provider.")),
            required("orders", integer("Orders that were paid.").at_least(0)),
            required("credits", integer("Credits that were sold.").at_least(0)),
            required("paid_kwd", kwd("What came in.")),
            required("refunded_kwd", kwd("What went back.")),
        ],
    );
    let total = object(
        "Of all days.",
        [
            required("paid_kwd", kwd("What came in.")),
            required("refunded_kwd", kwd("What went back.")),
            required("revenue_kwd", kwd("What is left.")),
        ],
    );
    object(
        "Money.",
        [
            object_name("list"),
            required("data", list("By day, pack and provider.", day)),
            required("total", total),
        ],
    )
}
