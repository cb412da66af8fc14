//! What the layers below refuse, as the caller sees it.

use super::ApiError;
use crate::engine::SubmitError;
use crate::ledger::{
    AccountError, ChargeError, ExportError, GrantError, KeyError, LedgerError, NoticeError,
    OpenError, ReceiptError, Unavailable, UsageError,
};
use crate::registry::{RegistryError, UnloadError};

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Insufficient { needed, balance } => {
                Self::OutOfCredits { required: needed.0, balance: balance.0 }
            }
            OpenError::KeyLimit { needed, remaining, resets_ms: _ } => {
                Self::KeyLimitReached { required: needed.0, balance: remaining.0 }
            }
            OpenError::Conflict => Self::IdempotencyMismatch,
            OpenError::StillRunning(_) => Self::IdempotencyRunning,
            OpenError::AccountClosed => Self::AccountClosed,
            OpenError::AccountFrozen => Self::AccountFrozen,
            OpenError::KeyRevoked | OpenError::KeyExpired | OpenError::UnknownKey => {
                Self::InvalidKey
            }
            // The generation gives the stored answer instead, so this one is a fault of ours.
            OpenError::Replay(_) => Self::Internal,
            OpenError::Invalid(invalid) => Self::BadRequest(invalid.to_string()),
            OpenError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NameTaken(_) => Self::Conflict(error.to_string()),
            AccountError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            AccountError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            AccountError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            KeyError::AccountClosed(_) => Self::Conflict(error.to_string()),
            KeyError::UnknownKey => Self::UnknownKey,
            KeyError::UnknownUser | KeyError::BeyondMaker { .. } => {
                Self::Forbidden(error.to_string())
            }
            KeyError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            KeyError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<GrantError> for ApiError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            GrantError::AccountClosed(_) | GrantError::Conflict => {
                Self::Conflict(error.to_string())
            }
            GrantError::TooMuchInAll { .. } => Self::field("credits", error.to_string()),
            GrantError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            GrantError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<ChargeError> for ApiError {
    fn from(error: ChargeError) -> Self {
        match error {
            // Running dry mid-answer is an ending, and `Meter` makes it one.
            ChargeError::Insufficient { .. }
            | ChargeError::KeyLimit { .. }
            | ChargeError::MeterClosed
            | ChargeError::UnknownMeter => {
                tracing::error!(%error, "a charge failed that can not fail");
                Self::Internal
            }
            ChargeError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::QueueFull { max_waiting } => Self::QueueFull { max_waiting },
            SubmitError::PromptTooLong { prompt, max } => Self::ContextLength {
                param: "messages",
                prompt_tokens: prompt,
                context_length: max,
            },
            SubmitError::EmptyPrompt => Self::BadRequest(error.to_string()),
            SubmitError::InvalidToken(_) => Self::BadRequest(error.to_string()),
            SubmitError::InvalidSampling { name, .. } => Self::field(name, error.to_string()),
            SubmitError::Stopped => Self::EngineFailed,
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::UnknownModel(model) => Self::UnknownModel(model),
            RegistryError::NotFetched(ref model) => {
                Self::ModelUnavailable { model: model.clone(), why: error.to_string() }
            }
            RegistryError::OutOfMemory { ref id, .. } => {
                Self::ModelUnavailable { model: id.clone(), why: error.to_string() }
            }
            // What is wrong may name files of this machine, which is for the operator alone.
            RegistryError::Failed { id, why } => {
                tracing::error!(model = %id, %why, "a model could not be loaded");
                let why = "its files can not be used; the server's log says why".to_owned();
                Self::ModelUnavailable { model: id, why }
            }
        }
    }
}

impl From<UnloadError> for ApiError {
    fn from(error: UnloadError) -> Self {
        match error {
            UnloadError::UnknownModel(model) => Self::UnknownModel(model),
            UnloadError::Loading(_) | UnloadError::InUse { .. } => {
                Self::ModelInUse(error.to_string())
            }
        }
    }
}

impl From<ReceiptError> for ApiError {
    fn from(error: ReceiptError) -> Self {
        match error {
            // Another account's request is as unknown as none, whose id the handler knows.
            ReceiptError::Unknown => Self::UnknownGeneration(String::new()),
            ReceiptError::StillRunning
            | ReceiptError::NothingCharged
            | ReceiptError::NotPaid
            | ReceiptError::Reversed => Self::Conflict(error.to_string()),
            ReceiptError::Unavailable(why) => Self::unavailable(&why),
            ReceiptError::Ledger(error) => error.into(),
        }
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::UnknownAccount(name) => Self::UnknownAccount(name),
            ExportError::EmptyPeriod { .. } => Self::field("to", error.to_string()),
            // Only an export to a file writes to one.
            ExportError::Write(_) => Self::Internal,
            ExportError::Ledger(error) => error.into(),
        }
    }
}

impl From<UsageError> for ApiError {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::TooManyRows { .. } => Self::field("group_by", error.to_string()),
            UsageError::Ledger(error) => error.into(),
        }
    }
}

impl From<NoticeError> for ApiError {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::UnknownAccount(id) => Self::UnknownAccount(id.to_string()),
            NoticeError::UnknownNotice(_) => Self::Internal,
            NoticeError::Invalid(invalid) => Self::field(invalid.field, invalid.to_string()),
            NoticeError::Unavailable(why) => Self::unavailable(&why),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(why: Unavailable) -> Self {
        Self::unavailable(&why)
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "the ledger could not be read");
        Self::LedgerUnavailable
    }
}

impl ApiError {
    pub(in crate::api) fn unavailable(why: &Unavailable) -> Self {
        tracing::error!(%why, "the ledger took no command");
        match why {
            Unavailable::Busy | Unavailable::Failed => Self::LedgerUnavailable,
            Unavailable::Stopped => Self::ShuttingDown,
            Unavailable::Broken => Self::Internal,
        }
    }
}
