//! What a key or a user may do: scopes, sets of them, and the roles that stand for a set.
//! Promises: a closed list; a set is stored and shown as its words, joined by commas, in one order.
//! Never knows: routes. Which scope a route needs is a table of `api`.

use std::fmt;
use std::str::FromStr;

/// One thing that may be allowed on an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Spend credits on generations; tokenize.
    Inference,
    /// Read balance, usage and generations.
    Usage,
    /// See packs, buy credits, redeem vouchers, set notices.
    Billing,
    /// Manage the account's keys.
    Keys,
    /// Manage the account's users.
    Users,
}

impl Scope {
    /// All of them, in the order in which sets are written.
    pub const ALL: [Self; 5] =
        [Self::Inference, Self::Usage, Self::Billing, Self::Keys, Self::Users];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Usage => "usage",
            Self::Billing => "billing",
            Self::Keys => "keys",
            Self::Users => "users",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// The word is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope '{0}'; there are {all}", all = Scopes::ALL)]
pub struct UnknownScope(pub String);

/// A set of scopes. Prints and parses as `inference,usage`; the empty set is the empty text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);

    /// Every scope.
    pub const ALL: Self = Self::of(&Scope::ALL);

    /// The set of these.
    pub const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < scopes.len() {
            bits |= scopes[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// What a user of this role may do on its account. An operator has no account: it has the
    /// admin routes, and spends nobody's credits.
    pub const fn of_role(role: Role) -> Self {
        match role {
            Role::Owner => Self::ALL,
            Role::Member => Self::of(&[Scope::Inference, Scope::Usage]),
            Role::Operator => Self::NONE,
        }
    }

    /// Whether `scope` is one of them.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether every one of `others` is one of them: nobody hands out more than it has.
    pub const fn contains_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// They, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{scope}")?;
        }
        Ok(())
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    /// Reads words in any order; spaces around them are people's habit.
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        if text.trim().is_empty() {
            return Ok(Self::NONE);
        }
        text.split(',').map(|word| word.trim().parse::<Scope>()).collect()
    }
}

/// What a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs an account: everything on it.
    Owner,
    /// Uses an account.
    Member,
    /// Runs the server, and no account.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Member, Self::Operator];

    /// The word that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member => "member",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// The word is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role '{0}'; there are owner, member, operator")]
pub struct UnknownRole(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let read = text.parse::<Scopes>();
        assert_eq!(read.map_or_else(|error| error.to_string(), |s| s.to_string()), expected);
    }

    #[test]
    fn sets_are_read_in_any_order_and_written_in_one() {
        check("", "");
        check("usage", "usage");
        check("usage,inference", "inference,usage");
        check(" users , keys,billing,usage,inference,keys", "inference,usage,billing,keys,users");
        let all = "there are inference,usage,billing,keys,users";
        check("usage,admin", &format!("there is no scope 'admin'; {all}"));
        check("usage,", &format!("there is no scope ''; {all}"));
        check("Usage", &format!("there is no scope 'Usage'; {all}"));
    }

    #[test]
    fn every_set_is_what_it_prints() {
        for bits in 0..1_u8 << Scope::ALL.len() {
            let set = Scopes(bits);
            assert_eq!(set.to_string().parse(), Ok(set));
            assert_eq!(set.iter().collect::<Scopes>(), set);
            assert_eq!(set.is_empty(), set == Scopes::NONE);
            assert!(Scopes::ALL.contains_all(set));
            assert_eq!(set.contains_all(Scopes::ALL), set == Scopes::ALL);
        }
    }

    #[test]
    fn roles_stand_for_scopes() {
        let scopes = |role| Scopes::of_role(role).to_string();
        assert_eq!(scopes(Role::Owner), "inference,usage,billing,keys,users");
        assert_eq!(scopes(Role::Member), "inference,usage");
        assert_eq!(scopes(Role::Operator), "");
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("admin".parse::<Role>().is_err());
    }
}
