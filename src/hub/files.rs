//! Files on disk: whether they are the model's, and which of a folder are.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::catalog::{ModelEntry, Sha256Digest};

use super::digests::{self, Digests};
use super::place::Place;
use super::record::{Record, Stamp};
use super::{ModelFiles, Progress, SourceError};

/// A file or folder that may be the model.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) source: String,
    /// Which files of a folder are the model's, where others may lie beside them; empty for a file
    /// and for a folder whose model files all count.
    pub(super) files: Vec<String>,
    /// The operator's own file, which they may replace as they like.
    pub(super) is_operators: bool,
}

/// Checks a candidate against `entry` and, where that says nothing, against the record.
pub(super) fn check(
    candidate: &Candidate,
    entry: &ModelEntry,
    place: &Place,
    digests: &Digests,
    report: &mut dyn FnMut(Progress),
) -> Result<ModelFiles, SourceError> {
    let sight = Sight::new(candidate, entry, place, digests)?;
    let digest = match sight.digest {
        Some(digest) => digest,
        None => {
            report(Progress::Verifying);
            sight.read(digests)?
        }
    };
    sight.judge(digest, candidate, entry, place)?;

    let Sight { path, stamps, record, .. } = sight;
    // Only the record knows where a file in the models folder came from.
    let source = match &record {
        Some(record) if path == place.weights() && !candidate.is_operators => record.source.clone(),
        _ => candidate.source.clone(),
    };
    let fresh = Record { path, source, sha256: digest.to_string(), files: stamps };
    if record.as_ref() != Some(&fresh) {
        fresh.write(place);
    }
    let bytes = fresh.bytes();
    let path = match candidate.files.as_slice() {
        [] => fresh.path,
        _ => linked(&fresh.path, &fresh.files, place)?,
    };
    Ok(ModelFiles { bytes, digest: digest.0, source: fresh.source, path })
}

/// Whether the candidate may be the model, as far as that is known without reading it.
pub(super) fn may_be_right(
    candidate: &Candidate,
    entry: &ModelEntry,
    place: &Place,
    digests: &Digests,
) -> bool {
    Sight::new(candidate, entry, place, digests).is_ok_and(|sight| match sight.digest {
        Some(digest) => sight.judge(digest, candidate, entry, place).is_ok(),
        None => true,
    })
}

/// Records a file whose digest was computed while it was written.
pub(super) fn record(
    path: PathBuf,
    source: String,
    digest: Sha256Digest,
    place: &Place,
) -> Result<ModelFiles, SourceError> {
    let files = stamps(&path, &[])?;
    let record = Record { path, source, sha256: digest.to_string(), files };
    record.write(place);
    Ok(ModelFiles {
        bytes: record.bytes(),
        digest: digest.0,
        source: record.source,
        path: record.path,
    })
}

/// A candidate of the right size, and what is known of it without reading it.
struct Sight {
    path: PathBuf,
    is_folder: bool,
    stamps: Vec<Stamp>,
    record: Option<Record>,
    digest: Option<Sha256Digest>,
}

impl Sight {
    fn new(
        candidate: &Candidate,
        entry: &ModelEntry,
        place: &Place,
        digests: &Digests,
    ) -> Result<Sight, SourceError> {
        let path = std::path::absolute(&candidate.path)
            .map_err(|source| SourceError::io(&candidate.path, source))?;
        let stamps = stamps(&path, &candidate.files)?;
        let found: u64 = stamps.iter().map(|stamp| stamp.bytes).sum();
        if let Some(expected) = entry.bytes
            && found != expected
        {
            return Err(SourceError::WrongSize { found, expected });
        }
        let record = Record::read(place).filter(|record| record.is_of(&path, &stamps));
        let unchanged = record.as_ref().filter(|record| record.files == stamps);
        let digest = unchanged.and_then(Record::digest);
        let mut sight = Sight { is_folder: path.is_dir(), path, stamps, record, digest };
        if sight.digest.is_none() {
            let known = |stamp| digests.known(&sight.path_of(stamp), stamp);
            let known: Option<Vec<_>> = sight.stamps.iter().map(known).collect();
            sight.digest = known.map(|known| sight.join(&known)).transpose()?;
        }
        Ok(sight)
    }

    /// Reads the files that this process has not read yet.
    fn read(&self, digests: &Digests) -> Result<Sha256Digest, SourceError> {
        let read = |stamp| digests.of(&self.path_of(stamp), stamp);
        let read: Result<Vec<_>, SourceError> = self.stamps.iter().map(read).collect();
        self.join(&read?)
    }

    /// The digest that [`ModelFiles::digest`] describes, from those of the files.
    ///
    /// A file in a hub cache has to be the one that names its blob: not every tool checks what it
    /// downloads before it gives it that name.
    fn join(&self, digests: &[Sha256Digest]) -> Result<Sha256Digest, SourceError> {
        let mut lines = Sha256::new();
        for (stamp, &found) in self.stamps.iter().zip(digests) {
            if let Some(expected) = digests::announced(&self.path_of(stamp))
                && found != expected
            {
                return Err(SourceError::WrongDigest { found, expected });
            }
            lines.update(format!("{found}  {}\n", stamp.name));
        }
        match digests {
            [digest] if !self.is_folder => Ok(*digest),
            _ => Ok(Sha256Digest(lines.finalize().into())),
        }
    }

    fn path_of(&self, stamp: &Stamp) -> PathBuf {
        if self.is_folder { self.path.join(&stamp.name) } else { self.path.clone() }
    }

    /// Refuses what is neither what the entry says nor what was recorded.
    fn judge(
        &self,
        found: Sha256Digest,
        candidate: &Candidate,
        entry: &ModelEntry,
        place: &Place,
    ) -> Result<(), SourceError> {
        let recorded = self.record.as_ref().and_then(Record::digest);
        match (entry.sha256.map(Sha256Digest), recorded) {
            (Some(expected), _) if found != expected => {
                Err(SourceError::WrongDigest { found, expected })
            }
            (None, Some(recorded)) if found != recorded && !candidate.is_operators => {
                Err(SourceError::Changed { found, recorded, record: place.record() })
            }
            _ => Ok(()),
        }
    }
}

/// The stamp of the file, or of a folder's model files in the order of their names: of those that
/// `files` names, or of all.
fn stamps(path: &Path, files: &[String]) -> Result<Vec<Stamp>, SourceError> {
    let failed = |source| SourceError::io(path, source);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Ok(vec![Stamp::of(path, &name)?]);
    }
    let mut names = files.to_vec();
    if names.is_empty() {
        for file in fs::read_dir(path).map_err(failed)? {
            names.push(file.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
    }
    let kinds = [".safetensors", ".json", ".jinja", ".model"];
    names.retain(|name| kinds.iter().any(|kind| name.ends_with(kind)) && !name.contains('/'));
    names.sort();
    names.dedup();
    if !names.iter().any(|name| name == "config.json") {
        return Err(SourceError::NotAModelFolder("config.json"));
    }
    if !names.iter().any(|name| name.ends_with(".safetensors")) {
        return Err(SourceError::NotAModelFolder("safetensors"));
    }
    names.iter().map(|name| Stamp::of(&path.join(name), name)).collect()
}

/// A folder of links to the checked files of `folder`: whoever reads it gets those and no others.
fn linked(folder: &Path, files: &[Stamp], place: &Place) -> Result<PathBuf, SourceError> {
    let links = place.links();
    let failed = |error| SourceError::io(&links, error);
    fs::create_dir_all(&links).map_err(failed)?;
    for link in fs::read_dir(&links).map_err(failed)? {
        let link = link.map_err(failed)?;
        let is_checked = files.iter().any(|file| *file.name == *link.file_name());
        let target = fs::read_link(link.path()).ok();
        if !is_checked || target != Some(folder.join(link.file_name())) {
            remove(&link.path())?;
        }
    }
    for file in files {
        match symlink(folder.join(&file.name), links.join(&file.name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(links)
}

/// Deletes a file that may have gone already.
pub(super) fn remove(path: &Path) -> Result<(), SourceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SourceError::io(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
