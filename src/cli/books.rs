//! `mizan account`, `mizan grant`: what an operator does to the books.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::config::StoreFlags;

use super::key::print_keys;
use super::operator::Operator;
use super::output::{OutputFlags, list, number, text};
use super::{load_config, runtime, thousands};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Create an account; it starts without credits
    Create {
        /// Its name, which people and commands use
        name: String,
        /// A plan of models.toml
        #[arg(long, default_value = crate::catalog::DEFAULT_PLAN)]
        plan: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// List all accounts
    List {
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Show an account and its keys
    Show {
        name: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Give an account another plan
    Plan {
        name: String,
        /// A plan of models.toml
        plan: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Freeze an account: it generates nothing until it is thawed
    Freeze {
        name: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Let a frozen account go on
    Thaw {
        name: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Tell an account when its balance is low
    Notice(super::notices::NoticeFlags),
    /// Close an account: its keys stop working, its journal stays
    Close {
        name: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GrantFlags {
    account: String,
    /// Whole credits
    credits: i64,
    /// Why; it stays in the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    output: OutputFlags,
}

pub(crate) fn account(command: AccountCommand) -> Result<()> {
    match command {
        AccountCommand::Create { name, plan, store, output } => {
            let body = json!({ "name": name, "plan": plan });
            let account = call(store, Method::POST, "accounts", Some(body))?;
            output.show(&account, |account| println!("created account {}", text(account, "name")));
        }
        AccountCommand::List { store, output } => {
            output.show(&call(store, Method::GET, "accounts", None)?, print_accounts);
        }
        AccountCommand::Show { name, store, output } => {
            let path = format!("accounts/{}", segment(&name));
            output.show(&call(store, Method::GET, &path, None)?, print_account);
        }
        AccountCommand::Notice(flags) => super::notices::run(flags)?,
        AccountCommand::Plan { name, plan, store, output } => {
            change(store, output, &name, json!({ "plan": plan }))?;
        }
        AccountCommand::Freeze { name, store, output } => {
            change(store, output, &name, json!({ "frozen": true }))?;
        }
        AccountCommand::Thaw { name, store, output } => {
            change(store, output, &name, json!({ "frozen": false }))?;
        }
        AccountCommand::Close { name, store, output } => {
            let path = format!("accounts/{}/close", segment(&name));
            let closed = call(store, Method::POST, &path, Some(json!({})))?;
            output.show(&closed, |_| println!("closed account {name}"));
        }
    }
    Ok(())
}

pub(crate) fn grant(flags: GrantFlags) -> Result<()> {
    let path = format!("accounts/{}/grants", segment(&flags.account));
    let body = json!({ "credits": flags.credits, "reason": flags.reason });
    let granted = call(flags.store, Method::POST, &path, Some(body))?;
    flags.output.show(&granted, |granted| {
        println!(
            "granted {} credits to {}; its balance is {}",
            thousands(flags.credits),
            flags.account,
            thousands(number(granted, "balance")),
        );
    });
    Ok(())
}

/// Calls an admin route of the server on the data folder, or of one of this command's own.
pub(super) fn call(
    store: StoreFlags,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value> {
    let config = load_config(store)?;
    runtime()?.block_on(async {
        let operator = Operator::connect(&config).await?;
        let path = format!("/api/v1/admin/{path}");
        let answer = operator.client.json(method, &path, body.as_ref()).await;
        operator.finish().await;
        answer.context("the ledger refused")
    })
}

fn print_accounts(accounts: &Value) {
    println!("{:<24} {:<12} {:>14}  STATE", "ACCOUNT", "PLAN", "BALANCE");
    for account in list(accounts) {
        println!(
            "{:<24} {:<12} {:>14}  {}",
            text(account, "name"),
            text(account, "plan"),
            thousands(number(account, "balance")),
            state_of(account),
        );
    }
}

fn state_of(account: &Value) -> &'static str {
    match (account["closed_at"].is_null(), account["frozen_at"].is_null()) {
        (false, _) => "closed",
        (true, false) => "frozen",
        (true, true) => "open",
    }
}

/// Changes an account and shows it.
fn change(store: StoreFlags, output: OutputFlags, name: &str, change: Value) -> Result<()> {
    let path = format!("accounts/{}", segment(name));
    let account = call(store, Method::PATCH, &path, Some(change))?;
    output.show(&account, |account| {
        println!("account {name} is {}, plan {}", state_of(account), text(account, "plan"));
    });
    Ok(())
}

fn print_account(account: &Value) {
    println!("account  {} (plan {})", text(account, "name"), text(account, "plan"));
    for (label, field) in [
        ("balance", "balance"),
        ("credits", "total_credits"),
        ("used", "total_usage"),
        ("in flight", "open"),
    ] {
        println!("{label:<9} {:>14}", thousands(number(account, field)));
    }
    print_keys(&account["keys"]);
}

/// A name as one segment of a path (RFC 3986, 2.1: everything but unreserved characters).
pub(super) fn segment(name: &str) -> String {
    name.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("team-a.b_c~9"), "team-a.b_c~9");
        assert_eq!(segment("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
    }
}
