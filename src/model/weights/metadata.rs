//! A GGUF file's key-value pairs, behind getters that say what is wrong.
//! Promises: a missing key is `None`; a key of another type, out of range or not UTF-8 is an error
//! that names it. Strings and arrays stay in the map until asked for.
//! Never knows: what keys mean.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::file_map::FileMap;
use super::gguf::scalar_bytes;
use crate::model::error::FileProblem;

/// The metadata of a GGUF file: the tokenizer, the chat template, the model's numbers.
#[derive(Clone)]
pub struct GgufMetadata {
    map: Arc<FileMap>,
    pairs: Arc<HashMap<String, Value>>,
}

/// A value, or where in the file it lies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(Range<usize>),
    Array { element_type: u32, len: usize, range: Range<usize> },
}

impl GgufMetadata {
    /// `pairs` has been read from `map`; its ranges lie within.
    pub(super) fn new(map: Arc<FileMap>, pairs: HashMap<String, Value>) -> Self {
        Self { map, pairs: Arc::new(pairs) }
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.pairs.keys().map(String::as_str)
    }

    /// Whether the key is there and holds an array.
    pub fn is_array(&self, key: &str) -> bool {
        matches!(self.pairs.get(key), Some(Value::Array { .. }))
    }

    /// The length of an array of any type; `None` if the key is missing or no array.
    pub fn array_len(&self, key: &str) -> Option<usize> {
        match self.pairs.get(key) {
            Some(Value::Array { len, .. }) => Some(*len),
            _ => None,
        }
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<Option<&str>, FileProblem> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(Value::String(range)) => self.text(key, range.clone()).map(Some),
            Some(other) => Err(mismatch(key, other, "a string")),
        }
    }

    /// A whole number from 0 to 2³²-1, stored in any integer type.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, FileProblem> {
        let Some(value) = self.u64(key)? else { return Ok(None) };
        match u32::try_from(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(FileProblem::setting(key, format!("is {value}, too large"))),
        }
    }

    /// A whole number from 0, stored in any integer type.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, FileProblem> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(&Value::Unsigned(value)) => Ok(Some(value)),
            Some(&Value::Signed(value)) => match u64::try_from(value) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(FileProblem::setting(key, format!("is {value}, negative"))),
            },
            Some(other) => Err(mismatch(key, other, "a whole number")),
        }
    }

    /// A finite number, stored as f32 or f64.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, FileProblem> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(&Value::Float(value)) if (value as f32).is_finite() => Ok(Some(value as f32)),
            Some(Value::Float(value)) => {
                Err(FileProblem::setting(key, format!("is {value}, not a finite f32")))
            }
            Some(other) => Err(mismatch(key, other, "a number")),
        }
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, FileProblem> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(&Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(mismatch(key, other, "a boolean")),
        }
    }

    /// An array of strings.
    pub fn str_array(&self, key: &str) -> Result<Option<Vec<&str>>, FileProblem> {
        let Some((element_type, len, range)) = self.array(key, &[8], "strings")? else {
            return Ok(None);
        };
        debug_assert_eq!(element_type, 8);
        let mut strings = Vec::with_capacity(len);
        let mut offset = range.start;
        for _ in 0..len {
            let prefix = &self.map.bytes()[offset..offset + 8];
            let prefix = prefix.try_into().expect("the slice is 8 bytes long");
            // The parser walked these lengths, so they fit the range.
            let start = offset + 8;
            let end = start + u64::from_le_bytes(prefix) as usize;
            strings.push(self.text(key, start..end)?);
            offset = end;
        }
        Ok(Some(strings))
    }

    /// An array of f32.
    pub fn f32_array(&self, key: &str) -> Result<Option<Vec<f32>>, FileProblem> {
        let array = self.array(key, &[6], "f32 numbers")?;
        Ok(array.map(|(_, _, range)| {
            let chunks = self.map.bytes()[range].as_chunks::<4>().0;
            chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }))
    }

    /// An array of whole numbers of 32 bits, signed or not.
    pub fn i32_array(&self, key: &str) -> Result<Option<Vec<i32>>, FileProblem> {
        let array = self.array(key, &[4, 5], "32-bit whole numbers")?;
        let Some((element_type, _, range)) = array else { return Ok(None) };
        let chunks = self.map.bytes()[range].as_chunks::<4>().0;
        let values: Vec<i32> = chunks.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        if element_type == 4 && values.iter().any(|&value| value < 0) {
            return Err(FileProblem::setting(key, "holds a number of 2³¹ or more"));
        }
        Ok(Some(values))
    }

    /// An array of booleans.
    pub fn bool_array(&self, key: &str) -> Result<Option<Vec<bool>>, FileProblem> {
        let array = self.array(key, &[7], "booleans")?;
        Ok(array
            .map(|(_, _, range)| self.map.bytes()[range].iter().map(|&byte| byte != 0).collect()))
    }

    fn array(
        &self,
        key: &str,
        element_types: &[u32],
        expected: &str,
    ) -> Result<Option<(u32, usize, Range<usize>)>, FileProblem> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(Value::Array { element_type, len, range })
                if element_types.contains(element_type) =>
            {
                debug_assert!(scalar_bytes(*element_type).is_none_or(|b| b * len == range.len()));
                Ok(Some((*element_type, *len, range.clone())))
            }
            Some(other) => Err(mismatch(key, other, &format!("an array of {expected}"))),
        }
    }

    fn text(&self, key: &str, range: Range<usize>) -> Result<&str, FileProblem> {
        std::str::from_utf8(&self.map.bytes()[range]).map_err(|error| {
            FileProblem::setting(key, format!("holds text that is not UTF-8: {error}"))
        })
    }
}

impl std::fmt::Debug for GgufMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GgufMetadata({} keys)", self.pairs.len())
    }
}

fn mismatch(key: &str, met: &Value, expected: &str) -> FileProblem {
    let met = match met {
        Value::Unsigned(_) | Value::Signed(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Bool(_) => "a boolean",
        Value::String(_) => "a string",
        Value::Array { .. } => "an array",
    };
    FileProblem::setting(key, format!("is {met}, expected {expected}"))
}
