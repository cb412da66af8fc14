//! Users, invitations and sessions.

use mizan::ledger::{
    AccountId, InvitationError, NewUser, Reach, Role, Scope, Scopes, SessionError, SignIn,
    UserError, UserId,
};

use super::{Books, DAY_MS, MARCH};

const HOUR_MS: i64 = 3_600_000;

impl Books {
    fn user(&self, account: AccountId, name: &str, role: Role) -> UserId {
        self.make(Some(account), name, role).unwrap()
    }

    fn make(
        &self,
        account: Option<AccountId>,
        name: &str,
        role: Role,
    ) -> Result<UserId, UserError> {
        let new = NewUser { account, name: name.to_owned(), role };
        self.ledger.create_user(new, Reach::Everyone, "test").wait()
    }

    fn invitation(&self, user: UserId) -> String {
        self.ledger.invite(user, Reach::Everyone, "test").wait().unwrap().secret
    }

    fn sign_in(&self, user: UserId, hash: &str) -> Result<String, SessionError> {
        let checked = SignIn { user, password_hash: hash.to_owned() };
        self.ledger.start_session(checked).wait().map(|session| session.secret)
    }

    fn signed_in(&self, secret: &str) -> Option<Role> {
        self.ledger.find_session(secret).unwrap().map(|session| session.user.role)
    }
}

#[test]
fn names_are_one_whatever_their_case() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let user = books.user(account, " Ann@Example.com ", Role::Owner);
    assert_eq!(books.ledger.user(user).unwrap().unwrap().name, "ann@example.com");
    let taken = UserError::NameTaken("ann@example.com".to_owned());
    assert_eq!(books.make(None, "ANN@EXAMPLE.COM", Role::Operator), Err(taken));
    for name in ["", " ", "a b", "a\nb", "a\u{a0}b", &"x".repeat(81)] {
        let refused = books.make(Some(account), name, Role::Member);
        assert!(matches!(refused, Err(UserError::Invalid(_))), "{name:?}: {refused:?}");
    }
    for (account, role) in
        [(None, Role::Owner), (None, Role::Member), (Some(account), Role::Operator)]
    {
        let refused = books.make(account, "x", role);
        assert!(matches!(refused, Err(UserError::Invalid(_))), "{role}: {refused:?}");
    }
    let nowhere = books.make(Some(AccountId(999)), "x", Role::Member);
    assert_eq!(nowhere, Err(UserError::UnknownAccount(AccountId(999))));
    // The house's accounts have no users.
    assert!(books.make(Some(AccountId(1)), "x", Role::Member).is_err());
    books.ledger.close_account(account, "test").wait().unwrap();
    let closed = Err(UserError::AccountClosed(account));
    assert_eq!(books.make(Some(account), "x", Role::Member), closed);
    books.assert_sound();
}

#[test]
fn an_invitation_is_accepted_once_and_within_seven_days() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let user = books.user(account, "ann", Role::Owner);
    let accept = |secret: &str| books.ledger.accept_invitation(secret, "hash").wait();
    let not_valid = Err(InvitationError::NotValid);

    let first = books.invitation(user);
    assert!(first.starts_with("mi-") && first.len() == 46, "{first}");
    let second = books.invitation(user);
    assert_eq!(accept(&first), not_valid, "a new one ends the one before");
    assert!(books.ledger.find_sign_in("ann").unwrap().is_none());
    assert_eq!(accept(&second), Ok(user));
    assert_eq!(accept(&second), not_valid);
    assert_eq!(accept("mi-0000"), not_valid);
    assert_eq!(books.ledger.find_sign_in("ANN").unwrap().unwrap().user, user);

    let late = books.invitation(user);
    books.set_clock(MARCH + 7 * DAY_MS - 1);
    assert!(books.ledger.has_invitation(&late).unwrap());
    books.set_clock(MARCH + 7 * DAY_MS);
    assert!(!books.ledger.has_invitation(&late).unwrap());
    assert_eq!(accept(&late), not_valid);
    let disabled = books.user(account, "bob", Role::Member);
    let invitation = books.invitation(disabled);
    books.ledger.disable_user(disabled, Reach::Everyone, "test").wait().unwrap();
    assert_eq!(accept(&invitation), not_valid);
    let again = books.ledger.invite(disabled, Reach::Everyone, "test").wait();
    assert_eq!(again.err(), Some(UserError::Disabled));
    books.assert_sound();
}

#[test]
fn of_many_who_accept_at_once_one_does() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let user = books.user(account, "ann", Role::Owner);
    let secret = books.invitation(user);
    let accepted: Vec<usize> = std::thread::scope(|scope| {
        let accept = |number: usize| {
            let (ledger, secret) = (&books.ledger, &secret);
            scope.spawn(move || {
                ledger.accept_invitation(secret, &format!("hash {number}")).wait().is_ok()
            })
        };
        let threads: Vec<_> = (0..32).map(accept).collect();
        let done = threads.into_iter().enumerate();
        done.filter_map(|(number, thread)| thread.join().unwrap().then_some(number)).collect()
    });
    assert_eq!(accepted.len(), 1);
    let stored = books.ledger.find_sign_in("ann").unwrap().unwrap().password_hash;
    assert_eq!(stored, format!("hash {}", accepted[0]));
}

#[test]
fn a_session_lasts_twelve_hours_or_until_it_is_ended() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let user = books.user(account, "ann", Role::Owner);
    books.user(account, "bob", Role::Owner);
    assert_eq!(books.sign_in(user, "hash"), Err(SessionError::NotAllowed));
    books.ledger.accept_invitation(&books.invitation(user), "hash").wait().unwrap();
    assert_eq!(books.sign_in(user, "an older hash"), Err(SessionError::NotAllowed));

    let session = books.sign_in(user, "hash").unwrap();
    assert!(session.starts_with("ms-") && session.len() == 46, "{session}");
    books.set_clock(MARCH + 12 * HOUR_MS - 1);
    assert_eq!(books.signed_in(&session), Some(Role::Owner));
    books.set_clock(MARCH + 12 * HOUR_MS);
    assert_eq!(books.signed_in(&session), None);

    // Another role counts at once; a new password, being disabled and signing out end sessions.
    let session = books.sign_in(user, "hash").unwrap();
    let rows = books.raw().query_row("SELECT count(*) FROM session", [], |row| row.get(0));
    assert_eq!(rows, Ok(1), "the one that is over is gone");
    books.ledger.set_role(user, Role::Member, Reach::Everyone, "test").wait().unwrap();
    assert_eq!(books.signed_in(&session), Some(Role::Member));
    books.ledger.accept_invitation(&books.invitation(user), "new hash").wait().unwrap();
    assert_eq!(books.signed_in(&session), None);
    let (one, two) = (books.sign_in(user, "new hash").unwrap(), books.sign_in(user, "new hash"));
    books.ledger.end_session(&one).wait().unwrap();
    books.ledger.end_session(&one).wait().unwrap();
    let two = two.unwrap();
    assert_eq!((books.signed_in(&one), books.signed_in(&two)), (None, Some(Role::Member)));
    books.ledger.disable_user(user, Reach::Everyone, "test").wait().unwrap();
    assert_eq!(books.signed_in(&two), None);
    assert_eq!(books.sign_in(user, "new hash"), Err(SessionError::NotAllowed));
    assert!(books.ledger.find_sign_in("ann").unwrap().is_none());
    books.assert_sound();
    for secret in [&one, &two] {
        let dumped = books.dump().join("\n");
        assert!(!dumped.contains(secret.as_str()), "a secret is stored as its hash");
    }
}

#[test]
fn an_account_keeps_an_owner() {
    let books = Books::new();
    let account = books.account("alice", 0);
    let (one, two) =
        (books.user(account, "one", Role::Owner), books.user(account, "two", Role::Owner));
    let all = Reach::Everyone;
    let role = |user, role| books.ledger.set_role(user, role, all, "test").wait();
    assert_eq!(role(one, Role::Member), Ok(()));
    assert_eq!(role(one, Role::Member), Ok(()), "again: no change");
    assert_eq!(role(two, Role::Member), Err(UserError::LastOwner));
    let disable = |user| books.ledger.disable_user(user, all, "test").wait();
    assert_eq!(disable(two), Err(UserError::LastOwner));
    assert_eq!(role(one, Role::Owner), Ok(()));
    assert_eq!(disable(two), Ok(()));
    assert_eq!(disable(two), Ok(()), "again: no change");
    assert_eq!(role(two, Role::Member), Err(UserError::Disabled));
    assert!(matches!(role(one, Role::Operator), Err(UserError::Invalid(_))));
    let operator = books.make(None, "root", Role::Operator).unwrap();
    assert!(matches!(role(operator, Role::Owner), Err(UserError::Invalid(_))));
    assert_eq!(disable(operator), Ok(()));
    books.assert_sound();
}

#[test]
fn nobody_manages_another_account_or_who_may_do_more() {
    let books = Books::new();
    let (ours, theirs) = (books.account("alice", 0), books.account("bob", 0));
    let stranger = books.user(theirs, "stranger", Role::Member);
    let operator = books.make(None, "root", Role::Operator).unwrap();
    let (owner, member) =
        (books.user(ours, "owner", Role::Owner), books.user(ours, "member", Role::Member));
    books.user(ours, "second", Role::Owner);
    let owners = Reach::Account { account: ours, scopes: Scopes::ALL };
    let limited = Scopes::of(&[Scope::Inference, Scope::Usage, Scope::Users]);
    let limited = Reach::Account { account: ours, scopes: limited };
    let before = books.dump();
    for id in [stranger, operator, UserId(999)] {
        for reach in [owners, limited] {
            let unknown = Err(UserError::UnknownUser);
            assert_eq!(books.ledger.disable_user(id, reach, "test").wait(), unknown);
            assert_eq!(books.ledger.set_role(id, Role::Owner, reach, "test").wait(), unknown);
            let invited = books.ledger.invite(id, reach, "test").wait();
            assert_eq!(invited.err(), Some(UserError::UnknownUser));
        }
    }
    let beyond = UserError::BeyondManager(Role::Owner);
    assert_eq!(books.ledger.invite(owner, limited, "test").wait().err(), Some(beyond.clone()));
    assert_eq!(books.ledger.disable_user(owner, limited, "test").wait(), Err(beyond.clone()));
    let raised = books.ledger.set_role(member, Role::Owner, limited, "test").wait();
    assert_eq!(raised, Err(beyond.clone()));
    let make = |account, role, reach| {
        let new = NewUser { account, name: "new".to_owned(), role };
        books.ledger.create_user(new, reach, "test").wait()
    };
    assert_eq!(make(Some(ours), Role::Owner, limited), Err(beyond));
    assert_eq!(make(Some(theirs), Role::Member, owners), Err(UserError::UnknownAccount(theirs)));
    let operators = Err(UserError::BeyondManager(Role::Operator));
    assert_eq!(make(None, Role::Operator, owners), operators);
    assert_eq!(books.dump(), before, "a refusal changes nothing");
    assert!(make(Some(ours), Role::Member, limited).is_ok());
    assert!(books.ledger.invite(member, limited, "test").wait().is_ok());
}
