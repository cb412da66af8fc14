//! The record of a check: which files were read, and what they were, so that the next start need
//! not read them again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::catalog::Sha256Digest;

use super::SourceError;
use super::place::Place;

/// What was checked, so that it need not be read again while size and time stay the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) path: PathBuf,
    pub(super) source: String,
    pub(super) sha256: String,
    pub(super) files: Vec<Stamp>,
}

/// Name, size and time of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) name: String,
    pub(super) bytes: u64,
    modified_ns: u64,
}

impl Record {
    pub(super) fn read(place: &Place) -> Option<Record> {
        serde_json::from_slice(&fs::read(place.record()).ok()?).ok()
    }

    /// Failing to write costs the next start time, nothing else.
    pub(super) fn write(&self, place: &Place) {
        let temporary = place.partial_record();
        let text = serde_json::to_vec_pretty(self).expect("a record is strings and numbers");
        let written = fs::create_dir_all(place.dir())
            .and_then(|()| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, place.record()));
        if let Err(error) = written {
            tracing::warn!(file = %place.record().display(), %error,
                "the model's record could not be written: the next start reads the weights again");
        }
    }

    /// Whether it tells of these very files, whatever became of them since.
    pub(super) fn is_of<'a>(&'a self, path: &Path, files: &'a [Stamp]) -> bool {
        let names = |files: &'a [Stamp]| files.iter().map(|file| &file.name);
        self.path == path && names(&self.files).eq(names(files))
    }

    pub(super) fn digest(&self) -> Option<Sha256Digest> {
        self.sha256.parse().ok()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|stamp| stamp.bytes).sum()
    }
}

impl Stamp {
    pub(super) fn of(path: &Path, name: &str) -> Result<Stamp, SourceError> {
        let metadata = fs::metadata(path).map_err(|source| SourceError::io(path, source))?;
        let modified = metadata.modified().ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = since.map_or(0, |time| time.as_nanos() as u64);
        Ok(Stamp { name: name.to_owned(), bytes: metadata.len(), modified_ns })
    }
}
