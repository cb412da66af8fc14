//! Where people reach this server, as links need it.
//! Promises: a link leads to the configured address if there is one; else to where the caller
//! itself came to, which it alone is told.
//! Never knows: what is linked to.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, header, request::Parts};

use super::AppState;
use super::error::ApiError;
use super::operator::ThroughControlSocket;

/// What a proxy that ends TLS says the caller spoke.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address without a trailing slash, such as `https://credits.example.com`.
#[derive(Clone, Debug)]
pub(super) struct Address(pub(super) String);

impl FromRequestParts<AppState> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let is_at_socket = parts.extensions.get::<ThroughControlSocket>().is_some();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.filter(|host| is_host(host) && !is_at_socket);
        Ok(Self(match host {
            Some(host) if state.config.public_url.is_none() => {
                let scheme = if is_https(&parts.headers) { "https" } else { "http" };
                format!("{scheme}://{host}")
            }
            Some(_) | None => state.billing.public_url().to_owned(),
        }))
    }
}

/// Whether the caller spoke HTTPS to a proxy before this server. Anybody can say so, of itself.
pub(super) fn is_https(headers: &HeaderMap) -> bool {
    let forwarded = headers.get(FORWARDED_PROTO).and_then(|proto| proto.to_str().ok());
    let first = forwarded.and_then(|protos| protos.split(',').next()).unwrap_or_default();
    first.trim().eq_ignore_ascii_case("https")
}

/// How a browser on this machine reaches a server that listens on that host and port.
pub fn local_address(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => format!("http://127.0.0.1:{port}"),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => format!("http://[::1]:{port}"),
        Ok(IpAddr::V6(ip)) => format!("http://[{ip}]:{port}"),
        Ok(IpAddr::V4(_)) | Err(_) => format!("http://{host}:{port}"),
    }
}

fn is_host(host: &str) -> bool {
    let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']');
    (1..=255).contains(&host.len()) && host.chars().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_for_all_networks_is_reached_here_by_name() {
        assert_eq!(local_address("127.0.0.1", 8080), "http://127.0.0.1:8080");
        assert_eq!(local_address("0.0.0.0", 80), "http://127.0.0.1:80");
        assert_eq!(local_address("::", 80), "http://[::1]:80");
        assert_eq!(local_address("fe80::1", 80), "http://[fe80::1]:80");
        assert_eq!(local_address("box.lan", 80), "http://box.lan:80");
    }

    #[test]
    fn a_host_is_a_name_and_nothing_else() {
        for host in ["localhost", "127.0.0.1:8080", "[::1]:80", "credits.example.com"] {
            assert!(is_host(host), "{host}");
        }
        for other in ["", "a/b", "a b", "user@host", "host#x", "host?x", &"x".repeat(256)] {
            assert!(!is_host(other), "{other}");
        }
    }
}
