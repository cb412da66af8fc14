//! Notices on their way: a small server of the test's takes them, fails, hangs or redirects, and
//! checks the signatures by itself.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mizan::billing::notices::{NoticeCounts, Outbound, Sender, secret};
use mizan::catalog::NoticeNetworks;
use mizan::ledger::{
    AccountId, Clock, Credits, KeyId, Ledger, LedgerOptions, MeterRequest, NoticeRecord,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const START: i64 = 1_772_312_400_000;
const MINUTE: i64 = 60_000;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the team's server does with a request.
#[derive(Clone, Debug)]
enum Reaction {
    Answer(u16),
    Redirect(String),
    /// Takes the request and says nothing.
    Hang,
    /// Answers, and then goes on for ever.
    Endless,
}

/// A request as it came.
#[derive(Clone, Debug)]
struct Received {
    head: Vec<String>,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.iter().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().unwrap_or_else(|| panic!("no {name} in {:?}", self.head)).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// A team's own server.
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Reacts to one request after the other, and then takes all.
    fn start(reactions: &[Reaction]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let mut reactions: VecDeque<Reaction> = reactions.to_vec().into();
        let requests = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let request = read(&stream);
                requests.lock().expect("not poisoned").push(request);
                let reaction = reactions.pop_front().unwrap_or(Reaction::Answer(200));
                thread::spawn(move || react(stream, &reaction));
            }
        });
        Self { url, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().expect("not poisoned").clone()
    }
}

fn read(stream: &TcpStream) -> Received {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut received = Received { head, body: String::new() };
    let length = received.header("content-length").parse().expect("a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    received.body = String::from_utf8(body).expect("UTF-8");
    received
}

fn react(mut stream: TcpStream, reaction: &Reaction) {
    match reaction {
        Reaction::Answer(status) => {
            let _ = write!(stream, "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n");
        }
        Reaction::Redirect(to) => {
            let head = format!("HTTP/1.1 307 Elsewhere\r\nlocation: {to}\r\n");
            let _ = write!(stream, "{head}content-length: 0\r\n\r\n");
        }
        // Until the other side hangs up.
        Reaction::Hang => drop(stream.read(&mut [0])),
        Reaction::Endless => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n");
            while stream.write_all(&[b'x'; 4_096]).is_ok() {}
        }
    }
}

/// One account of 100 credits, and a sender of its notices.
struct House {
    ledger: Ledger,
    account: AccountId,
    key: KeyId,
    clock: Arc<TestClock>,
    counts: Arc<NoticeCounts>,
}

impl House {
    fn open(folder: &Path) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(START)));
        let ledger = open(folder, &clock);
        let account = ledger.create_account("lab \"1\"", "default", "test").wait().expect("new");
        ledger.grant(account, Credits(100), "test", "test").wait().expect("valid");
        let key = ledger.create_key(account, "key", None, "test").wait().expect("valid").id;
        Self { ledger, account, key, clock, counts: Arc::default() }
    }

    fn sender(&self, networks: NoticeNetworks, timeout: Duration) -> Sender {
        let outbound = Outbound::new(networks, 1, timeout);
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Sender::new(self.ledger.clone(), clock, outbound, Arc::clone(&self.counts))
    }

    /// Falls from 100 credits to 40, below the 50 that are told at `url`.
    fn fall(&self, url: &str) {
        let below = Some(Credits(50));
        self.ledger.set_notice(self.account, below, Some(url), "test").wait().expect("valid");
        let request = MeterRequest {
            account: self.account,
            key: self.key,
            model: "m".to_owned(),
            model_digest: [0; 32],
            credits_per_token: 60,
            streamed: true,
            input_tokens: 1,
            idempotency_key: None,
            body_hash: [0; 32],
        };
        let meter = self.ledger.open_meter(request).wait().expect("credits");
        self.ledger.charge(meter, 0, vec![vec![1]]).wait().expect("credits");
        self.ledger.close_meter(meter, "stop").wait().expect("open");
    }

    fn notice(&self) -> NoticeRecord {
        let notices = self.ledger.notices(self.account, 10).expect("a read");
        let [notice] = notices.as_slice() else { panic!("{notices:?}") };
        notice.clone()
    }

    fn pass(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }
}

fn open(folder: &Path, clock: &Arc<TestClock>) -> Ledger {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let options = LedgerOptions { clock, ..LedgerOptions::default() };
    Ledger::open(&folder.join("ledger.db"), options).expect("books")
}

/// HMAC-SHA256 as RFC 2104 writes it, without the program's own.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[test]
fn a_notice_arrives_once_and_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(folder.path());
    let receiver = Receiver::start(&[]);
    let sender = house.sender(NoticeNetworks::Any, Duration::from_secs(10));
    house.fall(&receiver.url);
    house.pass(3_000);
    assert_eq!(sender.send_due().expect("a read"), 1);
    assert_eq!(sender.send_due().expect("a read"), 0);

    let received = receiver.received();
    let [request] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!(request.head[0], "POST /hook HTTP/1.1");
    assert_eq!(request.header("content-type"), "application/json");
    let expected = json!({
        "id": "notice_1", "type": "balance.low", "created": START / 1_000,
        "data": { "account": "lab \"1\"", "balance": 40, "threshold": 50 },
    });
    assert_eq!(request.json(), expected);
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    assert_eq!((id, timestamp), ("notice_1", "1772312403"));

    let shown = secret(&house.ledger, house.account, &receiver.url).to_string();
    let key = BASE64.decode(shown.strip_prefix("whsec_").expect("a prefix")).expect("base64");
    let signed = format!("{id}.{timestamp}.{}", request.body);
    let expected = BASE64.encode(hmac_sha256(&key, signed.as_bytes()));
    assert_eq!(request.header("webhook-signature"), format!("v1,{expected}"));
    // Another URL, another account: another secret.
    assert_ne!(secret(&house.ledger, house.account, "http://other").to_string(), shown);
    assert_ne!(secret(&house.ledger, AccountId(99), &receiver.url).to_string(), shown);

    let notice = house.notice();
    assert_eq!((notice.tries, notice.sent_ms, notice.error), (1, Some(START + 3_000), None));
    assert_eq!((house.counts.sent(), house.counts.failed()), (1, 0));
}

#[test]
fn a_notice_that_is_not_taken_is_tried_again_later_and_given_up_at_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(folder.path());
    let elsewhere = Receiver::start(&[]);
    let receiver = Receiver::start(&[
        Reaction::Answer(500),
        Reaction::Hang,
        Reaction::Redirect(elsewhere.url.clone()),
        Reaction::Answer(404),
        Reaction::Answer(503),
        Reaction::Answer(500),
    ]);
    let sender = house.sender(NoticeNetworks::Any, Duration::from_millis(300));
    house.fall(&receiver.url);
    for (wait, error, next_wait) in [
        (0, "answered 500 instead of 2xx", Some(MINUTE)),
        (MINUTE, "no answer in time", Some(5 * MINUTE)),
        (5 * MINUTE, "answered 307 instead of 2xx", Some(30 * MINUTE)),
        (30 * MINUTE, "answered 404 instead of 2xx", Some(2 * 60 * MINUTE)),
        (2 * 60 * MINUTE, "answered 503 instead of 2xx", Some(12 * 60 * MINUTE)),
        (12 * 60 * MINUTE, "answered 500 instead of 2xx", None),
    ] {
        house.pass(wait - 1);
        let early = sender.send_due().expect("a read");
        assert_eq!(early, 0, "tried too early, before {error}");
        house.pass(1);
        assert_eq!(sender.send_due().expect("a read"), 1, "{error}");
        let notice = house.notice();
        assert_eq!(notice.error.as_deref(), Some(error));
        assert_eq!(notice.next_try_ms, next_wait.map(|next| house.clock.now_ms() + next));
    }
    house.pass(100 * 60 * MINUTE);
    assert_eq!(sender.send_due().expect("a read"), 0);
    assert_eq!((house.notice().tries, house.notice().sent_ms), (6, None));
    assert_eq!((house.counts.failed(), house.counts.given_up()), (6, 1));
    let received = receiver.received();
    assert_eq!(received.len(), 6);
    // Each try is the same message, signed anew.
    assert!(received.iter().all(|request| request.header("webhook-id") == "notice_1"));
    assert_ne!(received[0].header("webhook-signature"), received[1].header("webhook-signature"));
    assert!(elsewhere.received().is_empty(), "a redirect was followed");
}

#[test]
fn a_notice_outlives_the_process_that_wrote_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(folder.path());
    let receiver = Receiver::start(&[Reaction::Answer(500)]);
    house.fall(&receiver.url);
    house.ledger.shutdown();
    let reopen = |house: House| {
        let House { account, key, clock, counts, ledger } = house;
        drop(ledger);
        House { ledger: open(folder.path(), &clock), account, key, clock, counts }
    };
    let house = reopen(house);
    let sender = house.sender(NoticeNetworks::Any, Duration::from_secs(10));
    assert_eq!(sender.send_due().expect("a read"), 1);
    drop(sender);
    house.ledger.shutdown();
    let house = reopen(house);
    house.pass(MINUTE);
    let sender = house.sender(NoticeNetworks::Any, Duration::from_secs(10));
    assert_eq!(sender.send_due().expect("a read"), 1);
    assert_eq!(house.notice().sent_ms, Some(START + MINUTE));
    // The secret is the same: it comes from the server's keys.
    let [first, second] = &receiver.received()[..] else { panic!("two tries") };
    assert_eq!(first.body, second.body);
}

#[test]
fn what_an_answer_says_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(folder.path());
    let receiver = Receiver::start(&[Reaction::Endless]);
    house.fall(&receiver.url);
    let begun = Instant::now();
    let sender = house.sender(NoticeNetworks::Any, Duration::from_secs(30));
    assert_eq!(sender.send_due().expect("a read"), 1);
    assert!(begun.elapsed() < Duration::from_secs(20), "it read the body");
    assert_eq!(house.counts.sent(), 1);
}

#[test]
fn loopback_is_not_reached_unless_the_operator_allows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(folder.path());
    let receiver = Receiver::start(&[]);
    house.fall(&receiver.url);
    for networks in [NoticeNetworks::Public, NoticeNetworks::Private] {
        house.sender(networks, Duration::from_secs(10)).send_due().expect("a read");
        let why = "the url leads to an address that notices are not sent to";
        assert_eq!(house.notice().error.as_deref(), Some(why));
        house.pass(5 * MINUTE);
    }
    assert!(receiver.received().is_empty());
    house.pass(30 * MINUTE);
    house.sender(NoticeNetworks::Any, Duration::from_secs(10)).send_due().expect("a read");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn the_thread_sends_by_itself_and_ends_when_it_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::open(folder.path());
    let receiver = Receiver::start(&[]);
    let sending = house.sender(NoticeNetworks::Any, Duration::from_secs(10)).start();
    let sending = sending.expect("a thread");
    house.fall(&receiver.url);
    let deadline = Instant::now() + Duration::from_secs(60);
    while house.notice().sent_ms.is_none() {
        assert!(Instant::now() < deadline, "nothing was sent");
        thread::yield_now();
    }
    drop(sending);
    assert_eq!(receiver.received().len(), 1);
}
