//! Usage and the request log: sums that agree with the balance, pages without gaps.

use mizan::ledger::{
    BadCursor, Credits, GenerationPage, GenerationQuery, KeyId, Ledger, MeterId, MeterState, Usage,
    UsageBy, UsageError, UsageQuery, UsageSums,
};

use super::{Books, DAY_MS, Ending, MARCH, open, request, singles};

fn usage(ledger: &Ledger, query: UsageQuery) -> Usage {
    ledger.usage(&query).unwrap()
}

fn all_time(by: &[UsageBy]) -> UsageQuery {
    UsageQuery { account: None, from_ms: 0, to_ms: i64::MAX, by: by.to_vec() }
}

/// Day, account, model, key, requests, output tokens, credits, reversed; `-` for what is not told.
fn lines(usage: &Usage) -> Vec<String> {
    let rows = usage.rows.iter().map(|row| {
        let text = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
        let UsageSums { requests, output_tokens, credits, reversed, .. } = row.sums;
        format!(
            "{} {} {} {} {requests} {output_tokens} {credits} {reversed}",
            text(&row.day.map(|day| day.to_string())),
            text(&row.account),
            text(&row.model),
            text(&row.key.as_ref().map(|key| key.label.clone())),
        )
    });
    rows.collect()
}

#[test]
fn usage_adds_up_to_what_the_balance_lacks() {
    let books = Books::new();
    let (alice, bob) = (books.account("alice", 1_000), books.account("bob", 1_000));
    let key = books.ledger.create_key(alice, "laptop", None, "test").wait().unwrap().id;
    let other = books.ledger.create_key(alice, "server", None, "test").wait().unwrap().id;
    let bobs = books.ledger.create_key(bob, "bob's", None, "test").wait().unwrap().id;
    books.used_meter(alice, key, 3, Ending::Closed);
    books.used_meter(alice, other, 4, Ending::Reversed);
    books.set_clock(MARCH + DAY_MS - 1);
    books.used_meter(alice, key, 5, Ending::Open);
    books.set_clock(MARCH + DAY_MS);
    books.used_meter(bob, bobs, 7, Ending::Closed);
    let mut dear = request(alice, key, 2);
    dear.model = "premium".to_owned();
    let meter = open(&books.ledger, dear).unwrap();
    books.ledger.charge(meter, 0, singles(10)).wait().unwrap();

    let by = [UsageBy::Day, UsageBy::Account, UsageBy::Model, UsageBy::Key];
    assert_eq!(
        lines(&usage(&books.ledger, all_time(&by))),
        [
            "2026-03-01 alice test-model laptop 2 8 16 0",
            "2026-03-01 alice test-model server 1 0 0 1",
            "2026-03-02 alice premium laptop 1 10 20 0",
            "2026-03-02 bob test-model bob's 1 7 14 0",
        ]
    );
    let by = [UsageBy::Model, UsageBy::Day];
    assert_eq!(
        lines(&usage(&books.ledger, all_time(&by))),
        [
            "2026-03-02 - premium - 1 10 20 0",
            "2026-03-01 - test-model - 3 8 16 1",
            "2026-03-02 - test-model - 1 7 14 0",
        ]
    );
    for account in [alice, bob] {
        let query = UsageQuery { account: Some(account), ..all_time(&[UsageBy::Key]) };
        let total = usage(&books.ledger, query).total;
        let totals = books.ledger.account_totals(account).unwrap().unwrap();
        assert_eq!(total.credits, totals.total_usage);
    }
    let day = UsageQuery { from_ms: MARCH + DAY_MS, to_ms: MARCH + 2 * DAY_MS, ..all_time(&[]) };
    assert_eq!(lines(&usage(&books.ledger, day)), ["- - - - 2 17 34 0"]);
    let nothing = UsageQuery { from_ms: 0, to_ms: MARCH, ..all_time(&by) };
    let nothing = usage(&books.ledger, nothing);
    assert_eq!((nothing.rows.len(), nothing.total), (0, UsageSums::default()));
}

/// Tokens are charged, meters end and are given back while others ask: every answer is of one
/// instant.
#[test]
fn every_sum_is_of_one_commit() {
    let books = Books::new();
    let account = books.account("alice", 100_000);
    let key = books.key(account, None);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..60 {
                let ending = [Ending::Closed, Ending::Reversed, Ending::Open][round % 3];
                books.used_meter(account, key, 1 + round % 7, ending);
            }
        });
        let query = UsageQuery { account: Some(account), ..all_time(&[UsageBy::Day]) };
        while !writer.is_finished() {
            let sum = usage(&books.ledger, query.clone()).total;
            assert_eq!(sum.credits.0, 2 * sum.output_tokens);
        }
    });
    let query = UsageQuery { account: Some(account), ..all_time(&[]) };
    let totals = books.ledger.account_totals(account).unwrap().unwrap();
    assert_eq!(usage(&books.ledger, query).total.credits, totals.total_usage);
    books.assert_sound();
}

#[test]
fn too_many_groups_are_refused_as_a_whole() {
    let books = Books::new();
    let account = books.account("alice", 100_000);
    let key = books.key(account, None);
    let raw = books.raw();
    let insert = |count: u32| {
        let boot = "(SELECT max(id) FROM boot)";
        raw.execute(
            &format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?1)
                 INSERT INTO meter(id,account_id,key_id,model,model_digest,credits_per_token,
                   streamed,input_tokens,period_start_ms,state,body_hash,boot,opened_ms)
                 SELECT randomblob(16),?2,?3,'m'||i,zeroblob(32),1,1,1,0,'open',zeroblob(32),
                   {boot},?4 FROM n"
            ),
            (count, account.0, key.0, MARCH),
        )
        .unwrap();
    };
    insert(10_000);
    assert_eq!(usage(&books.ledger, all_time(&[UsageBy::Model])).rows.len(), 10_000);
    insert(10_001);
    let refused = books.ledger.usage(&all_time(&[UsageBy::Model]));
    assert!(matches!(refused, Err(UsageError::TooManyRows { max: 10_000 })), "{refused:?}");
    assert_eq!(usage(&books.ledger, all_time(&[UsageBy::Day])).total.requests, 20_001);
}

fn page(ledger: &Ledger, query: &GenerationQuery) -> GenerationPage {
    ledger.generations(query, &|_| true).unwrap().unwrap()
}

/// All ids, read in pages of `limit`.
fn pages(ledger: &Ledger, query: &GenerationQuery, limit: usize) -> Vec<MeterId> {
    let mut query = GenerationQuery { limit, ..query.clone() };
    let mut ids = Vec::new();
    loop {
        let page = page(ledger, &query);
        assert!(page.rows.len() <= limit);
        ids.extend(page.rows.iter().map(|row| row.id));
        match page.next {
            Some(next) => query.before = Some(next),
            None => return ids,
        }
    }
}

#[test]
fn the_log_is_read_in_pages_without_gaps() {
    let books = Books::new();
    let (alice, bob) = (books.account("alice", 10_000), books.account("bob", 10_000));
    let keys = [books.key(alice, None), books.key(alice, None), books.key(bob, None)];
    let mut opened = Vec::new();
    for round in 0..60 {
        // Several in each millisecond.
        books.set_clock(MARCH + round / 5);
        let (account, key) =
            [(alice, keys[0]), (alice, keys[1]), (bob, keys[2])][round as usize % 3];
        let mut asked = request(account, key, 1);
        asked.model = ["small", "large"][round as usize % 2].to_owned();
        let meter = open(&books.ledger, asked).unwrap();
        books.ledger.charge(meter, 0, singles(2)).wait().unwrap();
        match round % 4 {
            0 => drop(books.ledger.close_meter(meter, "stop").wait().unwrap()),
            1 => drop(books.ledger.close_meter(meter, "length").wait().unwrap()),
            2 => drop(books.ledger.reverse_meter(meter, "why").wait().unwrap()),
            _ => {}
        }
        opened.push((meter, key, round));
    }
    let newest_first = |chosen: &dyn Fn(KeyId, i64) -> bool| {
        let chosen = opened.iter().rev().filter(|(_, key, round)| chosen(*key, *round));
        chosen.map(|(meter, ..)| *meter).collect::<Vec<_>>()
    };
    let of = |account| GenerationQuery { account, ..GenerationQuery::default() };
    for limit in [1, 7, 100] {
        let found = pages(&books.ledger, &of(Some(alice)), limit);
        assert_eq!(found, newest_first(&|key, _| key != keys[2]));
        let one_key = GenerationQuery { key: Some(keys[1]), ..of(Some(alice)) };
        assert_eq!(pages(&books.ledger, &one_key, limit), newest_first(&|key, _| key == keys[1]));
        let model = GenerationQuery { model: Some("large".to_owned()), ..of(Some(bob)) };
        let expected = newest_first(&|key, round| key == keys[2] && round % 2 == 1);
        assert_eq!(pages(&books.ledger, &model, limit), expected);
        let span =
            GenerationQuery { from_ms: Some(MARCH + 2), to_ms: Some(MARCH + 5), ..of(Some(alice)) };
        let expected = newest_first(&|key, round| key != keys[2] && (10..25).contains(&round));
        assert_eq!(pages(&books.ledger, &span, limit), expected);
        // Of one millisecond the ids are random, so everybody's meters are in the order of ids.
        let mut expected = newest_first(&|_, _| true);
        expected.sort_unstable();
        expected.reverse();
        assert_eq!(pages(&books.ledger, &of(None), limit), expected);
        let span = GenerationQuery { from_ms: Some(MARCH + 2), to_ms: Some(MARCH + 5), ..of(None) };
        assert_eq!(pages(&books.ledger, &span, limit).len(), 15);
    }
    // Another account's key shows nothing, and its meters are no place to go on from.
    let foreign = GenerationQuery { key: Some(keys[2]), ..of(Some(alice)) };
    assert!(pages(&books.ledger, &foreign, 5).is_empty());
    let bobs = newest_first(&|key, _| key == keys[2])[0];
    let query = GenerationQuery { before: Some(bobs), limit: 1, ..of(Some(alice)) };
    assert_eq!(books.ledger.generations(&query, &|_| true).unwrap(), Err(BadCursor(bobs)));

    let query = GenerationQuery { limit: 100, ..of(Some(alice)) };
    let ended = |stored: Option<&str>| stored == Some("length");
    let rows = books.ledger.generations(&query, &ended).unwrap().unwrap().rows;
    assert!(rows.iter().all(|row| row.finish_reason.as_deref() == Some("length")));
    assert_eq!(rows.len(), 10);
    let row = &page(&books.ledger, &of_one(&query)).rows[0];
    assert_eq!((row.account.as_str(), row.key.label.as_str()), ("alice", "key"));
    assert_eq!((row.output_tokens, row.credits), (2, Credits(2)));
    assert_eq!((row.first_charge_ms, row.state), (Some(row.opened_ms), MeterState::Reversed));
}

fn of_one(query: &GenerationQuery) -> GenerationQuery {
    GenerationQuery { limit: 1, ..query.clone() }
}
