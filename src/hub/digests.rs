//! SHA-256 of files, computed once in a process while their size and time stay the same: a file
//! that was refused is not read again for each request that asks for it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::catalog::Sha256Digest;

use super::SourceError;
use super::record::Stamp;

/// Bytes read or written at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// The digests that this process computed; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    computed: Arc<Mutex<HashMap<PathBuf, (Stamp, Sha256Digest)>>>,
}

impl Digests {
    /// The digest of a file that was read since it got its stamp.
    pub(super) fn known(&self, path: &Path, stamp: &Stamp) -> Option<Sha256Digest> {
        let computed = self.lock();
        let (at, digest) = computed.get(path)?;
        (at == stamp).then_some(*digest)
    }

    /// The digest of a file, which is read if it is not known.
    pub(super) fn of(&self, path: &Path, stamp: &Stamp) -> Result<Sha256Digest, SourceError> {
        if let Some(digest) = self.known(path, stamp) {
            return Ok(digest);
        }
        let digest = digest_of_file(path)?;
        self.lock().insert(path.to_owned(), (stamp.clone(), digest));
        Ok(digest)
    }

    /// The map is whole between any two statements, so a panic elsewhere says nothing about it.
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, Sha256Digest)>> {
        self.computed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The SHA-256 that the hub announced for a file of its cache. Small files are named otherwise.
pub(super) fn announced(path: &Path) -> Option<Sha256Digest> {
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
