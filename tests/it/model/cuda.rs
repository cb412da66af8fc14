//! The executor for GPUs, whole: each family against the reference executor, a real quantized file,
//! what it refuses. Without the feature `cuda` its launches go to the emulator; with it to the GPU,
//! and a machine without one fails.

use std::sync::Arc;

use kernels::cuda::{Emulator, Order};
use mizan::model::executor::cuda::{
    CudaExecutor, KvBlocks, KvType, Placed, kv_bytes_per_block, place,
};
use mizan::model::verify::{Comparison, Gates, logits_of_each_position};
use mizan::model::{BatchSequence, Executor, ExecutorLimits, ForwardBatch, Model};

use super::{decoder, limits, reference_logits};
use crate::support::gpu::gpu;
use crate::support::models;
use crate::support::random::Random;
use crate::support::tiny_models::{self, Storage, TinyModel, VOCAB_SIZE};

/// Weights are bf16 as they are; activations, keys, values and weights of attention are rounded to
/// it, each by up to one part in 512, in every layer anew: eight roundings, about 1e-5 a layer.
/// Measured: NMSE of 1e-5 to 2.01e-4, divergence of up to 2.9e-4 (the thirty layers of the file).
const ROUNDED_TO_BF16: Gates =
    Gates { max_nmse: 3e-4, min_top1_agreement: 0.9, max_mean_kld: 4e-4 };

/// Keys and values are rounded to four bits of fraction, each by up to one part in 32.
/// Measured: NMSE of 1.5e-4 to 2.9e-3, divergence of 7.8e-5 to 1.4e-3 (random weights, whose
/// attention says more than that of trained ones; the file: 2.2e-4 and 1.1e-3).
const STORED_AS_FP8: Gates =
    Gates { max_nmse: 4.5e-3, min_top1_agreement: 0.9, max_mean_kld: 2.2e-3 };

/// Past Gemma 3's window of 5, and more rows than the products of small batches take: the larger
/// matrices (queries, keys, values, gate and up) are multiplied in wide blocks, those of shorter
/// steps are not.
const NUM_TOKENS: usize = 37;

/// More rows of one sequence than the executor's own products are for.
const NUM_LONG: usize = 270;

fn open(tiny: TinyModel) -> Arc<Model> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = TinyModel { storage: Storage::BF16, ..tiny.with_heads_of(64) };
    tiny.write_folder(folder.path(), 1);
    Arc::new(Model::open(folder.path()).expect("sound"))
}

fn executor(
    model: &Arc<Model>,
    order: Order,
    limits: ExecutorLimits,
    kv_type: KvType,
) -> Box<dyn Executor> {
    Box::new(CudaExecutor::new(gpu(order), Arc::clone(model), limits, kv_type).expect("it fits"))
}

fn cuda_logits(
    model: &Arc<Model>,
    tokens: &[u32],
    step: usize,
    order: Order,
    kv_type: KvType,
) -> Vec<f32> {
    let limits = limits(tokens.len(), step);
    let mut decoder = decoder(model, executor(model, order, limits, kv_type), &limits);
    logits_of_each_position(&mut decoder, tokens).expect("sound batches")
}

fn tokens() -> Vec<u32> {
    let mut random = Random(99);
    (0..NUM_TOKENS).map(|_| (random.next() % VOCAB_SIZE as u64) as u32).collect()
}

fn check(tiny: TinyModel) {
    let model = open(tiny);
    check_stored(&model, KvType::Bf16, &ROUNDED_TO_BF16);
    check_stored(&model, KvType::Fp8, &STORED_AS_FP8);
}

fn check_stored(model: &Arc<Model>, kv_type: KvType, gates: &Gates) {
    let tokens = tokens();
    let cuda = |step, order| cuda_logits(model, &tokens, step, order, kv_type);
    let expected = reference_logits(model, &tokens, NUM_TOKENS);
    let actual = cuda(NUM_TOKENS, Order::Forwards);
    let comparison = Comparison::of(&expected, &actual, VOCAB_SIZE);
    println!("{}, {kv_type:?}: {comparison}", model.config.architecture);
    assert!(comparison.is_within(gates), "{comparison}");
    // 20 and 17 rows: enough for them to go to attention together, as all did.
    let in_chunks = cuda(20, Order::Forwards);
    assert!(in_chunks == actual, "other logits in steps of 20");
    // And each for itself, of which a remainder is as many.
    let in_steps = cuda(7, Order::Forwards);
    assert!(in_steps == cuda(12, Order::Forwards), "steps of 7 and 12");
    let comparison = Comparison::of(&expected, &in_steps, VOCAB_SIZE);
    assert!(comparison.is_within(gates), "in steps of 7: {comparison}");
    // The emulator, whose additions within an `mma` have another order than a GPU's.
    let backwards = cuda(7, Order::Backwards);
    let is_emulated = !cfg!(feature = "cuda");
    assert!(!is_emulated || backwards == in_steps, "other logits backwards");
    let comparison = Comparison::of(&expected, &backwards, VOCAB_SIZE);
    assert!(comparison.is_within(gates), "emulated: {comparison}");
}

#[test]
fn llama() {
    check(tiny_models::llama());
}

#[test]
fn llama_with_scaled_rope() {
    check(tiny_models::llama3());
}

#[test]
fn qwen2() {
    check(tiny_models::qwen2());
}

#[test]
fn qwen3() {
    check(tiny_models::qwen3());
}

#[test]
fn gemma2() {
    check(tiny_models::gemma2());
}

#[test]
fn gemma3() {
    check(tiny_models::gemma3());
}

/// A prompt of so many rows that the library multiplies them, beside one that goes on and one of
/// few rows: all as in steps of few, and the others' bits as if it were not there.
#[test]
fn a_long_prompt_is_multiplied_apart_from_the_others() {
    let mut random = Random(98);
    let tokens: Vec<u32> =
        (0..NUM_LONG).map(|_| (random.next() % VOCAB_SIZE as u64) as u32).collect();
    for mut tiny in [tiny_models::qwen2(), tiny_models::gemma2()] {
        tiny.config["max_position_embeddings"] = (2 * NUM_LONG).into();
        let model = open(tiny);
        let expected = reference_logits(&model, &tokens, NUM_LONG);
        let actual = cuda_logits(&model, &tokens, NUM_LONG, Order::Forwards, KvType::Bf16);
        let comparison = Comparison::of(&expected, &actual, VOCAB_SIZE);
        println!("{}: {comparison}", model.config.architecture);
        assert!(comparison.is_within(&ROUNDED_TO_BF16), "{comparison}");
        let in_parts = cuda_logits(&model, &tokens, 90, Order::Forwards, KvType::Bf16);
        assert!(in_parts != actual, "the library has multiplied");

        let limits = ExecutorLimits {
            max_tokens: NUM_LONG + 30,
            max_outputs: 3,
            num_blocks: NUM_LONG.div_ceil(16) + 5,
            threads: 1,
        };
        let last = |with_long: bool| {
            let executor = executor(&model, Order::Forwards, limits, KvType::Bf16);
            let mut decoder = decoder(&model, executor, &limits);
            let mut batch = Batch::default();
            batch.add(&tokens[..5], 0, 0..2);
            decoder.forward(&batch.0).expect("a sound batch");
            let mut batch = Batch::default();
            batch.add(&tokens[5..6], 5, 0..2);
            if with_long {
                batch.add(&tokens, 0, 5..limits.num_blocks as u32);
            }
            batch.add(&tokens[7..27], 0, 2..4);
            decoder.forward(&batch.0).expect("a sound batch").to_vec()
        };
        let (beside, without) = (last(true), last(false));
        let of = |logits: &[f32], nth: usize| logits[nth * VOCAB_SIZE..][..VOCAB_SIZE].to_vec();
        assert!(of(&beside, 0) == of(&without, 0), "one that goes on");
        assert!(of(&beside, 2) == of(&without, 1), "a short prompt");
        let alone = of(&actual, NUM_LONG - 1);
        assert!(of(&beside, 1) == alone, "a long prompt beside others");

        // Two of them are one run.
        let blocks = NUM_LONG.div_ceil(16);
        let limits = ExecutorLimits { max_tokens: 2 * NUM_LONG, num_blocks: 2 * blocks, ..limits };
        let executor = executor(&model, Order::Forwards, limits, KvType::Bf16);
        let mut batch = Batch::default();
        batch.add(&tokens, 0, 0..blocks as u32);
        batch.add(&tokens, 0, blocks as u32..2 * blocks as u32);
        let both = decoder(&model, executor, &limits).forward(&batch.0).expect("sound").to_vec();
        let comparison = Comparison::of(&[&*alone, &*alone].concat(), &both, VOCAB_SIZE);
        assert!(comparison.is_within(&ROUNDED_TO_BF16), "two long prompts: {comparison}");
    }
}

/// So many sequences that the library multiplies all rows, of weights that are bf16: in a step that
/// is run launch by launch, and then twice in its recording, the same logits as one by one but for
/// rounding.
#[test]
fn a_large_batch_is_multiplied_by_the_library() {
    const COUNT: usize = 130;
    let model = open(tiny_models::llama());
    let limits =
        ExecutorLimits { max_tokens: 192, max_outputs: 192, num_blocks: COUNT, threads: 1 };
    let make = || decoder(&model, executor(&model, Order::Forwards, limits, KvType::Bf16), &limits);
    let mut random = Random(97);
    let mut token = || [(random.next() % VOCAB_SIZE as u64) as u32];
    let tokens: Vec<[u32; 1]> = (0..COUNT).map(|_| token()).collect();
    let mut alone = make();
    let mut expected = Vec::new();
    for (nth, token) in (0..).zip(&tokens) {
        let mut batch = Batch::default();
        batch.add(token, 0, nth..nth + 1);
        expected.extend_from_slice(alone.forward(&batch.0).expect("a sound batch"));
    }
    let mut batch = Batch::default();
    for (nth, token) in (0..).zip(&tokens) {
        batch.add(token, 0, nth..nth + 1);
    }
    let mut together = make();
    let mut step = || together.forward(&batch.0).expect("a sound batch").to_vec();
    let first = step();
    let comparison = Comparison::of(&expected, &first, VOCAB_SIZE);
    println!("{comparison}");
    assert!(comparison.is_within(&ROUNDED_TO_BF16), "{comparison}");
    assert!(first != expected, "the library has multiplied");
    assert!(step() == first && step() == first, "the recording gives what its launches gave");
}

/// Sequences of a step, one after the other, each with its last row's logits.
#[derive(Default)]
struct Batch(ForwardBatch);

impl Batch {
    /// Tokens from a position on, in blocks of these numbers.
    fn add(&mut self, tokens: &[u32], start: u32, blocks: std::ops::Range<u32>) {
        let batch = &mut self.0;
        let first = batch.tokens.len() as u32;
        let tables = batch.block_tables.len() as u32;
        let end = start + tokens.len() as u32;
        batch.tokens.extend_from_slice(tokens);
        batch.positions.extend(start..end);
        batch.slots.extend((start..end).map(|p| (blocks.start + p / 16) * 16 + p % 16));
        batch.sequences.push(BatchSequence {
            rows: first..first + tokens.len() as u32,
            blocks: tables..tables + blocks.len() as u32,
            context_len: end,
        });
        batch.block_tables.extend(blocks);
        batch.outputs.push(batch.tokens.len() as u32 - 1);
    }
}

/// Two sequences in one step, one of them going on, over blocks in no order; some rows' logits,
/// then others' hidden states.
#[test]
fn rows_do_not_depend_on_their_neighbours() {
    let (model, tokens) = (open(tiny_models::qwen3()), tokens());
    let limits = ExecutorLimits { max_tokens: 24, max_outputs: 24, num_blocks: 6, threads: 1 };
    let sequence = |rows: std::ops::Range<u32>, context_len: u32, blocks: std::ops::Range<u32>| {
        BatchSequence { rows, blocks, context_len }
    };
    // Alone: positions 0 to 17, then 18.
    let first = |blocks: &[u32]| ForwardBatch {
        fed: vec![],
        tokens: tokens[..18].to_vec(),
        positions: (0..18).collect(),
        slots: (0..18).map(|p| blocks[p / 16] * 16 + p as u32 % 16).collect(),
        sequences: vec![sequence(0..18, 18, 0..2)],
        block_tables: blocks.to_vec(),
        outputs: vec![17],
        hidden: vec![],
    };
    let alone = ForwardBatch {
        fed: vec![],
        tokens: vec![tokens[18]],
        positions: vec![18],
        slots: vec![16 + 2],
        sequences: vec![sequence(0..1, 19, 0..2)],
        block_tables: vec![0, 1],
        outputs: vec![0],
        hidden: vec![],
    };
    let mut decoder_alone =
        decoder(&model, executor(&model, Order::Forwards, limits, KvType::Fp8), &limits);
    decoder_alone.forward(&first(&[0, 1])).expect("a sound batch");
    let expected = decoder_alone.forward(&alone).expect("a sound batch").to_vec();
    // Together with the start of another one, whose hidden states are wanted.
    let together = ForwardBatch {
        fed: vec![],
        tokens: [&tokens[18..19], &tokens[20..23]].concat(),
        positions: vec![18, 0, 1, 2],
        slots: vec![2 * 16 + 2, 48, 49, 50],
        sequences: vec![sequence(0..1, 19, 0..2), sequence(1..4, 3, 2..3)],
        block_tables: vec![5, 2, 3],
        outputs: vec![0],
        hidden: vec![2, 3],
    };
    let mut decoder =
        decoder(&model, executor(&model, Order::Forwards, limits, KvType::Fp8), &limits);
    decoder.forward(&first(&[5, 2])).expect("a sound batch");
    let outputs = decoder.run(&together).expect("a sound batch");
    assert!(outputs.logits == expected, "a neighbour changed the logits");
    assert_eq!(outputs.hidden.len(), 2 * model.config.hidden_size);
    assert!(outputs.hidden.iter().all(|value| value.is_finite() && *value != 0.0));
}

/// Four-bit weights as their file has them: 9 heads over 3, an embedding that is the output matrix.
#[test]
fn a_real_quantized_file() {
    let path = models::path("smollm2-135m-instruct");
    let model = Arc::new(Model::open(&path).expect("a sound file"));
    let tokens = [504, 3630, 282, 354];
    let expected = reference_logits(&model, &tokens, tokens.len());
    for (kv_type, gates) in [(KvType::Bf16, &ROUNDED_TO_BF16), (KvType::Fp8, &STORED_AS_FP8)] {
        let actual = cuda_logits(&model, &tokens, tokens.len(), Order::Forwards, kv_type);
        let comparison = Comparison::of(&expected, &actual, model.config.vocab_size);
        println!("{kv_type:?}: {comparison}");
        assert!(comparison.is_within(gates), "{kv_type:?}: {comparison}");
    }
}

#[test]
fn refuses_what_it_cannot_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny_models::qwen3().write_folder(folder.path(), 1);
    let model = Arc::new(Model::open(folder.path()).expect("sound"));
    let limits = ExecutorLimits { max_tokens: 8, max_outputs: 8, num_blocks: 8, threads: 1 };
    let gpu = Box::new(Emulator::new(Order::Forwards));
    let narrow = CudaExecutor::new(gpu, model, limits, KvType::Bf16).expect_err("it is refused");
    let narrow = narrow.to_string();
    assert!(narrow.contains("4 heads of 16 values over 2 key heads"), "{narrow}");
}

const MIB: usize = 1 << 20;
const FEW_ROWS: ExecutorLimits =
    ExecutorLimits { max_tokens: 8, max_outputs: 8, num_blocks: 0, threads: 1 };

fn place_in(model: &Arc<Model>, memory: usize, blocks: KvBlocks) -> Result<Placed, String> {
    place_as(KvType::Bf16, model, memory, blocks)
}

fn place_as(
    kv_type: KvType,
    model: &Arc<Model>,
    memory: usize,
    blocks: KvBlocks,
) -> Result<Placed, String> {
    let gpu = Box::new(Emulator::with_memory(Order::Forwards, memory));
    place(gpu, Arc::clone(model), FEW_ROWS, kv_type, blocks).map_err(|error| error.to_string())
}

/// The number before `what`.
fn number_before(message: &str, what: &str) -> usize {
    let end = message.find(what).unwrap_or_else(|| panic!("no {what:?} in {message}"));
    message[..end].split(' ').next_back().and_then(|text| text.parse().ok()).expect("a number")
}

/// Whatever the memory, a model is refused before anything is taken, or all of it fits: nothing in
/// between. What a refusal says is missing is what is missing.
#[test]
fn fits_itself_to_the_memory_or_says_what_is_missing() {
    for tiny in [tiny_models::qwen2(), tiny_models::gemma3()] {
        let model = open(tiny);
        let blocks = KvBlocks::AsFits { least: 256, most: 512 };
        let (mut counts, mut refused) = (Vec::new(), 0);
        for memory in (0..64 * MIB).step_by(MIB) {
            match place_in(&model, memory, blocks) {
                Ok(placed) => {
                    assert!(placed.bytes <= memory, "{} of {memory} bytes", placed.bytes);
                    counts.push(placed.num_blocks);
                }
                Err(message) => {
                    refused += 1;
                    assert!(counts.is_empty(), "less was enough: {message}");
                    let missing = number_before(&message, " MiB too few");
                    assert!(place_in(&model, memory + missing * MIB, blocks).is_ok(), "{message}");
                    let less = memory + missing.saturating_sub(1) * MIB;
                    assert!(place_in(&model, less, blocks).is_err(), "{message}");
                }
            }
        }
        assert!(refused > 0 && counts.is_sorted(), "{refused} {counts:?}");
        assert!((256..300).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts.last(), Some(&512), "no more than a full batch takes");
    }
}

/// The library works in memory of its own, which is counted too.
#[test]
fn large_steps_take_what_they_are_said_to() {
    let model = open(tiny_models::qwen2());
    let blocks = KvBlocks::Exactly(64);
    let place_in = |memory, max_tokens| {
        let gpu = Box::new(Emulator::with_memory(Order::Forwards, memory));
        let limits = ExecutorLimits { max_tokens, ..FEW_ROWS };
        place(gpu, Arc::clone(&model), limits, KvType::Bf16, blocks).map(|placed| placed.bytes)
    };
    let short = place_in(1 << 30, 127).expect("it fits");
    let long = place_in(1 << 30, 128).expect("it fits");
    assert!(long > short + 32 * MIB, "{long} after {short}");
    assert_eq!(place_in(long, 128).expect("what it takes is enough"), long);
    assert!(place_in(long - 1, 128).is_err(), "a byte less");
}

/// What a refusal says to do helps.
#[test]
fn the_context_and_kv_memory_that_a_refusal_names_fit() {
    let model = open(tiny_models::llama());
    let block = model.config.kv_bytes_per_block(2);
    let needed = place_in(&model, 1 << 30, KvBlocks::Exactly(4096)).expect("it fits").bytes;
    let memory = needed - 8 * MIB;
    let refusal = |blocks| place_in(&model, memory, blocks).expect_err("it is refused");
    let message = refusal(KvBlocks::AsFits { least: 4096, most: 4096 });
    let context = number_before(&message, ", use fewer bits a weight");
    assert!(context.is_multiple_of(16), "{message}");
    let least = context / 16;
    assert!(place_in(&model, memory, KvBlocks::AsFits { least, most: least }).is_ok(), "{message}");
    let more = KvBlocks::AsFits { least: least + 1, most: 4096 };
    assert!(place_in(&model, memory, more).is_err(), "{message}");

    let message = refusal(KvBlocks::Exactly(4096));
    let kv_memory = number_before(&message, " MiB, use fewer bits a weight") * MIB;
    assert!(place_in(&model, memory, KvBlocks::Exactly(kv_memory / block)).is_ok(), "{message}");
    let hopeless = place_in(&model, MIB, KvBlocks::Exactly(1)).expect_err("it is refused");
    assert!(hopeless.contains("too few: use fewer bits a weight"), "{hopeless}");
}

/// Of the same memory fp8 makes nearly twice as many blocks, which are what is taken; and a refusal
/// names it where it helps.
#[test]
fn fp8_halves_what_contexts_take() {
    for tiny in [tiny_models::qwen2(), tiny_models::gemma3()] {
        let model = open(tiny);
        let [whole, half] = [KvType::Bf16, KvType::Fp8].map(|kv_type| {
            let bytes = |blocks| {
                let blocks = KvBlocks::Exactly(blocks);
                place_as(kv_type, &model, 1 << 30, blocks).expect("it fits").bytes
            };
            // Blocks beyond the longest context cost nothing but themselves.
            let block = (bytes(4096) - bytes(2048)) / 2048;
            assert_eq!(block, kv_bytes_per_block(&model.config, kv_type));
            block
        });
        let config = &model.config;
        assert_eq!(whole, config.kv_bytes_per_block(2));
        assert_eq!(half, whole / 2 * (config.head_dim + 1) / config.head_dim);

        let blocks = KvBlocks::AsFits { least: 4096, most: 4096 };
        let enough = place_as(KvType::Fp8, &model, 1 << 30, blocks).expect("it fits").bytes;
        assert!(place_as(KvType::Fp8, &model, enough, blocks).is_ok(), "what it takes is enough");
        let message = place_in(&model, enough, blocks).expect_err("it is refused");
        assert!(message.contains(" weight, kv_type fp8, a smaller"), "{message}");
        let message = place_in(&model, enough - 1, blocks).expect_err("it is refused");
        assert!(!message.contains("fp8"), "{message}");
        let message = place_as(KvType::Fp8, &model, enough - 1, blocks).expect_err("too little");
        assert!(!message.contains("fp8"), "{message}");
        let message = place_in(&model, enough, KvBlocks::Exactly(4096)).expect_err("too little");
        assert!(!message.contains("fp8"), "kv_memory is a number of bytes: {message}");
    }
}
