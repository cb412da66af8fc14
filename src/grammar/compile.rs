//! From a grammar to a constraint.
//! Promises: bounded time, also for what is meant to take long: it is computed in a thread of its
//! own, with room for deep recursion, and given up after a while; one that goes on then holds up
//! its own lane only.
//! Never knows: who asks.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use llguidance::Matcher;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::constraint::TokenConstraint;
use super::digest::{Key, digest};
use super::environment::Environment;
use super::pieces::lark_string;
use super::turns::Turns;
use super::{Grammar, GrammarError, pieces, schema};
use crate::engine::Constraint;

/// The library's recursion follows `$ref`s, so that it may be as deep as a schema has of them.
/// Only what is used is ever memory.
const STACK: usize = 256 << 20;

/// What is not compiled by then is given up.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Whose turn to compile does not come by then is refused.
const MAX_WAIT: Duration = Duration::from_secs(10);

static TURNS: LazyLock<Turns> = LazyLock::new(Turns::default);

/// A constraint at its beginning. Clones of it are for further sequences. `lane`: who asks, for
/// fairness only, as in [`crate::engine::SequenceRequest`].
///
/// Takes some milliseconds, for large schemas up to a second, and the first time for a model
/// another half; for a grammar that was compiled lately it answers at once. Needs tokio's timers
/// and threads. Cancel safe: what has begun ends by itself.
pub async fn compile(
    grammar: Grammar,
    environment: &Environment,
    lane: u64,
) -> Result<Box<dyn Constraint>, GrammarError> {
    let what = grammar.name();
    let broke_off = || GrammarError::TooComplex { what, why: "compiling it broke off".to_owned() };
    let known = environment.clone();
    let look_up = move || {
        let key = digest(&grammar)?;
        Ok((known.cached(&key), key, grammar))
    };
    let (cached, key, grammar) =
        spawn_blocking(look_up).await.map_err(|_panicked| broke_off())??;
    if let Some(constraint) = cached {
        return Ok(Box::new(constraint));
    }
    let busy = |_elapsed| GrammarError::Busy { max_secs: MAX_WAIT.as_secs() };
    let turn = timeout(MAX_WAIT, TURNS.wait(lane)).await.map_err(busy)?;
    let (sender, receiver) = oneshot::channel();
    let (environment, work) = (environment.clone(), turn.work);
    let compile = move || {
        let _work = work;
        // Whoever asked may have given up.
        let _ = sender.send(compile_here(&grammar, key, &environment));
    };
    let thread = thread::Builder::new().name("grammar-compile".to_owned()).stack_size(STACK);
    let no_thread = |error| GrammarError::TooComplex { what, why: format!("no thread: {error}") };
    thread.spawn(compile).map_err(no_thread)?;
    match timeout(MAX_TIME, receiver).await {
        Ok(Ok(built)) => Ok(Box::new(built?)),
        Ok(Err(_dropped)) => Err(broke_off()),
        Err(_elapsed) => Err(GrammarError::TooSlow { what, max_secs: MAX_TIME.as_secs() }),
    }
}

fn compile_here(
    grammar: &Grammar,
    key: Key,
    environment: &Environment,
) -> Result<TokenConstraint, GrammarError> {
    // Whoever had the turn before may have wanted the same.
    if let Some(constraint) = environment.cached(&key) {
        return Ok(constraint);
    }
    let built = build(grammar, environment)?;
    environment.keep(key, built.clone());
    Ok(built)
}

fn build(grammar: &Grammar, environment: &Environment) -> Result<TokenConstraint, GrammarError> {
    let source = match grammar {
        Grammar::Sequence(pieces) => pieces::lower(pieces, environment)?,
        other => TopLevelGrammar::from_grammar(alone(other)?),
    };
    let parser = environment.factory().create_parser(source);
    let mut matcher = Matcher::new(Ok(parser.map_err(|error| grammar.error(&error))?));
    // A mask has bounds of its own, and a grammar may allow nothing at all.
    matcher.compute_mask().map_err(|error| grammar.error(&error))?;
    Ok(TokenConstraint::new(matcher, environment.vocab_size()))
}

/// A grammar that is not made of pieces, as the library has it.
pub(super) fn alone(grammar: &Grammar) -> Result<GrammarWithLexer, GrammarError> {
    Ok(match grammar {
        Grammar::JsonObject => {
            let any = serde_json::json!({"type": "object"});
            GrammarWithLexer::from_json_schema(schema::prepare(&any, true)?)
        }
        Grammar::JsonSchema { schema, strict } => {
            GrammarWithLexer::from_json_schema(schema::prepare(schema, *strict)?)
        }
        Grammar::Regex(pattern) => GrammarWithLexer::from_regex(whole(pattern)?),
        Grammar::Choice(choices) => choice(choices)?,
        Grammar::Lark(text) => GrammarWithLexer::from_lark(text.clone()),
        Grammar::Sequence(_) => {
            let why = "pieces that stand for a grammar can not be made of pieces".to_owned();
            return Err(GrammarError::Pieces(why));
        }
    })
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

fn choice(choices: &[String]) -> Result<GrammarWithLexer, GrammarError> {
    if choices.is_empty() {
        return Err(GrammarError::NoChoice);
    }
    let texts: Vec<String> = choices.iter().map(|choice| lark_string(choice)).collect();
    Ok(GrammarWithLexer::from_lark(format!("start: CHOICE\nCHOICE: {}\n", texts.join(" | "))))
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
                let (_, why) = why.rsplit_once("error: ").unwrap_or(("", &why));
                GrammarError::Regex(why.trim().to_owned())
            }
            Self::Choice(_) => GrammarError::TooComplex { what, why },
            Self::Lark(_) => GrammarError::Lark(why),
            Self::Sequence(_) => GrammarError::Pieces(why),
        }
    }
}
