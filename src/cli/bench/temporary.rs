//! A folder for the books of a bench.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder that is removed with all that is in it.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// A fresh folder in `parent`, or in the system's for temporary files. `bench` is in its name.
    pub(super) fn create(parent: Option<&Path>, bench: &str) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = parent.join(format!("mizan-bench-{bench}-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "{} was left over", self.0.display());
        }
    }
}
