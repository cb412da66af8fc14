//! Tool calls over the router: exact JSON and deltas, what is counted, what is replayed.

use axum::http::Method;
use serde_json::{Value, json};

use super::errors::check;
use super::money::check_closed;
use super::{CHAT, chat, with};
use crate::support::scripted::{Bounds, TEMPLATE};
use crate::support::server::{STANDARD, Server, Setup};

const ANSWER: [&str; 8] = [
    "Let me see.\n",
    "<tool_call>",
    "\n",
    "{\"name\": \"weather\", ",
    "\"arguments\": ",
    "{\"city\": ",
    "\"Kuwait\"}",
    "}\n</tool_call>",
];

/// Prints tools, in the format of Llama 3.
const LLAMA: &str = "{% if tools %}{{ tools[0].function.name }}{# <|python_tag|> #}{% endif %}\
    {% for m in messages %}<|user|>{{ m.content }}{% endfor %}<|assistant|>";

fn tools() -> Value {
    json!([
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": {
                    "type": "object",
                    "properties": { "city": { "type": "string" } },
                    "required": ["city"],
                    "additionalProperties": false,
                },
            },
        },
        { "type": "function", "function": { "name": "now" } },
    ])
}

/// A model whose context holds their descriptions, each byte a token.
fn saying(script: &[&'static str]) -> Setup {
    let bounds = Bounds { context: 4_096, ..Bounds::default() };
    Setup { bounds, ..Setup::saying(script) }
}

/// A chat that offers tools.
fn calling(more: Value) -> Value {
    with(chat(json!({ "tools": tools() })), more)
}

fn call(generation: &str, index: usize, name: &str, arguments: &str) -> Value {
    json!({
        "id": format!("call_{generation}_0_{index}"),
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    })
}

fn generation(json: &Value) -> String {
    json["id"].as_str().unwrap().strip_prefix("chatcmpl-").unwrap().to_owned()
}

#[tokio::test]
async fn a_call_is_a_field_of_its_own_and_all_its_tokens_count() {
    let server = Server::start(saying(&ANSWER));
    let json = server.post(CHAT, &calling(json!({}))).await.json();
    let message = json!({
        "role": "assistant", "content": "Let me see.", "refusal": null,
        "tool_calls": [call(&generation(&json), 0, "weather", "{\"city\": \"Kuwait\"}")],
    });
    assert_eq!(json["choices"][0]["message"], message);
    assert_eq!(json["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(json["usage"]["completion_tokens"], 8);
    check_closed(&server, 5_000, 8, "tool_calls").await;
}

#[tokio::test]
async fn a_call_is_streamed_as_clients_join_it() {
    let server = Server::start(saying(&ANSWER[1..]));
    server.allow(3);
    let mut stream = server.stream(CHAT, &calling(json!({ "stream": true }))).await;
    let first = stream.next().await.unwrap();
    let mut begun = call(&generation(&first), 0, "weather", "");
    begun["index"] = 0.into();
    let delta = json!({ "role": "assistant", "content": null, "tool_calls": [begun] });
    assert_eq!(first["choices"][0]["delta"], delta);
    let more = |arguments: &str| {
        let call = json!({ "index": 0, "function": { "arguments": arguments } });
        json!({ "tool_calls": [call] })
    };
    for (tokens, arguments) in [(5, "{\"city\": "), (6, "\"Kuwait\"}")] {
        server.allow(tokens);
        let frame = stream.next().await.unwrap();
        assert_eq!(frame["choices"][0]["delta"], more(arguments));
        assert_eq!(frame["choices"][0]["finish_reason"], Value::Null);
    }
    server.allow(usize::MAX);
    let rest = stream.rest().await;
    assert_eq!(rest[0]["choices"][0]["delta"], json!({}));
    assert_eq!(rest[0]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(rest[1], "[DONE]");
    check_closed(&server, 5_000, 7, "tool_calls").await;
}

#[tokio::test]
async fn calls_without_text_have_no_content() {
    let server = Server::start(saying(&[
        "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
        "\n<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"x\"}}",
        "</tool_call>",
    ]));
    let json = server.post(CHAT, &calling(json!({}))).await.json();
    let message = &json["choices"][0]["message"];
    let generation = generation(&json);
    assert_eq!(message["content"], Value::Null);
    let calls =
        [call(&generation, 0, "now", "{}"), call(&generation, 1, "weather", "{\"city\": \"x\"}")];
    assert_eq!(message["tool_calls"], json!(calls));
    // One at most: the answer ends with it.
    let server = Server::start(saying(&[
        "<tool_call>{\"name\": \"now\", ",
        "\"arguments\": {}}",
        "</tool_call>",
        "<tool_call>{\"name\": \"now\"}</tool_call>",
    ]));
    let json = server.post(CHAT, &calling(json!({ "parallel_tool_calls": false }))).await.json();
    assert_eq!(json["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1);
    assert_eq!(json["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(json["usage"]["completion_tokens"], 2);
    check_closed(&server, 5_000, 2, "tool_calls").await;
}

#[tokio::test]
async fn what_is_no_call_is_text() {
    let text: String = ANSWER.concat();
    let server = Server::start(saying(&ANSWER));
    // Nothing is offered, or nothing may be called.
    for body in [chat(json!({})), calling(json!({ "tool_choice": "none" }))] {
        let json = server.post(CHAT, &body).await.json();
        assert_eq!(json["choices"][0]["message"]["content"], text);
        assert_eq!(json["choices"][0]["finish_reason"], "stop");
        assert_eq!(json["choices"][0]["message"].get("tool_calls"), None);
    }
    // Cut before its name is known.
    let json = server.post(CHAT, &calling(json!({ "max_tokens": 3 }))).await.json();
    assert_eq!(json["choices"][0]["message"]["content"], "Let me see.\n<tool_call>\n");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    assert_eq!(json["usage"]["completion_tokens"], 3);
    // Cut within its arguments.
    let json = server.post(CHAT, &calling(json!({ "max_tokens": 6 }))).await.json();
    let function = &json["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(function["arguments"], "{\"city\": ");
    assert_eq!(json["choices"][0]["finish_reason"], "length");
    server.verify_books();
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_calls() {
    for credits in [5_000, 7, 6, 5, 4, 2, 1] {
        let server = Server::start(Setup { credits, ..saying(&ANSWER) });
        let send = async || {
            let mut request = server.request(Method::POST, CHAT, Some(&calling(json!({}))));
            request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
            server.send(request).await
        };
        let (first, again) = (send().await.json(), send().await);
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{}", again.text);
        let again = again.json();
        assert_eq!(again["choices"], first["choices"], "{credits}");
        assert_eq!(again["usage"]["completion_tokens"], first["usage"]["completion_tokens"]);
        server.verify_books();
    }
}

#[tokio::test]
async fn a_template_without_tools_gets_them_as_text() {
    let server = Server::start(saying(&["Hi"]));
    let messages = json!([
        { "role": "system", "content": "S" },
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "1", "type": "function",
              "function": { "name": "weather", "arguments": "{\"city\": \"x\"}" } },
            { "id": "2", "type": "function", "function": { "name": "now", "arguments": "{}" } },
        ] },
        { "role": "tool", "tool_call_id": "1", "content": "sunny" },
        { "role": "tool", "tool_call_id": "2", "content": [{ "type": "text", "text": "noon" }] },
        { "role": "user", "content": "And?" },
    ]);
    let body = json!({ "model": STANDARD, "messages": messages, "tools": tools() });
    let prompt = server.post("/apply-template", &body).await.json()["prompt"].clone();
    let prompt = prompt.as_str().unwrap();
    let turns = "<|user|>U<|assistant|><tool_call>\n\
        {\"name\": \"weather\", \"arguments\": {\"city\": \"x\"}}\n</tool_call>\n<tool_call>\n\
        {\"name\": \"now\", \"arguments\": {}}\n</tool_call><|user|><tool_response>\nsunny\n\
        </tool_response>\n<tool_response>\nnoon\n</tool_response>\nAnd?<|assistant|>";
    let (system, rest) = prompt.split_once("<|user|>").unwrap();
    assert_eq!(format!("<|user|>{rest}"), turns);
    assert!(system.starts_with("<|system|>S\n\n# Tools"), "{system}");
    let described = "{\"type\": \"function\", \"function\": {\"name\": \"now\", \
        \"description\": \"\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}";
    assert!(system.contains(described), "{system}");
    assert_eq!(server.post(CHAT, &body).await.status, 200);
}

#[tokio::test]
async fn calls_that_are_required_fit_their_schemas() {
    // What the model says fits, to the letter.
    let call =
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"x\"}}\n</tool_call>";
    let server = Server::start(saying(&[call]));
    let named = json!({ "type": "function", "function": { "name": "weather" } });
    for choice in [json!("required"), named] {
        let json = server.post(CHAT, &calling(json!({ "tool_choice": choice }))).await.json();
        let function = &json["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(function["arguments"], "{\"city\": \"x\"}", "{json}");
        assert_eq!(json["choices"][0]["finish_reason"], "tool_calls");
    }
    server.verify_books();
    // A schema that says nothing.
    let mut wrong = tools();
    wrong[1]["function"]["parameters"] = json!({ "type": "nonsense" });
    let body = chat(json!({ "tools": wrong, "tool_choice": "required" }));
    let param = Some("tools[1].function.parameters");
    check(&server.post(CHAT, &body).await, 400, "invalid_request_error", None, param);
    wrong[1]["function"]["strict"] = true.into();
    let body = chat(json!({ "tools": wrong }));
    check(&server.post(CHAT, &body).await, 400, "invalid_request_error", None, param);
}

#[tokio::test]
async fn a_model_that_may_call_calls_or_answers_in_the_format() {
    let format = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
            "required": ["name", "age"],
            "additionalProperties": false,
        },
    } } });
    let message = async |template: &'static str, script: &str, tools: Value| {
        let script: &'static str = String::leak(script.to_owned());
        let server = Server::start(Setup { template, ..saying(&[script]) });
        let body = with(chat(json!({ "tools": tools })), format.clone());
        let json = server.post(CHAT, &body).await.json();
        server.verify_books();
        json["choices"][0].clone()
    };
    let mut strict = tools();
    strict[0]["function"]["strict"] = true.into();
    // Whose arguments are described elsewhere in their schema.
    strict[0]["function"]["parameters"]["$defs"] = json!({ "name": { "type": "string" } });
    strict[0]["function"]["parameters"]["properties"]["city"] = json!({ "$ref": "#/$defs/name" });
    let call = "{\"name\": \"weather\", \"arguments\": {\"city\": \"x\"}}";
    let hermes_call = format!("<tool_call>\n{call}\n</tool_call>");
    let llama_call = call.replace("arguments", "parameters");
    let answer = "{\"name\": \"weather\", \"age\": 3}";
    for tools in [tools(), strict] {
        for (template, call) in [(TEMPLATE, &hermes_call), (LLAMA, &llama_call)] {
            let choice = message(template, call, tools.clone()).await;
            let function = &choice["message"]["tool_calls"][0]["function"];
            assert_eq!(function["arguments"], "{\"city\": \"x\"}", "{choice}");
            assert_eq!(choice["finish_reason"], "tool_calls");
            let choice = message(template, answer, tools.clone()).await;
            assert_eq!(choice["message"]["content"], answer, "{choice}");
            assert_eq!(choice["finish_reason"], "stop");
            // Anything else is kept to one of them.
            let choice = message(template, "No.", tools.clone()).await;
            assert_ne!(choice["message"]["content"], "No.", "{choice}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_beside_tools_is_named() {
    let server = Server::start(saying(&["Hi"]));
    let invalid = "invalid_request_error";
    // Of a strict tool, what can not be enforced is an error, as in a strict format.
    let mut unenforced = tools();
    unenforced[0]["function"]["strict"] = true.into();
    unenforced[0]["function"]["parameters"]["minProperties"] = 1.into();
    unenforced[0]["function"]["parameters"]["not"] = json!({ "required": ["x"] });
    let body = chat(json!({ "tools": unenforced }));
    let param = Some("tools[0].function.parameters");
    let message = check(&server.post(CHAT, &body).await, 400, invalid, None, param);
    assert!(message.contains("/not"), "{message}");
    // Of a format, whether or not there are tools.
    let format = json!({ "response_format": { "type": "json_schema", "json_schema": {
        "name": "answer", "schema": { "type": "nonsense" },
    } } });
    for body in [calling(format.clone()), chat(format)] {
        let param = Some("response_format.json_schema.schema");
        let message = check(&server.post(CHAT, &body).await, 400, invalid, None, param);
        assert!(message.contains("/type"), "{message}");
    }
}
