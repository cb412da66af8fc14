//! A small HTTP client for the commands that talk to a server of ours over its control socket.
//!
//! Promises: an answer that is not 2xx becomes an error with the server's own message; bodies are
//! bounded. Never knows: keys (whoever can open the socket is the operator), TLS, other hosts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Largest answer read into memory, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Requests to the server that listens on one control socket. One connection a request: a command
/// makes a handful.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    bearer: Option<String>,
}

impl Client {
    /// A client for the server behind `socket`; nothing is opened yet.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf(), bearer: None }
    }

    /// The same server, called with an account's key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { socket: self.socket.clone(), bearer: Some(key.to_owned()) }
    }

    /// True if a server answers on the socket.
    pub(crate) async fn is_up(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Sends a request and reads the JSON answer.
    ///
    /// # Errors
    /// Connection failures, answers over 64 MiB, and every status that is not 2xx.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let response = self.send(method, path, body).await?;
        read_json(response).await
    }

    /// Sends a request and reads the answer as it is written.
    ///
    /// # Errors
    /// Those of [`Client::json`].
    pub(crate) async fn text(&self, method: Method, path: &str) -> Result<String> {
        let response = self.send(method, path, None).await?;
        if !response.status().is_success() {
            read_json(response).await?;
            bail!("the server refused without saying why");
        }
        let bytes = read(response).await?;
        String::from_utf8(bytes.to_vec()).context("the server's answer is not UTF-8")
    }

    /// Sends a request whose answer is a stream of server-sent events.
    pub(crate) async fn events(&self, path: &str, body: &Value) -> Result<Events> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        if !response.status().is_success() {
            read_json(response).await?;
            bail!("the server refused without saying why");
        }
        Ok(Events { body: response.into_body(), held: Vec::new() })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .with_context(|| format!("cannot reach the server at {}", self.socket.display()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection drives itself; it ends when the answer's body is read or dropped.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json");
        if let Some(key) = &self.bearer {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        Ok(sender.send_request(request.body(Full::new(Bytes::from(bytes)))?).await?)
    }
}

/// The `data:` lines of a stream of server-sent events.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    held: Vec<u8>,
}

impl Events {
    /// The next event's JSON; nothing after `[DONE]` or the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.held.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.held.drain(..end + 2).collect();
                let frame = String::from_utf8_lossy(&frame);
                match frame.trim_end().strip_prefix("data: ") {
                    Some("[DONE]") => return Ok(None),
                    Some(data) => {
                        let event: Value = serde_json::from_str(data)?;
                        if let Some(error) = event.get("error") {
                            bail!("{}", message_of(error));
                        }
                        return Ok(Some(event));
                    }
                    None => continue, // A keep-alive comment.
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.held.extend_from_slice(&data);
            }
            if self.held.len() > MAX_ANSWER {
                bail!("the server sent an event of more than {MAX_ANSWER} bytes");
            }
        }
    }
}

async fn read_json(response: Response<Incoming>) -> Result<Value> {
    let status = response.status();
    let bytes = read(response).await?;
    let value: Value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).context("the server's answer is not JSON")?
    };
    if !status.is_success() {
        bail!("{}", message_of(value.get("error").unwrap_or(&Value::Null)));
    }
    Ok(value)
}

async fn read(response: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => bail!("reading the server's answer: {error}"),
    }
}

fn message_of(error: &Value) -> &str {
    error.get("message").and_then(Value::as_str).unwrap_or("the server refused")
}
