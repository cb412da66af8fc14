//! Answers that no provider should give: each is an error that says so, and none is believed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mizan::payments::{PaymentKey, PaymentProvider, ProviderError, Secret, Tap, TapSettings};

use super::order;

/// A server that gives `answer` to one caller, and what it first heard from them.
fn answering(answer: Vec<u8>) -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut first = vec![0; 16 * 1024];
        let length = stream.read(&mut first).expect("a call");
        first.truncate(length);
        sender.send(first).expect("the test goes on");
        // A caller that has heard enough may hang up.
        let _ = stream.write_all(&answer);
    });
    (address, heard)
}

fn tap(base_url: String) -> Tap {
    Tap::new(TapSettings {
        base_url,
        timeout: Duration::from_secs(5),
        source: "src_all".to_owned(),
        merchant: None,
        secret_key: Secret::new("sk_test").expect("a secret"),
    })
}

fn with_body(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn check(answer: Vec<u8>, is_expected: fn(&ProviderError) -> bool) {
    let (address, _heard) = answering(answer);
    let key = PaymentKey::Order("chg_1".to_owned());
    let error = tap(format!("http://{address}")).fetch(&key).expect_err("no charge");
    assert!(is_expected(&error), "{error:?}");
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn broken_answers_are_errors() {
    let malformed = |error: &ProviderError| matches!(error, ProviderError::Malformed { .. });
    for body in [
        Vec::new(),
        b"<html>".to_vec(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        "[".repeat(200_000).into_bytes(),
        " ".repeat(300_000).into_bytes(),
        br#"{"id":"chg_1","status":"CAPTURED","amount":2.0001,"currency":"KWD"}"#.to_vec(),
        br#"{"id":"chg_1","status":"CAPTURED","amount":2e0,"currency":"KWD"}"#.to_vec(),
        br#"{"id":"chg_1","status":"CAPTURED","amount":-2,"currency":"KWD"}"#.to_vec(),
        br#"{"id":"chg_2","status":"CAPTURED","amount":2,"currency":"KWD"}"#.to_vec(),
    ] {
        check(with_body(&body), malformed);
    }
    // The secret goes to the provider's address and nowhere else.
    let elsewhere = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\
                      Content-Length: 0\r\n\r\n";
    check(elsewhere.to_vec(), malformed);
    let unanswered = |error: &ProviderError| matches!(error, ProviderError::Unanswered { .. });
    check(Vec::new(), unanswered);
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec(), unanswered);
    check(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), unanswered);
}

#[test]
fn a_customer_is_sent_to_https_only() {
    for url in ["javascript:alert(1)", "http://bank.example/", "https://bank.example/\\n", ""] {
        let charge = format!(
            "{{\"id\":\"chg_1\",\"status\":\"INITIATED\",\"amount\":2,\"currency\":\"KWD\",\
             \"transaction\":{{\"url\":\"{url}\"}}}}"
        );
        let (address, _heard) = answering(with_body(charge.as_bytes()));
        let error = tap(format!("http://{address}")).create(&order(1, 2_000));
        let error = error.expect_err("no page");
        assert!(matches!(error, ProviderError::Malformed { .. }), "{error:?}");
    }
}

#[test]
fn an_https_address_is_spoken_to_in_tls() {
    let (address, heard) = answering(Vec::new());
    let error = tap(format!("https://{address}")).create(&order(1, 2_000));
    assert!(error.expect_err("no TLS there").is_passing());
    // The first record is a handshake (RFC 8446, section 5.1), and in it is no secret yet.
    let first = heard.recv().expect("a call");
    assert_eq!(first[..2], [0x16, 0x03]);
}
