//! Clients that keep a connection and say nothing.

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
