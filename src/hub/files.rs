//! Files on disk: where a model's are, whether they are the right ones, and the record that saves
//! reading them again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalog::{ModelEntry, Sha256Digest};

use super::{HubError, ModelFiles, Progress, SourceError};

/// Bytes read or written at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

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

    pub(super) fn lock(&self) -> PathBuf {
        self.named("lock")
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.named("partial")
    }

    pub(super) fn wheels(&self) -> PathBuf {
        self.named("wheels")
    }

    fn named(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.id))
    }
}

/// A file or folder that may be the model.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) source: String,
    /// The operator's own file, which they may replace as they like.
    pub(super) is_operators: bool,
}

/// What was checked, so that it need not be read again while size and time stay the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    path: PathBuf,
    source: String,
    sha256: String,
    files: Vec<Stamp>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    name: String,
    bytes: u64,
    modified_ns: u64,
}

impl Record {
    fn read(place: &Place) -> Option<Record> {
        serde_json::from_slice(&fs::read(place.record()).ok()?).ok()
    }

    /// Failing to write costs the next start time, nothing else.
    fn write(&self, place: &Place) {
        let temporary = place.named("json.partial");
        let text = serde_json::to_vec_pretty(self).expect("a record is strings and numbers");
        let written = fs::create_dir_all(place.dir())
            .and_then(|()| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, place.record()));
        if let Err(error) = written {
            tracing::warn!(file = %place.record().display(), %error,
                "the model's record could not be written: the next start reads the weights again");
        }
    }

    fn digest(&self) -> Option<Sha256Digest> {
        self.sha256.parse().ok()
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|stamp| stamp.bytes).sum()
    }
}

/// Checks a candidate against `entry` and, where that says nothing, against the record.
pub(super) fn check(
    candidate: &Candidate,
    entry: &ModelEntry,
    place: &Place,
    report: &mut dyn FnMut(Progress),
) -> Result<ModelFiles, SourceError> {
    let path = std::path::absolute(&candidate.path)
        .map_err(|source| SourceError::io(&candidate.path, source))?;
    let stamps = stamps(&path)?;
    let found: u64 = stamps.iter().map(|stamp| stamp.bytes).sum();
    if let Some(expected) = entry.bytes
        && found != expected
    {
        return Err(SourceError::WrongSize { found, expected });
    }

    let record = Record::read(place).filter(|record| record.path == path);
    let recorded = record.as_ref().and_then(Record::digest);
    let digest = match (&record, recorded) {
        (Some(record), Some(digest)) if record.files == stamps => digest,
        _ => {
            report(Progress::Verifying);
            digest_of(&path, &stamps)?
        }
    };
    match (entry.sha256.map(Sha256Digest), recorded) {
        (Some(expected), _) if digest != expected => {
            return Err(SourceError::WrongDigest { found: digest, expected });
        }
        (None, Some(recorded)) if digest != recorded && !candidate.is_operators => {
            let record = place.record();
            return Err(SourceError::Changed { found: digest, recorded, record });
        }
        _ => {}
    }

    // What the record says of a file's origin is better than what its place says.
    let source = match &record {
        Some(record) if !candidate.is_operators => record.source.clone(),
        _ => candidate.source.clone(),
    };
    let fresh = Record { path, source, sha256: digest.to_string(), files: stamps };
    if record.as_ref() != Some(&fresh) {
        fresh.write(place);
    }
    Ok(ModelFiles {
        bytes: fresh.bytes(),
        digest: digest.0,
        source: fresh.source,
        path: fresh.path,
    })
}

/// Records a file whose digest was computed while it was written.
pub(super) fn record(
    path: PathBuf,
    source: String,
    digest: Sha256Digest,
    place: &Place,
) -> Result<ModelFiles, SourceError> {
    let files = stamps(&path)?;
    let record = Record { path, source, sha256: digest.to_string(), files };
    record.write(place);
    Ok(ModelFiles {
        bytes: record.bytes(),
        digest: digest.0,
        source: record.source,
        path: record.path,
    })
}

/// Name, size and time of the file, or of a folder's model files in the order of their names.
fn stamps(path: &Path) -> Result<Vec<Stamp>, SourceError> {
    let failed = |source| SourceError::io(path, source);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![stamp(path, name)?]);
    }
    let mut stamps = Vec::new();
    for file in fs::read_dir(path).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name().to_string_lossy().into_owned();
        let kinds = [".safetensors", ".json", ".jinja", ".model"];
        if kinds.iter().any(|kind| name.ends_with(kind)) {
            stamps.push(stamp(&file.path(), name)?);
        }
    }
    stamps.sort_by(|a, b| a.name.cmp(&b.name));
    if !stamps.iter().any(|stamp| stamp.name == "config.json") {
        return Err(SourceError::NotAModelFolder("config.json"));
    }
    if !stamps.iter().any(|stamp| stamp.name.ends_with(".safetensors")) {
        return Err(SourceError::NotAModelFolder("safetensors"));
    }
    Ok(stamps)
}

fn stamp(path: &Path, name: String) -> Result<Stamp, SourceError> {
    let metadata = fs::metadata(path).map_err(|source| SourceError::io(path, source))?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_ns = modified.map_or(0, |time| time.as_nanos() as u64);
    Ok(Stamp { name, bytes: metadata.len(), modified_ns })
}

/// The digest that [`ModelFiles::digest`] describes.
fn digest_of(path: &Path, stamps: &[Stamp]) -> Result<Sha256Digest, SourceError> {
    if !path.is_dir() {
        return checked_digest(path);
    }
    let mut lines = Sha256::new();
    for stamp in stamps {
        let digest = checked_digest(&path.join(&stamp.name))?;
        lines.update(format!("{digest}  {}\n", stamp.name));
    }
    Ok(Sha256Digest(lines.finalize().into()))
}

/// The digest of a file which, if it is in a hub cache, has to be the one that names its blob: a
/// download whose check was interrupted lies there under its final name.
fn checked_digest(path: &Path) -> Result<Sha256Digest, SourceError> {
    let found = digest_of_file(path)?;
    match announced_digest(path) {
        Some(expected) if expected != found => Err(SourceError::WrongDigest { found, expected }),
        Some(_) | None => Ok(found),
    }
}

/// The SHA-256 that the hub announced for a file of its cache. Small files are named otherwise.
fn announced_digest(path: &Path) -> Option<Sha256Digest> {
    let blob = fs::canonicalize(path).ok()?;
    let is_blob = blob.parent()?.file_name()? == "blobs";
    is_blob.then(|| blob.file_name()?.to_str()?.parse().ok()).flatten()
}

pub(super) fn digest_of_file(path: &Path) -> Result<Sha256Digest, SourceError> {
    let failed = |source| SourceError::io(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok(Sha256Digest(hasher.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hasher.update(&chunk[..read]);
    }
}
