//! The commands: one file for each, this page for what they share.
//!
//! Promises: every failure ends with one line on standard error that says what would be right, and
//! exit status 1. Never knows: how anything is done; it only calls the modules that do.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line's output is its job")]

mod bench;
mod books;
mod chat;
mod client;
mod expiry;
mod first_start;
mod key;
mod ledger;
mod models;
mod notices;
mod operator;
mod output;
mod pull;
mod sales;
mod serve;
mod usage;
mod user;
mod verify;
mod voucher;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::catalog::ModelEntry;
use crate::config::{Config, ServeFlags, StoreFlags};
use crate::telemetry;

/// Self-hosted LLM inference with built-in credits. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "mizan", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    serve: ServeFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve models over an OpenAI-compatible API (the default)
    Serve(Box<ServeFlags>),
    /// Fetch a model's files
    Pull(pull::PullFlags),
    /// List the models of models.toml; load and unload those of the running server
    Models(models::ModelsFlags),
    /// Talk to a model in the terminal
    Chat(chat::ChatFlags),
    /// Compare a model's logits with candle-transformers, on the file itself
    Verify(verify::VerifyFlags),
    /// Measure tokens a second, or charges
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Create, list, show and close accounts
    #[command(subcommand)]
    Account(books::AccountCommand),
    /// Create, list and revoke the keys of accounts
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Create, list, invite and disable the people who may sign in
    #[command(subcommand)]
    User(user::UserCommand),
    /// Give an account credits
    Grant(books::GrantFlags),
    /// Give or take credits because something was wrong
    Correct(sales::CorrectFlags),
    /// Make, list and void batches of vouchers
    #[command(subcommand)]
    Voucher(voucher::VoucherCommand),
    /// List orders of packs, confirm bank transfers, give money back
    #[command(subcommand)]
    Topup(sales::TopupCommand),
    /// List and settle refunds that wait for the operator
    #[command(subcommand)]
    Refund(sales::RefundCommand),
    /// Money taken and given back, by day and pack
    Revenue(sales::ReportFlags),
    /// What operators did
    Audit(sales::ReportFlags),
    /// Show what an account used, by day, model and key
    Usage(usage::UsageFlags),
    /// Show an account's latest requests
    Requests(usage::RequestsFlags),
    /// Check the books
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
}

/// What a shell sees of a program that a closed pipe ended: 128 and the signal's number.
const CLOSED_PIPE: i32 = 141;

/// Runs the command that the program's arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = cli.command.unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
    if !matches!(command, Command::Serve(_)) {
        end_with_the_reader();
    }
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mizan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Has a command whose output nobody reads any more, as in `mizan models | head -1`, end without a
/// word. Rust ignores the signal for it, and `println!` panics instead.
fn end_with_the_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload_as_str() {
        Some(why) if why.starts_with("failed printing to stdout: Broken pipe") => {
            std::process::exit(CLOSED_PIPE)
        }
        _ => report(panic),
    }));
}

fn run(command: Command) -> Result<()> {
    let is_server = matches!(command, Command::Serve(_));
    telemetry::init_logs(if is_server { "info" } else { "warn" })?;
    match command {
        Command::Serve(flags) => serve::run(*flags),
        Command::Pull(flags) => pull::run(flags),
        Command::Models(flags) => models::run(flags),
        Command::Chat(flags) => chat::run(flags),
        Command::Verify(flags) => verify::run(flags),
        Command::Bench(command) => bench::run(command),
        Command::Account(command) => books::account(command),
        Command::Key(command) => key::run(command),
        Command::User(command) => user::run(command),
        Command::Grant(flags) => books::grant(flags),
        Command::Correct(flags) => sales::correct(flags),
        Command::Voucher(command) => voucher::run(command),
        Command::Topup(command) => sales::topup(command),
        Command::Refund(command) => sales::refund(command),
        Command::Revenue(flags) => sales::revenue(flags),
        Command::Audit(flags) => sales::audit(flags),
        Command::Usage(flags) => usage::usage(flags),
        Command::Requests(flags) => usage::requests(flags),
        Command::Ledger(command) => ledger::run(command),
    }
}

/// The settings a command works with, which are the server's.
fn load_config(store: StoreFlags) -> Result<Arc<Config>> {
    Ok(Arc::new(Config::load(ServeFlags::from(store))?))
}

/// The settings, and the model that `name` (an id, an alias or a path) or their default means.
fn load_model_config(store: StoreFlags, name: Option<String>) -> Result<(Config, ModelEntry)> {
    let mut flags = ServeFlags::from(store);
    if let Some(name) = name {
        flags.settings.models = Some(vec![name]);
    }
    let config = Config::load(flags)?;
    let entry = default_model(&config).clone();
    Ok((config, entry))
}

/// The model that a server with these settings loads first.
fn default_model(config: &Config) -> &ModelEntry {
    let id = config.models.first().expect("settings always name a model");
    config.model(id).expect("every named model is in the catalog")
}

/// A runtime for commands and for the server's HTTP side. The engines have threads of their own, so
/// this one stays small: on a small machine every thread here competes with them.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cpus / 4).clamp(1, 4))
        .max_blocking_threads(32)
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// `12345` -> `12,345`.
fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-12_345, "-12,345"),
            (1_234_567, "1,234,567"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
