//! `mizan account`, `mizan key`, `mizan grant`: what an operator does to the books.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::config::StoreFlags;

use super::operator::Operator;
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
    },
    /// List all accounts
    List {
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Show an account and its keys
    Show {
        name: String,
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Tell an account when its balance is low
    Notice(super::notices::NoticeFlags),
    /// Close an account: its keys stop working, its journal stays
    Close {
        name: String,
        #[command(flatten)]
        store: StoreFlags,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key; its secret is shown once
    Create {
        /// The account that pays for what the key is used for
        account: String,
        /// What its owner calls it
        #[arg(long, default_value = "key")]
        label: String,
        /// The most credits it may spend [default: no limit]
        #[arg(long, value_name = "CREDITS")]
        limit: Option<i64>,
        /// When the limit starts again: daily, weekly or monthly [default: never]
        #[arg(long, value_name = "PERIOD", requires = "limit")]
        limit_reset: Option<String>,
        #[command(flatten)]
        store: StoreFlags,
    },
    /// List an account's keys
    List {
        account: String,
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Revoke a key, at once
    Revoke {
        /// The key's number, as `mizan key list` shows it
        id: i64,
        #[command(flatten)]
        store: StoreFlags,
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
}

pub(crate) fn account(command: AccountCommand) -> Result<()> {
    match command {
        AccountCommand::Create { name, plan, store } => {
            let body = json!({ "name": name, "plan": plan });
            let account = call(store, Method::POST, "accounts", Some(body))?;
            println!("created account {}", text(&account, "name"));
        }
        AccountCommand::List { store } => {
            let accounts = call(store, Method::GET, "accounts", None)?;
            println!("{:<24} {:<12} {:>14}  STATE", "ACCOUNT", "PLAN", "BALANCE");
            for account in list(&accounts) {
                println!(
                    "{:<24} {:<12} {:>14}  {}",
                    text(account, "name"),
                    text(account, "plan"),
                    thousands(number(account, "balance")),
                    if account["closed_at"].is_null() { "open" } else { "closed" },
                );
            }
        }
        AccountCommand::Show { name, store } => {
            let path = format!("accounts/{}", segment(&name));
            let account = call(store, Method::GET, &path, None)?;
            println!("account  {} (plan {})", text(&account, "name"), text(&account, "plan"));
            for (label, field) in [
                ("balance", "balance"),
                ("credits", "total_credits"),
                ("used", "total_usage"),
                ("in flight", "open"),
            ] {
                println!("{label:<9} {:>14}", thousands(number(&account, field)));
            }
            print_keys(&account["keys"]);
        }
        AccountCommand::Notice(flags) => super::notices::run(flags)?,
        AccountCommand::Close { name, store } => {
            let path = format!("accounts/{}/close", segment(&name));
            call(store, Method::POST, &path, Some(json!({})))?;
            println!("closed account {name}");
        }
    }
    Ok(())
}

pub(crate) fn key(command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create { account, label, limit, limit_reset, store } => {
            let path = format!("accounts/{}/keys", segment(&account));
            let body = json!({ "label": label, "limit": limit, "limit_reset": limit_reset });
            let key = call(store, Method::POST, &path, Some(body))?;
            println!("{}", text(&key, "secret"));
            eprintln!("key {} of {account}; it is not shown again", number(&key, "id"));
        }
        KeyCommand::List { account, store } => {
            let path = format!("accounts/{}/keys", segment(&account));
            print_keys(&call(store, Method::GET, &path, None)?["data"]);
        }
        KeyCommand::Revoke { id, store } => {
            call(store, Method::DELETE, &format!("keys/{id}"), None)?;
            println!("revoked key {id}");
        }
    }
    Ok(())
}

pub(crate) fn grant(flags: GrantFlags) -> Result<()> {
    let path = format!("accounts/{}/grants", segment(&flags.account));
    let body = json!({ "credits": flags.credits, "reason": flags.reason });
    let granted = call(flags.store, Method::POST, &path, Some(body))?;
    println!(
        "granted {} credits to {}; its balance is {}",
        thousands(flags.credits),
        flags.account,
        thousands(number(&granted, "balance")),
    );
    Ok(())
}

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

fn print_keys(keys: &Value) {
    println!("{:>5}  {:<14} {:<24} {:>14}  STATE", "KEY", "PREFIX", "LABEL", "LIMIT");
    for key in list(keys) {
        let limit = match (key["limit"].as_i64(), key["limit_reset"].as_str()) {
            (Some(limit), Some(reset)) => format!("{} {reset}", thousands(limit)),
            (Some(limit), None) => thousands(limit),
            (None, _) => "none".to_owned(),
        };
        println!(
            "{:>5}  {:<14} {:<24} {limit:>14}  {}",
            number(key, "id"),
            text(key, "prefix"),
            text(key, "label"),
            if key["revoked"] == true { "revoked" } else { "valid" },
        );
    }
}

/// The rows of a list, whether it is bare or in `data`.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.get("data").unwrap_or(value).as_array().into_iter().flatten()
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

pub(super) fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
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
