//! Conversations that a model goes on with: what chat completions, responses and messages have in
//! common, whatever their JSON looks like.
//!
//! A route reads its body into a [`ChatRequest`], [`start`]s it, and writes what is delivered.
//! Never knows: which route asked, how the answer is generated or paid for.

mod answer_grammar;
mod request;
mod tools;
mod turns;

pub(super) use request::{ChatRequest, Prompt, encode, render, start};
pub(super) use tools::{Tool, ToolChoice, ToolUse, call_id};
pub(super) use turns::{add_system, append_line};
