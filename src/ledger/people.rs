//! The words for people: users, the invitations they come in with, the sessions they are signed in
//! with, and who may manage whom.
//! Never knows: passwords. Their hashes are opaque texts here.

use std::fmt;

use super::scopes::{Role, Scopes};
use super::types::{AccountId, UserId};

/// A user to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The account it belongs to; `None` for operators, and only for them.
    pub account: Option<AccountId>,
    /// What it signs in with, such as an e-mail address. Case does not count.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A user, signed in or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// Names the user.
    pub id: UserId,
    /// The account it belongs to; `None`: it is an operator.
    pub account: Option<AccountId>,
    /// That account's name.
    pub account_name: Option<String>,
    /// What it signs in with, in lower case.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Whether it has accepted an invitation.
    pub has_password: bool,
    /// Whether it may do nothing any more.
    pub disabled: bool,
}

impl UserInfo {
    /// How the audit names it. Names have no spaces, so no user can pass for something else.
    pub fn actor(&self) -> String {
        actor(self.role, &self.name)
    }
}

/// See [`UserInfo::actor`].
pub(super) fn actor(role: Role, name: &str) -> String {
    match role {
        Role::Operator => format!("operator {name}"),
        Role::Owner | Role::Member => format!("user {name}"),
    }
}

/// How a name is stored and compared.
pub(super) fn fold_name(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A user who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Who; never one that is disabled.
    pub user: UserInfo,
    /// From then on it is over; Unix milliseconds.
    pub expires_ms: i64,
}

/// What a password is checked against when somebody signs in.
#[derive(Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Who it would be.
    pub user: UserId,
    /// As it was stored.
    pub password_hash: String,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A secret that was just made and ends: an invitation's or a session's. The only place where it
/// exists in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// Show it once; it can not be read again.
    pub secret: String,
    /// From then on it is worth nothing; Unix milliseconds.
    pub expires_ms: i64,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

/// Whose users somebody may manage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The operator's: every account's users, and operators.
    Everyone,
    /// One account's, as far as they may do no more than their manager: else making or inviting
    /// somebody were a way to more than one has.
    Account {
        /// The account.
        account: AccountId,
        /// What the manager may do.
        scopes: Scopes,
    },
}

impl Reach {
    /// Whether a user of this account is known.
    pub(super) fn knows(self, account: Option<AccountId>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Account { account: own, .. } => account == Some(own),
        }
    }

    /// Whether a user of this role may be managed.
    pub(super) fn covers(self, role: Role) -> bool {
        match self {
            Self::Everyone => true,
            Self::Account { scopes, .. } => {
                role != Role::Operator && scopes.contains_all(Scopes::of_role(role))
            }
        }
    }
}
