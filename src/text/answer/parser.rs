//! Finds reasoning and tool calls in a text that comes character by character.
//!
//! Promises: what it finds does not depend on anything but the characters; what turns out not to
//! be syntax is content, as it was written; what it holds back is bounded.
//! Never knows: tokens.
//!
//! ```text
//! Start -> Reasoning -> Start -> Content <-> Call <-> After
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::tool_calls::{CallEvent, CallReader, OPENERS, Opener, Progress, ToolOffer};
use super::AnswerPart;
use super::format::{Opening, Parsing, REASONING, REASONING_END};

/// Most white space that is held back because a marker may follow it.
const MAX_SPACE: usize = 64;

/// Most characters of a call that are held back until its name is known.
const MAX_UNNAMED: usize = 4_096;

/// A character of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) character: char,
    /// Part of a control token's spelling: syntax, or nothing.
    pub(super) is_hidden: bool,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Parser {
    rules: Arc<Parsing>,
    state: State,
    /// Of which nothing is decided.
    held: VecDeque<Symbol>,
    /// To be looked at again.
    again: VecDeque<Symbol>,
    num_calls: usize,
}

#[derive(Debug)]
enum State {
    /// Nothing but white space has come since the turn began, or since reasoning ended, and then
    /// it is dropped.
    Start {
        drops_space: bool,
    },
    /// `has_text`: more than white space has come.
    Reasoning {
        has_text: bool,
    },
    Content,
    Call(Call),
    /// Behind a call.
    After {
        opener: &'static Opener,
        in_list: bool,
        is_closed: bool,
    },
    /// The one call that there may be has ended.
    Complete,
}

/// A call, or what may be one.
#[derive(Debug)]
struct Call {
    opener: &'static Opener,
    reader: CallReader,
    /// Symbols held before the body.
    prefix: usize,
    in_list: bool,
    /// Its name is given out.
    is_named: bool,
}

/// What a held text is.
enum Held {
    /// White space only.
    Space,
    /// The beginning of a marker.
    Partial,
    Marker(Marker),
    Text,
}

#[derive(Clone, Copy)]
enum Marker {
    Reasoning,
    ReasoningEnd,
    Call(&'static Opener),
    Closer,
}

impl Parser {
    pub(super) fn new(rules: Arc<Parsing>) -> Self {
        let state = match rules.opening {
            Opening::Reasoning if rules.reasons => State::Reasoning { has_text: false },
            Opening::Turn | Opening::Reasoning => State::Start { drops_space: false },
            Opening::Reasoned => State::Start { drops_space: true },
            Opening::Content => State::Content,
        };
        let (held, again) = (VecDeque::new(), VecDeque::new());
        Self { rules, state, held, again, num_calls: 0 }
    }

    /// How many of the last symbols are not decided.
    pub(super) fn undecided(&self) -> usize {
        match &self.state {
            State::Call(call) if call.is_named => call.reader.pending(),
            _ => self.held.len(),
        }
    }

    /// Whether nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Takes the next symbol and appends the parts that it decides.
    pub(super) fn push(&mut self, symbol: Symbol, out: &mut Vec<AnswerPart>) {
        self.again.push_back(symbol);
        while let Some(symbol) = self.again.pop_front() {
            self.step(symbol, out);
        }
    }

    /// Decides what was held.
    pub(super) fn finish(&mut self, out: &mut Vec<AnswerPart>) {
        while !self.held.is_empty() {
            match &self.state {
                State::Call(_) => {
                    self.abandon_call(out);
                    while let Some(symbol) = self.again.pop_front() {
                        self.step(symbol, out);
                    }
                }
                State::Reasoning { .. } => {
                    let is_space = self.held.iter().all(|symbol| symbol.character.is_whitespace());
                    match is_space {
                        true => self.held.clear(),
                        false => self.give_held(out, AnswerPart::Reasoning),
                    }
                }
                // The beginning of a closer.
                State::After { .. } | State::Complete => self.held.clear(),
                State::Start { .. } | State::Content => self.give_held(out, AnswerPart::Content),
            }
        }
    }

    fn step(&mut self, symbol: Symbol, out: &mut Vec<AnswerPart>) {
        match &self.state {
            State::Call(_) => self.step_call(symbol, out),
            State::Complete => {}
            State::After { opener, in_list: true, .. } => {
                let opener = *opener;
                self.step_list(opener, symbol);
            }
            _ => {
                self.held.push_back(symbol);
                self.look(out);
            }
        }
    }

    /// Decides as much of what is held as can be.
    fn look(&mut self, out: &mut Vec<AnswerPart>) {
        while !self.held.is_empty() {
            match (self.held_is(), &mut self.state) {
                (Held::Space, State::Start { drops_space: true } | State::After { .. })
                | (Held::Space, State::Reasoning { has_text: false }) => self.held.clear(),
                (Held::Space, _) if self.held.len() <= MAX_SPACE => return,
                (Held::Partial, _) => return,
                (Held::Marker(marker), _) => return self.enter(marker),
                (Held::Text, State::After { .. }) => self.state = State::Content,
                (Held::Space | Held::Text, State::Reasoning { has_text }) => {
                    *has_text = true;
                    self.give_first(out, AnswerPart::Reasoning);
                }
                (Held::Space | Held::Text, _) => {
                    self.state = State::Content;
                    self.give_first(out, AnswerPart::Content);
                }
            }
        }
    }

    /// What is held, as far as the state has use for it.
    fn held_is(&self) -> Held {
        let space = self.held.iter().take_while(|symbol| symbol.character.is_whitespace()).count();
        if space == self.held.len() {
            let is_syntax = self.rules.offer.is_some() || !matches!(self.state, State::Content);
            return if is_syntax { Held::Space } else { Held::Text };
        }
        let mut is_partial = false;
        for (text, marker) in self.markers() {
            let mut rest = text.chars();
            let mut held = self.held.range(space..).map(|symbol| symbol.character);
            if held.by_ref().all(|character| rest.next() == Some(character)) {
                if rest.next().is_none() {
                    return Held::Marker(marker);
                }
                is_partial = true;
            }
        }
        if is_partial { Held::Partial } else { Held::Text }
    }

    /// What may begin here.
    fn markers(&self) -> impl Iterator<Item = (&'static str, Marker)> {
        let (mut reasoning, mut reasoning_end, mut closer) = (false, false, "");
        let (mut calls, mut bodies) = (None, None);
        let syntax = self.rules.offer.as_ref().map(|offer| offer.syntax);
        match &self.state {
            State::Start { .. } => {
                reasoning = self.rules.reasons;
                (calls, bodies) = (syntax, syntax);
            }
            State::Reasoning { has_text } => (reasoning, reasoning_end) = (!has_text, true),
            State::Content => calls = syntax,
            State::After { opener, is_closed, .. } => {
                closer = if *is_closed { "" } else { opener.closer };
                calls = syntax;
                bodies = syntax.filter(|_| opener.stands_first());
            }
            State::Call(_) | State::Complete => {}
        }
        let fixed = [
            (if reasoning { REASONING } else { "" }, Marker::Reasoning),
            (if reasoning_end { REASONING_END } else { "" }, Marker::ReasoningEnd),
            (closer, Marker::Closer),
        ];
        let is_possible = move |opener: &&Opener| {
            let syntax = if opener.stands_first() { bodies } else { calls };
            syntax.is_some_and(|syntax| opener.is_of(syntax))
        };
        let openers = OPENERS.iter().filter(is_possible);
        let openers = openers.map(|opener| (opener.text, Marker::Call(opener)));
        fixed.into_iter().filter(|(text, _)| !text.is_empty()).chain(openers)
    }

    /// What is held is a marker, which is kept only as long as it may not be one after all.
    fn enter(&mut self, marker: Marker) {
        match marker {
            Marker::Reasoning => self.state = State::Reasoning { has_text: false },
            Marker::ReasoningEnd => self.state = State::Start { drops_space: true },
            Marker::Closer => {
                if let State::After { is_closed, .. } = &mut self.state {
                    *is_closed = true;
                }
            }
            Marker::Call(opener) => {
                let reader = CallReader::new(opener.body);
                let prefix = self.held.len();
                let (in_list, is_named) = (false, false);
                self.state = State::Call(Call { opener, reader, prefix, in_list, is_named });
                if opener.is_body {
                    let body = self.held.len() - opener.text.chars().count();
                    let body = self.held.split_off(body);
                    body.into_iter().rev().for_each(|symbol| self.again.push_front(symbol));
                }
                return;
            }
        }
        self.held.clear();
    }

    /// Between the calls of a list.
    fn step_list(&mut self, opener: &'static Opener, symbol: Symbol) {
        match symbol.character {
            ',' => {}
            character if character.is_whitespace() => {}
            ']' => self.state = State::After { opener, in_list: false, is_closed: false },
            '{' => {
                let reader = CallReader::new(opener.body);
                let (prefix, in_list, is_named) = (0, true, false);
                self.state = State::Call(Call { opener, reader, prefix, in_list, is_named });
                self.again.push_front(symbol);
            }
            _ => {
                self.state = State::After { opener, in_list: false, is_closed: true };
                self.again.push_front(symbol);
            }
        }
    }

    fn step_call(&mut self, symbol: Symbol, out: &mut Vec<AnswerPart>) {
        let State::Call(call) = &mut self.state else { return };
        let rules = self.rules.clone();
        let Some(offer) = &rules.offer else { return };
        let mut events = Vec::new();
        let progress = match symbol.is_hidden && !call.reader.takes_controls() {
            true => Progress::Rejected,
            false => call.reader.push(symbol.character, offer, &mut events),
        };
        if !call.is_named && progress != Progress::Rejected {
            self.held.push_back(symbol);
        }
        for event in events {
            let index = self.num_calls;
            out.push(match event {
                CallEvent::Name(name) => {
                    call.is_named = true;
                    self.held.clear();
                    AnswerPart::ToolCall { index, name }
                }
                CallEvent::Arguments(json) => AnswerPart::ToolArguments { index, json },
            });
        }
        match progress {
            Progress::More if call.is_named || self.held.len() <= MAX_UNNAMED => {}
            Progress::List if !call.in_list => call.in_list = true,
            Progress::Done => self.end_call(offer),
            Progress::Rejected if call.is_named => {
                self.end_call(offer);
                self.again.push_front(symbol);
            }
            Progress::Rejected => {
                self.held.push_back(symbol);
                self.abandon_call(out);
            }
            Progress::More | Progress::List => self.abandon_call(out),
        }
    }

    fn end_call(&mut self, offer: &ToolOffer) {
        let State::Call(Call { opener, in_list, .. }) = self.state else { return };
        self.num_calls += 1;
        self.state = match offer.is_single {
            true => State::Complete,
            false => State::After { opener, in_list, is_closed: opener.closer.is_empty() },
        };
    }

    /// It was none: its marker is content, and what follows is looked at again.
    fn abandon_call(&mut self, out: &mut Vec<AnswerPart>) {
        let State::Call(call) = &self.state else { return };
        // A body that is its own marker is not looked at as one again.
        let prefix = call.prefix.clamp(1, self.held.len());
        let rest = self.held.split_off(prefix);
        self.give_held(out, AnswerPart::Content);
        self.state = State::Content;
        rest.into_iter().rev().for_each(|symbol| self.again.push_front(symbol));
    }

    /// Gives out the first symbol that is held.
    fn give_first(&mut self, out: &mut Vec<AnswerPart>, part: fn(String) -> AnswerPart) {
        if let Some(symbol) = self.held.pop_front().filter(|symbol| !symbol.is_hidden) {
            out.push(part(symbol.character.into()));
        }
    }

    fn give_held(&mut self, out: &mut Vec<AnswerPart>, part: fn(String) -> AnswerPart) {
        while !self.held.is_empty() {
            self.give_first(out, part);
        }
    }
}
