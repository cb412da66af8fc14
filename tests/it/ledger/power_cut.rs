//! A cheap power cut: what was committed without an fsync may be lost from the end on, so the books
//! are opened with every prefix of their WAL. Each time they must be as they were at some commit,
//! and what was answered as surviving a power cut must be there.

use std::fs;
use std::path::Path;

use mizan::ledger::{Ledger, MeterState};
use rusqlite::Connection;

use super::model::Model;
use super::simulation::Simulation;
use super::{Books, MARCH, options};
use crate::support::random::Random;

/// What is compared: accounts with their balance, meters with their end and their ids, and sales.
type Observed = (Vec<(i64, i64)>, Vec<(Vec<u8>, String, u32, u32)>, Sold);

/// Orders with their state and refunded credits, refunds with theirs, vouchers redeemed.
type Sold = (Vec<(Vec<u8>, String, i64)>, Vec<(Vec<u8>, String)>, i64);

/// Books that lived, and what a power cut may leave of them.
struct History {
    simulation: Simulation,
    /// What a new process makes of the books as they were after each commit.
    expected: Vec<Observed>,
    /// How long the WAL was after each, and whether it was to survive a power cut.
    commits: Vec<(usize, bool)>,
    database: Vec<u8>,
    wal: Vec<u8>,
}

/// Runs commands, each of which is one commit.
fn history(seed: u64, commands: usize, random: &mut Random) -> History {
    let mut simulation = Simulation::new(seed);
    let mut expected = vec![after_recovery(simulation.model())];
    let path = simulation.books().path();
    let wal = path.with_extension("db-wal");
    let wal_len = || usize::try_from(fs::metadata(&wal).unwrap().len()).unwrap();
    let mut commits = vec![(wal_len(), true)];
    for index in 0..commands {
        let kind = random.below(20);
        match (index, kind) {
            (0..2, _) => simulation.create_account(),
            (2..4, _) => simulation.grant(),
            (_, 0) => simulation.grant(),
            (_, 1..4) => simulation.open(),
            (_, 4..8) => simulation.charge(),
            (_, 8) => simulation.close(),
            (_, 9) => simulation.reverse(),
            (_, _) => simulation.sale(),
        }
        expected.push(after_recovery(simulation.model()));
        // A command that wrote nothing had nothing to make durable.
        let wrote = wal_len() > commits[index].0;
        commits.push((wal_len(), wrote && (index < 4 || kind == 0 || kind > 9)));
    }
    let database = fs::read(&path).unwrap();
    let wal = fs::read(&wal).unwrap();
    History { simulation, expected, commits, database, wal }
}

#[test]
fn every_prefix_of_the_wal_is_the_books_at_some_commit() {
    let mut random = Random(1);
    let History { simulation, expected, database, wal, .. } = history(1, 90, &mut random);
    let mut cuts = frame_ends(&wal);
    cuts.extend((0..60).map(|_| random.below(wal.len())));
    cuts.sort_unstable();
    // The longer the prefix, the later the commit.
    let mut at = 0;
    for cut in cuts {
        let found = recover(simulation.books(), &database, &wal[..cut]);
        let later = expected[at..].iter().position(|state| *state == found);
        at += later.unwrap_or_else(|| panic!("{cut} of {}: {found:#?}", wal.len()));
    }
    assert_eq!(expected[at], expected[expected.len() - 1], "the whole WAL is the whole history");
}

/// The power goes after some command: the WAL is there at least up to the last commit that was to
/// survive that, which takes all before it with it, and at most up to the last of all.
#[test]
fn what_was_answered_about_money_survives_a_power_cut() {
    let mut random = Random(3);
    let History { simulation, expected, commits, database, wal } = history(3, 140, &mut random);
    for last in 0..commits.len() {
        let durable = (0..=last).rev().find(|&index| commits[index].1).unwrap();
        let (from, to) = (commits[durable].0, commits[last].0);
        let cut = from + random.below(to - from + 1);
        let found = recover(simulation.books(), &database, &wal[..cut]);
        assert!(expected[durable..=last].contains(&found), "{durable}..={last}: {found:#?}");
    }
    let money = commits.iter().filter(|(_, durable)| *durable).count();
    assert!((25..110).contains(&money), "{money} of {}: of both kinds", commits.len());
}

/// The disk wrote the end of the WAL, but not what was before it.
#[test]
fn a_torn_wal_is_the_books_at_some_commit() {
    let mut random = Random(2);
    let History { simulation, expected, database, wal, .. } = history(2, 60, &mut random);
    for _ in 0..60 {
        let mut torn = wal.clone();
        let start = random.below(wal.len());
        let end = (start + 512).min(wal.len());
        torn[start..end].iter_mut().for_each(|byte| *byte = !*byte);
        let found = recover(simulation.books(), &database, &torn);
        assert!(expected.contains(&found), "{start}..{end}: {found:#?}");
    }
}

/// Opens a copy as after a power cut, proves it, and reads it.
fn recover(books: &Books, database: &[u8], wal: &[u8]) -> Observed {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = folder.path().join("ledger.db");
    fs::write(&path, database).unwrap();
    fs::write(path.with_extension("db-wal"), wal).unwrap();
    let ledger = Ledger::open(&path, options(&books.clock)).unwrap();
    let report = ledger.verify().unwrap();
    assert!(report.is_ok(), "{report:#?}");
    observe(&path)
}

fn frame_ends(wal: &[u8]) -> Vec<usize> {
    let page = u32::from_be_bytes(wal[8..12].try_into().unwrap());
    let frame = 24 + usize::try_from(page).unwrap();
    let frames = (wal.len() - 32) / frame;
    assert!(frames > 100, "{frames} frames are too few to say anything");
    [0, 32].into_iter().chain((1..=frames).map(|index| 32 + index * frame)).collect()
}

fn observe(path: &Path) -> Observed {
    let conn = Connection::open(path).unwrap();
    let mut accounts =
        conn.prepare("SELECT id,balance FROM account WHERE kind='team' ORDER BY id").unwrap();
    let accounts = accounts.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut meters = conn
        .prepare(
            "SELECT id,state,output_tokens,
               (SELECT coalesce(sum(length(token_ids)/4),0) FROM charge WHERE meter_id=meter.id)
                 +length(last_ids)/4
             FROM meter ORDER BY id",
        )
        .unwrap();
    let meters = meters
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap();
    let mut topups =
        conn.prepare("SELECT id,state,refunded_credits FROM topup ORDER BY id").unwrap();
    let topups = topups.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut refunds = conn.prepare("SELECT id,state FROM refund ORDER BY id").unwrap();
    let refunds = refunds.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let redeemed = conn.query_row("SELECT count(redeemed_by) FROM voucher", [], |row| row.get(0));
    let sold = (
        topups.map(Result::unwrap).collect(),
        refunds.map(Result::unwrap).collect(),
        redeemed.unwrap(),
    );
    (accounts.map(Result::unwrap).collect(), meters.map(Result::unwrap).collect(), sold)
}

/// The model's books once a new process has opened them.
fn after_recovery(model: &Model) -> Observed {
    let mut model = model.clone();
    model.crash(MARCH);
    let accounts = model.accounts.keys().map(|id| (id.0, model.balance(*id))).collect();
    let meters = model.meters.iter().map(|(id, meter)| {
        let tokens = meter.tokens();
        let (state, ids) = match meter.state {
            MeterState::Open => unreachable!("recovery leaves none open"),
            MeterState::Closed => ("closed", tokens),
            MeterState::Reversed => ("reversed", 0),
        };
        (id.0.to_vec(), state.to_owned(), tokens, ids)
    });
    let topups = model.sales.topups.iter().map(|(id, topup)| {
        let (.., refunded, _) = model.sales.order(*id);
        (id.0.to_vec(), topup.state.as_str().to_owned(), refunded)
    });
    let refunds = model.sales.refunds.iter();
    let refunds = refunds.map(|(id, refund)| (id.0.to_vec(), refund.state.as_str().to_owned()));
    let sold = (topups.collect(), refunds.collect(), model.sales.redeemed());
    (accounts, meters.collect(), sold)
}
