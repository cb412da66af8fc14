//! `mizan ledger`: checks the books, copies them, puts a copy back, prints their rows, and checks
//! receipts.

mod copies;
mod export;
mod receipt;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::config::StoreFlags;
use crate::ledger::{self, VerifyReport};

use super::{load_config, thousands};

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Recompute balances, the hash chain and the meters, and recount stored tokens
    Verify {
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Copy the books, and the server's keys, into a new file; a server may be running
    Backup {
        /// The file to write; the keys are written beside it, with .keys added
        file: PathBuf,
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Put a backup in the place of the books, which are kept; no server may be running
    Restore {
        /// A file that `mizan ledger backup` wrote
        file: PathBuf,
        /// Restore although what is newer than the backup is then no longer in the books
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        store: StoreFlags,
    },
    /// Print the journal, or usage by request, as rows for other programs
    Export(export::ExportFlags),
    /// Check a signed receipt
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
}

pub(crate) fn run(command: LedgerCommand) -> Result<()> {
    match command {
        LedgerCommand::Verify { store } => verify(store),
        LedgerCommand::Backup { file, store } => copies::backup(store, &file),
        LedgerCommand::Restore { file, yes, store } => copies::restore(store, &file, yes),
        LedgerCommand::Export(flags) => export::run(&flags),
        LedgerCommand::Receipt(command) => receipt::run(command),
    }
}

/// Reads only, so it also runs beside a server that serves.
fn verify(store: StoreFlags) -> Result<()> {
    let path = books(store)?;
    let report = ledger::verify_file(&path)?;
    print_report(&report);
    for finding in &report.findings {
        println!("{finding}");
    }
    let damages = report.damages;
    ensure!(
        report.is_ok(),
        "the books contradict themselves in {damages} places, first shown first"
    );
    println!("the books are right");
    Ok(())
}

/// The path of books that are there.
fn books(store: StoreFlags) -> Result<PathBuf> {
    let path = load_config(store)?.ledger_path();
    ensure!(path.exists(), "there are no books at {}: the first start makes them", path.display());
    Ok(path)
}

fn print_report(report: &VerifyReport) {
    for (what, number) in [
        ("accounts", report.accounts),
        ("keys", report.keys),
        ("transfers", report.transfers),
        ("meters", report.meters),
        ("open meters", report.open_meters),
        ("stored tokens", report.token_ids),
    ] {
        println!("{what:<13} {number:>12}");
    }
}
