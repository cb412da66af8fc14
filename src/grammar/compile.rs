//! From a grammar to a constraint.
//! Promises: bounded time, also for what is meant to take long: it is computed in a thread of its
//! own, with room for deep recursion, and given up after a while; few such threads at once.
//! Never knows: who asks.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use llguidance::Matcher;
use llguidance::api::TopLevelGrammar;

use super::constraint::TokenConstraint;
use super::digest::digest;
use super::environment::Environment;
use super::pieces::lark_string;
use super::{Grammar, GrammarError, pieces, schema};
use crate::engine::Constraint;

/// The library's recursion follows `$ref`s, so that it may be as deep as a schema has of them.
/// Only what is used is ever memory.
const STACK: usize = 256 << 20;

/// What is not compiled by then is given up.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Grammars that are compiled at the same time, at most.
const MAX_COMPILING: usize = 2;

/// A constraint at its beginning. Clones of it are for further sequences.
///
/// Takes some milliseconds, for large schemas up to a second, and the first time for a model
/// another half: call it where blocking is allowed. For a grammar that was compiled lately it
/// answers at once.
pub fn compile(
    grammar: &Grammar,
    environment: &Environment,
) -> Result<Box<dyn Constraint>, GrammarError> {
    let what = grammar.name();
    let key = digest(grammar)?;
    if let Some(constraint) = environment.cached(&key) {
        return Ok(Box::new(constraint));
    }
    let deadline = Instant::now() + MAX_TIME;
    let too_long = || GrammarError::TooComplex { what, why: "it takes too long".to_owned() };
    let turn = Turn::wait(deadline).ok_or_else(too_long)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let (grammar, environment) = (grammar.clone(), environment.clone());
    let work = move || {
        let _turn = turn;
        let built = build(&grammar, &environment);
        if let Ok(constraint) = &built {
            environment.keep(key, constraint.clone());
        }
        // Whoever asked may have given up.
        let _ = sender.send(built);
    };
    let thread = thread::Builder::new().name("grammar-compile".to_owned()).stack_size(STACK);
    let no_thread = |error| GrammarError::TooComplex { what, why: format!("no thread: {error}") };
    thread.spawn(work).map_err(no_thread)?;
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(built) => Ok(Box::new(built?)),
        Err(RecvTimeoutError::Timeout) => Err(too_long()),
        Err(RecvTimeoutError::Disconnected) => {
            Err(GrammarError::TooComplex { what, why: "compiling it broke off".to_owned() })
        }
    }
}

fn build(grammar: &Grammar, environment: &Environment) -> Result<TokenConstraint, GrammarError> {
    let source = match grammar {
        Grammar::JsonObject => {
            let any = serde_json::json!({"type": "object"});
            TopLevelGrammar::from_json_schema(schema::prepare(&any, true)?)
        }
        Grammar::JsonSchema { schema, strict } => {
            TopLevelGrammar::from_json_schema(schema::prepare(schema, *strict)?)
        }
        Grammar::Regex(pattern) => TopLevelGrammar::from_regex(whole(pattern)?),
        Grammar::Choice(choices) => choice(choices)?,
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        Grammar::Sequence(pieces) => pieces::lower(pieces, environment)?,
    };
    let parser = environment.factory().create_parser(source);
    let mut matcher = Matcher::new(Ok(parser.map_err(|error| grammar.error(&error))?));
    // A mask has bounds of its own, and a grammar may allow nothing at all.
    matcher.compute_mask().map_err(|error| grammar.error(&error))?;
    Ok(TokenConstraint::new(matcher, environment.vocab_size()))
}

/// A pattern is matched as a whole anyway; many are written with the anchors that say so.
fn whole(pattern: &str) -> Result<&str, GrammarError> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let is_anchor = |rest: &str| {
        let backslashes = rest.bytes().rev().take_while(|byte| *byte == b'\\').count();
        backslashes.is_multiple_of(2)
    };
    let pattern = pattern.strip_suffix('$').filter(|rest| is_anchor(rest)).unwrap_or(pattern);
    if pattern.is_empty() {
        return Err(GrammarError::Regex("it matches the empty text only".to_owned()));
    }
    Ok(pattern)
}

fn choice(choices: &[String]) -> Result<TopLevelGrammar, GrammarError> {
    if choices.is_empty() {
        return Err(GrammarError::NoChoice);
    }
    let texts: Vec<String> = choices.iter().map(|choice| lark_string(choice)).collect();
    Ok(TopLevelGrammar::from_lark(format!("start: CHOICE\nCHOICE: {}\n", texts.join(" | "))))
}

impl Grammar {
    /// What it is to whoever sent it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::JsonObject | Self::JsonSchema { .. } => "schema",
            Self::Regex(_) => "regular expression",
            Self::Choice(_) => "choice",
            Self::Lark(_) => "grammar",
            Self::Sequence(_) => "pieces",
        }
    }

    /// What the library says, in our words.
    fn error(&self, error: &anyhow::Error) -> GrammarError {
        let text = format!("{error:#}");
        let text = text.split("\n<").next().unwrap_or_default().trim();
        let bounds = ["too big", "too large", "too complex", "too many", "fuel", "exceeded"];
        let what = self.name();
        if text.starts_with("panic") || text.contains("Poison") {
            return GrammarError::TooComplex { what, why: "compiling it broke off".to_owned() };
        }
        let why: String = text.chars().take(500).collect();
        if bounds.iter().any(|word| text.contains(word)) {
            return GrammarError::TooComplex { what, why };
        }
        match self {
            Self::JsonObject | Self::JsonSchema { .. } => {
                // Of several contexts, the library tells the definition last.
                let at = text.rsplit_once("while processing #").map_or("", |(_, rest)| rest);
                let at = at.split([':', '\n']).next().unwrap_or_default().trim().to_owned();
                GrammarError::Schema { at, why }
            }
            Self::Regex(_) => {
                // The rest tells where it is in a grammar that the caller did not write.
                let why = why.split(" (in regex)").next().unwrap_or(&why);
                let why = why.split_once("invalid regex ").map_or(why, |(_, rest)| rest);
                GrammarError::Regex(why.to_owned())
            }
            Self::Choice(_) => GrammarError::TooComplex { what, why },
            Self::Lark(_) => GrammarError::Lark(why),
            Self::Sequence(_) => GrammarError::Pieces(why),
        }
    }
}

/// One of the few grammars that are being compiled.
struct Turn;

static COMPILING: Mutex<usize> = Mutex::new(0);
static HAS_ENDED: Condvar = Condvar::new();

impl Turn {
    /// `None`: none was free before the deadline.
    fn wait(deadline: Instant) -> Option<Self> {
        let compiling = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
        let time = deadline.saturating_duration_since(Instant::now());
        let is_full = |compiling: &mut usize| *compiling == MAX_COMPILING;
        let waited = HAS_ENDED.wait_timeout_while(compiling, time, is_full);
        let (mut compiling, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return None;
        }
        *compiling += 1;
        Some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *COMPILING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        HAS_ENDED.notify_one();
    }
}
