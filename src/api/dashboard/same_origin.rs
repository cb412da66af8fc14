//! Whether a request comes from this server's own pages. A browser adds its cookie to requests that
//! it is made to send by others, too.
//!
//! Three things keep them out. The cookie is `SameSite=Strict`. Browsers say where a request comes
//! from (Fetch Metadata), which also tells ports of one host apart; over plain HTTP they do so on
//! their own machine only. And whatever may change something needs a header that pages of other
//! origins may not add unless this server agrees, which it does for no origin with cookies.
//! Promises: nothing is done for a cookie that another site's page sent.
//! Never knows: cookies, callers.

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, Method, request::Parts};

use super::super::AppState;
use super::super::error::ApiError;

/// The header that the dashboard's own pages add, with the value `1`.
const OWN_PAGE: HeaderName = HeaderName::from_static("x-mizan-dashboard");

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page of another origin may have sent.
pub(in super::super) fn check_same_origin(
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    // `none`: somebody typed the address, or opened a bookmark.
    let is_own = |site: &[u8]| site == b"same-origin" || (is_read && site == b"none");
    let mut sites = headers.get_all(FETCH_SITE).iter();
    let is_marked = headers.get(OWN_PAGE).is_some_and(|mark| mark == "1");
    match sites.all(|site| is_own(site.as_bytes())) && (is_read || is_marked) {
        true => Ok(()),
        false => Err(ApiError::CrossSite),
    }
}

/// The request comes from one of this server's own pages.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct FromOwnPage;

impl FromRequestParts<AppState> for FromOwnPage {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        check_same_origin(&parts.method, &parts.headers).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&'static str, &'static str)], expected: bool) {
        let read = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().expect("a header value"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(read) {
            map.append(name, value);
        }
        let checked = check_same_origin(&method, &map);
        assert_eq!(checked.is_ok(), expected, "{method} {headers:?}");
    }

    #[test]
    fn reading_needs_no_mark_and_changing_does() {
        for method in [Method::GET, Method::HEAD] {
            check(method.clone(), &[], true);
            check(method.clone(), &[("sec-fetch-site", "same-origin")], true);
            check(method, &[("sec-fetch-site", "none")], true);
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let mark = ("x-mizan-dashboard", "1");
            check(method.clone(), &[], false);
            check(method.clone(), &[("sec-fetch-site", "same-origin")], false);
            check(method.clone(), &[mark], true);
            check(method.clone(), &[mark, ("sec-fetch-site", "same-origin")], true);
            check(method.clone(), &[mark, ("sec-fetch-site", "none")], false);
            check(method, &[("x-mizan-dashboard", "0")], false);
        }
    }

    #[test]
    fn other_sites_are_refused_whatever_they_add() {
        for method in [Method::GET, Method::POST] {
            for site in ["cross-site", "same-site", "", "Same-Origin", "same-origin, none"] {
                let mark = ("x-mizan-dashboard", "1");
                check(method.clone(), &[mark, ("sec-fetch-site", site)], false);
            }
            let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
            check(method, &twice, false);
        }
    }
}
