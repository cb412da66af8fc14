//! `mizan key`: the keys of accounts.

use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use crate::config::StoreFlags;
use crate::ledger::{Clock, Day, NewKeyRequest, Scopes, SystemClock};

use super::books::{call, segment};
use super::expiry::Expiry;
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
        /// What it may do: some of inference,usage,billing,keys,users
        #[arg(long, value_name = "LIST", default_value_t = NewKeyRequest::DEFAULT_SCOPES)]
        scopes: Scopes,
        /// The most credits it may spend [default: no limit]
        #[arg(long, value_name = "CREDITS")]
        limit: Option<i64>,
        /// When the limit starts again: daily, weekly or monthly [default: never]
        #[arg(long, value_name = "PERIOD", requires = "limit")]
        limit_reset: Option<String>,
        /// The most credits it may spend in all, whatever the period [default: no limit]
        #[arg(long, value_name = "CREDITS")]
        total_limit: Option<i64>,
        /// When it ends: 90d, or a day such as 2027-01-31 [default: when it is revoked]
        #[arg(long, value_name = "DAYS|DATE")]
        expires: Option<Expiry>,
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
        KeyCommand::Create {
            account,
            label,
            scopes,
            limit,
            limit_reset,
            total_limit,
            expires,
            store,
            output,
        } => {
            let path = format!("accounts/{}/keys", segment(&account));
            let now_secs = SystemClock.now_ms() / 1000;
            let body = json!({
                "label": label,
                "scopes": scopes.to_string(),
                "limit": limit,
                "limit_reset": limit_reset,
                "total_limit": total_limit,
                "expires_at": expires.map(|expiry| expiry.at(now_secs)),
            });
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
    println!(
        "{:>5}  {:<14} {:<20} {:>14} {:>12} {:>12} {:<10} {:<10} {:<8} SCOPES",
        "KEY", "PREFIX", "LABEL", "LIMIT", "TOTAL LIMIT", "USED", "LAST USED", "EXPIRES", "STATE"
    );
    for key in list(keys) {
        let limit = match (key["limit"].as_i64(), key["limit_reset"].as_str()) {
            (Some(limit), Some(reset)) => format!("{} {reset}", thousands(limit)),
            (Some(limit), None) => thousands(limit),
            (None, _) => "none".to_owned(),
        };
        let total_limit = key["total_limit"].as_i64().map_or("none".to_owned(), thousands);
        let shown = |secs: i64| Day::of(secs.saturating_mul(1000)).to_string();
        let day = |field: &str| key[field].as_i64().map_or("never".to_owned(), shown);
        let state = match (key["revoked"] == true, key["expired"] == true) {
            (true, _) => "revoked",
            (false, true) => "expired",
            (false, false) => "valid",
        };
        let scopes: Vec<&str> = list(&key["scopes"]).filter_map(Value::as_str).collect();
        println!(
            "{:>5}  {:<14} {:<20} {limit:>14} {total_limit:>12} {:>12} {:<10} {:<10} {state:<8} {}",
            number(key, "id"),
            text(key, "prefix"),
            text(key, "label"),
            thousands(number(key, "usage")),
            day("last_used_at"),
            day("expires_at"),
            scopes.join(","),
        );
    }
}
