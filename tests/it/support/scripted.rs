//! A model that says what a test wrote, token for token, as slowly as the test wants.
//!
//! The "model" is an `Executor` that keeps token ids where keys and values would be, reads a
//! sequence's ids back through its block table, and predicts the next token of the script after
//! the last `<|assistant|>` (or the first line break, for prompts without a template).
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

use mizan::engine::{Engine, EngineOptions};
use mizan::model::executor::Executor;
use mizan::model::{BLOCK_SIZE, Decoder, DecoderShape, ForwardBatch, ModelError, Outputs};
use mizan::text::{ChatTemplate, TokenType, Tokenizer, Vocabulary};

use super::weightless::{slot, steps_of_weights};

const CONTROLS: [&str; 5] = ["<|im_end|>", "<|assistant|>", "<|user|>", "<|system|>", "<|hidden|>"];
pub(crate) const TEMPLATE: &str = "{% for m in messages %}\
    {% if m.role == 'assistant' %}<|assistant|>{% elif m.role == 'system' %}<|system|>\
    {% else %}<|user|>{% endif %}{{ m.content }}\
    {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// A script's token that is sampled and has no text.
pub(crate) const HIDDEN: &[u8] = b"<|hidden|>";

/// Values of a hidden state: 1, a token's id, its position, and id times (position + 1).
pub(crate) const HIDDEN_SIZE: usize = 4;

/// Bounds of the scripted model's engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_batch: usize,
    pub(crate) max_waiting: usize,
    pub(crate) context: usize,
    /// 0, where a test lets the model say so many tokens and no more.
    pub(crate) speculative_rows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_batch: 64, max_waiting: 256, context: 512, speculative_rows: 0 }
    }
}

/// The parts of a model that speaks `script`, then ends its turn.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) engine: Engine,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) chat_template: ChatTemplate,
    pub(crate) control: Arc<Control>,
}

/// What a test holds of a scripted model.
#[derive(Debug)]
pub(crate) struct Control {
    /// Tokens of the script that may be predicted.
    allowed: Mutex<usize>,
    changed: Condvar,
    /// The token of the script on which the model fails.
    fails_at: AtomicUsize,
    /// The token of the script on which the model panics.
    panics_at: AtomicUsize,
    /// The token of the script on which the device is lost.
    is_lost_at: AtomicUsize,
}

impl Control {
    /// Lets the model say the script's first `tokens` tokens (its end counts as one).
    pub(crate) fn allow(&self, tokens: usize) {
        *self.allowed.lock().unwrap() = tokens;
        self.changed.notify_all();
    }

    /// Has the model fail instead of saying token `index`.
    pub(crate) fn fail_at(&self, index: usize) {
        self.fails_at.store(index, SeqCst);
    }

    /// Has the model panic instead of saying token `index`.
    pub(crate) fn panic_at(&self, index: usize) {
        self.panics_at.store(index, SeqCst);
    }

    /// Has the device be lost instead of saying token `index`.
    pub(crate) fn lose_at(&self, index: usize) {
        self.is_lost_at.store(index, SeqCst);
    }

    fn wait_for(&self, index: usize) {
        let allowed = self.allowed.lock().unwrap();
        drop(self.changed.wait_while(allowed, |allowed| *allowed <= index).unwrap());
    }
}

impl Scripted {
    pub(crate) fn start(script: &[&[u8]], bounds: Bounds, template: &str) -> Self {
        let vocabulary = vocabulary(script);
        let id = |text: &str| vocabulary.tokens.iter().position(|t| t == text).unwrap() as u32;
        let model = Speaker {
            script: script.iter().map(|token| id(&spelling(token))).collect(),
            end: id("<|im_end|>"),
            assistant: id("<|assistant|>"),
            line_break: id(&spelling(b"\n")),
            vocab_size: vocabulary.tokens.len(),
            slots: vec![0; num_blocks(bounds) * BLOCK_SIZE],
            logits: Vec::new(),
            hidden: Vec::new(),
            control: Arc::new(Control {
                allowed: Mutex::new(usize::MAX),
                changed: Condvar::new(),
                fails_at: AtomicUsize::new(usize::MAX),
                panics_at: AtomicUsize::new(usize::MAX),
                is_lost_at: AtomicUsize::new(usize::MAX),
            }),
        };
        let control = Arc::clone(&model.control);
        let shape = DecoderShape {
            num_layers: 1,
            vocab_size: model.vocab_size,
            hidden_size: HIDDEN_SIZE,
            num_blocks: num_blocks(bounds),
            max_tokens: 256,
            max_outputs: 64,
            max_context: bounds.context,
        };
        let options = EngineOptions {
            max_batch: bounds.max_batch,
            max_step_tokens: 256,
            max_waiting: bounds.max_waiting,
            num_blocks: num_blocks(bounds),
            prefix_cache: false,
            speculative_rows: bounds.speculative_rows,
            name: "scripted".to_owned(),
        };
        let engine = Engine::start(Decoder::new(Box::new(model), shape), options).unwrap();
        let tokenizer = Arc::new(Tokenizer::from_vocabulary(vocabulary).unwrap());
        let chat_template = ChatTemplate::compile(template, &tokenizer).unwrap();
        Self { engine, tokenizer, chat_template, control }
    }
}

fn num_blocks(bounds: Bounds) -> usize {
    bounds.max_batch * bounds.context.div_ceil(BLOCK_SIZE).min(32)
}

/// Every byte, every longer token of the script, and the control tokens.
fn vocabulary(script: &[&[u8]]) -> Vocabulary {
    let mut tokens: Vec<String> = (0..=255_u8).map(|byte| spelling(&[byte])).collect();
    for token in script.iter().filter(|token| **token != HIDDEN) {
        let token = spelling(token);
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    let mut token_types = vec![TokenType::Normal; tokens.len()];
    tokens.extend(CONTROLS.map(str::to_owned));
    token_types.resize(tokens.len(), TokenType::Control);
    let end = tokens.iter().position(|token| token == "<|im_end|>").unwrap() as u32;
    Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens,
        token_types,
        eos: Some(end),
        add_bos: Some(false),
        ..Vocabulary::default()
    }
}

/// GPT-2's byte-level alphabet: printable bytes are themselves, the others come after U+0100.
fn spelling(token: &[u8]) -> String {
    if token == HIDDEN {
        return "<|hidden|>".to_owned();
    }
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let letter = |byte: &u8| {
        let shifted = (0..*byte).filter(|b| !printable(*b)).count() as u32;
        let code = if printable(*byte) { u32::from(*byte) } else { 256 + shifted };
        char::from_u32(code).unwrap()
    };
    token.iter().map(letter).collect()
}

/// The executor.
#[derive(Debug)]
struct Speaker {
    script: Vec<u32>,
    end: u32,
    assistant: u32,
    line_break: u32,
    vocab_size: usize,
    /// The id that each KV slot stands for.
    slots: Vec<u32>,
    logits: Vec<f32>,
    hidden: Vec<f32>,
    control: Arc<Control>,
}

impl Speaker {
    /// The token that follows row `row`'s context.
    fn next(&self, batch: &ForwardBatch, row: u32) -> Result<u32, ModelError> {
        let sequence = batch.sequences.iter().find(|s| s.rows.contains(&row)).unwrap();
        let last = batch.positions[row as usize];
        let ids = (0..=last).map(|position| self.slots[slot(batch, sequence, position)]);
        let context: Vec<u32> = ids.collect();
        let last = last as usize;
        let start = match context.iter().rposition(|id| *id == self.assistant) {
            Some(marker) => marker,
            None => context.iter().position(|id| *id == self.line_break).unwrap_or(last),
        };
        let index = last - start;
        self.control.wait_for(index);
        assert!(index < self.control.panics_at.load(SeqCst), "the script has a bug here");
        if index >= self.control.fails_at.load(SeqCst) {
            return Err(ModelError::Executor("the script says so".to_owned()));
        }
        if index >= self.control.is_lost_at.load(SeqCst) {
            return Err(ModelError::Device("the script says so".to_owned()));
        }
        Ok(self.script.get(index).copied().unwrap_or(self.end))
    }
}

impl Executor for Speaker {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        for (slot, token) in batch.slots.iter().zip(&batch.tokens) {
            self.slots[*slot as usize] = *token;
        }
        Ok(())
    }

    fn norm_qkv(&mut self, _: usize, _: &ForwardBatch) -> Result<(), ModelError> {
        Ok(())
    }

    fn attention(&mut self, _: usize, _: &ForwardBatch) -> Result<(), ModelError> {
        Ok(())
    }

    steps_of_weights!();

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        self.logits.clear();
        for row in &batch.outputs {
            let next = self.next(batch, *row)?;
            let start = self.logits.len();
            self.logits.resize(start + self.vocab_size, 0.0);
            // Certain at any temperature that requests may ask for.
            self.logits[start + next as usize] = 1_000.0;
        }
        self.hidden.clear();
        if !batch.hidden.is_empty() {
            // A model that may say nothing yet gives no vectors either.
            self.control.wait_for(0);
        }
        for row in batch.hidden.iter().map(|row| *row as usize) {
            let (token, position) = (batch.tokens[row] as f32, batch.positions[row] as f32);
            self.hidden.extend([1.0, token, position, token * (position + 1.0)]);
        }
        Ok(Outputs { logits: &self.logits, hidden: &self.hidden })
    }
}
