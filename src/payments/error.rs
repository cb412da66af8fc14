//! Why a provider did not do what it was asked.

/// Why a call to a provider failed. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No connection: the provider has not heard of the call.
    #[error("{provider} can not be reached: {why}")]
    Unreachable {
        /// Its name.
        provider: &'static str,
        /// What the connection said.
        why: String,
    },
    /// The call was sent, and no whole answer came in time.
    #[error("{provider} did not answer: {why}")]
    Unanswered {
        /// Its name.
        provider: &'static str,
        /// What the connection said.
        why: String,
    },
    /// It answered 408, 409, 429 or 5xx.
    #[error("{provider} is busy and answered {status}: try again later")]
    Busy {
        /// Its name.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// It said no.
    #[error("{provider} refused with {status}: {message}")]
    Refused {
        /// Its name.
        provider: &'static str,
        /// The HTTP status.
        status: u16,
        /// Its own words, in one line of bounded length.
        message: String,
    },
    /// It has no such payment.
    #[error("{provider} has no such payment")]
    NotFound {
        /// Its name.
        provider: &'static str,
    },
    /// It answered something else than its documentation says.
    #[error("{provider} answered what can not be used: {what}")]
    Malformed {
        /// Its name.
        provider: &'static str,
        /// What was wrong with it.
        what: String,
    },
}

impl ProviderError {
    /// Whether the same call may well succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            ProviderError::Unreachable { .. }
            | ProviderError::Unanswered { .. }
            | ProviderError::Busy { .. } => true,
            ProviderError::Refused { .. }
            | ProviderError::NotFound { .. }
            | ProviderError::Malformed { .. } => false,
        }
    }

    /// Whether the provider may have done what it was asked all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            ProviderError::Unanswered { .. } | ProviderError::Malformed { .. } => true,
            ProviderError::Busy { status, .. } => *status != 429,
            ProviderError::Unreachable { .. }
            | ProviderError::Refused { .. }
            | ProviderError::NotFound { .. } => false,
        }
    }
}
