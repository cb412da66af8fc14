//! The cookie by which a browser stays signed in.
//! Cookies do not tell ports apart: whatever else is served from this host is shown them too.
//! Promises: no script can read it, no other site can send it; over HTTPS no other host can set it.
//! Never knows: what its value stands for.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::super::AppState;
use super::super::address;

/// Its name over HTTP, which is for one's own machine and network.
const PLAIN: &str = "mizan_session";

/// Its name over HTTPS. Browsers take it from this host only, and over HTTPS only.
const SECURE: &str = "__Host-mizan_session";

/// Longer than any value that is given out: not worth looking up.
const MAX_CHARS: usize = 128;

/// The value that a browser shows, if it shows one; the secure cookie's if there is one. Empty if
/// it can not be one of ours, or if two contradict each other: a page at another port or path of
/// this host may have slipped in its own.
pub(in super::super) fn cookie_of(headers: &HeaderMap) -> Option<String> {
    named(headers, SECURE).or_else(|| named(headers, PLAIN))
}

fn named(headers: &HeaderMap, name: &str) -> Option<String> {
    // Bytes: another cookie of this host need not be text.
    let pairs = headers.get_all(header::COOKIE).iter();
    let pairs = pairs.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    });
    let first = values.next()?;
    let is_ours = first.len() <= MAX_CHARS && values.all(|other| other == first);
    let value = std::str::from_utf8(first).ok().filter(|_| is_ours);
    Some(value.unwrap_or_default().to_owned())
}

/// A browser's cookies, as it is told to keep one or to throw it away.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Jar {
    is_https: bool,
    /// Whether it has shown the secure one, and the plain one.
    shown: [bool; 2],
}

impl Jar {
    /// The jar of the browser that sent these headers.
    pub(in super::super) fn of(state: &AppState, headers: &HeaderMap) -> Self {
        let is_public = state.config.public_url.as_deref().is_some_and(|u| u.starts_with("https:"));
        // Made up, it only makes the cookie stricter, for whoever made it up.
        let is_https = is_public || address::is_https(headers);
        Self { is_https, shown: [SECURE, PLAIN].map(|name| named(headers, name).is_some()) }
    }

    /// Has `value` kept for so long, and what was kept under the other name thrown away: it might
    /// count in its place.
    pub(in super::super) fn keep(
        self,
        value: &str,
        secs: i64,
        answer: impl IntoResponse,
    ) -> Response {
        let name = if self.is_https { SECURE } else { PLAIN };
        let mut response = self.clear(answer, |other| other != name);
        set(&mut response, name, value, secs);
        response
    }

    /// Has all thrown away that was shown.
    pub(in super::super) fn empty(self, answer: impl IntoResponse) -> Response {
        self.clear(answer, |_| true)
    }

    fn clear(self, answer: impl IntoResponse, is_meant: impl Fn(&str) -> bool) -> Response {
        let mut response = answer.into_response();
        for (name, is_shown) in [SECURE, PLAIN].into_iter().zip(self.shown) {
            if is_shown && is_meant(name) {
                set(&mut response, name, "", 0);
            }
        }
        response
    }
}

fn set(response: &mut Response, name: &str, value: &str, secs: i64) {
    // A browser takes nothing of the secure name without it, not even its end.
    let secure = if name == SECURE { "; Secure" } else { "" };
    let cookie =
        format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={secs}{secure}");
    let cookie = HeaderValue::try_from(cookie).expect("letters and digits between plain words");
    response.headers_mut().append(header::SET_COOKIE, cookie);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cookies: &[&[u8]], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_bytes(cookie).expect("a value"));
        }
        assert_eq!(cookie_of(&headers).as_deref(), expected, "{cookies:?}");
    }

    #[test]
    fn the_value_is_found_among_others_and_only_if_it_is_one() {
        check(&[], None);
        check(&[b"other=1"], None);
        check(&[b"mizan_session"], None);
        check(&[b"not_mizan_session=a; mizan_session2=b"], None);
        check(&[b"mizan_session=a"], Some("a"));
        check(&[b"other=\xff;mizan_session=a ; x=y"], Some("a"));
        check(&[b"x=y", b"mizan_session=a"], Some("a"));
        check(&[b"mizan_session=a; mizan_session=a"], Some("a"));
        check(&[b"mizan_session=a; mizan_session=b"], Some(""));
        check(&[b"mizan_session=a", b"mizan_session=b"], Some(""));
        check(&[b"mizan_session=\xff"], Some(""));
        check(&[b"mizan_session="], Some(""));
        check(&[&[b'='; 9]], None);
    }

    #[test]
    fn the_secure_one_is_believed_first_and_long_ones_never() {
        check(&[b"mizan_session=a; __Host-mizan_session=b"], Some("b"));
        check(&[b"mizan_session=a; __Host-mizan_session="], Some(""));
        let long = format!("mizan_session={}", "x".repeat(129));
        check(&[long.as_bytes()], Some(""));
    }
}
