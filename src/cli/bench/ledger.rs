//! `mizan bench ledger`: what a charge costs, on books from empty to as large as asked for.
//!
//! Books of every size are made first, each from the one before. Then the sizes take turns, round
//! by round, so that what the machine does beside is shared by all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::temporary::Temporary;
use crate::cli::thousands;
use crate::ledger::ServerKeys;
use crate::ledger::load::{Load, Timed, grow};

/// Concurrent requests, as of a busy server.
const STREAMS: usize = 32;

#[derive(Debug, Args)]
pub(crate) struct LedgerFlags {
    /// Transfers in the largest journal; smaller ones are measured beside it
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// Measured rounds, after one that only warms up
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Charges of 32 streams in a round
    #[arg(long, default_value_t = 40_000)]
    charges: usize,
    /// Folder for the books, whose disk is measured; a million rows take about a gigabyte
    /// [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Books of one size, and what was measured on them.
struct Size {
    rows: u64,
    bytes: u64,
    load: Load,
    rounds: Vec<Round>,
}

/// Charges a second of many streams; then the times of one alone.
struct Round {
    per_second: u64,
    open: Timed,
    charge: Timed,
    close: Timed,
}

pub(super) fn run(flags: &LedgerFlags) -> Result<()> {
    ensure!(flags.rounds > 0, "at least one round has to be measured");
    ensure!(flags.charges >= STREAMS, "at least {STREAMS} charges are one for each stream");
    // Dropped last, after the books in it.
    let folder = Temporary::create(flags.folder.as_deref(), "ledger")?;
    let rows = sizes_up_to(flags.rows);
    for (index, rows_here) in rows.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| rows[before]);
        make(folder.path(), *rows_here, before)?;
    }
    let opened = rows.into_iter().map(|rows| Size::open(folder.path(), rows));
    let mut sizes = opened.collect::<Result<Vec<Size>>>()?;
    for number in 0..=flags.rounds {
        for size in &mut sizes {
            let round = measure(&size.load, flags.charges);
            if number > 0 {
                size.rounds.push(round);
            }
        }
    }
    print(&sizes);
    if let Some(path) = &flags.json {
        let sizes: Vec<Value> = sizes.iter().map(figures).collect();
        let figures = json!({ "streams": STREAMS, "sizes": sizes });
        fs::write(path, format!("{figures:#}\n")).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Empty books, then ten thousand rows and so on by tens, and what was asked for.
fn sizes_up_to(rows: u64) -> Vec<u64> {
    let tens = [0, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    let mut sizes: Vec<u64> = tens.into_iter().filter(|size| *size < rows).collect();
    sizes.push(rows);
    sizes
}

fn books(folder: &Path, rows: u64) -> PathBuf {
    folder.join(rows.to_string()).join("ledger.db")
}

/// Books of `rows` requests, grown out of a copy of those of `before`. Nobody has them open.
fn make(folder: &Path, rows: u64, before: Option<u64>) -> Result<()> {
    let path = books(folder, rows);
    fs::create_dir(folder.join(rows.to_string()))?;
    let begun = Instant::now();
    match before {
        Some(before) => {
            let before = books(folder, before);
            fs::copy(&before, &path)?;
            fs::copy(ServerKeys::path_beside(&before), ServerKeys::path_beside(&path))?;
        }
        None => drop(Load::open(&path)?),
    }
    grow(&path, rows - before.unwrap_or(0))?;
    eprintln!("made {} rows in {:.1?}", thousands(rows as i64), begun.elapsed());
    Ok(())
}

impl Size {
    fn open(folder: &Path, rows: u64) -> Result<Self> {
        let path = books(folder, rows);
        let bytes = fs::metadata(&path)?.len();
        Ok(Self { rows, bytes, load: Load::open(&path)?, rounds: Vec::new() })
    }
}

fn measure(load: &Load, charges: usize) -> Round {
    let per_second = load.charges(STREAMS, charges).per_second();
    let [open, charge, close] = load.one_by_one((charges / 40).max(1));
    Round { per_second, open, charge, close }
}

fn print(sizes: &[Size]) {
    println!(
        "{:>12} {:>9} {:>20} {:>17} {:>17} {:>17}",
        "", "", "charges/s, 32 at once", "charge, us", "open, us", "close, us"
    );
    println!(
        "{:>12} {:>9} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "rows", "MiB", "median", "least", "p50", "p99", "p50", "p99", "p50", "p99"
    );
    for size in sizes {
        let rates = sorted(size.rounds.iter().map(|round| round.per_second));
        print!(
            "{:>12} {:>9} {:>10} {:>10}",
            thousands(size.rows as i64),
            size.bytes >> 20,
            thousands(rates[rates.len() / 2] as i64),
            thousands(rates[0] as i64)
        );
        for of in [charge_of, open_of, close_of] {
            for percent in [50, 99] {
                let micros = median_micros(size, of, percent);
                print!(" {micros:>8.1}");
            }
        }
        println!();
    }
}

fn charge_of(round: &Round) -> &Timed {
    &round.charge
}

fn open_of(round: &Round) -> &Timed {
    &round.open
}

fn close_of(round: &Round) -> &Timed {
    &round.close
}

/// The median over the rounds of a round's percentile.
fn median_micros(size: &Size, of: fn(&Round) -> &Timed, percent: usize) -> f64 {
    let times: Vec<Duration> =
        sorted(size.rounds.iter().map(|round| of(round).percentile(percent)));
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values
}

fn figures(size: &Size) -> Value {
    let micros = |of: fn(&Round) -> &Timed| {
        let [p50, p99] = [50, 99].map(|percent| median_micros(size, of, percent));
        json!({ "p50": p50, "p99": p99 })
    };
    json!({
        "rows": size.rows,
        "bytes": size.bytes,
        "charges_per_second": size.rounds.iter().map(|round| round.per_second).collect::<Vec<_>>(),
        "charge_micros": micros(charge_of),
        "open_micros": micros(open_of),
        "close_micros": micros(close_of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_end_with_what_was_asked_for() {
        assert_eq!(sizes_up_to(0), [0]);
        assert_eq!(sizes_up_to(10_000), [0, 10_000]);
        assert_eq!(sizes_up_to(50_000), [0, 10_000, 50_000]);
    }

    #[test]
    fn books_of_every_size_are_real() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 0, None).unwrap();
        make(folder.path(), 50, Some(0)).unwrap();
        let large = Size::open(folder.path(), 50).unwrap();
        let round = measure(&large.load, STREAMS);
        assert!(round.per_second > 0);
        let report = large.load.verify().unwrap();
        assert!(report.is_ok(), "{report:?}");
        // A grant, what it grew by, each stream's request, and one alone.
        assert_eq!(report.transfers, 1 + 50 + STREAMS as u64 + 1);
    }
}
