//! A refused settings file: where, what, and what would be right.

use std::fmt;
use std::ops::Range;

/// Why a settings file was refused, at which line and column.
///
/// Displayed as `models.toml:12:9: unknown tier "gold": one of premium, standard`, a form that
/// terminals and editors turn into a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogError {
    /// The file as the operator named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what would be right; one line.
    pub message: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for CatalogError {}

/// A refusal that still points into the text by bytes.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        // One line, whatever it quotes.
        Refusal { span, message: message.into().replace('\n', "\\n") }
    }

    pub(super) fn locate(self, file: &str, text: &str) -> CatalogError {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        CatalogError {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: self.message,
        }
    }
}

impl From<toml::de::Error> for Refusal {
    fn from(error: toml::de::Error) -> Self {
        // serde says "field" where an operator sees a key.
        let message = error.message().trim().replace('\n', "; ").replacen(" field `", " key `", 1);
        let message = message.trim_end_matches(", expected nothing");
        Refusal::new(error.span().unwrap_or(0..0), message)
    }
}

/// `one of a, b, c`: the remedy for a name that is not known.
pub(super) fn one_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    format!("one of {}", names.join(", "))
}
