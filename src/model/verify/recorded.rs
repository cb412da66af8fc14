//! Logits that another implementation computed and wrote down.
//! Promises: what it says are finite numbers of the right count, for tokens of the vocabulary.
//! Never knows: who wrote them.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::VerifyError;

/// Tokens of one sequence, and the logits after each of them.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// From position 0 on.
    pub tokens: Vec<u32>,
    /// `[tokens.len(), vocab_size]`
    pub logits: Vec<f32>,
}

impl Recorded {
    /// Reads a safetensors file of `tokens` (U32) and `logits` (F32), as
    /// `benches/hashed_logits.py` writes it.
    ///
    /// # Errors
    /// There is no such file, or it does not hold what it should.
    pub fn read(path: &Path, vocab_size: usize) -> Result<Self, VerifyError> {
        let wrong = |why: String| VerifyError::Recorded(format!("{}: {why}", path.display()));
        let file = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&file).map_err(|error| wrong(error.to_string()))?;
        let words = |name: &str, dtype: Dtype| {
            let tensor = tensors.tensor(name).map_err(|error| wrong(error.to_string()))?;
            if tensor.dtype() != dtype {
                return Err(wrong(format!("`{name}` is {:?}, expected {dtype:?}", tensor.dtype())));
            }
            let (words, _) = tensor.data().as_chunks::<4>();
            Ok(words.to_vec())
        };
        let tokens: Vec<u32> =
            words("tokens", Dtype::U32)?.into_iter().map(u32::from_le_bytes).collect();
        let logits: Vec<f32> =
            words("logits", Dtype::F32)?.into_iter().map(f32::from_le_bytes).collect();
        if tokens.is_empty() || Some(logits.len()) != tokens.len().checked_mul(vocab_size) {
            let (tokens, logits) = (tokens.len(), logits.len());
            return Err(wrong(format!(
                "{logits} logits after {tokens} tokens of a vocabulary of {vocab_size}"
            )));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab_size) {
            return Err(wrong(format!("token {token} in a vocabulary of {vocab_size}")));
        }
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(wrong("a logit is not a number".to_owned()));
        }
        Ok(Self { tokens, logits })
    }
}
