//! What a cookie is worth: forged, doubled, huge, beside a key.

use mizan::ledger::Role;
use serde_json::json;

use super::super::{CHAT, OPERATORS_KEY, chat, operated};
use super::{MARK, browse, request, with_key, with_name};
use crate::support::server::{Server, Setup};

const ME: &str = "GET /api/v1/me";

#[tokio::test]
async fn what_was_not_given_out_opens_nothing() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let good = with_key(&server, &server.key).await;
    let session = with_name(&server, "ann", Role::Owner).await;
    let other = |cookie: &str| cookie.replace(cookie.chars().last().unwrap(), "_");
    for forged in [
        "mizan_session=".to_owned(),
        "mizan_session=mt-".to_owned(),
        "mizan_session=mt-0000".to_owned(),
        "mizan_session=ms-0000".to_owned(),
        // Secrets themselves are for headers, where no other site's page can put them.
        format!("mizan_session={}", server.key),
        format!("mizan_session={OPERATORS_KEY}"),
        other(&good),
        other(&session),
        good.to_uppercase().replace("MIZAN_SESSION", "mizan_session"),
        format!("{good}x"),
        format!("\"{good}\""),
        good.replace('=', "=\""),
        format!("mizan_session={}", "m".repeat(60_000)),
        format!("mizan_session=ms-{}", "0".repeat(60_000)),
        // Two that differ: one of them was slipped in.
        format!("{good}; {session}"),
        format!("{session}; mizan_session=x"),
        // The secure one counts, good or not.
        format!("{good}; __Host-mizan_session=mt-0000"),
    ] {
        let refused = browse(&server, &forged, ME, None).await;
        assert_eq!(refused.status, 401, "{forged:.90}");
        assert_eq!(refused.json()["error"]["code"], "invalid_api_key");
        assert!(!refused.text.contains("mt-") && !refused.text.contains("ms-"));
    }
    let many: Vec<String> = (0..500).map(|number| format!("c{number}=v; ")).collect();
    let many = many.concat();
    for fine in [
        format!("a=b; {good}"),
        format!("{good};theme=dark"),
        format!("{good}; {good}"),
        format!("{many}{good}"),
        format!("mizan_session=x; __Host-{good}"),
    ] {
        assert_eq!(browse(&server, &fine, ME, None).await.status, 200, "{fine:.90}");
    }
    let headers = [("cookie", "a=b"), ("cookie", good.as_str())];
    assert_eq!(server.send(request(ME, &headers, None)).await.status, 200);
}

#[tokio::test]
async fn a_key_in_a_header_counts_alone() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let other = format!("Bearer {}", server.key_of("others").secret);
    let cookie = with_name(&server, "ann", Role::Owner).await;
    let cookie = ("cookie", cookie.as_str());
    let get = async |headers: &[(&str, &str)]| server.send(request(ME, headers, None)).await;
    let whose = get(&[cookie, ("authorization", &other)]).await.json();
    assert_eq!(whose["data"]["account"], "others");
    for wrong in [
        ("authorization", "Bearer mz-0000"),
        ("authorization", "Bearer "),
        ("authorization", "Bearer"),
        ("authorization", ""),
        ("x-api-key", "mz-0000"),
        ("x-api-key", ""),
    ] {
        assert_eq!(get(&[cookie, wrong]).await.status, 401, "{wrong:?}");
    }
    // A proxy's own password, which the browser sends it with every request.
    let proxied = get(&[cookie, ("authorization", "Basic cHJveHk6eA==")]).await;
    assert_eq!(proxied.json()["data"]["name"], "ann");
    // Whoever shows a key needs nothing that keeps other sites out: they have none.
    let headers = [cookie, ("authorization", &other), ("sec-fetch-site", "cross-site")];
    let answer = server.send(request(&format!("POST {CHAT}"), &headers, Some(chat(json!({})))));
    let answer = answer.await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_ne!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn what_a_cookie_opens_is_not_kept() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let cookie = with_name(&server, "ann", Role::Member).await;
    for (line, body, status) in [
        (ME, None, 200),
        ("GET /v1/models", None, 200),
        ("GET /api/v1/usage?format=csv", None, 200),
        ("GET /api/v1/users", None, 403),
        ("GET /api/v1/generations/x", None, 404),
        ("POST /v1/chat/completions", Some(chat(json!({}))), 200),
        ("POST /v1/chat/completions", Some(chat(json!({ "stream": true }))), 200),
        ("POST /v1/chat/completions", Some(json!({})), 400),
    ] {
        let answer = browse(&server, &cookie, line, body).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.text);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{line}");
    }
    for (cookie, site) in [("mizan_session=x", "same-origin"), (cookie.as_str(), "cross-site")] {
        let headers = [MARK, ("cookie", cookie), ("sec-fetch-site", site)];
        let refused = server.send(request(ME, &headers, None)).await;
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
}
