//! Users, their invitations and their sessions.

use crate::ledger::clock::bounded_ms;
use crate::ledger::store;
use crate::ledger::writer::Durability;
use crate::ledger::{
    AccountId, Admission, InvitationError, Ledger, LedgerError, NewSecret, NewUser, Reach, Reply,
    Role, SessionError, SessionInfo, SignIn, UserError, UserId, UserInfo, directory, keys,
};

impl Ledger {
    /// Makes a user, who can do nothing before it is invited and has accepted.
    pub fn create_user(
        &self,
        new: NewUser,
        reach: Reach,
        actor: &str,
    ) -> Reply<Result<UserId, UserError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::create_user(context, &new, reach, &actor)
        })
    }

    /// Makes an owner a member, or a member an owner; at once, also for who is signed in.
    pub fn set_role(
        &self,
        user: UserId,
        role: Role,
        reach: Reach,
        actor: &str,
    ) -> Reply<Result<(), UserError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::set_role(context, user, role, reach, &actor)
        })
    }

    /// Disables a user and ends its sessions. Idempotent.
    pub fn disable_user(
        &self,
        user: UserId,
        reach: Reach,
        actor: &str,
    ) -> Reply<Result<(), UserError>> {
        let actor = actor.to_owned();
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::disable_user(context, user, reach, &actor)
        })
    }

    /// Invites a user to set its password, within seven days. Earlier invitations end.
    pub fn invite(
        &self,
        user: UserId,
        reach: Reach,
        actor: &str,
    ) -> Reply<Result<NewSecret, UserError>> {
        let secret = keys::fresh_invitation();
        let (secret_hash, actor) = (keys::secret_hash(&secret), actor.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::invite(context, user, secret_hash, reach, &actor)
                .map(|expires_ms| NewSecret { secret, expires_ms })
        })
    }

    /// Sets the password of an invited user, once. Its sessions end.
    pub fn accept_invitation(
        &self,
        secret: &str,
        password_hash: &str,
    ) -> Reply<Result<UserId, InvitationError>> {
        let (secret_hash, password_hash) = (keys::secret_hash(secret), password_hash.to_owned());
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::accept_invitation(context, secret_hash, &password_hash)
        })
    }

    /// Signs in, for twelve hours, a user whose password was right.
    pub fn start_session(&self, checked: SignIn) -> Reply<Result<NewSecret, SessionError>> {
        let secret = keys::fresh_session();
        let secret_hash = keys::secret_hash(&secret);
        self.submit(Durability::Kill, Admission::New, move |context| {
            store::start_session(context, checked.user, &checked.password_hash, secret_hash)
                .map(|expires_ms| NewSecret { secret, expires_ms })
        })
    }

    /// Signs out. Idempotent.
    pub fn end_session(&self, secret: &str) -> Reply<Result<(), SessionError>> {
        let secret_hash = keys::secret_hash(secret);
        self.submit(Durability::PowerCut, Admission::New, move |context| {
            store::end_session(context, secret_hash)
        })
    }

    /// The session with this secret, if it is not over and its user is not disabled.
    pub fn find_session(&self, secret: &str) -> Result<Option<SessionInfo>, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| directory::find_session(conn, secret, now_ms))
    }

    /// What the password of whoever has this name is checked against; `None`: nobody who has it
    /// may sign in.
    pub fn find_sign_in(&self, name: &str) -> Result<Option<SignIn>, LedgerError> {
        self.inner.readers.read(|conn| directory::find_sign_in(conn, name))
    }

    /// Whether an invitation with this secret can still be accepted.
    pub fn has_invitation(&self, secret: &str) -> Result<bool, LedgerError> {
        let now_ms = bounded_ms(&*self.inner.clock);
        self.inner.readers.read(|conn| directory::has_invitation(conn, secret, now_ms))
    }

    /// The users of an account; without one, all there are.
    pub fn users(&self, account: Option<AccountId>) -> Result<Vec<UserInfo>, LedgerError> {
        self.inner.readers.read(|conn| directory::users(conn, account))
    }

    /// One user.
    pub fn user(&self, user: UserId) -> Result<Option<UserInfo>, LedgerError> {
        self.inner.readers.read(|conn| directory::user(conn, user))
    }
}
