//! `mizan voucher`: codes that are worth credits, made in batches and printed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::books::{call, segment};
use super::first_start::write_private;
use super::output::{OutputFlags, list, number, text};
use super::thousands;
use crate::config::StoreFlags;

#[derive(Debug, Subcommand)]
pub(crate) enum VoucherCommand {
    /// Make a batch; its codes are shown once
    Create {
        /// The batch's name
        batch: String,
        /// What each is worth
        #[arg(long)]
        credits: i64,
        /// How many
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// Days for which they can be redeemed [default: for ever]; redeemed credits never expire
        #[arg(long, value_name = "N")]
        expire_days: Option<u32>,
        /// Also write a page to print and cut
        #[arg(long, value_name = "FILE.html")]
        sheet: Option<PathBuf>,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// List batches
    List {
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Make what is left of a batch worthless
    Void {
        batch: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

pub(crate) fn run(command: VoucherCommand) -> Result<()> {
    match command {
        VoucherCommand::Create { batch, credits, count, expire_days, sheet, store, output } => {
            let body = json!({
                "batch": batch, "credits": credits, "count": count, "expire_days": expire_days,
            });
            let made = call(store, Method::POST, "vouchers", Some(body))?;
            // The codes go to the screen first: a sheet that can not be written must not lose them.
            output.show(&made, |made| codes(made).for_each(|code| println!("{code}")));
            if let Some(path) = sheet {
                write_sheet(&path, &made)?;
                eprintln!("a page to print is in {}", path.display());
            }
            let worth = thousands(credits);
            eprintln!("{count} vouchers of {worth} credits; the codes are not shown again");
        }
        VoucherCommand::List { store, output } => {
            let batches = call(store, Method::GET, "vouchers", None)?;
            output.show(&batches, |batches| {
                println!(
                    "{:<24} {:>10} {:>7} {:>9}  STATE",
                    "BATCH", "CREDITS", "COUNT", "REDEEMED"
                );
                list(batches).for_each(print_batch);
            });
        }
        VoucherCommand::Void { batch, store, output } => {
            let path = format!("vouchers/{}/void", segment(&batch));
            let voided = call(store, Method::POST, &path, Some(json!({})))?;
            output.show(&voided, print_batch);
        }
    }
    Ok(())
}

fn print_batch(batch: &Value) {
    println!(
        "{:<24} {:>10} {:>7} {:>9}  {}",
        text(batch, "batch"),
        thousands(number(batch, "credits")),
        number(batch, "count"),
        number(batch, "redeemed"),
        if batch["voided_at"].is_null() { "valid" } else { "void" },
    );
}

fn codes(made: &Value) -> impl Iterator<Item = &str> {
    made["codes"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// A page of cards. Codes are money: only the owner of the file can read it.
fn write_sheet(path: &Path, made: &Value) -> Result<()> {
    let credits = thousands(number(made, "credits"));
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Vouchers</title><style>\
         body{font-family:system-ui,sans-serif;display:grid;grid-template-columns:1fr 1fr;gap:6mm}\
         div{border:1px dashed #888;padding:6mm;break-inside:avoid}\
         b{font-size:1.3em}code{display:block;margin-top:4mm;font-size:1.2em}</style>\n",
    );
    for code in codes(made) {
        writeln!(page, "<div><b>{credits} credits</b><code>{code}</code></div>")?;
    }
    write_private(path, &page).with_context(|| format!("cannot write {}", path.display()))
}
