//! Models from the Hugging Face hub, through hf-hub, into the hub's own cache.
//!
//! hf-hub keeps a partial download and resumes it, but waits without limit, trusts the server to
//! honour ranges and checks no digest. So each file is fetched by a thread of its own that is
//! waited for as long as it makes progress, and what it fetched is measured here. A thread that is
//! not waited for any more ends with its connection; until then it holds hf-hub's lock on the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::catalog::{ModelEntry, Sha256Digest, Source};

use super::files::{self, Candidate, Place, digest_of_file};
use super::{Hub, ModelFiles, Progress, SourceError, name_of};

/// How often a download that broke off, but got further, is resumed before the source fails.
const MAX_RESUMES: usize = 16;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The model in the hub's cache, if all its files are there; uses no network.
pub(super) fn cached(hub: &Hub, source: &Source, place: &Place) -> Option<PathBuf> {
    let Source::Hub { repo, files, revision } = source else { return None };
    let cache = Cache::new(hub.cache_dir(place)).repo(repo_of(repo, revision));
    let find = |file: &String| {
        // The cache has no name for a revision that is a commit: its folder is the commit itself.
        let pinned = cache.pointer_path(revision).join(file);
        cache.get(file).or_else(|| pinned.exists().then_some(pinned))
    };
    let paths: Option<Vec<PathBuf>> = files.iter().map(find).collect();
    model_path(&paths?)
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
    let name = name_of(source);
    let mut paths = Vec::new();
    let mut digest = None;
    for file in files {
        let (sender, receiver) = sync_channel(16);
        let job = Job {
            endpoint: hub.endpoint.clone(),
            token: hub.token.as_ref().map(|token| token.expose().to_owned()),
            cache: Cache::new(hub.cache_dir(place)),
            repo: repo_of(repo, revision),
            file: file.clone(),
            // Of one file the entry knows beforehand what it must be.
            expected_bytes: entry.bytes.filter(|_| files.len() == 1),
            expected_sha256: entry.sha256.map(Sha256Digest).filter(|_| files.len() == 1),
        };
        let thread = std::thread::Builder::new().name("hub".to_owned());
        thread
            .spawn(move || job.run(&sender))
            .map_err(|error| SourceError::Hub(format!("no thread for it: {error}")))?;
        let downloaded = follow(hub, &name, &receiver, report)?;
        paths.push(downloaded.path);
        digest = downloaded.sha256;
    }
    let path = model_path(&paths).ok_or_else(|| {
        SourceError::Hub("the repository changed while it was downloaded; try again".to_owned())
    })?;
    match digest {
        Some(digest) if files.len() == 1 => files::record(path, name, digest, place),
        _ => {
            let candidate = Candidate { path, source: name, is_operators: false };
            files::check(&candidate, entry, place, report)
        }
    }
}

/// The one file, or the folder that all files of a snapshot are in.
fn model_path(paths: &[PathBuf]) -> Option<PathBuf> {
    if let [path] = paths {
        return Some(path.clone());
    }
    let config = paths.iter().find(|path| path.ends_with("config.json"))?;
    let folder = config.parent()?;
    paths.iter().all(|path| path.starts_with(folder)).then(|| folder.to_owned())
}

fn repo_of(repo: &str, revision: &str) -> Repo {
    Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned())
}

/// What the downloading thread says.
enum Step {
    Started { bytes: u64 },
    Advanced { bytes: u64 },
    Verifying,
    Ended(Result<Downloaded, SourceError>),
}

/// A file of the right size in the hub's cache.
struct Downloaded {
    path: PathBuf,
    /// Its digest, where the hub announced one; then it is that one.
    sha256: Option<Sha256Digest>,
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

/// One file to download.
struct Job {
    endpoint: String,
    token: Option<String>,
    cache: Cache,
    repo: Repo,
    file: String,
    expected_bytes: Option<u64>,
    expected_sha256: Option<Sha256Digest>,
}

impl Job {
    fn run(self, steps: &SyncSender<Step>) {
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
            .map_err(|error| explain(&error, &self.endpoint))?;
        let repo = api.repo(self.repo.clone());
        let announced = self.announced(&api, &repo)?;
        let blob = self.cache.repo(self.repo.clone()).blob_path(&announced.etag);
        let part = blob.with_extension("part");

        let failed = |error| SourceError::io(&blob, error);
        if let Some(folder) = blob.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // hf-hub would ask for the bytes after the last, and fail.
        if bytes_of(&part) >= announced.bytes {
            remove(&part)?;
        }
        let _ = steps.send(Step::Started { bytes: announced.bytes });
        let mut resumes = 0;
        let path = loop {
            let before = bytes_of(&part);
            let relay = Relay { steps, bytes: 0, total: announced.bytes, told: Instant::now() };
            match repo.download_with_progress(&self.file, relay) {
                Ok(path) => break path,
                Err(_) if bytes_of(&part) > before && resumes < MAX_RESUMES => resumes += 1,
                Err(error) => return Err(explain(&error, &self.endpoint)),
            }
        };

        // A server that ignores ranges sends everything again after what was there.
        let found = bytes_of(&path);
        if found != announced.bytes {
            self.discard(&path, &blob)?;
            return Err(SourceError::WrongSize { found, expected: announced.bytes });
        }
        if let Some(expected) = announced.sha256 {
            let _ = steps.send(Step::Verifying);
            let found = digest_of_file(&path)?;
            if found != expected {
                self.discard(&path, &blob)?;
                return Err(SourceError::WrongDigest { found, expected });
            }
        }
        Ok(Downloaded { path, sha256: announced.sha256 })
    }

    /// Asks what the file is, and refuses one that is not the model before it is downloaded.
    fn announced(&self, api: &Api, repo: &ApiRepo) -> Result<Announced, SourceError> {
        let metadata =
            api.metadata(&repo.url(&self.file)).map_err(|error| explain(&error, &self.endpoint))?;
        // Both become parts of paths.
        let is_plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !is_plain(metadata.etag()) || !is_plain(metadata.commit_hash()) {
            return Err(SourceError::Hub("its etag or commit is not one of a hub".to_owned()));
        }
        let announced = Announced {
            bytes: metadata.size() as u64,
            etag: metadata.etag().to_owned(),
            // The hub's name for a large file is its SHA-256; for a small one it is shorter.
            sha256: metadata.etag().parse().ok(),
        };
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

    /// Removes a bad download and the name that leads to it.
    fn discard(&self, path: &Path, blob: &Path) -> Result<(), SourceError> {
        remove(path)?;
        remove(blob)
    }
}

/// What the hub says of a file.
struct Announced {
    bytes: u64,
    etag: String,
    sha256: Option<Sha256Digest>,
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<(), SourceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SourceError::io(path, error))
        }
        _ => Ok(()),
    }
}

/// Tells progress now and then, and stops a download that nobody waits for.
struct Relay<'a> {
    steps: &'a SyncSender<Step>,
    bytes: u64,
    total: u64,
    told: Instant,
}

impl Relay<'_> {
    fn tell(&self, step: Step) {
        if self.steps.send(step).is_err() {
            // hf-hub has no other way to be stopped. Unwinds this thread only, without a message.
            std::panic::resume_unwind(Box::new("the download was given up"));
        }
    }
}

impl hf_hub::api::Progress for Relay<'_> {
    fn init(&mut self, _size: usize, _filename: &str) {
        // Called before and after a connection is made; what is there follows as an update.
        self.bytes = 0;
    }

    fn update(&mut self, size: usize) {
        self.bytes += size as u64;
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            self.tell(Step::Advanced { bytes: self.bytes.min(self.total) });
        }
    }

    fn finish(&mut self) {
        self.tell(Step::Advanced { bytes: self.bytes.min(self.total) });
    }
}

/// One line, with what to do where that is known.
fn explain(error: &ApiError, endpoint: &str) -> SourceError {
    let status = match error {
        ApiError::RequestError(error) => match &**error {
            ureq::Error::StatusCode(status) => Some(*status),
            _ => None,
        },
        _ => None,
    };
    SourceError::Hub(match status {
        Some(status @ (401 | 403)) => format!(
            "{endpoint} answered {status}: no such repository, or one that needs its licence \
             accepted and HF_TOKEN set"
        ),
        Some(404) => format!("{endpoint} answered 404: no such repository, revision or file"),
        Some(status) => format!("{endpoint} answered {status}"),
        None => match error {
            ApiError::LockAcquisition(_) => "another program is downloading it".to_owned(),
            error => error.to_string().replace('\n', " "),
        },
    })
}
