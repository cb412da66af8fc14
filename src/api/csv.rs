//! Tables as CSV (RFC 4180), sent while they are read.
//! Promises: a text neither ends its cell early nor becomes a formula; a table that can not be read
//! to its end breaks off instead of looking whole.
//! Never knows: what the tables show.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::mpsc::{Sender, channel};

use super::error::ApiError;
use super::export::Parts;
use crate::ledger::push_csv_text;

/// What the task that reads a table hands its parts to.
pub(super) type PartSender = Sender<Result<Bytes, ApiError>>;

/// A response, and where its text comes from: one part waits while the one before is sent.
pub(super) fn streamed(file_name: &'static str) -> (PartSender, Response) {
    let (parts, receiver) = channel(1);
    (parts, response(Body::from_stream(Parts(receiver)), file_name))
}

/// A response of one part.
pub(super) fn whole(text: String, file_name: &'static str) -> Response {
    response(Body::from(text), file_name)
}

fn response(body: Body, file_name: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

/// Appends a line of names.
pub(super) fn push_names(text: &mut String, names: &[&str]) {
    text.push_str(&names.join(","));
    text.push_str("\r\n");
}

/// Appends a row; nothing for null.
pub(super) fn push_row(text: &mut String, cells: &[Value]) {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match cell {
            Value::Null => {}
            Value::String(cell) => push_csv_text(text, cell),
            other => text.push_str(&other.to_string()),
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_stay_what_they_are() {
        let mut text = String::new();
        push_names(&mut text, &["a", "b"]);
        push_row(&mut text, &[json!("x,\"y\""), json!(null), json!(-5), json!(1.5), json!(true)]);
        push_row(&mut text, &[json!("=HYPERLINK(\"http://x\")"), json!("\n")]);
        let expected = "a,b\r\n\"x,\"\"y\"\"\",,-5,1.5,true\r\n\
                        \"'=HYPERLINK(\"\"http://x\"\")\",\"\n\"\r\n";
        assert_eq!(text, expected);
    }
}
