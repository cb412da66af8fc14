//! What the ledger sustains: charges a second through the writer, as the server makes them.
//!
//! `cargo bench --bench ledger` runs the real sizes; `cargo test` small ones, and then only checks
//! that the books hold. They are in the system's temporary folder: its disk is what is measured.
//! `mizan bench ledger` has the same charges on books of growing size.

use std::thread;
use std::time::Instant;

use mizan::ledger::load::{Load, Timed, grow};

/// Concurrent requests in the larger workloads.
const STREAMS: usize = 32;

/// What the ledger has to sustain, on any machine that benches are run on.
const CHARGES_PER_SECOND: u64 = 20_000;

fn main() {
    let real = std::env::args().any(|argument| argument == "--bench");
    let (charges, rows) = if real { (40_000, 100_000) } else { (320, 100) };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    println!("books in {}, {} cores", folder.path().display(), cores());
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "workload", "per s", "p50 us", "p99 us", "batch");
    let load = Load::open(&path).expect("fresh books");
    report("charge 1 token, 1 stream", &load.charges(1, charges / 4));
    let busy = load.charges(STREAMS, charges);
    report("charge 1 token, 32 streams", &busy);
    report("charge 1 token, 32 streams a step", &load.steps(STREAMS, charges / STREAMS));
    report("open + 10 charges + close, 32 streams", &load.requests(STREAMS, charges / 16));
    report("grant (fsync), 1 operator", &load.grants(charges / 80));
    drop(load);
    grow(&path, rows).expect("the books grow");
    let load = Load::open(&path).expect("grown books");
    report(&format!("charge 1 token, 32 streams, {rows} rows"), &load.charges(STREAMS, charges));
    let [open, charge, close] = load.one_by_one(charges / 40);
    report("  open, alone", &open);
    report("  charge, alone", &charge);
    report("  close, alone", &close);
    let start = Instant::now();
    let report = load.verify().expect("the books can be read");
    assert!(report.is_ok(), "{report:#?}");
    println!(
        "verified {} transfers, {} meters, {} token ids in {:.0?}",
        report.transfers,
        report.meters,
        report.token_ids,
        start.elapsed()
    );
    let rate = busy.per_second();
    assert!(!real || rate >= CHARGES_PER_SECOND, "{rate} charges a second are too few");
}

/// Prints a workload's line.
fn report(name: &str, timed: &Timed) {
    let micros = |percent| timed.percentile(percent).as_secs_f64() * 1e6;
    println!(
        "{name:<44} {:>9} {:>9.0} {:>9.0} {:>9.1}",
        timed.per_second(),
        micros(50),
        micros(99),
        timed.tenths_of_batch() as f64 / 10.0
    );
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
