//! Calls as models write them: each format read character by character into a tool's name and the
//! JSON text of its arguments.
//!
//! Promises: arguments that are JSON come out as the model wrote them, those in other notations as
//! JSON; a name comes as soon as it is known, arguments piece by piece after it; what is kept in
//! memory does not grow with the arguments.
//! Never knows: tokens, what stands around a call.

mod declared;
mod json;
mod json_text;
mod named;
mod syntax;
mod turns;
mod xml;

use self::declared::DeclaredCall;
use self::json::JsonCall;
use self::named::NamedCall;
use self::xml::XmlCall;

pub(super) use self::syntax::{Body, MARKERS, OPENERS, Opener};
pub use self::syntax::{CallShape, OfferedTool, ToolOffer, ToolSyntax};
pub(super) use self::turns::{fit_call_ids, tool_turns};

/// What a reader finds out about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallEvent {
    /// The tool. Comes once, and first.
    Name(String),
    /// More JSON text.
    Arguments(String),
}

/// How a call goes on after a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// With the next.
    More,
    /// It is one of a list, of which this was the opening bracket.
    List,
    /// Not at all: this was its last.
    Done,
    /// This character is not part of a call.
    Rejected,
}

/// Reads one call, whose format it finds out.
#[derive(Debug)]
pub(super) enum CallReader {
    /// Nothing but white space has come.
    Open(Body),
    Json(JsonCall),
    Named(NamedCall),
    Xml(XmlCall),
    Declared(DeclaredCall),
}

impl CallReader {
    /// A reader of what follows an opener.
    pub(super) fn new(body: Body) -> Self {
        Self::Open(body)
    }

    /// Takes the next character and appends what it makes known.
    pub(super) fn push(
        &mut self,
        character: char,
        offer: &ToolOffer,
        events: &mut Vec<CallEvent>,
    ) -> Progress {
        match self {
            Self::Open(_) if character.is_whitespace() => return Progress::More,
            Self::Open(body) => match (character, *body) {
                ('{', body) => *self = Self::Json(JsonCall::new(body == Body::Unmarked)),
                ('[', _) => return Progress::List,
                ('<', Body::Marked) => *self = Self::Xml(XmlCall::default()),
                (_, Body::Declared) => *self = Self::Declared(DeclaredCall::default()),
                (_, Body::Named) => *self = Self::Named(NamedCall::default()),
                _ => return Progress::Rejected,
            },
            _ => {}
        }
        match self {
            Self::Open(_) => Progress::Rejected,
            Self::Json(call) => call.push(character, offer, events),
            Self::Named(call) => call.push(character, events),
            Self::Xml(call) => call.push(character, offer, events),
            Self::Declared(call) => call.push(character, events),
        }
    }

    /// Whether a control token may be a part of the call here.
    pub(super) fn takes_controls(&self) -> bool {
        match self {
            Self::Open(_) | Self::Xml(_) | Self::Declared(_) => true,
            Self::Named(call) => call.is_before_arguments(),
            Self::Json(_) => false,
        }
    }

    /// How many of the last characters may still be either syntax or arguments.
    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Open(_) | Self::Named(_) => 0,
            Self::Json(call) => call.pending(),
            Self::Xml(call) => call.pending(),
            Self::Declared(call) => call.pending(),
        }
    }
}
