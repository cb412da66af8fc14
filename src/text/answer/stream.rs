//! An answer as it is generated: tokens become parts.
//!
//! Promises: every token that [`TextStream`] releases, and every control token that is syntax, is
//! released once, with the first part that is decided by its text; what is decided together goes
//! out together; the parts of an answer do not depend on how its text was split into tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::{Piece, StreamState, TextStream, Tokenizer};
use super::format::{AnswerRules, Parsing};
use super::parser::{Parser, Symbol};
use super::{AnswerPart, AnswerPiece};

/// Whether more tokens can be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerState {
    /// More may come.
    Open,
    /// A stop string was found: later tokens are dropped.
    Stopped,
    /// The answer is whole: later tokens are dropped.
    Complete,
}

/// The parts of one choice, as its tokens come.
#[derive(Debug)]
pub struct AnswerStream {
    tokenizer: Arc<Tokenizer>,
    text: TextStream,
    pieces: Vec<Piece>,
    reading: Option<Reading>,
    state: AnswerState,
}

/// A text that is looked through.
#[derive(Debug)]
struct Reading {
    rules: Arc<Parsing>,
    parser: Parser,
    /// Symbols that the parser has taken.
    taken: usize,
    /// Ids that are not released, and the symbol each begins with.
    waiting: VecDeque<(u32, usize)>,
    parts: Vec<AnswerPart>,
}

impl AnswerStream {
    /// A stream that ends before the first of `stop`, as [`TextStream::new`] does, and reads the
    /// text before as `rules` say.
    pub fn new(tokenizer: Arc<Tokenizer>, stop: Vec<String>, rules: &AnswerRules) -> Self {
        let reading = rules.parsing().map(|rules| Reading {
            rules: rules.clone(),
            parser: Parser::new(rules.clone()),
            taken: 0,
            waiting: VecDeque::new(),
            parts: Vec::new(),
        });
        let text = TextStream::new(tokenizer.clone(), stop);
        Self { tokenizer, text, pieces: Vec::new(), reading, state: AnswerState::Open }
    }

    /// Takes the next token and appends the pieces that may go out now.
    pub fn push(&mut self, id: u32, out: &mut Vec<AnswerPiece>) -> AnswerState {
        if self.state != AnswerState::Open {
            return self.state;
        }
        let is_syntax = |reading: &Reading| reading.rules.controls.contains(&id);
        let mut text_state = StreamState::Open;
        if self.reading.as_ref().is_some_and(is_syntax) {
            // Neither a character nor a stop string goes on behind it.
            self.text.finish(&mut self.pieces);
            self.pass_on(out);
            if let Some(reading) = &mut self.reading {
                reading.take(&[id], self.tokenizer.token_text(id), true, out);
            }
        } else {
            text_state = self.text.push(id, &mut self.pieces);
            self.pass_on(out);
        }
        if self.reading.as_ref().is_some_and(|reading| reading.parser.is_complete()) {
            self.state = AnswerState::Complete;
        } else if text_state == StreamState::Stopped {
            self.state = AnswerState::Stopped;
            self.finish_reading(out);
        }
        self.state
    }

    /// The stop string that ended the text.
    pub fn stop_string(&self) -> Option<&str> {
        self.text.stop_string()
    }

    /// Gives out what was held, when the sequence has ended otherwise than by a stop string.
    pub fn finish(&mut self, out: &mut Vec<AnswerPiece>) {
        if self.state == AnswerState::Open {
            self.text.finish(&mut self.pieces);
            self.pass_on(out);
            self.finish_reading(out);
        }
    }

    /// Gives out what was held of released tokens, when they are all that came before `stop`, as
    /// [`TextStream::finish_before`] does.
    pub fn finish_before(&mut self, stop: &str, out: &mut Vec<AnswerPiece>) {
        if self.state == AnswerState::Open {
            self.text.finish_before(stop, &mut self.pieces);
            self.pass_on(out);
            self.finish_reading(out);
        }
    }

    /// Gives out what the ids so far released, when they are all that is left of a longer answer:
    /// what came after them decided what the last of them are.
    pub fn finish_cut(&mut self, out: &mut Vec<AnswerPiece>) {
        let is_waiting = |reading: &Reading| !reading.waiting.is_empty();
        if self.text.is_waiting() || self.reading.as_ref().is_some_and(is_waiting) {
            self.finish(out);
        }
    }

    fn finish_reading(&mut self, out: &mut Vec<AnswerPiece>) {
        if let Some(reading) = &mut self.reading {
            reading.finish(out);
        }
    }

    fn pass_on(&mut self, out: &mut Vec<AnswerPiece>) {
        for Piece { text, ids } in self.pieces.drain(..) {
            match &mut self.reading {
                Some(reading) => reading.take(&ids, &text, false, out),
                None => out.push(AnswerPiece { parts: vec![AnswerPart::Content(text)], ids }),
            }
        }
    }
}

impl Reading {
    fn take(&mut self, ids: &[u32], text: &str, is_hidden: bool, out: &mut Vec<AnswerPiece>) {
        if self.parser.is_complete() {
            return;
        }
        self.waiting.extend(ids.iter().map(|id| (*id, self.taken)));
        for character in text.chars() {
            self.parser.push(Symbol { character, is_hidden }, &mut self.parts);
            self.taken += 1;
            self.give(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerPiece>) {
        self.parser.finish(&mut self.parts);
        self.give(out);
        // Syntax that nothing came of.
        let ids: Vec<u32> = self.waiting.drain(..).map(|(id, _)| id).collect();
        if !ids.is_empty() {
            out.push(AnswerPiece { parts: Vec::new(), ids });
        }
    }

    /// Gives out what has been decided. A new piece begins where a token is released, so that a
    /// caller who can pay for some of the tokens gets the parts of those.
    fn give(&mut self, out: &mut Vec<AnswerPiece>) {
        let decided = self.taken - self.parser.undecided();
        let num_released = self.waiting.partition_point(|(_, start)| *start < decided);
        let is_new = num_released > 0 || (out.is_empty() && !self.parts.is_empty());
        if is_new {
            let ids = self.waiting.drain(..num_released).map(|(id, _)| id).collect();
            out.push(AnswerPiece { parts: Vec::new(), ids });
        }
        if let Some(piece) = out.last_mut() {
            self.parts.drain(..).for_each(|part| piece.push(part));
        }
    }
}
