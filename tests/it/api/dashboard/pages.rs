//! The files of the pages: all of them, nothing else, and what browsers are told of them.

use std::fs;
use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::request;
use crate::support::server::{Server, Setup};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/dashboard/web")
}

/// All files below the folder, as the path of their address has them.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(folder()).unwrap().to_str().unwrap();
                    found.push(name.to_owned());
                }
            }
        }
    }
    found
}

async fn get(server: &Server, line: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let response = server.router.clone().oneshot(request(line, headers, None)).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, bytes.to_vec())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

#[tokio::test]
async fn every_file_is_sent_as_what_it_is() {
    let server = Server::start(Setup::saying(&[]));
    let files = files();
    assert!(files.contains(&"index.html".to_owned()));
    for name in &files {
        let (status, headers, body) = get(&server, &format!("GET /assets/{name}"), &[]).await;
        assert_eq!((status, &body), (200, &fs::read(folder().join(name)).unwrap()), "{name}");
        let expected = match name.rsplit('.').next().unwrap() {
            "html" => "text/html; charset=utf-8",
            "js" | "mjs" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "json" => "application/json",
            "svg" => "image/svg+xml",
            "png" => "image/png",
            "txt" => "text/plain; charset=utf-8",
            other => panic!("{name}: what is .{other}? The server has to know its type"),
        };
        assert_eq!(text(&headers, "content-type"), expected, "{name}");
        assert_eq!(text(&headers, "x-content-type-options"), "nosniff");
        assert_eq!(text(&headers, "referrer-policy"), "no-referrer");
        assert_eq!(text(&headers, "cross-origin-opener-policy"), "same-origin");
        assert!(text(&headers, "permissions-policy").contains("camera=()"));
        assert_eq!(text(&headers, "cache-control"), "no-cache");
        assert!(headers.get("set-cookie").is_none());
    }
    let index = fs::read(folder().join("index.html")).unwrap();
    for path in ["/", "/docs"] {
        let (status, headers, body) = get(&server, &format!("GET {path}"), &[]).await;
        assert_eq!((status, &body), (200, &index), "{path}");
        assert_eq!(text(&headers, "content-type"), "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn the_policy_names_the_one_script_that_stands_in_the_page() {
    let server = Server::start(Setup::saying(&[]));
    let page = fs::read_to_string(folder().join("index.html")).unwrap();
    // Browsers read a carriage return as a line's end, and would hash something else.
    assert!(!page.contains('\r'));
    let (_, map) = page.split_once("<script type=\"importmap\">").unwrap();
    let (map, rest) = map.split_once("</script>").unwrap();
    let hash = STANDARD.encode(Sha256::digest(map));
    let (_, headers, _) = get(&server, "GET /", &[]).await;
    assert_eq!(
        text(&headers, "content-security-policy"),
        format!(
            "default-src 'none'; script-src 'self' 'sha256-{hash}'; style-src 'self'; \
             img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        )
    );
    let (_, of_file, _) = get(&server, "GET /assets/index.html", &[]).await;
    assert_eq!(of_file["content-security-policy"], headers["content-security-policy"]);
    // What the policy would block is not in the page.
    for tag in rest.split("<script").skip(1) {
        assert!(tag.split('>').next().unwrap().contains("src="), "an inline script: {tag}");
    }
    for blocked in ["<style", " style=", " onclick=", " onload=", "javascript:", "<base"] {
        assert!(!page.contains(blocked), "{blocked}");
    }
    for outside in ["src=\"http", "src=\"//", "href=\"http", "href=\"//"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn a_file_is_sent_once() {
    let server = Server::start(Setup::saying(&[]));
    for path in ["/", "/docs", "/assets/index.html"] {
        let line = format!("GET {path}");
        let (_, first, body) = get(&server, &line, &[("if-none-match", "\"another\"")]).await;
        let tag = text(&first, "etag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let (status, again, none) = get(&server, &line, &[("if-none-match", &known)]).await;
            assert_eq!((status, none.as_slice()), (304, &b""[..]), "{known}");
            for name in ["etag", "cache-control", "content-security-policy"] {
                assert_eq!(again[name], first[name], "{name}");
            }
        }
        let (status, head, none) = get(&server, &format!("HEAD {path}"), &[]).await;
        assert_eq!((status, none.as_slice()), (200, &b""[..]));
        assert_eq!(text(&head, "content-length"), body.len().to_string());
        assert_eq!(head["etag"], first["etag"]);
    }
}

#[tokio::test]
async fn nothing_outside_the_folder_is_sent() {
    let server = Server::start(Setup::saying(&[]));
    let known = std::env::current_exe().unwrap();
    let outside = [
        "nothing.js".to_owned(),
        "Index.html".to_owned(),
        "index.html/".to_owned(),
        "./index.html".to_owned(),
        "../mod.rs".to_owned(),
        "..%2Fmod.rs".to_owned(),
        "%2e%2e/mod.rs".to_owned(),
        "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fCargo.toml".to_owned(),
        "..%5Cmod.rs".to_owned(),
        "....//mod.rs".to_owned(),
        "%252e%252e/mod.rs".to_owned(),
        "/etc/passwd".to_owned(),
        "%2Fetc%2Fpasswd".to_owned(),
        "index.html%00.js".to_owned(),
        "%FF".to_owned(),
        "x".repeat(5_000),
        known.to_str().unwrap().to_owned(),
        folder().join("index.html").to_str().unwrap().to_owned(),
    ];
    for path in outside {
        let answer = server.send(request(&format!("GET /assets/{path}"), &[], None)).await;
        let status = answer.status.as_u16();
        assert!(status == 404 || status == 400, "{path}: {}", answer.text);
        assert!(answer.json()["error"]["message"].is_string(), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    for line in ["GET /assets", "GET /assets/", "GET /docs/", "GET /index.html", "POST /assets/x"] {
        let status = server.send(request(line, &[], None)).await.status.as_u16();
        assert!([404, 405].contains(&status), "{line}: {status}");
    }
}

#[tokio::test]
async fn no_answer_is_taken_for_something_else() {
    let server = Server::start(Setup::saying(&["a"]));
    for line in ["GET /health", "GET /v1/models", "GET /nothing", "GET /openapi.json", "PUT /"] {
        let answer = server.send(request(line, &[], None)).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{line}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{line}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{line}: {policy}");
    }
}

/// The page that customers come back to from their bank.
#[tokio::test]
async fn the_page_after_paying_runs_nothing_and_looks_as_its_policy_allows() {
    let server = Server::start(Setup::saying(&[]));
    let answer = server.send(request("GET /topups/x/return", &[], None)).await;
    assert_eq!(answer.status, 404);
    let (_, style) = answer.text.split_once("<style>").unwrap();
    let hash = STANDARD.encode(Sha256::digest(style.split_once("</style>").unwrap().0));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(answer.text.contains("href=\"/#/billing\""));
    assert!(!answer.text.contains("<script") && !answer.text.contains(" style="));

    for (asked, lang) in [("ar-KW,ar;q=0.9,en;q=0.8", "ar"), ("en,ar;q=0.5", "en"), ("arn", "en")] {
        let headers = [("accept-language", asked)];
        let answer = server.send(request("GET /topups/x/return", &headers, None)).await;
        assert!(
            answer.text.contains(&format!("<html lang=\"{lang}\"")),
            "{asked}: {}",
            answer.text
        );
        assert_eq!(answer.text.contains("dir=\"rtl\""), lang == "ar", "{asked}");
        assert_eq!(answer.header("vary"), Some("accept-language"));
    }
}
