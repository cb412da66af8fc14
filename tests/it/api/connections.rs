//! Clients that keep a connection and say nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use mizan::api;

use super::CHAT;
use crate::support::server::{Server, Setup};

/// What the server answers to `sent` before it closes the connection, and the seconds it waited.
///
/// The clock stands still while there is something to do and jumps when there is not.
async fn left_alone(sent: &str) -> (String, u64) {
    let server = Server::start(Setup::saying(&["a"]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(api::serve(listener, server.state.clone(), std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let start = Instant::now();
    let sent = sent.replace("KEY", &server.key);
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    (String::from_utf8(answer).unwrap(), start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_not_waited_for() {
    for sent in ["", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        let (answer, waited) = left_alone(sent).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!((70..80).contains(&waited), "{waited} s after {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_not_waited_for() {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer KEY\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    let (answer, waited) = left_alone(&head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("the body took too long to arrive"), "{answer}");
    assert!((120..200).contains(&waited), "{waited} s");
}

/// Requests one after the other on one connection, each body some time after its head; the
/// statuses, and whether the connection was kept after each.
async fn one_by_one(requests: &[(&str, &str, usize)]) -> Vec<(u16, bool)> {
    let server = Server::start(Setup::saying(&["a"]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(api::serve(listener, server.state.clone(), std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answers = Vec::new();
    for (path, key, length) in requests {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            key.replace("KEY", &server.key),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // What cannot be sent any more is of no interest to the server.
        let _ = stream.write_all(&vec![b' '; *length]).await;
        let mut answer = Vec::new();
        while !ends_whole(&answer) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the connection broke");
        }
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        answers.push((status, !answer.contains("connection: close")));
    }
    answers
}

/// Whether an answer with a `content-length` is all there.
fn ends_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= length.parse::<usize>().unwrap()
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends_and_its_connection_is_kept() {
    let body = 300_000;
    let found = one_by_one(&[
        ("/v1/nothing", "KEY", body),
        (CHAT, "mz-wrong", body),
        ("/v1/models", "KEY", body),
        (CHAT, "KEY", body),
    ])
    .await;
    assert_eq!(found, [(404, true), (401, true), (405, true), (400, true)]);
}

#[tokio::test]
async fn a_body_of_any_size_is_not_read_and_the_client_told_so() {
    assert_eq!(one_by_one(&[("/v1/nothing", "KEY", 64 << 20)]).await, [(404, false)]);
}
