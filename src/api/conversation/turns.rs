//! Texts that several items of a conversation put together to one message.
//! Never knows: JSON.

use crate::text::ChatMessage;

/// Adds what the system says. Few templates take a second system message: it goes on with the
/// first one, at the start.
pub(in super::super) fn add_system(messages: &mut Vec<ChatMessage>, text: &str) {
    match messages.as_mut_slice() {
        [ChatMessage { role, content: Some(content), .. }] if role == "system" => {
            content.push('\n');
            append_line(content, text);
        }
        _ => messages.push(ChatMessage::new("system", text)),
    }
}

/// Goes on with `text` in a new line.
pub(in super::super) fn append_line(text: &mut String, line: &str) {
    if !text.is_empty() && !line.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
