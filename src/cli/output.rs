//! What a command shows of the server's answer: lines for people, or with `--json` the answer
//! itself, in one line, for programs.
//! Promises: with `--json` nothing else goes to standard output.
//! Never knows: what the fields mean.

use clap::Args;
use serde_json::Value;

/// How a command's answer is shown.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputFlags {
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
}

impl OutputFlags {
    /// Prints `answer`: as it is, or as `human` prints it.
    pub(crate) fn show(self, answer: &Value, human: impl FnOnce(&Value)) {
        if self.json {
            println!("{answer}");
        } else {
            human(answer);
        }
    }
}

/// The rows of a list, whether it is bare or in `data`.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.get("data").unwrap_or(value).as_array().into_iter().flatten()
}

/// A field's text; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A field's whole number; 0 where there is none.
pub(crate) fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
}
