//! kill -9 of the real server under load, again and again: what was sent is always paid for, the
//! rest is at most what was on its way, and the books verify after every crash.
//!
//! Each customer has an account of its own, so that "charged" is exact for each: what its balance
//! lost over a life of the server. "Received" is what its socket delivered, in whole frames.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mizan::ledger::{AccountId, Credits, Ledger, LedgerOptions, NewKeyRequest};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::support::{self, models};

const MODEL: &str = "smollm2-135m-instruct";
const CRASHES: u64 = 20;
const STREAMS: usize = 4;
/// Output tokens of an answer that is sent whole.
const PLAIN_TOKENS: i64 = 6;
/// How long the frames before a crash may take.
const LIFE_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn books_survive_kill_9_under_load() {
    let data = tempfile::tempdir().unwrap();
    let model = models::path(MODEL);
    symlink(model.parent().unwrap(), data.path().join("models")).unwrap();
    let mut customers = open_accounts(data.path());
    let _alone = support::all_cores();
    let (mut received_ever, mut widest_stream, mut widest_plain) = (0, 0, 0);
    for crash in 0..CRASHES {
        let received = run_until_killed(data.path(), &customers, crash);
        // As the crash left them, and once the next start has closed what was open.
        verify_by_command(data.path());
        let ledger = open(data.path());
        let report = ledger.verify().unwrap();
        assert!(report.is_ok(), "after crash {crash}: {:?}", report.findings);
        assert_eq!(report.open_meters, 0, "after crash {crash}");
        for (customer, received) in customers.iter_mut().zip(received) {
            let totals = ledger.account_totals(customer.account).unwrap().unwrap();
            let usage = totals.total_usage.0;
            let charged = usage - customer.usage;
            customer.usage = usage;
            received_ever += received;
            let widest = if customer.streams { &mut widest_stream } else { &mut widest_plain };
            *widest = (charged - received).max(*widest);
            let most = last_commit(data.path(), customer);
            assert!(
                (received..=received + most).contains(&charged),
                "crash {crash}, {}: charged {charged}, received {received}, its last commit {most}",
                customer.name
            );
        }
        ledger.shutdown();
    }
    println!(
        "{CRASHES} crashes, {received_ever} tokens received; charged and not received at a crash: \
         at most {widest_stream} of a stream, {widest_plain} of an answer sent whole"
    );
}

struct Customer {
    name: String,
    account: AccountId,
    secret: String,
    /// Credits charged up to the last crash.
    usage: i64,
    /// Whether it reads its answers as they are made.
    streams: bool,
}

fn open_accounts(data: &Path) -> Vec<Customer> {
    let ledger = open(data);
    let customers = (0..=STREAMS).map(|number| {
        let name = format!("customer-{number}");
        let account = ledger.create_account(&name, "team", "test").wait().unwrap();
        ledger.grant(account, Credits(1_000_000), "crash test", "test").wait().unwrap();
        let secret =
            ledger.create_key(NewKeyRequest::new(account, "crash"), "test").wait().unwrap().secret;
        Customer { name, account, secret, usage: 0, streams: number < STREAMS }
    });
    let customers = customers.collect();
    ledger.shutdown();
    customers
}

fn open(data: &Path) -> Ledger {
    Ledger::open(&data.join("ledger.db"), LedgerOptions::default()).unwrap()
}

/// Credits that the last commit for a customer covers, all that a crash may cost it. Of a stream
/// that is one release; of a plain answer all of it, because the commit that counts is its close: a
/// crash before gives it back.
fn last_commit(data: &Path, customer: &Customer) -> i64 {
    if !customer.streams {
        return PLAIN_TOKENS;
    }
    let books = Connection::open(data.join("ledger.db")).unwrap();
    let tokens = books.query_row(
        "SELECT length(token_ids)/4 FROM charge JOIN meter ON meter.id=meter_id
         WHERE account_id=?1 ORDER BY meter.rowid DESC, n DESC LIMIT 1",
        [customer.account.0],
        |row| row.get(0),
    );
    tokens.optional().unwrap().unwrap_or(0)
}

/// What an operator would run after a crash; it only reads.
fn verify_by_command(data: &Path) {
    let output = support::binary(data).args(["ledger", "verify"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts the server, keeps all customers busy, kills it; returns the tokens each received.
fn run_until_killed(data: &Path, customers: &[Customer], crash: u64) -> Vec<i64> {
    let mut server = Server::start(data);
    let received = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = customers
        .iter()
        .map(|customer| {
            let (address, secret) = (server.address.clone(), customer.secret.clone());
            let (streams, seen) = (customer.streams, received.clone());
            thread::spawn(move || use_until_gone(&address, &secret, streams, crash, &seen))
        })
        .collect();
    // After some frames, from 1 to more than the streams of a first round have, and then a moment
    // of up to some steps, both of which differ from crash to crash: at work, and anywhere in it.
    let (frames, moment) = (1 + crash * 37 % 180, Duration::from_micros(crash * 79_193 % 200_000));
    let patience = Instant::now() + LIFE_TIMEOUT;
    while received.load(Ordering::Relaxed) < frames {
        assert!(Instant::now() < patience, "fewer than {frames} frames in {LIFE_TIMEOUT:?}");
        thread::sleep(Duration::from_millis(2));
    }
    thread::sleep(moment);
    server.kill();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

/// Asks for one answer after the other until the server is gone; counts the tokens received.
fn use_until_gone(address: &str, secret: &str, streams: bool, seed: u64, seen: &AtomicU64) -> i64 {
    let mut total = 0;
    for round in seed * 1_000.. {
        let Some(connection) = ask(address, secret, streams, round) else { break };
        let received = match streams {
            true => read_stream(connection, seen),
            false => read_plain(connection),
        };
        total += received;
    }
    total
}

/// Sends one request. HTTP/1.0, so that the answer's body ends with the connection.
fn ask(address: &str, secret: &str, streams: bool, seed: u64) -> Option<TcpStream> {
    let mut body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": format!("Tell me story number {seed}.")}],
        "max_tokens": if streams { 40 } else { PLAIN_TOKENS },
        "temperature": 1.0,
        "seed": seed,
        "ignore_eos": true,
        "stream": streams,
    });
    if streams {
        body["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
    }
    let body = body.to_string();
    let mut connection = TcpStream::connect(address).ok()?;
    let head = [
        "POST /v1/chat/completions HTTP/1.0".to_owned(),
        format!("Host: {address}"),
        format!("Authorization: Bearer {secret}"),
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {}", body.len()),
    ];
    let request = head.join("\r\n") + "\r\n\r\n" + &body;
    connection.write_all(request.as_bytes()).ok()?;
    Some(connection)
}

/// Tokens in the whole frames of a stream; a frame that the crash cut does not count.
fn read_stream(connection: TcpStream, seen: &AtomicU64) -> i64 {
    let mut lines = BufReader::new(connection);
    let mut tokens = 0;
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let data = line.strip_suffix(b"\n").and_then(|line| line.strip_prefix(b"data: "));
        if let Some(data) = data.filter(|data| *data != b"[DONE]") {
            let frame: Value = serde_json::from_slice(data).unwrap();
            tokens = frame["usage"]["completion_tokens"].as_i64().unwrap();
            seen.fetch_add(1, Ordering::Relaxed);
        }
        line.clear();
    }
    tokens
}

/// Tokens of an answer that came whole, or none.
fn read_plain(mut connection: TcpStream) -> i64 {
    let mut answer = Vec::new();
    let _cut_or_whole = connection.read_to_end(&mut answer);
    let Some(start) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return 0 };
    let Ok(answer) = serde_json::from_slice::<Value>(&answer[start + 4..]) else { return 0 };
    answer["usage"]["completion_tokens"].as_i64().unwrap_or_else(|| panic!("{answer}"))
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut command = support::binary(data);
        command.args(["serve", "--port", "0", "--model", MODEL]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, address) = line.strip_prefix("Serving ")?.split_once(" on http://")?;
                Some(address.to_owned())
            })
            .expect("a server that starts says where it serves");
        // Nobody may find the pipe full or closed.
        thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _status = self.process.wait();
    }
}
