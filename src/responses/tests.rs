//! What the store keeps, for whom, and for how long.

use super::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

struct House {
    responses: Responses,
    folder: tempfile::TempDir,
}

impl House {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let responses = reopen(&folder);
        Self { responses, folder }
    }

    fn keep(&self, account: i64, id: &str, previous: Option<&str>, created_ms: i64) {
        self.keep_text(account, id, previous, created_ms, &format!("\"{id}\""));
    }

    fn keep_text(
        &self,
        account: i64,
        id: &str,
        previous: Option<&str>,
        created_ms: i64,
        text: &str,
    ) {
        let new = NewResponse {
            id: id.to_owned(),
            account,
            previous: previous.map(str::to_owned),
            created_ms,
            input: "[]".to_owned(),
            body: text.to_owned(),
        };
        self.responses.keep(&new).expect("kept");
    }

    fn body(&self, account: i64, id: &str, now_ms: i64) -> Option<String> {
        self.responses.find(account, id, now_ms).expect("read").map(|found| found.body)
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("responses.db")).expect("the file")
    }
}

fn reopen(folder: &tempfile::TempDir) -> Responses {
    let path = folder.path().join("responses.db");
    Responses::open(&path, Duration::from_secs(24 * 60 * 60)).expect("opened")
}

#[test]
fn a_response_is_its_accounts_until_it_is_removed_or_too_old() {
    let house = House::open();
    house.keep(1, "a", None, 0);
    // Once more changes nothing, whoever tries.
    house.keep_text(1, "a", None, 5, "\"other\"");
    house.keep_text(2, "a", None, 5, "\"another account's\"");
    assert_eq!(house.body(1, "a", 1).as_deref(), Some("\"a\""));
    assert_eq!(house.body(2, "a", 1), None);
    assert_eq!(house.body(1, "b", 1), None);
    assert_eq!(house.body(1, "a", DAY_MS - 1).as_deref(), Some("\"a\""));
    assert_eq!(house.body(1, "a", DAY_MS), None);
    assert!(!house.responses.remove(2, "a", 1).expect("tried"));
    assert!(!house.responses.remove(1, "a", DAY_MS).expect("tried"));
    assert!(house.responses.remove(1, "a", 1).expect("removed"));
    assert!(!house.responses.remove(1, "a", 1).expect("tried"));
    assert_eq!(house.body(1, "a", 1), None);
}

#[test]
fn conversations_are_walked_back_as_far_as_they_are_kept() {
    let house = House::open();
    for (id, previous) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("b2", Some("a"))] {
        house.keep(1, id, previous, 0);
    }
    let walk = |id: &str| {
        let found = house.responses.conversation(1, id, 1).expect("found");
        let ids: Vec<String> = found.responses.into_iter().map(|r| r.id).collect();
        (ids.join(" "), found.missing)
    };
    assert_eq!(walk("a"), ("a".to_owned(), None));
    assert_eq!(walk("c"), ("a b c".to_owned(), None));
    assert_eq!(walk("b2"), ("a b2".to_owned(), None));
    house.responses.remove(1, "a", 1).expect("removed");
    assert_eq!(walk("c"), ("b c".to_owned(), Some("a".to_owned())));
    for (account, id) in [(1, "a"), (2, "c")] {
        let refused = house.responses.conversation(account, id, 1);
        assert!(matches!(refused, Err(ConversationError::Unknown { .. })), "{refused:?}");
    }
}

#[test]
fn conversations_are_bounded_in_length_and_size() {
    let house = House::open();
    let mut previous: Option<String> = None;
    for n in 1..=MAX_DEPTH {
        let id = n.to_string();
        house.keep(1, &id, previous.as_deref(), 0);
        previous = Some(id);
    }
    let long = house.responses.conversation(1, &(MAX_DEPTH - 1).to_string(), 1).expect("found");
    assert_eq!(long.responses.len() as i64, MAX_DEPTH - 1);
    let refused = house.responses.conversation(1, &MAX_DEPTH.to_string(), 1);
    assert!(matches!(refused, Err(ConversationError::TooLong { .. })), "{refused:?}");

    let text = "x".repeat(MAX_CONVERSATION_BYTES as usize / 2);
    house.keep_text(2, "one", None, 0, &text);
    house.keep_text(2, "two", Some("one"), 0, &text);
    assert!(house.responses.conversation(2, "one", 1).is_ok());
    let refused = house.responses.conversation(2, "two", 1).expect_err("too long");
    assert!(refused.to_string().contains("begin a new one"), "{refused}");
}

#[test]
fn an_account_keeps_a_bounded_amount_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut responses = reopen(&folder);
    Arc::get_mut(&mut responses.inner).expect("the only one").max_account_bytes = 1_000;
    let house = House { responses, folder };
    let text = "x".repeat(400);
    for (id, created_ms) in [("a", 1), ("b", 2), ("c", 3)] {
        house.keep_text(1, id, None, created_ms, &text);
        house.keep_text(2, &id.to_uppercase(), None, created_ms, "small");
    }
    let kept = |account, ids: [&str; 3]| ids.map(|id| house.body(account, id, 4).is_some());
    assert_eq!(kept(1, ["a", "b", "c"]), [false, true, true]);
    assert_eq!(kept(2, ["A", "B", "C"]), [true; 3]);
    // What is larger than all that may be kept is not kept, and takes the others along.
    house.keep_text(1, "huge", None, 5, &"x".repeat(2_000));
    assert_eq!(kept(1, ["b", "c", "huge"]), [false; 3]);
    house.keep_text(1, "d", None, 6, &text);
    assert_eq!(kept(1, ["b", "c", "d"]), [false, false, true]);
}

#[test]
fn what_is_removed_is_gone_from_the_file() {
    let house = House::open();
    let secret = "a most private sentence";
    for n in 0..500 {
        house.keep_text(1, &n.to_string(), None, 0, &format!("{secret} {}", "x".repeat(2_000)));
    }
    house.keep_text(2, "other", None, DAY_MS, "\"theirs\"");
    let has_secret = |bytes: &[u8]| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
    assert_eq!(house.responses.remove_expired(DAY_MS - 1).expect("swept"), 0);
    connection::shrink_in_part(&house.responses.writer()).expect("checkpoint");
    let before = house.file();
    assert!(has_secret(&before));
    assert_eq!(house.responses.remove_expired(DAY_MS).expect("swept"), 500);
    let after = house.file();
    assert!(!has_secret(&after));
    assert!(after.len() * 4 < before.len(), "{} of {}", after.len(), before.len());
    assert_eq!(house.body(2, "other", DAY_MS).as_deref(), Some("\"theirs\""));
    assert_eq!(house.responses.remove_account(2).expect("removed"), 1);
    assert_eq!(house.body(2, "other", DAY_MS), None);
}

#[test]
fn the_file_is_private_lasts_and_is_not_taken_for_another() {
    let house = House::open();
    house.keep(1, "a", None, 0);
    let path = house.folder.path().join("responses.db");
    #[cfg(unix)]
    for suffix in ["", "-wal"] {
        use std::os::unix::fs::PermissionsExt;
        let file = house.folder.path().join(format!("responses.db{suffix}"));
        let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
    let House { responses, folder } = house;
    drop(responses);
    let responses = reopen(&folder);
    assert!(responses.find(1, "a", 1).expect("read").is_some());
    responses.writer().pragma_update(None, "user_version", 2).expect("changed");
    drop(responses);
    let newer = Responses::open(&path, Duration::ZERO);
    assert!(matches!(newer, Err(StoreError::NewerSchema { found: 2, .. })), "{newer:?}");

    discard(&path).expect("removed");
    assert!(!path.exists());
    std::fs::write(&path, b"this is a text of some length, and no database of anybody")
        .expect("written");
    let other = Responses::open(&path, Duration::ZERO);
    assert!(matches!(other, Err(StoreError::NotAStore(_))), "{other:?}");
}
