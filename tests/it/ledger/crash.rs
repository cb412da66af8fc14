//! kill -9 in the middle of work, again and again: what was answered is in the books, and at most
//! what was in flight is there beside it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use mizan::ledger::{Credits, Ledger, LedgerOptions, MeterId, MeterState, NewKeyRequest};

use super::{open, request, singles};
use crate::support::random::Random;

/// Set for the child process: the folder of its books.
const CHILD: &str = "MIZAN_LEDGER_CRASH_FOLDER";
const THREADS: usize = 4;
const TOKENS: u32 = 3;
const KILLS: usize = 12;

/// What one meter's owner was told.
#[derive(Debug, Default)]
struct Told {
    tokens: u32,
    ended: Option<String>,
}

#[test]
fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut random = Random(7);
    let mut kept = Vec::new();
    for _ in 0..KILLS {
        let mut child = start_child(folder.path());
        let told = listen(&mut child, 20 + random.below(400));
        let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
        let report = ledger.verify().unwrap();
        assert!(report.is_ok(), "{report:#?}");
        assert_eq!(report.open_meters, 0);
        compare(&ledger, &told);
        kept.extend(told);
        ledger.shutdown();
    }
    // Nothing that came later has touched what was there before.
    let ledger = Ledger::open(&path, LedgerOptions::default()).unwrap();
    compare(&ledger, &kept.into_iter().collect());
}

/// The test binary once more, as the process that is killed.
fn start_child(folder: &Path) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::the_process_that_is_killed"), "--exact", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads what the child was told, kills it after `lines` of it, and reads what is left in the pipe.
fn listen(child: &mut Child, lines: usize) -> BTreeMap<MeterId, Told> {
    let mut told: BTreeMap<MeterId, Told> = BTreeMap::new();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut count = 0;
    for line in output.lines() {
        let line = line.unwrap();
        // The test harness writes to the same pipe, and the kill may cut the last line.
        let Some((_, line)) = line.split_once('@') else { continue };
        let words: Vec<&str> = line.split(' ').collect();
        let [id, what, "."] = words[..] else { continue };
        let meter = told.entry(id.parse().unwrap()).or_default();
        match what {
            "opened" => {}
            "charged" => meter.tokens += TOKENS,
            ended => meter.ended = Some(ended.to_owned()),
        }
        count += 1;
        if count == lines {
            child.kill().unwrap();
        }
    }
    assert!(count >= lines, "the child ended by itself");
    child.wait().unwrap();
    told
}

fn compare(ledger: &Ledger, told: &BTreeMap<MeterId, Told>) {
    let account = ledger.accounts().unwrap()[0].id;
    for (id, told) in told {
        let record = ledger.generation(account, *id).unwrap().unwrap();
        let in_flight = record.output_tokens.checked_sub(told.tokens);
        assert!(matches!(in_flight, Some(0 | TOKENS)), "{told:?} {record:?}");
        match told.ended.as_deref() {
            Some("closed") => assert_eq!(record.state, MeterState::Closed),
            Some(_) => assert_eq!(record.state, MeterState::Reversed),
            // A stream that had not begun is given back like a plain answer.
            None if record.streamed && record.output_tokens > 0 => {
                assert_eq!(record.state, MeterState::Closed);
            }
            // Its end may have been in flight too.
            None => assert_ne!(record.state, MeterState::Open),
        }
    }
}

/// Does nothing by itself; `what_was_answered_survives_a_kill` runs it in a process of its own.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let path = Path::new(&folder).join("ledger.db");
    let options = LedgerOptions { checkpoint_rows: 500, ..LedgerOptions::default() };
    let ledger = Ledger::open(&path, options).unwrap();
    if ledger.accounts().unwrap().is_empty() {
        ledger.create_account("alice", "default", "test").wait().unwrap();
    }
    let account = ledger.accounts().unwrap()[0].id;
    ledger.grant(account, Credits(1_000_000), "why", "test").wait().unwrap();
    let key = ledger.create_key(NewKeyRequest::new(account, "key"), "test").wait().unwrap().id;
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let ledger = &ledger;
            scope.spawn(move || {
                let mut random = Random(seed as u64);
                loop {
                    let mut request = request(account, key, 2);
                    request.streamed = random.below(2) == 0;
                    let streamed = request.streamed;
                    let meter = open(ledger, request).unwrap();
                    println!("@{meter} opened .");
                    for _ in 0..random.below(8) {
                        ledger.charge(meter, 0, singles(TOKENS as usize)).wait().unwrap();
                        println!("@{meter} charged .");
                    }
                    // A plain answer that was closed is sent next: it is never reversed by a crash.
                    if streamed || random.below(2) == 0 {
                        ledger.close_meter(meter, "stop").wait().unwrap();
                        println!("@{meter} closed .");
                    } else {
                        ledger.reverse_meter(meter, "not sent").wait().unwrap();
                        println!("@{meter} reversed .");
                    }
                }
            });
        }
    });
}
