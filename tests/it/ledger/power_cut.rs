//! A cheap power cut: what was committed without an fsync may be lost from the end on, so the books
//! are opened with every prefix of their WAL. Each time they must be as they were at some commit.

use std::fs;
use std::path::Path;

use mizan::ledger::{Ledger, MeterState};
use rusqlite::Connection;

use super::model::Model;
use super::simulation::Simulation;
use super::{Books, MARCH, Random, options};

/// What is compared: accounts with their balance, meters with their end and their ids.
type Observed = (Vec<(i64, i64)>, Vec<(Vec<u8>, String, u32, u32)>);

/// Runs commands and keeps the model after each; every command is one commit.
fn history(simulation: &mut Simulation, commands: usize, random: &mut Random) -> Vec<Model> {
    let mut states = vec![simulation.model().clone()];
    for index in 0..commands {
        match (index, random.below(10)) {
            (0..2, _) => simulation.create_account(),
            (2..4, _) => simulation.grant(),
            (_, 0) => simulation.grant(),
            (_, 1..4) => simulation.open(),
            (_, 4..8) => simulation.charge(),
            (_, 8) => simulation.close(),
            (_, _) => simulation.reverse(),
        }
        states.push(simulation.model().clone());
    }
    states
}

#[test]
fn every_prefix_of_the_wal_is_the_books_at_some_commit() {
    let mut random = Random(1);
    let mut simulation = Simulation::new(1);
    let states = history(&mut simulation, 60, &mut random);
    let expected: Vec<Observed> = states.iter().map(after_recovery).collect();
    let books = simulation.books();
    let database = fs::read(books.path()).unwrap();
    let wal = fs::read(books.path().with_extension("db-wal")).unwrap();

    let mut cuts = frame_ends(&wal);
    cuts.extend((0..60).map(|_| usize::try_from(random.below(wal.len() as u64)).unwrap()));
    cuts.sort_unstable();
    // The longer the prefix, the later the commit.
    let mut at = 0;
    for cut in cuts {
        let found = recover(books, &database, &wal[..cut]);
        let later = expected[at..].iter().position(|state| *state == found);
        at += later.unwrap_or_else(|| panic!("{cut} of {}: {found:#?}", wal.len()));
    }
    assert_eq!(expected[at], expected[expected.len() - 1], "the whole WAL is the whole history");
}

/// The disk wrote the end of the WAL, but not what was before it.
#[test]
fn a_torn_wal_is_the_books_at_some_commit() {
    let mut random = Random(2);
    let mut simulation = Simulation::new(2);
    let states = history(&mut simulation, 40, &mut random);
    let expected: Vec<Observed> = states.iter().map(after_recovery).collect();
    let books = simulation.books();
    let database = fs::read(books.path()).unwrap();
    let wal = fs::read(books.path().with_extension("db-wal")).unwrap();
    for _ in 0..60 {
        let mut torn = wal.clone();
        let start = usize::try_from(random.below(wal.len() as u64)).unwrap();
        let end = (start + 512).min(wal.len());
        torn[start..end].iter_mut().for_each(|byte| *byte = !*byte);
        let found = recover(books, &database, &torn);
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
             FROM meter ORDER BY id",
        )
        .unwrap();
    let meters = meters
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap();
    (accounts.map(Result::unwrap).collect(), meters.map(Result::unwrap).collect())
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
    (accounts, meters.collect())
}
