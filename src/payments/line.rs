//! The line to a provider: one call, one answer, bounded in time and size.
//!
//! Promises: redirects are not followed, so the secret goes to the provider's own address only;
//! nothing is sent twice; what the provider says is cut short and freed of the secret before it
//! enters an error.
//! Never knows: what is said.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::{Agent, Timeout};

use super::{ProviderError, Secret};

/// More than a connection across the world takes.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);

/// An answer has some KiB.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;

/// Of a provider's words, so many reach an error.
const MAX_MESSAGE_CHARS: usize = 200;

/// How a provider's answer to a refused call is read: its message, if it has one.
pub(super) type ReadRefusal = fn(&str) -> Option<String>;

#[derive(Debug)]
pub(super) struct Line {
    provider: &'static str,
    base_url: String,
    secret: Secret,
    agent: Agent,
    read_refusal: ReadRefusal,
}

impl Line {
    /// A line to `base_url` (scheme and host, without a slash at the end), on which a call takes
    /// at most `timeout`.
    pub(super) fn new(
        provider: &'static str,
        base_url: String,
        secret: Secret,
        timeout: Duration,
        read_refusal: ReadRefusal,
    ) -> Line {
        let is_https = base_url.starts_with("https://");
        let mut config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(MAX_CONNECT_TIME)))
            .http_status_as_error(false)
            .https_only(is_https)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A connection that died while idle would look like a call that was not answered.
            .max_idle_connections(0);
        if !is_https {
            config = config.proxy(None); // It is this machine.
        }
        Line { provider, base_url, secret, agent: config.build().into(), read_refusal }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProviderError> {
        let request = self.agent.get(format!("{}{path}", self.base_url));
        let request = request.header("Authorization", self.secret.bearer());
        self.read(request.header("Accept", "application/json").call())
    }

    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ProviderError> {
        let body = serde_json::to_vec(body).expect("our own bodies have text keys only");
        let request = self.agent.post(format!("{}{path}", self.base_url));
        let request = request.header("Authorization", self.secret.bearer());
        let request = request.header("Accept", "application/json");
        self.read(request.header("Content-Type", "application/json").send(&body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ProviderError> {
        let mut answer = answer.map_err(|error| self.unanswered(error))?;
        let status = answer.status().as_u16();
        // 408 and 409 come from gateways that gave up waiting or saw the same call under way.
        if matches!(status, 408 | 409 | 429) || status >= 500 {
            return Err(ProviderError::Busy { provider: self.provider, status });
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| self.unanswered(error))?;
        let text = String::from_utf8(body).map_err(|_| self.malformed("it is not UTF-8"))?;
        match status {
            200..300 => serde_json::from_str(&text).map_err(|error| self.malformed(error)),
            404 => Err(ProviderError::NotFound { provider: self.provider }),
            300..400 => Err(self.malformed(format!("status {status}, a redirect"))),
            _ => {
                let message = (self.read_refusal)(&text);
                Err(self.refused(status, message.as_deref().unwrap_or("without a message")))
            }
        }
    }

    /// The provider said no, in these words.
    pub(super) fn refused(&self, status: u16, message: &str) -> ProviderError {
        let message = self.presentable(message);
        ProviderError::Refused { provider: self.provider, status, message }
    }

    pub(super) fn malformed(&self, what: impl ToString) -> ProviderError {
        let what = self.presentable(&what.to_string());
        ProviderError::Malformed { provider: self.provider, what }
    }

    /// The address of a page that the customer's browser may be sent to.
    pub(super) fn redirect(&self, url: String) -> Result<String, ProviderError> {
        let is_ours = url.strip_prefix(&self.base_url).is_some_and(|rest| rest.starts_with('/'));
        let is_clean = url.bytes().all(|b| b.is_ascii_graphic());
        if is_clean && (url.starts_with("https://") || is_ours) {
            Ok(url)
        } else {
            Err(self.malformed("the page to pay at is not an https address"))
        }
    }

    fn unanswered(&self, error: ureq::Error) -> ProviderError {
        let provider = self.provider;
        let why = self.presentable(&error.to_string());
        match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::RequireHttpsOnly(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                ProviderError::Unreachable { provider, why }
            }
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                ProviderError::Unreachable { provider, why }
            }
            ureq::Error::BodyExceedsLimit(bytes) => {
                self.malformed(format!("more than {bytes} bytes"))
            }
            // Whatever else it is, the call may have arrived.
            _ => ProviderError::Unanswered { provider, why },
        }
    }

    /// One line of bounded length, without the secret.
    fn presentable(&self, text: &str) -> String {
        let text = self.secret.hidden_in(text);
        let mut line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_MESSAGE_CHARS)
            .collect();
        line.truncate(line.trim_end().len());
        line
    }
}
