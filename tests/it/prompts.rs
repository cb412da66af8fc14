//! From messages to token ids, and from ids back to text, on the real files: as llama.cpp and
//! Jinja have it in the prompts and continuations of `tests/data/greedy`.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

use std::path::Path;
use std::sync::Arc;

use mizan::model::Model;
use mizan::registry;
use mizan::text::{
    ChatMessage, ChatTemplate, Segment, Specials, TemplateOptions, TextStream, Tokenizer,
};
use serde::Deserialize;

use crate::support::models;

#[derive(Deserialize)]
struct Fixture {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    /// Absent where the model has no chat template: the prompt is plain text.
    messages: Option<Vec<Message>>,
    prompt: String,
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    text: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[test]
fn smollm2_prompts_are_llama_cpps() {
    check("smollm2-135m-instruct");
}

#[test]
fn gemma_3_prompts_are_llama_cpps() {
    check("gemma-3-270m");
}

#[test]
fn qwen2_5_coder_prompts_are_llama_cpps() {
    check("qwen2.5-coder-0.5b-instruct");
}

fn check(id: &str) {
    let model = Model::open(&models::path(id)).unwrap();
    let metadata = model.metadata.as_ref().unwrap();
    let vocabulary = registry::vocabulary(metadata).unwrap();
    let tokenizer = Arc::new(Tokenizer::from_vocabulary(vocabulary).unwrap());
    let template = metadata
        .str("tokenizer.chat_template")
        .unwrap()
        .map(|source| ChatTemplate::compile(source, &tokenizer).unwrap());
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/greedy/{id}.json"));
    let fixture: Fixture = serde_json::from_slice(&std::fs::read(data).unwrap()).unwrap();
    for prompt in &fixture.prompts {
        let name = &prompt.name;
        let ids = match &prompt.messages {
            Some(messages) => {
                let segments = render(template.as_ref().unwrap(), messages);
                let text: String = segments.iter().map(Segment::text).collect();
                assert_eq!(text, prompt.prompt, "{id}, {name}");
                tokenizer.encode_prompt(&segments)
            }
            None => {
                let plain = tokenizer.encode(&prompt.prompt, Specials::Plain);
                tokenizer.bos_prefix().into_iter().chain(plain).collect()
            }
        };
        assert_eq!(ids, prompt.prompt_ids, "{id}, {name}");
        assert_eq!(tokenizer.decode(&prompt.ids), prompt.text, "{id}, {name}");
        assert_eq!(streamed(&tokenizer, &prompt.ids), prompt.text, "{id}, {name}");
    }
}

fn render(template: &ChatTemplate, messages: &[Message]) -> Vec<Segment> {
    let messages: Vec<ChatMessage> = messages
        .iter()
        .map(|message| ChatMessage {
            role: message.role.clone(),
            content: Some(message.content.clone()),
            extra: serde_json::Map::new(),
        })
        .collect();
    let options = TemplateOptions { add_generation_prompt: true, ..TemplateOptions::default() };
    template.render(&messages, &options).unwrap()
}

/// The text as a client gets it, piece by piece.
fn streamed(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> String {
    let mut stream = TextStream::new(Arc::clone(tokenizer), Vec::new());
    let mut pieces = Vec::new();
    for &id in ids {
        stream.push(id, &mut pieces);
    }
    stream.finish(&mut pieces);
    pieces.into_iter().map(|piece| piece.text).collect()
}
