//! A compiled grammar at work on one sequence.
//! Promises: a mask depends on the grammar and the ids accepted, on nothing else; whatever goes
//! wrong in it is an error of this sequence only.
//! Never knows: logits, sampling.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::Matcher;

use super::pool::{self, Shared};
use crate::engine::{Allowed, Constraint, ConstraintError, Progress};

/// A grammar and how far one sequence is in it.
pub(super) struct TokenConstraint(Arc<Shared>);

/// A place in a grammar.
pub(super) struct Cursor {
    matcher: Matcher,
    vocab_size: usize,
    /// What may come here, once it was computed.
    allowed: Option<Result<Allowed, ConstraintError>>,
}

impl TokenConstraint {
    /// At the grammar's beginning, for a model of so many ids; computes what may come there.
    pub(super) fn new(matcher: Matcher, vocab_size: usize) -> Self {
        let mut cursor = Cursor { matcher, vocab_size, allowed: None };
        cursor.compute();
        Self(Shared::new(cursor))
    }
}

impl Clone for TokenConstraint {
    fn clone(&self) -> Self {
        let cursor = self.0.with(|cursor| Cursor {
            // With caches of its own: sequences neither wait for nor break one another.
            matcher: cursor.matcher.deep_clone(),
            vocab_size: cursor.vocab_size,
            allowed: cursor.allowed.clone(),
        });
        Self(Shared::new(cursor))
    }
}

impl Constraint for TokenConstraint {
    fn prepare(&mut self) {
        pool::compute(&self.0);
    }

    fn allowed(&mut self) -> Result<Allowed, ConstraintError> {
        self.0.with(|cursor| {
            cursor.compute();
            cursor.allowed.clone().expect("it was computed")
        })
    }

    fn accept(&mut self, id: u32) -> Result<Progress, ConstraintError> {
        self.0.with(|cursor| cursor.accept(id))
    }

    fn boxed_clone(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

impl fmt::Debug for TokenConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenConstraint").finish_non_exhaustive()
    }
}

impl Cursor {
    /// Whether what may come here is known.
    pub(super) fn is_computed(&self) -> bool {
        self.allowed.is_some()
    }

    /// Makes it known.
    pub(super) fn compute(&mut self) {
        if self.is_computed() {
            return;
        }
        // The library catches its own panics; this is for a thread that others wait for.
        let computed = catch_unwind(AssertUnwindSafe(|| self.mask()));
        let panicked = |_| Err(ConstraintError::Broken("computing a mask panicked".to_owned()));
        self.allowed = Some(computed.unwrap_or_else(panicked));
    }

    fn mask(&mut self) -> Result<Allowed, ConstraintError> {
        let mask = self.matcher.compute_mask().map_err(broken)?;
        // The end's bit comes after the model's ids.
        let may_end = mask.is_allowed(self.vocab_size as u32);
        let mut ids = mask.as_slice().to_vec();
        ids.truncate(self.vocab_size.div_ceil(32));
        if let (Some(last), used @ 1..) = (ids.last_mut(), self.vocab_size % 32) {
            *last &= (1 << used) - 1;
        }
        Ok(Allowed { ids, may_end })
    }

    fn accept(&mut self, id: u32) -> Result<Progress, ConstraintError> {
        self.allowed = None;
        self.matcher.consume_token(id).map_err(broken)?;
        Ok(if self.matcher.is_stopped() { Progress::Complete } else { Progress::Open })
    }
}

fn broken(error: impl fmt::Display) -> ConstraintError {
    ConstraintError::Broken(error.to_string().chars().take(300).collect())
}
