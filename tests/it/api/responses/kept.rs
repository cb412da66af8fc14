//! Responses asked for again, gone on from, and removed.

use axum::http::Method;
use serde_json::{Value, json};

use super::{RESPONSES, create, events, fetch, path, request, text};
use crate::api::errors::check;
use crate::api::{OPERATORS_KEY, call, operated};
use crate::support::server::{Answer, STANDARD, Server, Setup};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const INVALID: &str = "invalid_request_error";

async fn as_key(server: &Server, key: &str, method: Method, path: &str, body: Value) -> Answer {
    let mut request = server.request(method, path, Some(&body).filter(|body| !body.is_null()));
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    server.send(request).await
}

async fn remove(server: &Server, response: &Value) -> Answer {
    server.send(server.request(Method::DELETE, &path(response), None)).await
}

/// All input items, oldest first, each as role or type and text.
async fn input_items(server: &Server, response: &Value) -> Vec<String> {
    let path = format!("{}/input_items?order=asc&limit=100", path(response));
    let list = server.get(&path).await.json();
    let short = |item: &Value| {
        let who = item["role"].as_str().or(item["type"].as_str()).unwrap();
        let said = item["content"][0]["text"].as_str().or(item["output"].as_str());
        format!("{who}: {}", said.unwrap_or_default())
    };
    list["data"].as_array().unwrap().iter().map(short).collect()
}

#[tokio::test]
async fn a_kept_response_is_its_accounts_until_it_is_removed() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let response = create(&server, json!({ "metadata": { "k": "v" } })).await;
    assert_eq!(fetch(&server, &response).await.json(), response);
    assert_eq!(server.get(&format!("{}?stream=false", path(&response))).await.json(), response);

    let other = server.key_of("others").secret;
    let items = format!("{}/input_items", path(&response));
    let get_missing = server.get("/v1/responses/resp_00").await;
    let message = check(&get_missing, 404, INVALID, None, None);
    for (method, path) in
        [(Method::GET, path(&response)), (Method::GET, items), (Method::DELETE, path(&response))]
    {
        let answer = as_key(&server, &other, method, &path, Value::Null).await;
        let id = response["id"].as_str().unwrap();
        assert_eq!(check(&answer, 404, INVALID, None, None).replace(id, "resp_00"), message);
    }
    let body = request(json!({ "previous_response_id": response["id"] }));
    let answer = as_key(&server, &other, Method::POST, RESPONSES, body).await;
    let (code, param) = ("previous_response_not_found", "previous_response_id");
    check(&answer, 400, INVALID, Some(code), Some(param));

    let removed = remove(&server, &response).await;
    let expected = json!({ "id": response["id"], "object": "response", "deleted": true });
    assert_eq!((removed.status.as_u16(), removed.json()), (200, expected));
    check(&remove(&server, &response).await, 404, INVALID, None, None);
    check(&fetch(&server, &response).await, 404, INVALID, None, None);
    // To read and to remove costs nothing.
    assert_eq!(server.balance(), 4_998);
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_not() {
    let server = Server::start(Setup::saying(&["a"]));
    let response = create(&server, json!({ "store": false })).await;
    assert_eq!(response["store"], false);
    assert_eq!(fetch(&server, &response).await.status, 404);

    let settings = "retain_responses_days = 0";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    let response = create(&server, json!({ "store": true })).await;
    assert_eq!((&response["store"], text(&response).as_str()), (&json!(false), "a"));
    assert_eq!(fetch(&server, &response).await.status, 404);
    let streamed = events(&server, json!({})).await;
    assert_eq!(streamed[0]["response"]["store"], false);
}

#[tokio::test]
async fn a_kept_response_ends_with_its_time() {
    let settings = "retain_responses_days = 2";
    let server = Server::start(Setup { settings, ..Setup::saying(&["a"]) });
    let response = create(&server, json!({})).await;
    server.advance(2 * DAY_MS - 60_000);
    assert_eq!(fetch(&server, &response).await.status, 200);
    server.advance(120_000);
    assert_eq!(fetch(&server, &response).await.status, 404);
    assert_eq!(remove(&server, &response).await.status, 404);
    let answer =
        server.post(RESPONSES, &request(json!({ "previous_response_id": response["id"] }))).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_conversation_goes_on_from_any_of_its_responses() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let first = create(&server, json!({ "instructions": "Be", "input": "One" })).await;
    // "<|system|>Be<|user|>One<|assistant|>"
    assert_eq!(first["usage"]["input_tokens"], 1 + 2 + 1 + 3 + 1);
    let second = create(
        &server,
        json!({ "previous_response_id": first["id"], "input": "Two", "stream": false }),
    )
    .await;
    // "<|user|>One<|assistant|>ab<|user|>Two<|assistant|>": instructions are not carried over.
    assert_eq!(second["usage"]["input_tokens"], 1 + 3 + 1 + 2 + 1 + 3 + 1);
    assert_eq!(second["previous_response_id"], first["id"]);
    let again = json!({ "previous_response_id": first["id"], "input": "Other" });
    let streamed = events(&server, again).await;
    let branch = &streamed.last().unwrap()["response"];
    assert_eq!(branch["usage"]["input_tokens"], 1 + 3 + 1 + 2 + 1 + 5 + 1);
    let third = create(&server, json!({ "previous_response_id": branch["id"] })).await;

    assert_eq!(input_items(&server, &first).await, ["user: One"]);
    assert_eq!(input_items(&server, &second).await, ["user: One", "assistant: ab", "user: Two"]);
    let expected = ["user: One", "assistant: ab", "user: Other", "assistant: ab", "user: Hi"];
    assert_eq!(input_items(&server, &third).await, expected);

    // Half of a conversation would be another one.
    remove(&server, &first).await;
    let body = request(json!({ "previous_response_id": third["id"] }));
    let answer = server.post(RESPONSES, &body).await;
    let (code, param) = ("previous_response_not_found", "previous_response_id");
    let message = check(&answer, 400, INVALID, Some(code), Some(param));
    assert!(message.contains(first["id"].as_str().unwrap()), "{message}");
    assert_eq!(input_items(&server, &third).await, expected[2..]);
    server.verify_books();
}

#[tokio::test]
async fn items_are_listed_in_parts() {
    let server = Server::start(Setup::saying(&["a"]));
    let turn = |n: usize| json!({ "role": "user", "content": n.to_string() });
    let turns: Value = (0..5).map(turn).collect();
    let response = create(&server, json!({ "input": turns })).await;
    let list = async |query: &str| {
        server.get(&format!("{}/input_items{query}", path(&response))).await.json()
    };
    let all = list("").await;
    assert_eq!(all["object"], "list");
    assert_eq!(all["has_more"], false);
    let texts = |list: &Value| -> String {
        let items = list["data"].as_array().unwrap().iter();
        items.map(|item| item["content"][0]["text"].as_str().unwrap()).collect()
    };
    assert_eq!(texts(&all), "43210", "the newest first");
    assert_eq!(texts(&list("?order=asc").await), "01234");
    let part = list("?limit=2").await;
    assert_eq!((texts(&part).as_str(), &part["has_more"]), ("43", &json!(true)));
    assert_eq!(part["last_id"], part["data"][1]["id"]);
    let after = part["last_id"].as_str().unwrap();
    let rest = list(&format!("?limit=3&after={after}")).await;
    assert_eq!((texts(&rest).as_str(), &rest["has_more"]), ("210", &json!(false)));
    assert_eq!(rest["first_id"], rest["data"][0]["id"]);
    for (query, param) in [
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?order=up", "order"),
        ("?after=nothing", "after"),
    ] {
        let answer = server.get(&format!("{}/input_items{query}", path(&response))).await;
        check(&answer, 400, INVALID, None, Some(param));
    }
    let answer = server.get(&format!("{}?stream=true", path(&response))).await;
    check(&answer, 400, INVALID, None, Some("stream"));
}

#[tokio::test]
async fn items_can_be_named_instead_of_sent() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let first = create(&server, json!({ "input": "One" })).await;
    let said = first["output"][0]["id"].clone();
    let list = server.get(&format!("{}/input_items", path(&first))).await.json();
    let asked = list["first_id"].clone();
    let reference = |id: &Value| json!({ "type": "item_reference", "id": id });
    let turn = json!({ "role": "user", "content": "Two" });
    let input = json!([reference(&asked), { "id": said }, turn]);
    let named = create(&server, json!({ "input": input })).await;
    let expected = ["user: One", "assistant: ab", "user: Two"];
    assert_eq!(input_items(&server, &named).await, expected);
    // What the conversation has already is not said twice.
    let input = json!([reference(&said), turn]);
    let more = json!({ "input": input, "previous_response_id": first["id"] });
    let response = create(&server, more).await;
    assert_eq!(input_items(&server, &response).await, expected);

    for (id, param) in [
        (json!("msg_unknown"), "input[0].id"),
        (json!("x"), "input[0].id"),
        (json!(5), "input[0].id"),
        (json!(said.as_str().unwrap().replace("_0", "_7")), "input[0].id"),
    ] {
        let body = request(json!({ "input": [reference(&id)] }));
        check(&server.post(RESPONSES, &body).await, 400, INVALID, None, Some(param));
    }
    let twice = request(json!({ "input": [reference(&said), reference(&said)] }));
    check(&server.post(RESPONSES, &twice).await, 400, INVALID, None, Some("input[1].id"));
    let other = server.key_of("others").secret;
    let body = request(json!({ "input": [reference(&said)] }));
    let answer = as_key(&server, &other, Method::POST, RESPONSES, body).await;
    check(&answer, 400, INVALID, None, Some("input[0].id"));
}

#[tokio::test]
async fn what_an_answer_has_can_be_sent_back_as_it_is() {
    let server = Server::start(Setup::saying(&["a", "b"]));
    let first = create(&server, json!({ "input": "One" })).await;
    let mut input = json!([{ "role": "user", "content": "One" }]);
    input.as_array_mut().unwrap().extend(first["output"].as_array().unwrap().clone());
    input.as_array_mut().unwrap().push(json!({ "role": "user", "content": "Two" }));
    let sent_back = create(&server, json!({ "input": input, "store": false })).await;
    let more = json!({ "input": "Two", "previous_response_id": first["id"] });
    let gone_on = create(&server, more).await;
    let tokens = |response: &Value| response["usage"]["input_tokens"].clone();
    assert_eq!(tokens(&sent_back), tokens(&gone_on));
}

#[tokio::test]
async fn an_account_that_is_closed_keeps_nothing() {
    let server = operated(Server::start(Setup::saying(&["a"])));
    let response = create(&server, json!({})).await;
    let other = server.key_of("others").secret;
    let body = json!({ "model": STANDARD, "input": "Hi" });
    let theirs = as_key(&server, &other, Method::POST, RESPONSES, body).await.json();
    let closed =
        call(&server, OPERATORS_KEY, "POST /admin/accounts/others/close", Some(json!({}))).await;
    assert_eq!(closed.status, 200, "{}", closed.text);
    assert_eq!(fetch(&server, &response).await.status, 200);
    assert_eq!(fetch(&server, &theirs).await.status, 404);
    assert_eq!(server.rows_kept(), 1);
}
