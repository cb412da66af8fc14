//! `/`, `/docs`, `/assets/{*path}`: the files of the pages.
//! Promises: nothing outside the folder `web` is ever sent; every answer forbids what the pages do
//! not do; a browser that has a file's present version is told so.
//! Never knows: who asks. There is nothing secret here.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::super::error::ApiError;
use super::super::etag;
use super::super::url::Path;

#[derive(RustEmbed)]
#[folder = "src/api/dashboard/web/"]
struct Web;

/// The one page, which draws all views.
const INDEX: &str = "index.html";

/// What the page's modules are called; the one script that stands in the page itself.
const IMPORT_MAP: &str = "<script type=\"importmap\">";

/// What every file is sent with, beside its policy.
const HEADERS: [(HeaderName, &str); 5] = [
    // Whoever keeps a file asks whether it changed.
    (header::CACHE_CONTROL, "no-cache"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// `GET /`, `GET /docs`
pub(in super::super) async fn index(headers: HeaderMap) -> Result<Response, ApiError> {
    send(INDEX, &headers)
}

/// `GET /assets/{*path}`
pub(in super::super) async fn file(
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    send(&path, &headers)
}

fn send(path: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let found = if is_plain(path) { Web::get(path) } else { None };
    let file = found.ok_or_else(|| ApiError::UnknownFile(path.to_owned()))?;
    let etag = etag::of_digest(&file.metadata.sha256_hash());
    let mut response = Response::default();
    let is_known = etag::is_known(headers, &etag);
    let sent = response.headers_mut();
    sent.insert(header::ETAG, etag);
    sent.insert(header::CONTENT_SECURITY_POLICY, policy());
    sent.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    *response.body_mut() = Body::from(file.data);
    Ok(response)
}

/// Whether the path leads down only, to a file that is not hidden.
fn is_plain(path: &str) -> bool {
    let is_name = |name: &str| {
        let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && !name.starts_with('.') && name.chars().all(is_char)
    };
    path.split('/').all(is_name)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    }
}

/// What a browser may do with the files. The map of modules may stand in the page because the
/// policy names its hash; the page is looked at again each time, as an edit changes it.
fn policy() -> HeaderValue {
    let page = Web::get(INDEX).map(|page| page.data).unwrap_or_default();
    let page = String::from_utf8_lossy(&page);
    let map = page.split_once(IMPORT_MAP).and_then(|(_, rest)| rest.split_once("</script>"));
    let map = map.map_or(String::new(), |(map, _)| format!(" {}", inline_hash(map)));
    let policy = format!(
        "default-src 'none'; script-src 'self'{map}; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 between plain words")
}

/// How a policy names a script or a style that stands in a page.
pub(in super::super) fn inline_hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_folder_are_looked_up() {
        for plain in ["app.js", "vendor/preact.module.js", "a-b/c_d.e"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "",
            "/",
            "..",
            "../mod.rs",
            "a/../../mod.rs",
            "/etc/passwd",
            ".hidden",
            "a//b",
            "a/",
            "a\\..\\b",
            "C:x",
            "a\0",
            "é",
            "a b",
            "%2e%2e/mod.rs",
        ] {
            assert!(!is_plain(other), "{other:?}");
        }
    }

    #[test]
    fn a_hash_is_as_browsers_make_it() {
        // The example of the specification's authors: `alert('Hello, world.');`.
        let expected = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='";
        assert_eq!(inline_hash("alert('Hello, world.');"), expected);
    }
}
