//! A hub on loopback, as well behaved or as badly as a test wants.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::sha256;

/// How the hub answers one request for a file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The rest of the file from where it was asked for.
    Rest,
    /// So many bytes of that, then the connection breaks.
    Break(usize),
    /// So many bytes of that, then nothing more, with the connection open.
    Stall(usize),
    /// The whole file, whatever was asked for, as if it was that.
    Whole,
    /// The whole file, as a server does that has no ranges.
    NoRanges,
    /// Other bytes of the right length.
    Garbage,
}

#[derive(Debug)]
struct State {
    files: Vec<(String, Vec<u8>)>,
    status: u16,
    etag: Option<String>,
    commit: String,
    /// Etag and commit of all answers after the next one.
    later: Option<(String, String)>,
    answers: VecDeque<Answer>,
    /// Where each request for bytes started.
    starts: Vec<usize>,
    tokens: Vec<Option<String>>,
    /// Where large files are instead, as the real hub has them.
    storage: Option<String>,
    /// The tokens that came there.
    storage_tokens: Vec<Option<String>>,
    held: Vec<TcpStream>,
}

/// The commit that `main` is.
pub(super) const COMMIT: &str = "cccccccccccccccccccccccccccccccccccccccc";

/// Serves `files` as `/owner/name/resolve/main/FILE`, and of the commit instead of `main`, until
/// dropped with its process.
#[derive(Clone, Debug)]
pub(super) struct FakeHub {
    pub(super) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    pub(super) fn start(files: &[(&str, &[u8])]) -> FakeHub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
        let state = Arc::new(Mutex::new(State {
            files: files.collect(),
            status: 200,
            etag: None,
            commit: COMMIT.to_owned(),
            later: None,
            answers: VecDeque::new(),
            starts: Vec::new(),
            tokens: Vec::new(),
            storage: None,
            storage_tokens: Vec::new(),
            held: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &shared);
            }
        });
        FakeHub { endpoint, state }
    }

    /// Refuses everything with `status` from now on; 200 serves again, 0 never answers.
    pub(super) fn refuse(&self, status: u16) {
        self.state.lock().expect("alive").status = status;
    }

    /// Announces `commit`.
    pub(super) fn announce_commit(&self, commit: &str) {
        self.state.lock().expect("alive").commit = commit.to_owned();
    }

    /// Answers once more as before, and announces these from then on.
    pub(super) fn then_announce(&self, etag: &str, commit: &str) {
        self.state.lock().expect("alive").later = Some((etag.to_owned(), commit.to_owned()));
    }

    /// Announces `etag` instead of the SHA-256.
    pub(super) fn announce(&self, etag: &str) {
        self.state.lock().expect("alive").etag = Some(etag.to_owned());
    }

    /// Answers the next requests for bytes like this, those after them well.
    pub(super) fn answer(&self, answers: &[Answer]) {
        self.state.lock().expect("alive").answers = answers.iter().cloned().collect();
    }

    /// Sends those who want a file to another host from now on; that is this hub by another name.
    pub(super) fn redirect(&self) {
        let storage = self.endpoint.replace("127.0.0.1", "localhost");
        self.state.lock().expect("alive").storage = Some(storage);
    }

    /// The tokens of the requests to that other host so far.
    pub(super) fn storage_tokens(&self) -> Vec<Option<String>> {
        self.state.lock().expect("alive").storage_tokens.clone()
    }

    /// Where the requests for bytes so far started; forgets them.
    pub(super) fn starts(&self) -> Vec<usize> {
        std::mem::take(&mut self.state.lock().expect("alive").starts)
    }

    /// The tokens of the requests so far.
    pub(super) fn tokens(&self) -> Vec<Option<String>> {
        self.state.lock().expect("alive").tokens.clone()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let mut range = None;
    let (mut token, mut host) = (None, String::new());
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "range" => range = value.trim().strip_prefix("bytes=").map(str::to_owned),
            "authorization" => token = value.trim().strip_prefix("Bearer ").map(str::to_owned),
            "host" => host = value.trim().to_owned(),
            _ => {}
        }
    }

    let mut state = state.lock().expect("alive");
    let is_storage = host.starts_with("localhost");
    if is_storage { &mut state.storage_tokens } else { &mut state.tokens }.push(token);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.strip_prefix("/owner/name/resolve/").unwrap_or_default();
    let (revision, name) = path.split_once('/').unwrap_or_default();
    let name = if ["main", COMMIT].contains(&revision) { name } else { "" };
    let file = state.files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone());
    let (status, bytes) = match (state.status, file) {
        (0, _) => {
            state.held.push(stream);
            return;
        }
        (200, Some(bytes)) => (206, bytes),
        (200, None) => (404, Vec::new()),
        (status, _) => (status, Vec::new()),
    };
    if status != 206 {
        let _ = write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let range = range.expect("hf-hub always asks for a range");
    let start: usize = range.split('-').next().and_then(|n| n.parse().ok()).expect("a start");
    let etag = state.etag.clone().unwrap_or_else(|| sha256(&bytes).to_string());
    let commit = state.commit.clone();
    if let Some((etag, commit)) = state.later.take() {
        (state.etag, state.commit) = (Some(etag), commit);
    }
    if let Some(storage) = state.storage.clone().filter(|_| !is_storage) {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let _ = write!(
            stream,
            "HTTP/1.1 302 Elsewhere\r\nLocation: {storage}{path}\r\nX-Linked-ETag: \"{etag}\"\r\n\
             X-Repo-Commit: {commit}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    }
    let mut send = |status: u16, body: &[u8], announced: usize| {
        let _ = write!(
            stream,
            "HTTP/1.1 {status} Yes\r\nETag: \"{etag}\"\r\n\
             X-Repo-Commit: {commit}\r\n\
             Content-Range: bytes {start}-{}/{}\r\nContent-Length: {announced}\r\n\
             Connection: close\r\n\r\n",
            bytes.len() - 1,
            bytes.len(),
        );
        let _ = stream.write_all(body);
    };
    if range == "0-0" {
        return send(206, &bytes[..1], 1);
    }
    state.starts.push(start);
    let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) else {
        let _ = write!(stream, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    match state.answers.pop_front().unwrap_or(Answer::Rest) {
        Answer::Rest => send(206, rest, rest.len()),
        Answer::Break(count) => send(206, &rest[..count], rest.len()),
        Answer::Stall(count) => {
            send(206, &rest[..count], rest.len());
            state.held.push(stream);
        }
        Answer::Whole => send(206, &bytes, bytes.len()),
        Answer::NoRanges => send(200, &bytes, bytes.len()),
        Answer::Garbage => send(206, &vec![0; rest.len()], rest.len()),
    }
}
