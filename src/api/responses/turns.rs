//! From items to the messages that chat templates expect: what the assistant thought, said and
//! called is several items here and one turn there.
//! Never knows: JSON of items, where they come from.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::conversation::{add_system, append_line};
use super::input::{Item, Says};
use crate::text::ChatMessage;

/// The messages of a conversation.
pub(super) fn messages_of<'a>(
    instructions: Option<&str>,
    items: impl IntoIterator<Item = &'a Item>,
) -> Vec<ChatMessage> {
    let mut turns = Turns::default();
    if let Some(instructions) = instructions {
        turns.messages.push(ChatMessage::new("system", instructions));
    }
    items.into_iter().for_each(|item| turns.take(&item.says));
    turns.messages
}

#[derive(Debug, Default)]
struct Turns {
    messages: Vec<ChatMessage>,
    /// The tools that were called, by the ids of the calls: some templates want a result's name.
    called: HashMap<String, String>,
}

impl Turns {
    fn take(&mut self, says: &Says) {
        match says {
            Says::System(text) => add_system(&mut self.messages, text),
            Says::User(text) => self.messages.push(ChatMessage::new("user", text)),
            Says::Assistant(text) => {
                let turn = self.assistants_turn(|turn| turn.content.is_none());
                turn.content = Some(text.clone());
            }
            Says::Reasoning(text) if text.is_empty() => {}
            Says::Reasoning(text) => {
                let has_ended = |turn: &ChatMessage| {
                    turn.content.is_some() || turn.extra.contains_key("tool_calls")
                };
                let turn = self.assistants_turn(|turn| !has_ended(turn));
                let entry = turn.extra.entry("reasoning_content");
                if let Value::String(before) = entry.or_insert_with(|| "".into()) {
                    append_line(before, text);
                }
            }
            Says::Call { call_id, name, arguments } => {
                self.called.insert(call_id.clone(), name.clone());
                let function = json!({ "name": name, "arguments": arguments });
                let call = json!({ "id": call_id, "type": "function", "function": function });
                let turn = self.assistants_turn(|_| true);
                let entry = turn.extra.entry("tool_calls");
                if let Value::Array(before) = entry.or_insert_with(|| json!([])) {
                    before.push(call);
                }
            }
            Says::Result { call_id, output } => {
                let mut message = ChatMessage::new("tool", output);
                message.extra.insert("tool_call_id".to_owned(), call_id.as_str().into());
                if let Some(name) = self.called.get(call_id) {
                    message.extra.insert("name".to_owned(), name.as_str().into());
                }
                self.messages.push(message);
            }
        }
    }

    /// The assistant's turn that is last, if it takes more; else a new one without anything.
    fn assistants_turn(&mut self, takes: impl Fn(&ChatMessage) -> bool) -> &mut ChatMessage {
        let goes_on = |last: &ChatMessage| last.role == "assistant" && takes(last);
        if !self.messages.last().is_some_and(goes_on) {
            let role = "assistant".to_owned();
            self.messages.push(ChatMessage { role, content: None, extra: Map::new() });
        }
        self.messages.last_mut().expect("there is one now")
    }
}
