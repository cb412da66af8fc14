//! One file from the hub into the hub's cache, on a thread of its own.
//!
//! hf-hub asks the hub what the file is and knows the layout of the cache. It could download too,
//! but would first ask again and make paths of whatever that second answer says. So the bytes are
//! fetched here, those of the commit in the one answer that was checked, and they get their name in
//! the cache only once they are the right ones.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};

use crate::catalog::Sha256Digest;

use super::SourceError;
use super::digests::digest_of_file;
use super::files::remove;
use super::transfer::{Transfer, bytes_of};

/// Digits of a commit, which is a SHA-1.
const COMMIT_DIGITS: usize = 40;

/// Longest etag that is taken. The hub's are digests, of at most 64 digits.
const MAX_ETAG_CHARS: usize = 128;

/// One file to download.
pub(super) struct Job {
    pub(super) endpoint: String,
    pub(super) token: Option<String>,
    pub(super) cache: Cache,
    pub(super) repo: String,
    pub(super) revision: String,
    pub(super) file: String,
    pub(super) expected_bytes: Option<u64>,
    pub(super) expected_sha256: Option<Sha256Digest>,
}

/// What the downloading thread says.
pub(super) enum Step {
    Started { bytes: u64 },
    Advanced { bytes: u64 },
    Verifying,
    Ended(Result<Downloaded, SourceError>),
}

/// A file of the right size in the hub's cache.
pub(super) struct Downloaded {
    pub(super) path: PathBuf,
    /// Its digest, where it was known beforehand; then it is that one.
    pub(super) sha256: Option<Sha256Digest>,
}

/// What the hub says of a file; commit and etag are fit to be parts of paths.
struct Announced {
    bytes: u64,
    commit: String,
    etag: String,
    sha256: Option<Sha256Digest>,
}

impl Job {
    pub(super) fn run(self, steps: &SyncSender<Step>) {
        let ended = self.download(steps);
        // Nobody listens any more when it took too long; what is there stays for the next time.
        let _ = steps.send(Step::Ended(ended));
    }

    fn download(&self, steps: &SyncSender<Step>) -> Result<Downloaded, SourceError> {
        let api = ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_progress(false)
            .build()
            .map_err(|error| SourceError::hub(&error, &self.endpoint))?;
        let announced = self.announced(&api)?;
        let cache = self.cache.repo(repo_of(&self.repo, &self.revision));
        let blob = cache.blob_path(&announced.etag);
        let part = blob.with_extension("part");
        let failed = |error| SourceError::io(&blob, error);
        fs::create_dir_all(blob.parent().expect("blobs lie in a folder")).map_err(failed)?;
        let _lock = lock(&blob.with_extension("lock"))?;
        // Nothing can be asked for after the last byte.
        if bytes_of(&part) >= announced.bytes {
            remove(&part)?;
        }
        let _ = steps.send(Step::Started { bytes: announced.bytes });
        let transfer = Transfer {
            endpoint: &self.endpoint,
            token: self.token.as_deref(),
            url: api.repo(repo_of(&self.repo, &announced.commit)).url(&self.file),
            part: &part,
            bytes: announced.bytes,
        };
        transfer.run(&|bytes| {
            let advanced = Step::Advanced { bytes: bytes.min(announced.bytes) };
            let given_up = |_| SourceError::Hub("the download was given up".to_owned());
            steps.send(advanced).map_err(given_up)
        })?;

        let sha256 = announced.sha256.or(self.expected_sha256);
        if let Some(expected) = sha256 {
            let _ = steps.send(Step::Verifying);
            let found = digest_of_file(&part)?;
            if found != expected {
                remove(&part)?;
                return Err(SourceError::WrongDigest { found, expected });
            }
        }
        fs::rename(&part, &blob).map_err(failed)?;
        let path = cache.pointer_path(&announced.commit).join(&self.file);
        self.link(&path, &announced).map_err(|error| SourceError::io(&path, error))?;
        Ok(Downloaded { path, sha256 })
    }

    /// Asks what the file is, and refuses one that is not the model before it is downloaded.
    fn announced(&self, api: &Api) -> Result<Announced, SourceError> {
        let url = api.repo(repo_of(&self.repo, &self.revision)).url(&self.file);
        let metadata =
            api.metadata(&url).map_err(|error| SourceError::hub(&error, &self.endpoint))?;
        let announced = Announced {
            bytes: metadata.size() as u64,
            commit: metadata.commit_hash().to_owned(),
            etag: metadata.etag().to_owned(),
            // The hub's name for a large file is its SHA-256; for a small one it is shorter.
            sha256: metadata.etag().parse().ok(),
        };
        self.check_names(&announced)?;
        if let Some(expected) = self.expected_bytes
            && announced.bytes != expected
        {
            return Err(SourceError::WrongSize { found: announced.bytes, expected });
        }
        if let (Some(expected), Some(found)) = (self.expected_sha256, announced.sha256)
            && found != expected
        {
            return Err(SourceError::WrongDigest { found, expected });
        }
        Ok(announced)
    }

    /// Commit and etag become parts of paths, so they are held to what a hub's look like.
    fn check_names(&self, announced: &Announced) -> Result<(), SourceError> {
        let refused = |name: &str, found: &str, wanted: &str| {
            let found: String = found.chars().take(MAX_ETAG_CHARS).collect();
            let why = format!("{} answered with the {name} {found:?}", self.endpoint);
            let remedy = "HF_ENDPOINT has to be a hub";
            Err(SourceError::Hub(format!("{why} instead of {wanted}: {remedy}")))
        };
        let Announced { commit, etag, .. } = announced;
        if commit.len() != COMMIT_DIGITS || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            let wanted = format!("{COMMIT_DIGITS} hexadecimal digits");
            return refused("commit", commit, &wanted);
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if etag.is_empty() || etag.len() > MAX_ETAG_CHARS || !etag.bytes().all(is_plain) {
            let wanted = format!("1 to {MAX_ETAG_CHARS} letters, digits and hyphens");
            return refused("etag", etag, &wanted);
        }
        Ok(())
    }

    /// Gives the blob its name in the snapshot of its commit, and the branch that commit, as the
    /// hub's own tools do.
    fn link(&self, path: &Path, announced: &Announced) -> io::Result<()> {
        let Announced { commit, etag, .. } = announced;
        // Out of the file's folders, its commit's and that of all snapshots.
        let up = "../".repeat(Path::new(&self.file).components().count() + 1);
        let blob = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(path).ok().as_ref() != Some(&blob) {
            fs::create_dir_all(path.parent().expect("files lie in a snapshot's folder"))?;
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => symlink(&blob, path)?,
            }
        }
        if self.revision != *commit {
            self.cache.repo(repo_of(&self.repo, &self.revision)).create_ref(commit)?;
        }
        Ok(())
    }
}

pub(super) fn repo_of(repo: &str, revision: &str) -> Repo {
    Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned())
}

/// Held until dropped; other programs that use hf-hub take it too.
fn lock(path: &Path) -> Result<File, SourceError> {
    let failed = |error| SourceError::io(path, error);
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(SourceError::Hub("another program is downloading it: try again later".to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
