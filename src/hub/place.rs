//! The models folder: what the files of one model are called there, and its lock.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::{HubError, Progress};

/// The files of one model in the models folder.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    id: String,
}

impl Place {
    pub(super) fn new(models_dir: &Path, id: &str) -> Result<Place, HubError> {
        // Absolute: pip runs in a folder of its own, and a record outlives the working directory.
        let dir = std::path::absolute(models_dir)
            .map_err(|source| HubError::Folder { path: models_dir.to_owned(), source })?;
        Ok(Place { dir, id: id.to_owned() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn weights(&self) -> PathBuf {
        self.named("gguf")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.named("json")
    }

    pub(super) fn partial_record(&self) -> PathBuf {
        self.named("json.partial")
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.named("partial")
    }

    pub(super) fn wheels(&self) -> PathBuf {
        self.named("wheels")
    }

    pub(super) fn links(&self) -> PathBuf {
        self.named("files")
    }

    /// Keeps other processes from fetching the model until what is returned is dropped.
    pub(super) fn hold(&self, report: &mut dyn FnMut(Progress)) -> Result<File, HubError> {
        let path = self.named("lock");
        let failed = |source| HubError::Folder { path: path.clone(), source };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                report(Progress::Waiting);
                file.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(file)
    }

    fn named(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.id))
    }
}
