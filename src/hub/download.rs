//! Models from the Hugging Face hub, in the hub's own cache, where other tools find them too.
//!
//! Each file is fetched by a thread of its own that is waited for as long as it makes progress. A
//! thread that is not waited for any more ends with its connection; until then it holds the lock on
//! its file.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use hf_hub::Cache;

use crate::catalog::{ModelEntry, Sha256Digest, Source};

use super::files::{self, Candidate};
use super::job::{Downloaded, Job, Step, repo_of};
use super::place::Place;
use super::record::Record;
use super::{Hub, ModelFiles, Progress, SourceError, name_of};

/// The model in the hub's cache: first the commit that was checked, then the one that the revision
/// leads to now, each if all its files are there. Uses no network.
pub(super) fn cached(hub: &Hub, source: &Source, place: &Place) -> Vec<Candidate> {
    let Source::Hub { repo, files, revision } = source else { return Vec::new() };
    let cache = Cache::new(hub.cache_dir(place)).repo(repo_of(repo, revision));
    let in_commit = |commit: &str| {
        let paths = files.iter().map(|file| cache.pointer_path(commit).join(file));
        let paths: Vec<PathBuf> = paths.collect();
        candidate(source, &paths).filter(|_| paths.iter().all(|path| path.exists()))
    };
    // Another tool moves the branch on when it fetches a newer commit, often not all files of it.
    // What was checked stays the model for as long as it is there.
    let checked = || {
        let record = Record::read(place).filter(|record| record.source == name_of(source))?;
        let in_snapshot = record.path.strip_prefix(cache.pointer_path("")).ok()?;
        let commit = in_snapshot.components().next()?.as_os_str().to_str()?;
        in_commit(commit).filter(|candidate| candidate.path == record.path)
    };
    let named = || {
        let paths: Option<Vec<PathBuf>> = files.iter().map(|file| cache.get(file)).collect();
        candidate(source, &paths?)
    };
    // The cache has no name for a revision that is a commit: its folder is the commit itself.
    let current = named().or_else(|| in_commit(revision));
    let mut candidates: Vec<Candidate> = checked().into_iter().chain(current).collect();
    candidates.dedup_by(|a, b| a.path == b.path);
    candidates
}

/// Downloads the model's files and checks them.
pub(super) fn fetch(
    hub: &Hub,
    entry: &ModelEntry,
    source: &Source,
    place: &Place,
    report: &mut dyn FnMut(Progress),
) -> Result<ModelFiles, SourceError> {
    let Source::Hub { repo, files, revision } = source else {
        unreachable!("only hub sources are downloaded from the hub");
    };
    if hub.offline {
        return Err(SourceError::Offline);
    }
    let mut paths = Vec::new();
    let mut digest = None;
    for file in files {
        let (sender, receiver) = sync_channel(16);
        let job = Job {
            endpoint: hub.endpoint.clone(),
            token: hub.token.as_ref().map(|token| token.expose().to_owned()),
            cache: Cache::new(hub.cache_dir(place)),
            repo: repo.clone(),
            revision: revision.clone(),
            file: file.clone(),
            // Of one file the entry knows beforehand what it must be.
            expected_bytes: entry.bytes.filter(|_| files.len() == 1),
            expected_sha256: entry.sha256.map(Sha256Digest).filter(|_| files.len() == 1),
        };
        let thread = std::thread::Builder::new().name("hub".to_owned());
        thread
            .spawn(move || job.run(&sender))
            .map_err(|error| SourceError::Hub(format!("no thread for it: {error}")))?;
        let downloaded = follow(hub, &name_of(source), &receiver, report)?;
        paths.push(downloaded.path);
        digest = downloaded.sha256;
    }
    let candidate = candidate(source, &paths).ok_or_else(|| {
        SourceError::Hub("the repository changed while it was downloaded; try again".to_owned())
    })?;
    match digest {
        Some(digest) if files.len() == 1 => {
            files::record(candidate.path, candidate.source, digest, place)
        }
        _ => files::check(&candidate, entry, place, &hub.digests, report),
    }
}

/// The one file, or the folder that all files of a snapshot are in.
fn candidate(source: &Source, paths: &[PathBuf]) -> Option<Candidate> {
    let (path, files) = if let [path] = paths {
        (path.clone(), Vec::new())
    } else {
        let config = paths.iter().find(|path| path.ends_with("config.json"))?;
        let folder = config.parent()?;
        let name = |path: &PathBuf| Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned());
        (folder.to_owned(), paths.iter().map(name).collect::<Option<_>>()?)
    };
    Some(Candidate { path, source: name_of(source), files, is_operators: false })
}

/// Waits for the downloading thread as long as it makes progress.
fn follow(
    hub: &Hub,
    source: &str,
    steps: &Receiver<Step>,
    report: &mut dyn FnMut(Progress),
) -> Result<Downloaded, SourceError> {
    let mut patience = hub.answer_timeout;
    let mut has_answered = false;
    loop {
        match steps.recv_timeout(patience) {
            Ok(Step::Started { bytes }) => {
                patience = hub.stall_timeout;
                has_answered = true;
                report(Progress::Started { source: source.to_owned(), bytes });
            }
            Ok(Step::Advanced { bytes }) => report(Progress::Advanced { bytes }),
            Ok(Step::Verifying) => {
                // Reading what is there takes as long as the disk needs, and always ends.
                patience = Duration::MAX;
                report(Progress::Verifying);
            }
            Ok(Step::Ended(result)) => return result,
            Err(RecvTimeoutError::Timeout) if has_answered => {
                return Err(SourceError::Stalled { waited: patience });
            }
            Err(RecvTimeoutError::Timeout) => {
                let endpoint = hub.endpoint.clone();
                return Err(SourceError::NoAnswer { endpoint, waited: patience });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(SourceError::Hub("the hub's answer was not understood".to_owned()));
            }
        }
    }
}
