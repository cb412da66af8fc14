//! `mizan account notice`: when an account is told that its balance is low, and where.

use anyhow::Result;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::books::{call, segment};
use super::output::{OutputFlags, number, text};
use super::thousands;
use crate::config::StoreFlags;

#[derive(Debug, Args)]
pub(crate) struct NoticeFlags {
    name: String,
    /// Tell it when its balance falls below this many credits [default: show what is set]
    #[arg(long, value_name = "CREDITS")]
    below: Option<i64>,
    /// Post a signed notice there, too [default: only its dashboard shows it]
    #[arg(long, value_name = "URL", requires = "below")]
    url: Option<String>,
    /// Tell it nothing any more
    #[arg(long, conflicts_with = "below")]
    off: bool,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    output: OutputFlags,
}

pub(crate) fn run(flags: NoticeFlags) -> Result<()> {
    let NoticeFlags { name, below, url, off, store, output } = flags;
    let path = format!("accounts/{}/notices/low-balance", segment(&name));
    let answer = if off || below.is_some() {
        call(store, Method::PUT, &path, Some(json!({ "below": below, "url": url })))?
    } else {
        call(store, Method::GET, &path, None)?
    };
    output.show(&answer, |answer| print_notice(&name, &answer["data"]));
    Ok(())
}

fn print_notice(name: &str, set: &Value) {
    if set["below"].is_null() {
        println!("{name} is told of no balance");
        return;
    }
    let below = thousands(number(set, "below"));
    match set["url"].as_str() {
        Some(url) => println!("{name} is told below {below} credits, at {url}"),
        None => println!("{name} is told below {below} credits, on its dashboard"),
    }
    if set["secret"].is_string() {
        println!("{}", text(set, "secret"));
        eprintln!("the secret that its server checks signatures with");
    }
}
