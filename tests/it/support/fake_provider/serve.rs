//! The fake provider's HTTP: one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{FakeProvider, MYFATOORAH_TOKEN, Shape, TAP_SECRET_KEY};

/// Status, headers and body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: String,
    /// Before it is sent.
    pub(super) delay: Duration,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, location: None, body: body.into(), delay: Duration::ZERO }
    }

    pub(super) fn after(self, delay: Duration) -> Answer {
        Answer { delay, ..self }
    }
}

impl FakeProvider {
    pub(super) fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        let _ = reader.read_line(&mut first);
        let (mut length, mut bearer) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => value.trim().clone_into(&mut bearer),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let answer = self.route(method, path, &bearer, &String::from_utf8_lossy(&body));
        std::thread::sleep(answer.delay);
        let Answer { status, location, body, .. } = answer;
        let location = location.map_or(String::new(), |url| format!("Location: {url}\r\n"));
        let _ = write!(
            reader.into_inner(),
            "HTTP/1.1 {status} Fake\r\nContent-Type: application/json\r\n{location}\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len(),
        );
    }

    fn route(&self, method: &str, path: &str, bearer: &str, body: &str) -> Answer {
        if let Some(page) = path.strip_prefix("/page/") {
            return self.pay(page);
        }
        let shape = match path {
            _ if path.starts_with("/v2/charges") || path == "/v2/refunds" => Shape::Tap,
            _ => Shape::MyFatoorah,
        };
        let secret = match shape {
            Shape::Tap => TAP_SECRET_KEY,
            Shape::MyFatoorah => MYFATOORAH_TOKEN,
        };
        if bearer != format!("Bearer {secret}") {
            self.lock().calls.unauthorized += 1;
            // A provider that shows what it was sent must not bring the secret into a log.
            let description = format!("no such key: {bearer}");
            return Answer::new(
                401,
                format!(
                    "{{\"errors\":[{{\"code\":\"2107\",\"description\":\"{description}\"}}],\
                     \"IsSuccess\":false,\"Message\":\"{description}\"}}"
                ),
            );
        }
        match (method, path) {
            ("POST", "/v2/charges") => self.tap_create(body),
            ("POST", "/v2/refunds") => self.tap_refund(body),
            ("GET", _) if path.starts_with("/v2/charges/") => {
                self.tap_fetch(path.trim_start_matches("/v2/charges/"))
            }
            ("POST", "/v2/InitiatePayment") => Self::fatoorah_methods(),
            ("POST", "/v2/ExecutePayment") => self.fatoorah_create(body),
            ("POST", "/v2/GetPaymentStatus") => self.fatoorah_fetch(body),
            ("POST", "/v2/MakeRefund") => self.fatoorah_refund(body),
            _ => Answer::new(404, "{}"),
        }
    }

    /// The page of the bank, by its buttons: `/page/ID/approve`, `decline` or `abandon`.
    fn pay(&self, page: &str) -> Answer {
        let (id, button) = page.split_once('/').unwrap_or((page, ""));
        if self.lock().order(id).is_none() {
            return Answer::new(404, "no such order");
        }
        match button {
            "approve" => self.approve(id),
            "decline" => self.decline(id),
            "abandon" => self.abandon(id),
            _ => return Answer::new(200, "approve, decline or abandon"),
        }
        Answer { location: Some(self.return_url(id)), ..Answer::new(302, "") }
    }
}
