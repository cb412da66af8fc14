//! `mizan ledger export`: rows of the books on standard output.

use std::io;

use anyhow::Result;
use clap::Args;

use crate::config::StoreFlags;
use crate::ledger::{Day, ExportError, ExportFormat, ExportQuery, ExportWhat, export_file};

use super::books;
use crate::cli::CLOSED_PIPE;

#[derive(Debug, Args)]
pub(crate) struct ExportFlags {
    /// Only this account [default: all]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// The first day, such as 2026-03-01, in Kuwait's time [default: the first there is]
    #[arg(long, value_name = "DATE")]
    from: Option<Day>,
    /// The last day, which is included [default: today]
    #[arg(long, value_name = "DATE")]
    to: Option<Day>,
    /// csv, or jsonl for a JSON object on each line
    #[arg(long, default_value = "csv")]
    format: ExportFormat,
    /// journal for transfers, usage for requests
    #[arg(long, default_value = "journal")]
    what: ExportWhat,
    #[command(flatten)]
    store: StoreFlags,
}

/// Reads only, so it also runs beside a server that serves.
pub(super) fn run(flags: &ExportFlags) -> Result<()> {
    let path = books(flags.store.clone())?;
    let query = ExportQuery {
        account: flags.account.clone(),
        from: flags.from,
        to: flags.to,
        what: flags.what,
        format: flags.format,
    };
    match export_file(&path, &query, &mut io::stdout().lock()) {
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            std::process::exit(CLOSED_PIPE)
        }
        exported => Ok(exported?),
    }
}
