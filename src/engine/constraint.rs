//! What may come next in a sequence, where whoever asked for it has a say.
//!
//! The engine asks for a mask before it samples and tells the constraint what was sampled. Masks
//! take time, so the next one is asked for at once, to be computed while the model runs.
//!
//! Promises: no id is sampled that the mask refuses; a stop id is sampled exactly where the
//! constraint may end; where it can only end, the sequence ends.
//! Never knows: grammars, text, threads.

use std::fmt;

use super::sampler::SamplerState;

/// Decides which ids may follow those accepted so far. One value belongs to one sequence.
pub trait Constraint: Send + Sync + fmt::Debug {
    /// Has the next mask computed elsewhere; returns at once. `allowed` need not be preceded by it.
    fn prepare(&mut self);

    /// What may come next; waits until that is known.
    fn allowed(&mut self) -> Result<Allowed, ConstraintError>;

    /// Takes over an id that was sampled, one that `allowed` holds.
    fn accept(&mut self, id: u32) -> Result<Progress, ConstraintError>;

    /// Another one for another sequence, in the same state.
    fn boxed_clone(&self) -> Box<dyn Constraint>;
}

impl Clone for Box<dyn Constraint> {
    fn clone(&self) -> Self {
        // Of what is in the box: the box itself has this method too.
        (**self).boxed_clone()
    }
}

/// What may come next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// One bit for each id, the lowest of the first word for id 0; ids beyond are refused. Bits of
    /// stop ids say nothing: `may_end` does.
    pub ids: Vec<u32>,
    /// Whether the sequence may end here.
    pub may_end: bool,
}

/// How far a constraint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More may follow.
    Open,
    /// All is said: nothing may follow but the end.
    Complete,
}

/// Why a constraint cannot say what may come next. Its sequence fails; the log tells this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// It took more time or memory than it may, or has a bug.
    #[error("{0}")]
    Broken(String),
    /// No id may follow, and the end neither.
    #[error("no token is allowed here, and no end")]
    NothingAllowed,
}

/// What is next in a sequence that has a constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Sample,
    End,
}

/// Asks `constraint` what may come next and has `sampling` keep to it.
pub(super) fn constrain(
    constraint: &mut dyn Constraint,
    sampling: &mut SamplerState,
) -> Result<Next, ConstraintError> {
    let Allowed { mut ids, may_end } = constraint.allowed()?;
    let mut names_stop_id = false;
    for &id in sampling.stop_ids() {
        if let Some(word) = ids.get_mut(id as usize / 32) {
            names_stop_id |= *word >> (id % 32) & 1 == 1;
            *word &= !(1 << (id % 32));
        }
    }
    if ids.iter().all(|word| *word == 0) {
        // A caller may have made a stop id of all that the constraint still allows.
        let is_end = may_end || names_stop_id;
        return if is_end { Ok(Next::End) } else { Err(ConstraintError::NothingAllowed) };
    }
    if may_end && !sampling.masks_stop_ids(0) {
        for &id in sampling.stop_ids() {
            if let Some(word) = ids.get_mut(id as usize / 32) {
                *word |= 1 << (id % 32);
            }
        }
    }
    sampling.set_mask(Some(ids));
    Ok(Next::Sample)
}
