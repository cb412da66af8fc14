//! The bytes of one file over HTTP: appended to what is there, never more than were announced.
//! Never knows: what the file is, where it belongs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hf_hub::api::sync::ApiError;
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;

use super::SourceError;
use super::digests::CHUNK_BYTES;
use super::files::remove;

/// How often a download that broke off, but got further, is resumed before the source fails.
const MAX_RESUMES: usize = 16;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What is to be fetched, and to where.
pub(super) struct Transfer<'a> {
    pub(super) endpoint: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) url: String,
    /// What is there is resumed.
    pub(super) part: &'a Path,
    /// As announced.
    pub(super) bytes: u64,
}

/// Why bytes stopped coming.
enum Stop {
    /// The connection failed; the rest may come through another one.
    Broken(SourceError),
    Final(SourceError),
}

impl Transfer<'_> {
    /// Fetches what is lacking, over as many connections as that takes, and has it on the disk.
    ///
    /// `tell` hears how many bytes are there, and ends the transfer by failing.
    pub(super) fn run(
        &self,
        tell: &dyn Fn(u64) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let agent: Agent = Agent::config_builder()
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            // Ranges of compressed bytes could not be put together.
            .accept_encoding("identity")
            .build()
            .into();
        let mut resumes = 0;
        loop {
            let before = bytes_of(self.part);
            match self.append(&agent, tell) {
                Err(Stop::Broken(_)) if bytes_of(self.part) > before && resumes < MAX_RESUMES => {
                    resumes += 1;
                }
                Err(Stop::Broken(why) | Stop::Final(why)) => return Err(why),
                Ok(()) => break,
            }
        }
        if let Err(why) = self.check_size() {
            remove(self.part)?; // There is nothing to resume.
            return Err(why);
        }
        // Before it is given its name: after a power cut the name may be what survived.
        File::open(self.part)
            .and_then(|file| file.sync_all())
            .map_err(|error| SourceError::io(self.part, error))
    }

    fn check_size(&self) -> Result<(), SourceError> {
        let Transfer { endpoint, bytes: expected, .. } = *self;
        match bytes_of(self.part) {
            found if found > expected => Err(SourceError::Hub(format!(
                "{endpoint} sent more than the {expected} bytes that it announced"
            ))),
            found if found < expected => Err(SourceError::WrongSize { found, expected }),
            _ => Ok(()),
        }
    }

    /// Appends what one connection brings, one byte too many at most.
    fn append(
        &self,
        agent: &Agent,
        tell: &dyn Fn(u64) -> Result<(), SourceError>,
    ) -> Result<(), Stop> {
        let failed = |error| Stop::Final(SourceError::io(self.part, error));
        let broken = |error| Stop::Broken(SourceError::hub(&error, self.endpoint));
        let mut file = File::options().create(true).append(true).open(self.part).map_err(failed)?;
        let mut bytes = file.metadata().map_err(failed)?.len();
        if bytes >= self.bytes {
            return Ok(()); // The last connection broke off after the last byte.
        }
        let mut request = agent.get(&self.url).header("Range", format!("bytes={bytes}-"));
        if let Some(token) = self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|error| broken(ApiError::from(Box::new(error))))?;
        // A server without ranges sends the whole file, whatever was asked for, and says so.
        if answer.status() != 206 {
            file.set_len(0).map_err(failed)?;
            bytes = 0;
        }
        let wanted = (self.bytes - bytes).saturating_add(1);
        let mut body = answer.into_body().into_reader().take(wanted);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut told: Option<Instant> = None;
        loop {
            if told.is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL) {
                told = Some(Instant::now());
                tell(bytes).map_err(Stop::Final)?;
            }
            match body.read(&mut chunk) {
                Ok(0) => return tell(bytes).map_err(Stop::Final),
                Ok(read) => {
                    file.write_all(&chunk[..read]).map_err(failed)?;
                    bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(ApiError::from(error))),
            }
        }
    }
}

pub(super) fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
