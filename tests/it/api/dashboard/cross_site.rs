//! Pages of other sites, which a browser lets send requests, and its cookie with them.

use mizan::ledger::Role;
use serde_json::{Value, json};

use super::super::{CHAT, chat};
use super::{MARK, SIGN_IN, SIGN_OUT, browse, request, with_key, with_name};
use crate::support::server::{Server, Setup};

const OTHERS: [&str; 4] = ["cross-site", "same-site", "", "SAME-ORIGIN"];

async fn check(server: &Server, line: &str, headers: &[(&str, &str)], body: Option<Value>) {
    let refused = server.send(request(line, headers, body)).await;
    assert_eq!(refused.status, 403, "{line} {headers:?}: {}", refused.text);
    assert_eq!(refused.json()["error"]["code"], "csrf", "{line}");
    assert!(refused.header("set-cookie").is_none());
}

#[tokio::test]
async fn other_sites_pages_do_nothing_with_the_cookie() {
    let server = Server::start(Setup::saying(&["a"]));
    let owner = with_name(&server, "ann", Role::Owner).await;
    let key = with_key(&server, &server.key).await;
    let before = server.balance();
    for cookie in [owner.as_str(), key.as_str()] {
        let cookie = ("cookie", cookie);
        for site in OTHERS {
            let site = ("sec-fetch-site", site);
            for line in ["GET /api/v1/me", "HEAD /api/v1/me", "GET /api/v1/usage"] {
                // A refusal of HEAD has no body to look at.
                if line.starts_with("HEAD") {
                    let refused = server.send(request(line, &[cookie, site, MARK], None)).await;
                    assert_eq!(refused.status, 403);
                } else {
                    check(&server, line, &[cookie, site, MARK], None).await;
                }
            }
        }
        // Without the pages' own header nothing is changed, whatever the browser says.
        for site in [&[][..], &[("sec-fetch-site", "same-origin")], &[("sec-fetch-site", "none")]] {
            let headers = [&[cookie], site].concat();
            let label = Some(json!({ "label": "theirs" }));
            check(&server, "POST /api/v1/keys", &headers, label).await;
            check(&server, &format!("POST {CHAT}"), &headers, Some(chat(json!({})))).await;
            check(&server, SIGN_OUT, &headers, None).await;
            let wrong = [&headers[..], &[("x-mizan-dashboard", "true")]].concat();
            check(&server, SIGN_OUT, &wrong, None).await;
        }
        let typed = [cookie, MARK, ("sec-fetch-site", "none")];
        check(&server, SIGN_OUT, &typed, None).await;
    }
    assert_eq!(server.balance(), before);
    assert_eq!(server.ledger.keys(server.account).unwrap().len(), 1);
    // Nobody was signed out; what a browser sends of itself, and what its address bar asks, works.
    for cookie in [owner.as_str(), key.as_str()] {
        assert_eq!(browse(&server, cookie, "GET /api/v1/me", None).await.status, 200);
        for site in [&[][..], &[("sec-fetch-site", "none")]] {
            let headers = [&[("cookie", cookie)], site].concat();
            let answer = server.send(request("GET /api/v1/me", &headers, None)).await;
            assert_eq!(answer.status, 200);
        }
    }
}

#[tokio::test]
async fn other_sites_pages_sign_nobody_in() {
    let server = Server::start(Setup::saying(&["a"]));
    let body = || Some(json!({ "key": server.key }));
    check(&server, SIGN_IN, &[], body()).await;
    check(&server, SIGN_IN, &[("sec-fetch-site", "same-origin")], body()).await;
    for site in OTHERS.into_iter().chain(["none"]) {
        check(&server, SIGN_IN, &[MARK, ("sec-fetch-site", site)], body()).await;
    }
    // A form's body is no JSON, and is refused before it is looked at.
    let form = [("content-type", "text/plain")];
    let refused = server.send(request(SIGN_IN, &form, None)).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn what_is_open_to_everybody_is_open_to_links_from_elsewhere() {
    let server = Server::start(Setup::saying(&["a"]));
    let cookie = with_key(&server, &server.key).await;
    for line in ["GET /", "GET /docs", "GET /assets/index.html", "GET /health"] {
        let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")];
        let answer = server.send(request(line, &headers, None)).await;
        assert_eq!(answer.status, 200, "{line}");
    }
}

/// Pages of configured origins may call with keys. They get no cookies sent.
#[tokio::test]
async fn no_origin_is_allowed_to_send_cookies() {
    let settings = "cors_origins = [\"https://chat.example.com\"]";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    for origin in ["https://chat.example.com", "https://evil.example", "null"] {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-mizan-dashboard"),
        ];
        for line in [format!("OPTIONS {CHAT}"), "OPTIONS /api/v1/sessions/cookie".to_owned()] {
            let answer = server.send(request(&line, &preflight, None)).await;
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{origin}");
        }
    }
}
