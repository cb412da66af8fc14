//! `mizan ledger verify`: recomputes the books and names the first row that is wrong.

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::config::StoreFlags;
use crate::ledger;

use super::load_config;

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Recompute balances, the hash chain and the meters, and recount stored tokens
    Verify {
        #[command(flatten)]
        store: StoreFlags,
    },
}

pub(crate) fn run(command: LedgerCommand) -> Result<()> {
    match command {
        LedgerCommand::Verify { store } => verify(store),
    }
}

/// Reads only, so it also runs beside a server that serves.
fn verify(store: StoreFlags) -> Result<()> {
    let config = load_config(store)?;
    let path = config.ledger_path();
    if !path.exists() {
        bail!("there are no books at {}: the first start makes them", path.display());
    }
    let report = ledger::verify_file(&path)?;
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
    for finding in &report.findings {
        println!("{finding}");
    }
    if !report.is_ok() {
        bail!("the books contradict themselves in {} places, first shown first", report.damages);
    }
    println!("the books are right");
    Ok(())
}
