//! Real model files for tests.
//!
//! A model that is not there yet is fetched as the program itself does it, once: tests that run in
//! parallel, in this process or another, wait for the first.

use std::path::{Path, PathBuf};

use mizan::catalog::Catalog;
use mizan::hub::{self, Progress};

/// The file of the model `id` of the shipped `models.toml`.
///
/// It is in the folder `MIZAN_TEST_MODELS`, or else in `models` in the target folder.
///
/// # Panics
///
/// If it is in no source: a test that needs a model fails without one, it does not pass.
pub(crate) fn path(id: &str) -> PathBuf {
    let catalog = Catalog::shipped();
    let entry = catalog.model(id).unwrap_or_else(|| panic!("models.toml has no model {id}"));
    let mut tell = |progress| match progress {
        Progress::SourceFailed { source, why } => eprintln!("{id}: {source}: {why}"),
        Progress::Started { source, bytes } => eprintln!("{id}: {bytes} bytes from {source}"),
        Progress::Waiting | Progress::Advanced { .. } | Progress::Verifying | Progress::Done => {}
    };
    match hub::fetch(entry, &models_dir(), &mut tell) {
        Ok(files) => files.path,
        Err(error) => panic!("{error}"),
    }
}

/// The folder that [`path`] fetches into.
pub(crate) fn models_dir() -> PathBuf {
    match std::env::var_os("MIZAN_TEST_MODELS") {
        Some(folder) => PathBuf::from(folder),
        // Cargo's folder for integration tests is a sibling of the profiles' folders.
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("models"),
    }
}
