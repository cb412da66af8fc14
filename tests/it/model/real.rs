//! The real files: both executors against candle-transformers and against each other, position by
//! position.
//!
//! The files hold 4-bit weights. The CPU executor and candle's quantized models round activations
//! to 8 bits, each in its own way; the reference, and candle's Gemma 3, do not round at all.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::gguf_file::Content;
use mizan::model::Model;
use mizan::model::verify::{Comparison, Gates, oracle_logits};

use super::{cpu_logits, reference_logits};
use crate::support::{self, models};

/// "The balance of an account is the sum of its journal, less what open meters have charged.
/// fn main() { println!("42"); }" in each vocabulary.
pub(super) const SMOLLM2: [u32; 31] = [
    504, 3630, 282, 354, 2051, 314, 260, 2028, 282, 624, 3844, 28, 1181, 732, 1440, 8137, 457,
    9295, 30, 24526, 1085, 1000, 1662, 1628, 34115, 17, 1470, 36, 34, 21646, 4029,
];
pub(super) const QWEN2_5_CODER: [u32; 29] = [
    785, 8172, 315, 458, 2692, 374, 279, 2629, 315, 1181, 8322, 11, 2686, 1128, 1787, 20044, 614,
    11430, 13, 5168, 1887, 368, 314, 13751, 17223, 19, 17, 5038, 335,
];
pub(super) const GEMMA_3: [u32; 30] = [
    2, 818, 7002, 529, 614, 2881, 563, 506, 2324, 529, 1061, 8884, 236764, 2344, 1144, 1932, 15930,
    735, 11055, 236761, 12751, 1689, 825, 642, 32374, 36492, 236812, 236778, 1443, 682,
];

#[test]
fn smollm2() {
    check("smollm2-135m-instruct", &SMOLLM2, &Gates::ROUNDED_ACTIVATIONS);
}

#[test]
fn qwen2_5_coder() {
    check("qwen2.5-coder-0.5b-instruct", &QWEN2_5_CODER, &Gates::ROUNDED_ACTIVATIONS);
}

#[test]
fn gemma_3() {
    check("gemma-3-270m", &GEMMA_3, &Gates::EXACT);
}

/// `of_reference`: how close the reference must be to candle.
fn check(id: &str, tokens: &[u32], of_reference: &Gates) {
    let _alone = support::all_cores();
    let path = models::path(id);
    let model = Arc::new(Model::open(&path).expect("a sound file"));
    check_dequantization(&path, &model);
    let compare = |what: &str, expected: &[f32], actual: &[f32], gates: &Gates| {
        let comparison = Comparison::of(expected, actual, model.config.vocab_size);
        println!("{id}, {what}: {comparison}");
        assert!(comparison.is_within(gates), "{id}, {what}: {comparison}");
    };
    let reference = reference_logits(&model, tokens, 13);
    let candle = oracle_logits(&path, &model, tokens).expect("candle knows the model");
    let cpu = cpu_logits(&model, tokens, tokens.len());
    compare("candle to reference", &candle, &reference, of_reference);
    compare("reference to cpu", &reference, &cpu, &Gates::ROUNDED_ACTIVATIONS);
    compare("candle to cpu", &candle, &cpu, &Gates::ROUNDED_ACTIVATIONS);
    // The CPU executor promises more than closeness: the same bits however the prompt is cut.
    for step in [1, 7] {
        assert!(cpu_logits(&model, tokens, step) == cpu, "{id}: other logits in steps of {step}");
    }
}

/// Our weights are candle's, to the bit, for each storage type in the file.
fn check_dequantization(path: &Path, model: &Model) {
    let mut file = File::open(path).expect("it was opened before");
    let content = Content::read(&mut file).expect("candle knows the types");
    let mut seen = HashSet::new();
    let layers = model.weights.layers.iter().flat_map(|layer| {
        [&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down]
    });
    for tensor in layers.filter(|tensor| seen.insert(tensor.dtype)) {
        let theirs = content
            .tensor(&mut file, &tensor.name, &Device::Cpu)
            .and_then(|theirs| theirs.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>())
            .expect("candle reads it");
        assert!(tensor.to_f32() == theirs, "{tensor:?} differs");
    }
    println!("{}: {seen:?} dequantized alike", path.display());
}
