//! Streams, byte for byte, as `tests/data/transcripts` has them: a request, a blank line, and what
//! the server sends. Ids and times are replaced, as they differ each time.
//!
//! What a change of the wire does shows in the diff of these files. To write them anew, run these
//! tests with `REWRITE_TRANSCRIPTS=1` in the environment, and read the diff.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{CHAT, COMPLETIONS, chat, completion, with};
use crate::support::server::{Server, Setup};

/// A stream to be recorded.
struct Recording {
    /// Of the file.
    name: &'static str,
    path: &'static str,
    /// Beyond model, prompt and `stream`.
    more: Value,
    setup: Setup,
    /// Tokens of the script that have been said when each frame is there, so that none go out
    /// together; then the model says the rest.
    steps: Vec<usize>,
    /// The token on which the model fails.
    fails_at: Option<usize>,
}

impl Recording {
    /// A stream of chat in which each of `script`'s tokens has a frame of its own.
    fn chat(name: &'static str, script: &[&'static str], more: Value) -> Self {
        let (setup, steps) = (Setup::saying(script), (1..=script.len()).collect());
        Self { name, path: CHAT, more, setup, steps, fails_at: None }
    }

    /// The same of a text completion.
    fn completion(name: &'static str, script: &[&'static str], more: Value) -> Self {
        Self { path: COMPLETIONS, ..Self::chat(name, script, more) }
    }
}

const WORDS: [&str; 3] = ["Hel", "lo", " there"];

fn recordings() -> Vec<Recording> {
    let usage = json!({ "stream_options": { "include_usage": true } });
    let running =
        json!({ "stream_options": { "include_usage": true, "continuous_usage_stats": true } });
    let emoji: Vec<&'static [u8]> = vec![b"a", b"\xF0\x9F", b"\x98\x80", b"b"];
    let stop = with(usage.clone(), json!({ "stop": " there" }));
    let length = with(usage.clone(), json!({ "max_tokens": 2 }));
    vec![
        Recording::chat("chat", &WORDS, json!({})),
        Recording::chat("chat-usage", &WORDS, usage.clone()),
        Recording::chat("chat-running-usage", &WORDS, running.clone()),
        Recording {
            steps: vec![],
            ..Recording::chat("chat-two-choices", &["Yes"], json!({ "n": 2 }))
        },
        Recording { steps: vec![], ..Recording::chat("chat-nothing-said", &[], usage.clone()) },
        Recording {
            steps: vec![1, 2],
            ..Recording::chat("chat-stop-string", &["Hel", "lo", " th", "ere", "!"], stop.clone())
        },
        Recording { steps: vec![1, 2], ..Recording::chat("chat-length", &WORDS, length.clone()) },
        Recording {
            setup: Setup { credits: 2, ..Setup::saying(&WORDS) },
            steps: vec![1, 2],
            ..Recording::chat("chat-out-of-credits", &WORDS, usage.clone())
        },
        Recording {
            steps: vec![1, 2],
            ..Recording::chat(
                "chat-max-credits",
                &WORDS,
                with(usage.clone(), json!({ "max_credits": 2 })),
            )
        },
        Recording {
            steps: vec![1, 2],
            fails_at: Some(2),
            ..Recording::chat("chat-engine-failure", &WORDS, usage.clone())
        },
        Recording {
            fails_at: Some(0),
            steps: vec![],
            ..Recording::chat("chat-engine-failure-at-once", &WORDS, json!({}))
        },
        Recording {
            setup: Setup { script: emoji, ..Setup::saying(&[]) },
            steps: vec![1, 3],
            ..Recording::chat("chat-logprobs", &[], json!({ "logprobs": true }))
        },
        Recording::completion("completion", &WORDS, json!({})),
        Recording::completion("completion-usage", &WORDS, usage.clone()),
        Recording::completion("completion-running-usage", &WORDS, running),
        Recording {
            steps: vec![],
            ..Recording::completion("completion-two-choices", &["Yes"], json!({ "n": 2 }))
        },
        Recording {
            steps: vec![1, 2],
            ..Recording::completion(
                "completion-stop-string",
                &["Hel", "lo", " th", "ere", "!"],
                stop,
            )
        },
        Recording {
            steps: vec![1, 2],
            ..Recording::completion("completion-length", &WORDS, length)
        },
        Recording::completion("completion-logprobs", &WORDS, json!({ "logprobs": 1 })),
        Recording {
            steps: vec![1, 2],
            fails_at: Some(2),
            ..Recording::completion("completion-engine-failure", &WORDS, usage)
        },
    ]
}

#[tokio::test]
async fn streams_are_as_recorded() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/transcripts");
    let is_rewritten = std::env::var_os("REWRITE_TRANSCRIPTS").is_some();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for recording in recordings() {
        let name = format!("{}.txt", recording.name);
        let found = transcript(recording).await;
        let file = folder.join(&name);
        if is_rewritten {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &found).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if found != expected {
            wrong.push(format!("-- {name} was:\n{expected}\n-- and is:\n{found}"));
        }
        assert!(names.insert(name), "two recordings have one name");
    }
    let hint = "if the wire was meant to change, run this with REWRITE_TRANSCRIPTS=1";
    assert!(wrong.is_empty(), "{}\n{hint}", wrong.join("\n"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(files, names, "files that no recording is of");
}

/// The request and what the server sends.
async fn transcript(recording: Recording) -> String {
    let Recording { path, more, setup, steps, fails_at, .. } = recording;
    let body = if path == CHAT { chat(more) } else { completion(more) };
    let body = with(body, json!({ "stream": true }));
    let server = Server::start(setup);
    if let Some(index) = fails_at {
        server.fail_at(index);
    }
    server.allow(0);
    let mut stream = server.stream(path, &body).await;
    let mut text = format!("POST {path}\n{body}\n\n");
    for tokens in steps {
        server.allow(tokens);
        push(&mut text, &stream.next_raw().await.unwrap());
    }
    server.allow(usize::MAX);
    while let Some(frame) = stream.next_raw().await {
        push(&mut text, &frame);
    }
    server.verify_books();
    text
}

/// Adds a frame with its blank line, without what differs each time.
fn push(text: &mut String, frame: &str) {
    let frame = replaced(frame, "\"id\":\"chatcmpl-", '"', "ID");
    let frame = replaced(&frame, "\"id\":\"cmpl-", '"', "ID");
    text.push_str(&replaced(&frame, "\"created\":", ',', "0"));
    text.push_str("\n\n");
}

/// The frame with `value` between `start` and `end`.
fn replaced(frame: &str, start: &str, end: char, value: &str) -> String {
    let Some((before, rest)) = frame.split_once(start) else { return frame.to_owned() };
    let (_, after) = rest.split_once(end).unwrap();
    format!("{before}{start}{value}{end}{after}")
}
