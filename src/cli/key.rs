//! `mizan key`: the keys of accounts.

use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use crate::config::StoreFlags;

use super::books::{call, segment};
use super::output::{OutputFlags, list, number, text};
use super::thousands;

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
        #[command(flatten)]
        output: OutputFlags,
    },
    /// List an account's keys
    List {
        account: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Revoke a key, at once
    Revoke {
        /// The key's number, as `mizan key list` shows it
        id: i64,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

pub(crate) fn run(command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create { account, label, limit, limit_reset, store, output } => {
            let path = format!("accounts/{}/keys", segment(&account));
            let body = json!({ "label": label, "limit": limit, "limit_reset": limit_reset });
            let key = call(store, Method::POST, &path, Some(body))?;
            output.show(&key, |key| {
                println!("{}", text(key, "secret"));
                eprintln!("key {} of {account}; it is not shown again", number(key, "id"));
            });
        }
        KeyCommand::List { account, store, output } => {
            let path = format!("accounts/{}/keys", segment(&account));
            output.show(&call(store, Method::GET, &path, None)?, print_keys);
        }
        KeyCommand::Revoke { id, store, output } => {
            let revoked = call(store, Method::DELETE, &format!("keys/{id}"), None)?;
            output.show(&revoked, |_| println!("revoked key {id}"));
        }
    }
    Ok(())
}

pub(super) fn print_keys(keys: &Value) {
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
