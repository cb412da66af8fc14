//! Why a model's files could not be had.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::ApiError;

use crate::catalog::Sha256Digest;

/// Why a model could not be located or fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No source had weights that may be used.
    #[error("no source has {id}: {}", lines(failures))]
    NoSource {
        /// The model.
        id: String,
        /// What was tried, in order, and why each failed.
        failures: Vec<(String, SourceError)>,
    },
    /// The models folder itself is in the way.
    #[error("the models folder can not be used: {}: {source}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn lines(failures: &[(String, SourceError)]) -> String {
    if failures.is_empty() {
        return "it has no source that could be tried".to_owned();
    }
    let lines: Vec<String> =
        failures.iter().map(|(source, why)| format!("{source}: {why}")).collect();
    lines.join("; ")
}

/// Why one source failed; displayed in one line.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing is at the path.
    #[error("no such file")]
    Missing,
    /// The size is not the one of `models.toml`, or not the one announced.
    #[error("{found} bytes instead of {expected}")]
    WrongSize {
        /// Bytes there.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// The digest is not the one of `models.toml`, or not the one announced.
    #[error("sha256 {found} instead of {expected}")]
    WrongDigest {
        /// Of what is there.
        found: Sha256Digest,
        /// As it should be.
        expected: Sha256Digest,
    },
    /// The file is not the one that was fetched, and `models.toml` does not say what it should be.
    #[error(
        "changed since it was fetched: sha256 {found} instead of {recorded}; delete it to fetch it \
         again, or {} to accept it", record.display()
    )]
    Changed {
        /// Of what is there.
        found: Sha256Digest,
        /// Of what was fetched.
        recorded: Sha256Digest,
        /// The file that remembers.
        record: PathBuf,
    },
    /// A folder that is not a model's.
    #[error("a folder without {0}: a model's folder has config.json and .safetensors files")]
    NotAModelFolder(&'static str),
    /// No room.
    #[error("the disk is full: {} has no room for it", dir.display())]
    DiskFull {
        /// The folder being written to.
        dir: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operator forbade it.
    #[error("HF_HUB_OFFLINE is set")]
    Offline,
    /// The hub could not be reached in time.
    #[error("no answer from {endpoint} within {} s", waited.as_secs_f32())]
    NoAnswer {
        /// The hub's address.
        endpoint: String,
        /// How long.
        waited: Duration,
    },
    /// The download stood still; what is there is kept and resumed next time.
    #[error("the download stood still for {} s; it is resumed next time", waited.as_secs_f32())]
    Stalled {
        /// How long.
        waited: Duration,
    },
    /// The hub answered with a refusal, or not as a hub does.
    #[error("{0}")]
    Hub(String),
    /// No pip on this machine.
    #[error("no pip on this machine: install Python's pip (tried python3 -m pip, pip3, pip)")]
    NoPip,
    /// pip could not fetch a wheel.
    #[error("{package}: {why}")]
    Pip {
        /// As asked for.
        package: String,
        /// pip's own reason, or ours.
        why: String,
    },
    /// A wheel is not what `models.toml` says.
    #[error("{package}: {why}")]
    Wheel {
        /// As asked for.
        package: String,
        /// What is wrong with it.
        why: String,
    },
}

impl SourceError {
    /// An error of reading or writing `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> SourceError {
        match source.kind() {
            io::ErrorKind::NotFound => SourceError::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                SourceError::DiskFull { dir: path.parent().unwrap_or(path).to_owned() }
            }
            _ => SourceError::Io { path: path.to_owned(), source },
        }
    }

    /// What the hub at `endpoint` answered, in one line, with what to do where that is known.
    pub(super) fn hub(error: &ApiError, endpoint: &str) -> SourceError {
        let status = match error {
            ApiError::RequestError(error) => match **error {
                ureq::Error::StatusCode(status) => Some(status),
                _ => None,
            },
            _ => None,
        };
        SourceError::Hub(match status {
            Some(status @ (401 | 403)) => format!(
                "{endpoint} answered {status}: no such repository, or one that needs its licence \
                 accepted and HF_TOKEN set"
            ),
            Some(404) => format!("{endpoint} answered 404: no such repository, revision or file"),
            Some(status) => format!("{endpoint} answered {status}"),
            None => error.to_string().replace('\n', " "),
        })
    }

    /// Whether nothing is there, as opposed to something that must not be used.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, SourceError::Missing)
    }
}
