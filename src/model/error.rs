//! What can go wrong with a model: its files, a batch, an executor.
//! Promises: every message names the place (path, byte offset, key or tensor) and the value met.
//! Never knows: HTTP, the engine's reaction.

use std::path::{Path, PathBuf};

/// Why a model could not be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model's files are missing, damaged or not of a kind that is understood.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file, or the folder where no single file is to blame.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// A batch breaks an invariant of [`super::ForwardBatch`]: a bug of its maker.
    #[error("invalid batch: {0}")]
    Batch(String),
    /// The executor could not be made or could not finish a step.
    #[error("executor: {0}")]
    Executor(String),
    /// What the executor runs on has failed: it can run nothing any more.
    #[error("executor: {0}; nothing more can be run on it")]
    Device(String),
}

/// What is wrong with a model file. The path is added by whoever opened it.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file's structure is broken.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the structure stops making sense, from the start of the file.
        offset: u64,
        /// What was met and what was expected.
        what: String,
    },
    /// A metadata key or a field of `config.json`.
    #[error("setting `{key}` {what}")]
    Setting {
        /// The key as the file writes it.
        key: String,
        /// What is wrong with its value; reads on from the key.
        what: String,
    },
    /// A tensor is missing, has the wrong shape or a type that cannot be read.
    #[error("tensor `{name}` {what}")]
    Tensor {
        /// The tensor's name in the file.
        name: String,
        /// What is wrong with it; reads on from the name.
        what: String,
    },
    /// A well-formed file of a kind that this program does not run.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl FileProblem {
    /// Says which file the problem is in.
    pub fn at(self, path: &Path) -> ModelError {
        ModelError::File { path: path.to_owned(), problem: self }
    }

    pub(crate) fn damaged(offset: usize, what: impl Into<String>) -> Self {
        Self::Damaged { offset: offset as u64, what: what.into() }
    }

    pub(crate) fn setting(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), what: what.into() }
    }

    pub(crate) fn tensor(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), what: what.into() }
    }
}
