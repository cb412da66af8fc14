//! `mizan usage`, `mizan requests`: what an account used, and for what.

use anyhow::{Context, Result};
use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::books::segment;
use super::operator::Operator;
use super::output::{list, number, text};
use super::{load_config, runtime, thousands};
use crate::config::StoreFlags;

#[derive(Debug, Args)]
pub(crate) struct UsageFlags {
    account: String,
    /// The first day, such as 2026-03-01, in Kuwait's time [default: 29 days ago]
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// The last day, which is included [default: today]
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// What to tell apart, in the order of the rows: any of day, model, key
    #[arg(long, value_name = "LIST", default_value = "day")]
    by: String,
    /// Print JSON, as GET /api/v1/admin/usage answers it
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Debug, Args)]
pub(crate) struct RequestsFlags {
    account: String,
    /// How many, the newest first: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Print JSON, as GET /api/v1/admin/generations answers it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreFlags,
}

pub(crate) fn usage(flags: UsageFlags) -> Result<()> {
    let UsageFlags { account, from, to, by, json, csv, store } = flags;
    let mut path = format!("usage?account={}&group_by={}", segment(&account), segment(&by));
    for (name, value) in [("from", from), ("to", to)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(&value)));
        }
    }
    if csv {
        path.push_str("&format=csv");
    }
    let answer = read(store, &path)?;
    if json || csv {
        print!("{answer}");
        return end_of_line(&answer);
    }
    let usage: Value = serde_json::from_str(&answer)?;
    for group in by.split(',') {
        print!("{:<width$}  ", group.to_uppercase(), width = width(group));
    }
    println!("{}", line(["REQUESTS", "INPUT", "OUTPUT", "CREDITS"].map(str::to_owned)));
    for row in list(&usage) {
        for group in by.split(',') {
            let shown = match group {
                "key" => text(&row["key"], "label"),
                other => text(row, other),
            };
            print!("{shown:<width$}  ", width = width(group));
        }
        println!("{}", line(sums(row)));
    }
    let indent: usize = by.split(',').map(|group| width(group) + 2).sum();
    println!("{:<indent$}{}", "total", line(sums(&usage["total"])));
    Ok(())
}

pub(crate) fn requests(flags: RequestsFlags) -> Result<()> {
    let path = format!("generations?account={}&limit={}", segment(&flags.account), flags.limit);
    let answer = read(flags.store, &path)?;
    if flags.json {
        print!("{answer}");
        return end_of_line(&answer);
    }
    let log: Value = serde_json::from_str(&answer)?;
    println!(
        "{:<32}  {:<24}  {:<12} {:>7} {:>7} {:>8} {:>8} {:>9}  FINISH",
        "REQUEST", "MODEL", "KEY", "INPUT", "OUTPUT", "CREDITS", "FIRST ms", "TOTAL ms",
    );
    for row in list(&log) {
        let millis = |field: &str| row[field].as_i64().map_or("-".to_owned(), |ms| ms.to_string());
        println!(
            "{:<32}  {:<24}  {:<12} {:>7} {:>7} {:>8} {:>8} {:>9}  {}",
            text(row, "id"),
            text(row, "model"),
            text(&row["key"], "label"),
            number(row, "tokens_prompt"),
            number(row, "tokens_completion"),
            number(row, "credits"),
            millis("time_to_first_token"),
            millis("generation_time"),
            row["finish_reason"].as_str().unwrap_or("running"),
        );
    }
    Ok(())
}

/// The text of an answer of the admin routes.
fn read(store: StoreFlags, path: &str) -> Result<String> {
    let config = load_config(store)?;
    runtime()?.block_on(async {
        let operator = Operator::connect(&config).await?;
        let path = format!("/api/v1/admin/{path}");
        let answer = operator.client.text(Method::GET, &path).await;
        operator.finish().await;
        answer.context("the ledger refused")
    })
}

/// JSON comes without a line's end, CSV with one.
fn end_of_line(printed: &str) -> Result<()> {
    if !printed.ends_with('\n') {
        println!();
    }
    Ok(())
}

fn width(group: &str) -> usize {
    if group == "day" { 10 } else { 24 }
}

fn sums(row: &Value) -> [String; 4] {
    ["requests", "input_tokens", "output_tokens", "credits"]
        .map(|field| thousands(number(row, field)))
}

fn line(cells: [String; 4]) -> String {
    let [requests, input, output, credits] = cells;
    format!("{requests:>10} {input:>14} {output:>14} {credits:>14}")
}
