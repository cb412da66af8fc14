//! Files that are cut short, altered or made to do harm: each is refused with the place and the
//! reason, and none makes the reader panic, overflow or believe a count that the file can not hold.

use std::fs;
use std::path::Path;

use mizan::model::Model;

use crate::support::gguf::{ALIGNMENT, GgufBuilder, array_header};
use crate::support::random::Random;
use crate::support::tiny_models::{self, TinyModel};

/// Opens the bytes as a GGUF file; the error as text.
fn open(bytes: &[u8]) -> Result<Model, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).expect("writable");
    Model::open(&path).map_err(|error| error.to_string())
}

/// The file is refused and the message holds `reason`.
fn check(bytes: &[u8], reason: &str) {
    match open(bytes) {
        Ok(_) => panic!("accepted, expected: {reason}"),
        Err(message) => assert!(message.contains(reason), "{message:?}, expected: {reason}"),
    }
}

/// A sound file that also has a tokenizer's arrays.
fn sound() -> GgufBuilder {
    let tokens: Vec<String> =
        (0..tiny_models::VOCAB_SIZE).map(|id| format!("token {id}")).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    tiny_models::qwen2()
        .to_gguf()
        .strings("tokenizer.ggml.tokens", &tokens)
        .f32s("tokenizer.ggml.scores", &[0.5; tiny_models::VOCAB_SIZE])
        .i32s("tokenizer.ggml.token_type", &[1; tiny_models::VOCAB_SIZE])
}

/// Where the tensor table ends and the data begins.
fn header_len(file: &[u8]) -> usize {
    // The table's last name; after it come at most two dimensions, a type and an offset.
    let last = b"output_norm.weight";
    let found = file.windows(last.len()).rposition(|window| window == last);
    (found.expect("listed") + last.len() + 4 + 8 + 4 + 8).next_multiple_of(ALIGNMENT)
}

#[test]
fn the_sound_file_opens() {
    let model = open(&sound().build()).expect("sound");
    assert_eq!(model.config.vocab_size, tiny_models::VOCAB_SIZE);
}

#[test]
fn cut_anywhere() {
    let file = sound().build();
    let header = header_len(&file);
    let mut random = Random(1);
    let in_data = (0..200).map(|_| header + random.below(file.len() - header - 32));
    for len in (0..header).chain(in_data) {
        assert!(open(&file[..len]).is_err(), "accepted the first {len} bytes of {}", file.len());
    }
}

#[test]
fn bytes_changed_anywhere() {
    let file = sound().build();
    let header = header_len(&file);
    let mut random = Random(2);
    for _ in 0..4000 {
        let mut changed = file.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(header);
            // Extreme bytes make extreme counts, others make other types and keys.
            changed[at] = match random.below(4) {
                0 => 0,
                1 => 0xFF,
                2 => changed[at] ^ (1 << random.below(8)),
                _ => random.next() as u8,
            };
        }
        // Some changes are harmless. What matters is that nothing panics, here or on reading.
        if let Ok(model) = open(&changed) {
            read_everything(&model);
        }
    }
}

fn read_everything(model: &Model) {
    let metadata = model.metadata.as_ref().expect("a GGUF file has metadata");
    for key in metadata.keys() {
        let _ = (metadata.str(key), metadata.u64(key), metadata.f32(key), metadata.bool(key));
        let _ = (metadata.str_array(key), metadata.f32_array(key), metadata.i32_array(key));
    }
    for layer in &model.weights.layers {
        assert_eq!(layer.down.to_f32().len(), layer.down.rows * layer.down.cols);
    }
}

#[test]
fn container() {
    let minimal = |version: u32, tensors: u64, pairs: u64| {
        let mut file = b"GGUF".to_vec();
        file.extend(version.to_le_bytes());
        file.extend(tensors.to_le_bytes());
        file.extend(pairs.to_le_bytes());
        file
    };
    check(b"", "empty");
    check(b"GGM", "the magic needs 4 bytes, 3 are left");
    check(b"GGML\x03\0\0\0", "starts with \"GGML\"");
    check(&minimal(1, 0, 0), "GGUF version 1");
    check(&minimal(3u32.swap_bytes(), 0, 0), "a big-endian file");
    check(&minimal(3, u64::MAX, 0), "the tensor count is 18446744073709551615");
    check(&minimal(3, 0, 1 << 40), "the metadata count is 1099511627776");
    check(&minimal(3, 0, 0), "setting `general.architecture` is missing");
    let mut long_key = minimal(3, 0, 1);
    long_key.extend(u64::MAX.to_le_bytes());
    long_key.extend([b'k'; 32]);
    check(&long_key, "a metadata key is 18446744073709551615");
    let mut bad_key = minimal(3, 0, 1);
    bad_key.extend(2u64.to_le_bytes());
    bad_key.extend([0xFF; 32]);
    check(&bad_key, "a metadata key is not UTF-8");
}

#[test]
fn values() {
    let value = |type_id: u32, bytes: &[u8]| sound().raw("x", type_id, bytes).build();
    check(&value(13, &[0; 8]), "unknown metadata type 13");
    check(&value(7, &[2]), "a boolean is 2");
    check(&value(8, &u64::MAX.to_le_bytes()), "a metadata string is 18446744073709551615");
    check(&value(9, &array_header(5, 1 << 61)), "an array's length is 2305843009213693952");
    check(&value(9, &array_header(8, 1 << 50)), "an array's length is 1125899906842624");
    check(&value(9, &array_header(9, 1).repeat(8)), "nested too deeply");
    check(&value(9, &array_header(99, 1)), "unknown metadata type 99");
    check(&sound().u32("x", 1).u32("x", 1).build(), "key `x` appears twice");
    check(&sound().u32("general.alignment", 0).build(), "`general.alignment` is 0");
    check(&sound().u32("general.alignment", 48).build(), "`general.alignment` is 48");
    check(
        &sound().string("general.alignment", "32").build(),
        "is a string, expected a whole number",
    );
}

#[test]
fn tensor_table() {
    let extra =
        |dims: &[u64], type_id, bytes| sound().tensor("extra", dims, type_id, bytes).build();
    check(&extra(&[], 0, vec![]), "tensor `extra` has 0 dimensions");
    check(&extra(&[1; 5], 0, vec![0; 4]), "tensor `extra` has 5 dimensions");
    check(&extra(&[1, 0], 0, vec![]), "tensor `extra` has an impossible dimension");
    check(&extra(&[1 << 40, 1 << 40], 0, vec![0; 32]), "tensor `extra` of [1099511627776,");
    check(&extra(&[1, 33], 8, vec![0; 34]), "is not whole blocks of Q8_0");
    check(&extra(&[64, 32], 0, vec![0; 64]), "tensor `extra` needs 8192 bytes");
    check(
        &sound().f32_tensor("output_norm.weight", &[1], &[1.0]).build(),
        "tensor `output_norm.weight` is listed twice",
    );
    // A type that no kernel reads matters only to who needs the tensor.
    assert!(open(&extra(&[256], 23, vec![0; 136])).is_ok());
    let needed = sound().without_tensor("blk.1.ffn_up.weight").tensor(
        "blk.1.ffn_up.weight",
        &[64, 32],
        23,
        vec![0; 2176],
    );
    check(&needed.build(), "tensor `blk.1.ffn_up.weight` is stored as IQ4_XS");

    let two = GgufBuilder::default().string("general.architecture", "llama");
    let two = two.f32_tensor("a", &[16], &[0.0; 16]).f32_tensor("b", &[16], &[0.0; 16]);
    check(&two.build_with_offsets(&[0, 32]), "tensor `b` overlaps `a`");
    check(&two.build_with_offsets(&[0, 0]), "overlaps");
    check(&two.build_with_offsets(&[0, 65]), "tensor `b` lies at 65, not aligned to 32");
    check(&two.build_with_offsets(&[0, 1 << 20]), "after the end of the file");
    check(&two.build_with_offsets(&[0, u64::MAX - 31]), "after the end of the file");
    check(&two.build_with_offsets(&[0, 96]), "tensor `b` needs 64 bytes");
}

#[test]
fn settings() {
    let file = |key: &str| sound().without(key);
    let with_u32 = |key: &str, value: u32| file(key).u32(key, value).build();
    let with_f32 = |key: &str, value: f32| file(key).f32(key, value).build();
    let architecture = file("general.architecture").string("general.architecture", "mamba");
    check(&architecture.build(), "architecture `mamba`; known are llama, qwen2");
    check(&file("qwen2.block_count").build(), "`qwen2.block_count` is missing");
    check(&with_u32("qwen2.block_count", u32::MAX), "num_layers` is 4294967295");
    check(&with_u32("qwen2.block_count", 0), "num_layers` is 0");
    check(&with_u32("qwen2.block_count", 3), "tensor `blk.2.attn_norm.weight` is missing");
    check(&with_u32("qwen2.block_count", 1), "tensor `blk.1.");
    check(&with_u32("qwen2.attention.head_count", 0), "num_heads` is 0");
    check(&with_u32("qwen2.attention.head_count", 5), "is 2, not a divisor of 5 heads");
    check(&with_u32("qwen2.embedding_length", 30), "30 is not 4 whole heads");
    check(&with_u32("qwen2.attention.head_count_kv", 3), "not a divisor of 4 heads");
    check(&with_u32("qwen2.attention.head_count_kv", 0), "num_kv_heads` is 0");
    check(&with_u32("qwen2.attention.head_count_kv", 1), "`blk.0.attn_k.weight` is [16, 32]");
    check(
        &with_u32("qwen2.embedding_length", 64),
        "`token_embd.weight` is [48, 32], expected [48, 64]",
    );
    check(&with_u32("qwen2.feed_forward_length", 65), "is [64, 32], expected [65, 32]");
    check(&with_u32("qwen2.context_length", 0), "max_context` is 0");
    check(&with_u32("qwen2.rope.dimension_count", 4), "only the head size, 8, is supported");
    check(&with_u32("qwen2.expert_count", 8), "mixture of experts");
    check(&sound().raw("split.count", 2, &3u16.to_le_bytes()).build(), "one of 3 parts");
    check(&with_f32("qwen2.attention.layer_norm_rms_epsilon", 0.0), "norm_eps` is 0");
    check(&with_f32("qwen2.attention.layer_norm_rms_epsilon", f32::NAN), "is NaN, not a finite");
    check(&with_f32("qwen2.rope.freq_base", f32::INFINITY), "is inf, not a finite");
    check(&with_f32("qwen2.rope.freq_base", -1.0), "rope_base` is -1");
    check(&with_f32("qwen2.rope.scaling.factor", 0.1), "expected 1 or more");
    check(&sound().string("qwen2.rope.scaling.type", "longrope").build(), "is `longrope`");
    check(&sound().bool("qwen2.attention.causal", false).build(), "not causal");
    let tokens = file("tokenizer.ggml.tokens").strings("tokenizer.ggml.tokens", &["a"]);
    check(&tokens.build(), "`tokenizer.ggml.tokens` has 1 entries, the embedding 48 rows");
}

#[test]
fn tensors_of_the_model() {
    let without = |name: &str| sound().without_tensor(name);
    check(&without("token_embd.weight").build(), "tensor `token_embd.weight` is missing");
    check(&without("blk.1.attn_k.bias").build(), "tensor `blk.1.attn_k.bias` is missing");
    let mut norm = [1.0; 32];
    norm[7] = f32::NAN;
    let norm = without("blk.0.ffn_norm.weight").f32_tensor("blk.0.ffn_norm.weight", &[32], &norm);
    check(&norm.build(), "tensor `blk.0.ffn_norm.weight` holds NaN at index 7");
    let bias = sound().f32_tensor("blk.1.attn_output.bias", &[32], &[0.0; 32]);
    check(&bias.build(), "tensor `blk.1.attn_output.bias` is not part of this kind of model");
    let factors = |values: &[f32]| {
        let dims = [values.len() as u64];
        sound().f32_tensor("rope_freqs.weight", &dims, values).build()
    };
    check(&factors(&[1.0, 1.0, 0.0, 1.0]), "tensor `rope_freqs.weight` holds 0");
    check(&factors(&[1.0; 5]), "rope factors` are 5, expected 4");
}

/// Opens a safetensors folder after `damage`; the error as text.
fn open_folder(tiny: &TinyModel, shards: usize, damage: impl Fn(&Path)) -> Result<Model, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny.write_folder(folder.path(), shards);
    damage(folder.path());
    Model::open(folder.path()).map_err(|error| error.to_string())
}

fn check_folder(shards: usize, damage: impl Fn(&Path), reason: &str) {
    match open_folder(&tiny_models::llama(), shards, damage) {
        Ok(_) => panic!("accepted, expected: {reason}"),
        Err(message) => assert!(message.contains(reason), "{message:?}, expected: {reason}"),
    }
}

#[test]
fn folder() {
    let write = |name: &'static str, text: &'static str| {
        move |folder: &Path| fs::write(folder.join(name), text).expect("writable")
    };
    let remove = |name: &'static str| {
        move |folder: &Path| fs::remove_file(folder.join(name)).expect("it is there")
    };
    check_folder(1, remove("config.json"), "config.json");
    check_folder(1, remove("model.safetensors"), "model.safetensors");
    check_folder(1, write("config.json", "{"), "not JSON");
    check_folder(1, write("config.json", "{}"), "`model_type` is missing");
    check_folder(1, write("config.json", r#"{"model_type":"bert"}"#), "model_type `bert`");
    check_folder(1, write("model.safetensors", "1234"), "shorter than 8 bytes");
    check_folder(
        1,
        write("model.safetensors", "\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}"),
        "header of",
    );
    check_folder(1, write("model.safetensors", "\u{2}\0\0\0\0\0\0\0{["), "header");
    check_folder(3, remove("model-00002-of-00003.safetensors"), "00002-of-00003");
    let index = "model.safetensors.index.json";
    check_folder(3, write(index, "[]"), "weight_map");
    check_folder(3, write(index, r#"{"weight_map":{"a":"../a"}}"#), "names the file `../a`");
    let first = r#"{"weight_map":{"nothing":"model-00001-of-00003.safetensors"}}"#;
    check_folder(3, write(index, first), "tensor `nothing` is not in");
}

#[test]
fn safetensors_changed_anywhere() {
    let tiny = tiny_models::qwen3();
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny.write_folder(folder.path(), 1);
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).expect("written above");
    let header = 8 + u64::from_le_bytes(*file.first_chunk().expect("a length")) as usize;
    let mut random = Random(3);
    for round in 0..1500 {
        let mut changed = file.clone();
        if round % 3 == 0 {
            changed.truncate(random.below(file.len()));
        } else {
            // Digits for digits keep the header readable and make its numbers lie.
            let at = random.below(header);
            let digit = changed[at].is_ascii_digit();
            changed[at] = if digit { b'0' + random.below(10) as u8 } else { random.next() as u8 };
        }
        fs::write(&path, &changed).expect("writable");
        let opened = Model::open(folder.path());
        assert!(round % 3 != 0 || opened.is_err(), "accepted {} bytes", changed.len());
    }
}
