//! `mizan ledger receipt check`: what a receipt says, and whether this server said it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;

use crate::config::StoreFlags;
use crate::ledger::{PublicKey, Receipt, ServerKeys, check_receipt};

use super::{load_config, thousands};

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Check a receipt offline, with the server's public key
    Check {
        /// The receipt, as `GET /api/v1/generations/{id}/receipt` gave it
        file: PathBuf,
        /// The public key, or a file that has it, such as the answer of `GET /api/v1/receipt-key`
        /// [default: that of the data folder]
        #[arg(long, value_name = "KEY|FILE")]
        key: Option<String>,
        #[command(flatten)]
        store: StoreFlags,
    },
}

pub(super) fn run(command: ReceiptCommand) -> Result<()> {
    let ReceiptCommand::Check { file, key, store } = command;
    let key = match key {
        Some(key) => given(&key)?,
        None => {
            let path = ServerKeys::path_beside(&load_config(store)?.ledger_path());
            ServerKeys::read(&path).context("give the public key with --key")?.public_key()
        }
    };
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    print(&check_receipt(&text, &key)?);
    println!("signed by      key {}", key.id());
    println!("the receipt is right");
    Ok(())
}

/// A public key as itself, or in a file: alone, or in the server's answer.
fn given(key: &str) -> Result<PublicKey> {
    if !Path::new(key).exists() {
        return key.parse().with_context(|| format!("{key} is neither a file nor a key"));
    }
    let text = fs::read_to_string(key).with_context(|| key.to_owned())?;
    let answer: Option<Value> = serde_json::from_str(&text).ok();
    let inside = answer.as_ref().and_then(|answer| answer["data"]["public_key"].as_str());
    inside.unwrap_or(&text).parse().with_context(|| key.to_owned())
}

fn print(receipt: &Receipt) {
    let line = |name: &str, text: &str| println!("{name:<14} {text}");
    let transfer = match receipt {
        Receipt::Charge(charge) => {
            line("receipt for", &format!("request {}", charge.request));
            line("account", &format!("{} (key {}...)", charge.account, charge.key));
            line("model", &format!("{} (SHA-256 {})", charge.model, charge.model_sha256));
            line("input", &format!("{} tokens, free", thousands(charge.input_tokens)));
            let (tokens, rate) = (thousands(charge.output_tokens), charge.credits_per_token);
            line("output", &format!("{tokens} tokens at {rate} credits"));
            line("tokens' ids", &format!("SHA-256 {}", charge.ids_sha256));
            line("paid", &format!("{} credits", thousands(charge.credits)));
            &charge.transfer
        }
        Receipt::Purchase(purchase) => {
            line("receipt for", &format!("purchase {}", purchase.request));
            line("account", &purchase.account);
            let credits = thousands(purchase.credits);
            line("bought", &format!("{credits} credits (pack {})", purchase.pack));
            line("paid", &format!("{} {}", purchase.amount, purchase.currency));
            line("through", &format!("{}, reference {}", purchase.provider, purchase.reference));
            &purchase.transfer
        }
    };
    line("journal", &format!("transfer {} at {}", transfer.seq, transfer.time));
    line("hash", &transfer.hash);
    line("after", &transfer.prev_hash);
}
