//! Fetching model files: from which source, what is refused, what an interruption leaves behind.
//!
//! Nothing here leaves the machine: the hub is on loopback, pip is a script.

mod environment;
mod fake_hub;
mod fake_pip;
mod from_hub;
mod from_wheels;
mod hostile_hub;
mod on_disk;
mod shared_cache;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mizan::catalog::{ModelEntry, Sha256Digest, Source, WheelPart};
use mizan::hub::{Digests, Hub, HubError, ModelFiles, Progress};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use fake_hub::{COMMIT, FakeHub};
use fake_pip::FakePip;

/// Large enough for several chunks, and without a period that would hide a swap.
fn weights(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 56) as u8
    };
    (0..2_500_000).map(next).collect()
}

fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

/// A machine: models folder, hub's cache, what is on the `PATH`, and a hub that is or is not there.
struct Machine {
    folder: TempDir,
    pip: FakePip,
    hub: Hub,
}

impl Machine {
    fn new(pip: FakePip, hub: Option<&FakeHub>) -> Machine {
        let folder = tempfile::tempdir().expect("a folder");
        // Nothing listens on port 1: a connection is refused at once.
        let endpoint = hub.map_or("http://127.0.0.1:1", |hub| &hub.endpoint).to_owned();
        let hub = Hub {
            cache: Some(folder.path().join("cache")),
            endpoint,
            token: None,
            offline: false,
            answer_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(20),
            search_path: Some(pip.path().as_os_str().to_owned()),
            digests: Digests::default(),
        };
        Machine { folder, pip, hub }
    }

    /// From here on as another process, which has to rely on what is on the disk.
    fn start_anew(&mut self) {
        self.hub.digests = Digests::default();
    }

    fn models_dir(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.models_dir().join(name)
    }

    fn locate(&self, entry: &ModelEntry) -> Result<Option<ModelFiles>, HubError> {
        self.hub.locate(entry, &self.models_dir())
    }

    /// The files, and what was reported, each in a line; how far is left out.
    fn fetch(&self, entry: &ModelEntry) -> (Result<ModelFiles, String>, Vec<String>) {
        let mut reports = Vec::new();
        let mut last = 0;
        let fetched = self.hub.fetch(entry, &self.models_dir(), &mut |progress| match progress {
            Progress::Waiting => reports.push("waiting".to_owned()),
            Progress::SourceFailed { source, why } => reports.push(format!("{source}: {why}")),
            Progress::Started { source, bytes } => {
                last = 0;
                reports.push(format!("started {source} {bytes}"));
            }
            Progress::Advanced { bytes } => {
                assert!(entry.bytes.is_none_or(|total| bytes <= total));
                last = last.max(bytes);
            }
            Progress::Verifying => reports.push("verifying".to_owned()),
            Progress::Done => reports.push("done".to_owned()),
        });
        let fetched = fetched.map_err(|error| error.to_string());
        for line in reports.iter().chain(fetched.as_ref().err()) {
            assert!(!line.contains('\n'), "more than a line: {line}");
        }
        (fetched, reports)
    }

    /// Fetches what must work, and checks that it is `bytes`.
    #[track_caller]
    fn must_fetch(&self, entry: &ModelEntry, bytes: &[u8]) -> ModelFiles {
        let (fetched, reports) = self.fetch(entry);
        let files = fetched.unwrap_or_else(|error| panic!("{error}: {reports:?}"));
        assert!(fs::read(&files.path).expect("the file") == bytes, "other bytes");
        assert_eq!(Sha256Digest(files.digest), sha256(bytes));
        assert_eq!(files.bytes, bytes.len() as u64);
        files
    }

    /// The names of what is in the models folder.
    fn listing(&self) -> Vec<String> {
        listing(&self.models_dir())
    }
}

fn listing(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let name = |file: std::io::Result<fs::DirEntry>| {
        file.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = files.map(name).collect();
    names.sort();
    names
}

/// An entry called `m` whose weights must be `bytes`.
fn entry(bytes: &[u8], sources: Vec<Source>) -> ModelEntry {
    let entry = ModelEntry::from_path(Path::new("m"), "standard");
    let sha256 = Some(sha256(bytes).0);
    ModelEntry { sources, bytes: Some(bytes.len() as u64), sha256, ..entry }
}

/// The same without knowledge of the weights.
fn unpinned(sources: Vec<Source>) -> ModelEntry {
    ModelEntry { sources, ..ModelEntry::from_path(Path::new("m"), "standard") }
}

fn hub_source(files: &[&str]) -> Source {
    let files = files.iter().map(|file| (*file).to_owned()).collect();
    Source::Hub { repo: "owner/name".to_owned(), files, revision: "main".to_owned() }
}

fn wheel_source(packages: &[&str]) -> Source {
    let part = |package: &&str| WheelPart {
        package: (*package).to_owned(),
        member: "data/weights.bin".to_owned(),
    };
    Source::Wheel { parts: packages.iter().map(part).collect() }
}

/// The one file of [`one_file`].
const FILE: &str = "m-Q4_K_M.gguf";

/// A hub with one file, a machine that knows it, and the file's entry.
fn one_file(bytes: &[u8]) -> (FakeHub, Machine, ModelEntry) {
    let hub = FakeHub::start(&[(FILE, bytes)]);
    let machine = Machine::new(FakePip::none(), Some(&hub));
    (hub, machine, entry(bytes, vec![hub_source(&[FILE])]))
}

/// Where the hub's cache has the contents of files.
fn blobs(machine: &Machine) -> PathBuf {
    machine.folder.path().join("cache/models--owner--name/blobs")
}

/// Puts `part` where an interrupted download leaves its bytes.
fn leave_part(machine: &Machine, etag: &str, part: &[u8]) {
    fs::create_dir_all(blobs(machine)).expect("a folder");
    fs::write(blobs(machine).join(format!("{etag}.part")), part).expect("written");
}
