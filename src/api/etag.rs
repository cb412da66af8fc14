//! Names of versions: what a client has, and whether that is what there is (RFC 9110, 8.8.3).

use axum::http::{HeaderMap, HeaderValue, header};

/// The name of what has this digest.
pub(super) fn of_digest(digest: &[u8]) -> HeaderValue {
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{digits}\"")).expect("digits in quotes")
}

/// Whether the client says that it has this version.
pub(super) fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    // Proxies that compress weaken the tag.
    known.any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.trim_start_matches("W/").as_bytes() == etag.as_bytes()
    })
}
