//! Exported rows are the rows of the books, and add up to their balances.

use mizan::ledger::{ExportError, ExportFormat, ExportQuery, ExportWhat, export_file};
use serde_json::Value;

use super::{Books, DAY_MS, Ending, MARCH};

/// Three days: credits on the first, requests on the others.
fn three_days() -> Books {
    let books = Books::new();
    let (alice, bob) = (books.account("alice", 1_000), books.account("bob", 500));
    let (hers, his) = (books.key(alice, None), books.key(bob, None));
    books.set_clock(MARCH + DAY_MS);
    books.used_meter(alice, hers, 5, Ending::Closed);
    books.used_meter(bob, his, 1, Ending::Closed);
    books.set_clock(MARCH + 2 * DAY_MS);
    books.used_meter(alice, hers, 4, Ending::Reversed);
    books.used_meter(alice, hers, 3, Ending::Open);
    books
}

fn export(books: &Books, query: &ExportQuery) -> String {
    let mut out = Vec::new();
    export_file(&books.path(), query, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    // Through an open ledger it is the same, part by part.
    let mut export = books.ledger.export(query).unwrap();
    let mut parts = String::new();
    while let Some(part) = books.ledger.export_part(&mut export).unwrap() {
        parts.push_str(&part);
    }
    assert_eq!(parts, text);
    text
}

fn rows(books: &Books, query: ExportQuery) -> Vec<Value> {
    let text = export(books, &ExportQuery { format: ExportFormat::JsonLines, ..query });
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of(account: &str) -> ExportQuery {
    ExportQuery { account: Some(account.to_owned()), ..ExportQuery::default() }
}

fn numbers(rows: &[Value], name: &str) -> Vec<i64> {
    rows.iter().map(|row| row[name].as_i64().unwrap()).collect()
}

#[test]
fn the_journals_rows_are_the_transfers() {
    let books = three_days();
    let all = rows(&books, ExportQuery::default());
    assert_eq!(numbers(&all, "seq"), [1, 2, 3, 4, 5, 6]);
    let hashes = super::strings(&books.raw(), "SELECT lower(hex(hash)) FROM transfer ORDER BY seq");
    assert_eq!(all.iter().map(|row| row["hash"].as_str().unwrap()).collect::<Vec<_>>(), hashes);
    let first = &all[0];
    for (name, expected) in [
        ("time", "2026-03-01T00:00:00.000+03:00"),
        ("kind", "grant"),
        ("from", "house:granted"),
        ("to", "alice"),
        ("unit", "credits"),
        ("reason", "test"),
        ("actor", "test"),
    ] {
        assert_eq!(first[name], expected, "{name}");
    }
    assert_eq!((&first["amount"], &first["balance"]), (&Value::from(1_000), &Value::Null));
    assert_eq!(all[5]["reverses"], 5);
    let sum: i64 = numbers(&all, "amount").iter().sum();
    let raw = books.raw();
    assert_eq!(raw.query_row("SELECT sum(amount) FROM transfer", [], |row| row.get(0)), Ok(sum));
}

/// The running balance of every account, the house's too, ends at its balance and open meters.
#[test]
fn balances_run_to_the_balance() {
    let books = three_days();
    let expected = [
        ("alice", vec![1_000, 990, 982, 990], 6),
        ("bob", vec![500, 498], 0),
        ("house:granted", vec![-1_000, -1_500], 0),
        ("house:spent", vec![10, 12, 20, 12], 0),
    ];
    for (name, balances, open) in expected {
        assert_eq!(numbers(&rows(&books, of(name)), "balance"), balances, "{name}");
        let balance =
            books.raw().query_row("SELECT balance FROM account WHERE name=?1", [name], |row| {
                row.get::<_, i64>(0)
            });
        assert_eq!(balance.unwrap() + open, *balances.last().unwrap());
    }
}

#[test]
fn periods_are_whole_days_in_kuwait() {
    let books = three_days();
    let between = |from: Option<&str>, to: Option<&str>| ExportQuery {
        from: from.map(|day| day.parse().unwrap()),
        to: to.map(|day| day.parse().unwrap()),
        ..of("alice")
    };
    let balances = |query| numbers(&rows(&books, query), "balance");
    assert_eq!(balances(between(None, Some("2026-03-01"))), [1_000]);
    // What came before is in the balance, not in the rows.
    assert_eq!(balances(between(Some("2026-03-02"), Some("2026-03-02"))), [990]);
    assert_eq!(balances(between(Some("2026-03-02"), None)), [990, 982, 990]);
    assert!(balances(between(Some("2026-03-04"), None)).is_empty());
    let backwards = between(Some("2026-03-02"), Some("2026-03-01"));
    let refused = export_file(&books.path(), &backwards, &mut Vec::new()).unwrap_err();
    assert!(matches!(refused, ExportError::EmptyPeriod { .. }), "{refused}");
    let refused = export_file(&books.path(), &of("nobody"), &mut Vec::new()).unwrap_err();
    assert!(matches!(refused, ExportError::UnknownAccount(_)), "{refused}");
}

#[test]
fn usage_is_a_row_for_each_request() {
    let books = three_days();
    let usage = rows(&books, ExportQuery { what: ExportWhat::Usage, ..of("alice") });
    assert_eq!(numbers(&usage, "output_tokens"), [5, 4, 3]);
    assert_eq!(numbers(&usage, "credits"), [10, 0, 6], "what was given back cost nothing");
    let states: Vec<&str> = usage.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["closed", "reversed", "open"]);
    assert_eq!(usage[2]["closed"], Value::Null);
    assert_eq!(usage[0]["model"], "test-model");
    let all = rows(&books, ExportQuery { what: ExportWhat::Usage, ..ExportQuery::default() });
    assert_eq!(all.len(), 4);
}

#[test]
fn csv_has_names_and_no_formulas() {
    let books = Books::new();
    let account = books.account("=1+1", 0);
    let credits = mizan::ledger::Credits(5);
    books.ledger.grant(account, credits, "a, \"b\"", "@operator").wait().unwrap();
    let text = export(&books, &ExportQuery::default());
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "seq,time,kind,from,to,amount,unit,balance,reason,actor,source,reverses,hash"
    );
    assert!(lines[1].starts_with(
        "1,2026-03-01T00:00:00.000+03:00,grant,house:granted,\"'=1+1\",5,credits,,\
         \"a, \"\"b\"\"\",\"'@operator\","
    ));
    assert_eq!((lines.len(), lines[2]), (3, ""));
}

/// More rows than one part has.
#[test]
fn parts_leave_no_row_out_and_none_twice() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let grants: Vec<_> = (0..5_000)
        .map(|_| books.ledger.grant(account, mizan::ledger::Credits(1), "why", "test"))
        .collect();
    let made = grants.into_iter().filter_map(|grant| grant.wait().ok()).count() as i64;
    assert!(made > 1_000, "the queue refuses what is too much at once");
    let seqs = numbers(&rows(&books, of("alice")), "balance");
    assert_eq!(seqs, (1..=made).collect::<Vec<_>>());
}
