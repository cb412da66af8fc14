//! The ledger's figures on `/metrics`.
//! Never knows: how the books are kept or checked.

use super::AppState;
use crate::ledger::CommitTimes;
use crate::telemetry::{figure, histogram};

/// Appends them to a page. What can not be read is left out: the page is how an operator sees it.
pub(super) async fn render(page: &mut String, state: &AppState) {
    let stats = state.ledger.stats();
    figure(page, "mizan_ledger_commits_total", "counter", "Transactions committed.", stats.commits);
    figure(
        page,
        "mizan_ledger_commands_total",
        "counter",
        "Commands in them, refused ones included.",
        stats.commands,
    );
    let CommitTimes { counts, sum_micros } = stats.commit_times;
    histogram(
        page,
        "mizan_ledger_commit_seconds",
        "From a transaction's begin to its end on disk.",
        CommitTimes::BOUNDS_MICROS,
        &counts,
        sum_micros,
    );
    let read = state.read_ledger(|ledger| Ok((ledger.chain_head()?.seq, ledger.wal_bytes()))).await;
    if let Ok((transfers, wal_bytes)) = read {
        let help = "Transfers in the journal.";
        figure(page, "mizan_ledger_transfers", "gauge", help, transfers);
        let help = "Length of the write-ahead log.";
        figure(page, "mizan_ledger_wal_bytes", "gauge", help, wal_bytes);
    }
    if let Some(check) = state.ledger.last_check() {
        let help = "When the whole books were last checked, in Unix seconds.";
        let seconds = check.at_ms / 1_000;
        figure(page, "mizan_ledger_verify_timestamp_seconds", "gauge", help, seconds);
        let help = "1 if that check found the books right, 0 if it found damage.";
        figure(page, "mizan_ledger_verify_ok", "gauge", help, u8::from(check.is_ok));
    }
}
