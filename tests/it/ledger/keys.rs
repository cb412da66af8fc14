//! Keys: their end, the limit of their life, and what they may do.

use mizan::ledger::{
    ChargeError, Credits, CutBy, KeyError, KeyLimit, LimitReset, NewKeyRequest, NewUser, OpenError,
    Reach, Role, Scope, Scopes,
};

use super::{Books, DAY_MS, Ending, MARCH, group, open, request, singles};

#[test]
fn a_key_ends_at_its_very_millisecond() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let expires_ms = Some(MARCH + 500);
    let made = NewKeyRequest { expires_ms, ..NewKeyRequest::new(account, "short") };
    let key = books.ledger.create_key(made, "test").wait().unwrap();
    books.set_clock(MARCH + 499);
    let meter = open(&books.ledger, request(account, key.id, 1)).unwrap();
    assert!(!books.ledger.find_key(&key.secret).unwrap().unwrap().expired);
    books.set_clock(MARCH + 500);
    assert_eq!(open(&books.ledger, request(account, key.id, 1)), Err(OpenError::KeyExpired));
    let found = books.ledger.find_key(&key.secret).unwrap().unwrap();
    assert!(found.expired && found.expires_ms == expires_ms);
    // What it began it may end, as a revoked one may.
    assert_eq!(books.ledger.charge(meter, 0, singles(2)).wait().unwrap().groups, 2);
    books.ledger.close_meter(meter, "stop").wait().unwrap();
    books.assert_sound();
    for past in [MARCH + 500, MARCH, 0, -1, i64::MIN, i64::MAX] {
        let made = NewKeyRequest { expires_ms: Some(past), ..NewKeyRequest::new(account, "late") };
        let refused = books.ledger.create_key(made, "test").wait();
        assert!(matches!(refused, Err(KeyError::Invalid(_))), "{past}: {refused:?}");
    }
}

#[test]
fn a_key_spends_no_more_than_both_its_limits() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let daily = KeyLimit { credits: Credits(10), reset: Some(LimitReset::Daily) };
    let key = books.key_like(NewKeyRequest {
        limit: Some(daily),
        total_limit: Some(Credits(15)),
        ..NewKeyRequest::new(account, "both")
    });
    let left = || {
        let usage = books.ledger.key_usage(key).unwrap().unwrap();
        (usage.limit_remaining.unwrap().0, usage.total_remaining.unwrap().0)
    };
    let meter = open(&books.ledger, request(account, key, 1)).unwrap();
    let charged = books.ledger.charge(meter, 0, singles(12)).wait().unwrap();
    assert_eq!((charged.groups, charged.cut_by), (10, Some(CutBy::KeyLimit)));
    assert_eq!(left(), (0, 5));
    let (needed, remaining, tomorrow) = (Credits(1), Credits(0), MARCH + DAY_MS);
    let refused = open(&books.ledger, request(account, key, 1));
    let resets_ms = Some(tomorrow);
    assert_eq!(refused, Err(OpenError::KeyLimit { needed, remaining, resets_ms }));

    // The next day the limit of its life is the smaller one, and no day brings it back.
    books.set_clock(tomorrow);
    assert_eq!(left(), (10, 5));
    let charged = books.ledger.charge(meter, 0, singles(8)).wait().unwrap();
    assert_eq!((charged.groups, charged.cut_by), (5, Some(CutBy::KeyLimit)));
    assert_eq!(left(), (5, 0));
    let refused = books.ledger.charge(meter, 0, vec![group(1)]).wait();
    assert_eq!(refused, Err(ChargeError::KeyLimit { needed, remaining }));
    let refused = open(&books.ledger, request(account, key, 1));
    assert_eq!(refused, Err(OpenError::KeyLimit { needed, remaining, resets_ms: None }));
    books.assert_sound();

    // What is given back may be spent again.
    books.ledger.reverse_meter(meter, "not sent").wait().unwrap();
    assert_eq!(left(), (10, 15));
    books.assert_sound();
}

#[test]
fn many_meters_at_once_stay_below_the_limit_of_a_life() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let total_limit = Some(Credits(25));
    let key = books.key_like(NewKeyRequest { total_limit, ..NewKeyRequest::new(account, "k") });
    let meters: Vec<_> =
        (0..5).map(|_| open(&books.ledger, request(account, key, 2)).unwrap()).collect();
    let replies: Vec<_> = (0..10)
        .flat_map(|_| meters.iter().map(|meter| books.ledger.charge(*meter, 0, vec![group(1)])))
        .collect();
    let paid: i64 =
        replies.into_iter().filter_map(|reply| reply.wait().ok()).map(|c| c.credits.0).sum();
    assert_eq!(paid, 24, "an odd credit stays");
    assert_eq!(books.balance(account), 1_000 - 24);
    books.assert_sound();
}

#[test]
fn lists_tell_when_a_key_was_last_used() {
    let books = Books::new();
    let account = books.account("alice", 1_000);
    let (used, idle) = (books.key(account, None), books.key(account, None));
    for day in 0..3 {
        books.set_clock(MARCH + day * DAY_MS);
        books.used_meter(account, used, 3, Ending::Closed);
    }
    let keys = books.ledger.keys(account).unwrap();
    let shown: Vec<_> = keys.iter().map(|key| (key.id, key.last_used_ms, key.used.0)).collect();
    assert_eq!(shown, [(used, Some(MARCH + 2 * DAY_MS), 18), (idle, None, 0)]);
}

#[test]
fn nobody_makes_a_key_that_may_do_more_than_itself() {
    let books = Books::new();
    let (account, other) = (books.account("alice", 0), books.account("bob", 0));
    let user = |name: &str, role| {
        let new = NewUser { account: Some(account), name: name.to_owned(), role };
        books.ledger.create_user(new, Reach::Everyone, "test").wait().unwrap()
    };
    let (owner, member) = (user("owner", Role::Owner), user("member", Role::Member));
    let make = |user, account, scopes| {
        let made = NewKeyRequest { user: Some(user), scopes, ..NewKeyRequest::new(account, "k") };
        books.ledger.create_key(made, "test").wait().map(|key| key.id)
    };
    let has = Scopes::of_role(Role::Member);
    let keys = Scopes::of(&[Scope::Keys]);
    assert!(make(owner, account, Scopes::ALL).is_ok());
    let key = make(member, account, has).unwrap();
    assert_eq!(make(member, account, keys), Err(KeyError::BeyondMaker { asked: keys, has }));
    assert_eq!(make(owner, other, keys), Err(KeyError::UnknownUser));
    assert!(matches!(make(owner, account, Scopes::NONE), Err(KeyError::Invalid(_))));
    books.ledger.disable_user(member, Reach::Everyone, "test").wait().unwrap();
    assert_eq!(make(member, account, has), Err(KeyError::UnknownUser));
    // Keys are the account's: one stays when who made it goes.
    let listed = books.ledger.keys(account).unwrap();
    let found = listed.iter().find(|found| found.id == key).unwrap();
    assert_eq!((found.user, found.scopes, found.revoked), (Some(member), has, false));
    // And is revoked by its own account only.
    let stranger = books.ledger.revoke_key_of(other, key, "test").wait();
    assert_eq!(stranger, Err(KeyError::UnknownKey));
    books.ledger.revoke_key_of(account, key, "test").wait().unwrap();
    assert!(books.ledger.keys(account).unwrap().iter().any(|k| k.id == key && k.revoked));
    books.assert_sound();
}
