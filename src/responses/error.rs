//! Why responses can not be kept or read.

use std::path::PathBuf;

/// The store can not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is some other SQLite database, or none.
    #[error("{0} is no store of responses: give another data folder, or move that file away")]
    NotAStore(PathBuf),
    /// A newer mizan wrote the file.
    #[error("{path} has schema {found}, this mizan knows {known}: use a newer mizan")]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this program knows.
        known: i64,
    },
    /// The file can not be made or removed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("the store of responses: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Why a conversation can not be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The account keeps no such response.
    #[error("there is no response '{id}'")]
    Unknown {
        /// As it was asked for.
        id: String,
    },
    /// It is too long to be read again.
    #[error(
        "the conversation has {responses} responses of {bytes} bytes, and at most {max_responses} \
         of {max_bytes} bytes can be gone on from: begin a new one"
    )]
    TooLong {
        /// Responses in it.
        responses: i64,
        /// The bound.
        max_responses: i64,
        /// Their bytes.
        bytes: i64,
        /// The bound.
        max_bytes: i64,
    },
    /// It can not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
