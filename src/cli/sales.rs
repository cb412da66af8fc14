//! `mizan topup`, `mizan refund`, `mizan correct`, `mizan revenue`, `mizan audit`: what an operator
//! does about money and about what went wrong.

use anyhow::Result;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::books::{call, segment};
use super::output::{OutputFlags, list, number, text};
use super::thousands;
use crate::config::StoreFlags;
use crate::ledger::rfc3339;

#[derive(Debug, Subcommand)]
pub(crate) enum TopupCommand {
    /// List orders, the latest first
    List {
        /// Only this account's
        #[arg(long)]
        account: Option<String>,
        /// Only those in this state: created, pending, paid, failed, expired or cancelled
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Say that the money of a bank transfer has arrived; its credits are given at once
    Confirm {
        /// The order, as `mizan topup list` shows it
        id: String,
        /// What arrived in KWD, such as 2.000
        #[arg(long, value_name = "KWD")]
        amount: String,
        /// The bank's name for the transfer
        #[arg(long, value_name = "TEXT")]
        reference: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Ask the provider now how an order stands
    Check {
        id: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// List money that needs a look: payments that do not fit, transfers to confirm
    Review {
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Say what you did about a payment that does not fit its order
    Settle {
        id: String,
        /// What was done; it stays in the audit
        #[arg(long, value_name = "TEXT")]
        note: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Give the money back for credits that are not spent
    Refund {
        id: String,
        /// How many credits [default: all that are left of it]
        #[arg(long)]
        credits: Option<i64>,
        /// Why; it stays in the journal
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RefundCommand {
    /// List refunds that wait for you: made by hand, or of unknown fate
    List {
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Say what became of one: `done`, or `failed`, which gives the credits back
    Settle {
        id: String,
        /// done or failed
        outcome: String,
        /// The bank's or the provider's name for it, or why it failed
        #[arg(long, value_name = "TEXT")]
        reference: Option<String>,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CorrectFlags {
    account: String,
    /// Credits to give, or to take with a minus
    #[arg(allow_hyphen_values = true)]
    credits: i64,
    /// Why; it stays in the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ReportFlags {
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    output: OutputFlags,
}

pub(crate) fn topup(command: TopupCommand) -> Result<()> {
    match command {
        TopupCommand::List { account, status, store, output } => {
            let mut query = Vec::new();
            for (name, value) in [("account", account), ("status", status)] {
                query.extend(value.map(|value| format!("{name}={}", segment(&value))));
            }
            let orders = call(store, Method::GET, &format!("topups?{}", query.join("&")), None)?;
            output.show(&orders, |orders| {
                let (id, kwd) = ("ORDER", "KWD");
                println!(
                    "{id:<32}  {:<18} {:<8} {kwd:>10} {:>9}  STATUS",
                    "ACCOUNT", "BY", "CREDITS"
                );
                list(orders).for_each(print_order);
            });
        }
        TopupCommand::Confirm { id, amount, reference, store, output } => {
            let body = json!({ "amount_kwd": amount, "reference": reference });
            let path = format!("topups/{}/confirm", segment(&id));
            let order = call(store, Method::POST, &path, Some(body))?;
            output.show(&order, print_order);
        }
        TopupCommand::Check { id, store, output } => {
            let path = format!("topups/{}/check", segment(&id));
            let order = call(store, Method::POST, &path, Some(json!({})))?;
            output.show(&order, print_order);
        }
        TopupCommand::Review { store, output } => {
            let review = call(store, Method::GET, "reconciliation", None)?;
            output.show(&review, |review| {
                for order in list(review) {
                    print_order(order);
                    let why = format!("needs {} {}", text(order, "needs"), text(order, "problem"));
                    println!("  {}", why.trim_end());
                }
                list(&review["refunds"]).for_each(print_refund);
            });
        }
        TopupCommand::Settle { id, note, store, output } => {
            let path = format!("topups/{}/settle", segment(&id));
            let order = call(store, Method::POST, &path, Some(json!({ "note": note })))?;
            output.show(&order, print_order);
        }
        TopupCommand::Refund { id, credits, reason, store, output } => {
            let body = json!({ "credits": credits, "reason": reason });
            let path = format!("topups/{}/refunds", segment(&id));
            let refund = call(store, Method::POST, &path, Some(body))?;
            output.show(&refund, print_refund);
        }
    }
    Ok(())
}

pub(crate) fn refund(command: RefundCommand) -> Result<()> {
    match command {
        RefundCommand::List { store, output } => {
            let refunds = call(store, Method::GET, "refunds", None)?;
            output.show(&refunds, |refunds| list(refunds).for_each(print_refund));
        }
        RefundCommand::Settle { id, outcome, reference, store, output } => {
            let body = json!({ "outcome": outcome, "reference": reference });
            let path = format!("refunds/{}/settle", segment(&id));
            let refund = call(store, Method::POST, &path, Some(body))?;
            output.show(&refund, print_refund);
        }
    }
    Ok(())
}

pub(crate) fn correct(flags: CorrectFlags) -> Result<()> {
    let path = format!("accounts/{}/corrections", segment(&flags.account));
    let body = json!({ "credits": flags.credits, "reason": flags.reason });
    let corrected = call(flags.store, Method::POST, &path, Some(body))?;
    flags.output.show(&corrected, |corrected| {
        println!(
            "corrected {} by {}; its balance is {}",
            flags.account,
            thousands(flags.credits),
            thousands(number(corrected, "balance")),
        );
    });
    Ok(())
}

pub(crate) fn revenue(flags: ReportFlags) -> Result<()> {
    let revenue = call(flags.store, Method::GET, "revenue", None)?;
    flags.output.show(&revenue, |revenue| {
        let (paid, refunded) = ("PAID KWD", "REFUNDED");
        println!(
            "{:<12} {:<16} {:<10} {:>7} {paid:>12} {refunded:>12}",
            "DAY", "PACK", "BY", "ORDERS"
        );
        for day in list(revenue) {
            println!(
                "{:<12} {:<16} {:<10} {:>7} {:>12} {:>12}",
                text(day, "day"),
                text(day, "pack"),
                text(day, "provider"),
                number(day, "orders"),
                text(day, "paid_kwd"),
                text(day, "refunded_kwd"),
            );
        }
        println!("revenue {} KWD", text(&revenue["total"], "revenue_kwd"));
    });
    Ok(())
}

pub(crate) fn audit(flags: ReportFlags) -> Result<()> {
    let audit = call(flags.store, Method::GET, "audit?limit=1000", None)?;
    flags.output.show(&audit, |audit| {
        for entry in list(audit) {
            println!(
                "{}  {:<26} {:<18} {}",
                rfc3339(number(entry, "at").saturating_mul(1000)),
                text(entry, "actor"),
                text(entry, "action"),
                text(entry, "detail"),
            );
        }
    });
    Ok(())
}

fn print_order(order: &Value) {
    println!(
        "{}  {:<18} {:<8} {:>10} {:>9}  {}",
        text(order, "id"),
        text(order, "account"),
        text(order, "provider"),
        text(order, "price_kwd"),
        thousands(number(order, "credits")),
        text(order, "status"),
    );
}

fn print_refund(refund: &Value) {
    println!(
        "{}  of order {}  {} credits, {} KWD  {}",
        text(refund, "id"),
        text(refund, "topup"),
        thousands(number(refund, "credits")),
        text(refund, "amount_kwd"),
        text(refund, "status"),
    );
}
