//! Stopping: new work is refused, running work finishes or is ended, every meter closes. Over real
//! sockets, because that is what stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mizan::api;
use mizan::ledger::MeterState;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{CHAT, chat};
use crate::support::server::{Server, Setup};

/// A server on a socket.
struct Listening {
    server: Arc<Server>,
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Listening {
    async fn start(setup: Setup) -> Self {
        let server = Arc::new(Server::start(setup));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, mut stopped) = watch::channel(false);
        let serving = tokio::spawn(api::serve(listener, server.state.clone(), async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }));
        Self { server, address, stop, serving }
    }

    /// Sends a chat request on a connection of its own; the status and headers are there.
    async fn post(&self, body: Value) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(CHAT)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", self.server.key))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())));
        sender.send_request(request.unwrap()).await.unwrap()
    }

    async fn ready(&self) -> u16 {
        self.server.get("/ready").await.status.as_u16()
    }
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn running_work_is_finished_and_new_work_refused() {
    let listening = Listening::start(Setup::saying(&["a", "b", "c"])).await;
    listening.server.allow(1);
    let stream = listening.post(chat(json!({ "stream": true }))).await;
    assert_eq!(listening.ready().await, 200);
    listening.stop.send_replace(true);
    while listening.ready().await != 503 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let answer = listening.post(chat(json!({}))).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(text(answer).await.contains("shutting_down"));

    listening.server.allow(4);
    let body = text(stream).await;
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    listening.serving.await.unwrap();
    let record = listening.server.settled().await;
    assert_eq!((record.state, record.output_tokens), (MeterState::Closed, 3));
    listening.server.verify_books();
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_ended_and_settled() {
    for is_streamed in [true, false] {
        let settings = "shutdown_secs = 0";
        let setup = Setup { settings, ..Setup::saying(&["a", "b", "c"]) };
        let listening = Listening::start(setup).await;
        listening.server.allow(2);
        let request = listening.post(chat(json!({ "stream": is_streamed })));
        let stop = async {
            while listening.server.balance() != 4_998 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let started = Instant::now();
        let response = if is_streamed {
            let response = request.await;
            let mut body = response.into_body();
            let mut seen = String::new();
            // "b" may come together with "a".
            while !seen.contains("b\"") {
                let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
                seen.push_str(std::str::from_utf8(&data).unwrap());
            }
            stop.await;
            listening.stop.send_replace(true);
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
        } else {
            let stop = async {
                stop.await;
                listening.stop.send_replace(true);
            };
            let (response, ()) = tokio::join!(request, stop);
            assert_eq!(response.status(), 503);
            text(response).await
        };
        assert!(response.contains("shutting_down"), "{response}");
        listening.serving.await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
        let record = listening.server.settled().await;
        if is_streamed {
            assert_eq!((record.state, record.output_tokens), (MeterState::Closed, 2));
            assert_eq!(record.finish_reason.as_deref(), Some("shutdown"));
            assert_eq!(listening.server.balance(), 4_998);
        } else {
            assert_eq!(record.state, MeterState::Reversed);
            assert_eq!(listening.server.balance(), 5_000);
        }
        listening.server.verify_books();
    }
}

#[tokio::test]
async fn a_socket_that_is_closed_ends_the_generation() {
    for is_streamed in [true, false] {
        let listening = Listening::start(Setup::saying(&["a", "b", "c"])).await;
        listening.server.allow(1);
        let request = listening.post(chat(json!({ "stream": is_streamed })));
        if is_streamed {
            let mut response = request.await;
            response.frame().await.unwrap().unwrap();
            drop(response);
        } else {
            let mut request = Box::pin(request);
            while listening.server.balance() != 4_999 {
                let waited = tokio::time::timeout(Duration::from_millis(2), &mut request).await;
                assert!(waited.is_err());
            }
            drop(request);
        }
        let record = listening.server.settled().await;
        let expected = if is_streamed { MeterState::Closed } else { MeterState::Reversed };
        assert_eq!(record.state, expected);
        assert_eq!(listening.server.balance(), if is_streamed { 4_999 } else { 5_000 });
        listening.server.verify_books();
    }
}
