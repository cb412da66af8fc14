//! Settings read from both kinds of files: rope scaling, sliding layers, attention scale, and the
//! metadata's typed getters.

use std::fs;

use mizan::model::{Activation, Model, ModelConfig, RopeScaling, RopeStyle, RopeTable};
use serde_json::{Value, json};

use crate::support::gguf::GgufBuilder;
use crate::support::tiny_models::{self, TinyModel};

fn of_gguf(file: &GgufBuilder) -> Model {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, file.build()).expect("writable");
    Model::open(&path).expect("sound")
}

fn of_folder(tiny: &TinyModel, changes: Value) -> ModelConfig {
    let mut tiny = tiny.clone();
    for (key, value) in changes.as_object().expect("an object") {
        tiny.config[key] = value.clone();
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    tiny.write_folder(folder.path(), 1);
    Model::open(folder.path()).expect("sound").config
}

fn check_frequencies(rope: &RopeTable, expected: &[(usize, f64)]) {
    for &(pair, expected) in expected {
        let actual = f64::from(rope.inv_freq[pair]);
        assert!((actual / expected - 1.0).abs() < 1e-6, "pair {pair}: {actual}, not {expected}");
    }
}

/// Figures computed in numpy by the formulas of transformers' `modeling_rope_utils.py`.
#[test]
fn rope_scaling_of_llama_3_1_8b() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192.0,
    };
    let rope = RopeTable::new(128, 500_000.0, scaling, None);
    check_frequencies(
        &rope,
        &[
            (0, 1.0),
            (1, 0.8146172338565447),
            (28, 0.0032114459947525913),
            (29, 0.002166570763503359),
            (31, 0.0008567514129196324),
            (34, 0.00017850781276799638),
            (35, 9.556212353964683e-05),
            (63, 3.068925988914511e-07),
        ],
    );
    assert_eq!(rope.amplitude, 1.0);
    assert!(!rope.is_unscaled());
}

/// As above, for Qwen 2.5 with its documented YaRN setting.
#[test]
fn rope_scaling_of_qwen_2_5_with_yarn() {
    let scaling = RopeScaling::Yarn {
        factor: 4.0,
        original_context: 32_768.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        amplitude: None,
    };
    let rope = RopeTable::new(128, 1e6, scaling, None);
    check_frequencies(
        &rope,
        &[
            (0, 1.0),
            (10, 0.11547819846894583),
            (23, 0.006978305848598663),
            (24, 0.005375321490790102),
            (30, 0.0010643609812470017),
            (39, 6.490394320837029e-05),
            (40, 4.445698525097307e-05),
            (63, 3.102344401879299e-07),
        ],
    );
    assert!((rope.amplitude - 1.138_629_4).abs() < 1e-6);
}

#[test]
fn rope_without_and_with_linear_scaling() {
    let plain = RopeTable::new(64, 100_000.0, RopeScaling::None, None);
    check_frequencies(&plain, &[(0, 1.0), (1, 6.97830585e-01), (31, 1.43301257e-05)]);
    assert!(plain.is_unscaled());
    let linear = RopeTable::new(64, 100_000.0, RopeScaling::Linear { factor: 8.0 }, None);
    check_frequencies(&linear, &[(0, 0.125), (1, 6.97830585e-01 / 8.0)]);
    assert!(!linear.is_unscaled());
    let (mut cos, mut sin) = ([0.0; 32], [0.0; 32]);
    plain.fill(0, &mut cos, &mut sin);
    assert_eq!((cos, sin), ([1.0; 32], [0.0; 32]));
    plain.fill(100_000, &mut cos, &mut sin);
    assert_eq!(cos[0], 100_000f64.cos() as f32);
}

#[test]
fn yarn_is_read_alike_from_both() {
    let tiny = tiny_models::qwen2();
    let yarn = json!({ "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64 });
    let folder = of_folder(&tiny, json!({ "rope_scaling": yarn }));
    let file = tiny
        .to_gguf()
        .string("qwen2.rope.scaling.type", "yarn")
        .f32("qwen2.rope.scaling.factor", 4.0)
        .u32("qwen2.rope.scaling.original_context_length", 64);
    assert_eq!(folder.ropes, of_gguf(&file).config.ropes);
    assert!(folder.ropes[0].amplitude > 1.1);
}

/// The 4B and larger scale their global layers linearly by 8, and only those.
#[test]
fn gemma3_scales_global_layers_only() {
    let tiny = tiny_models::gemma3();
    let linear = json!({ "rope_type": "linear", "factor": 8.0 });
    let version_5 = json!({
        "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 10000.0 },
    });
    let file = tiny
        .to_gguf()
        .string("gemma3.rope.scaling.type", "linear")
        .f32("gemma3.rope.scaling.factor", 8.0);
    for config in [
        of_folder(&tiny, json!({ "rope_scaling": linear })),
        of_folder(&tiny, json!({ "rope_parameters": version_5 })),
        of_gguf(&file).config,
    ] {
        check_frequencies(&config.ropes[0], &[(0, 0.125), (1, 1e6f64.powf(-0.125) / 8.0)]);
        check_frequencies(&config.ropes[1], &[(0, 1.0), (1, 1e4f64.powf(-0.125))]);
        let ropes: Vec<usize> = config.layers.iter().map(|layer| layer.rope).collect();
        assert_eq!(ropes, [1, 1, 1, 1, 1, 0, 1]);
    }
}

#[test]
fn sliding_layers() {
    let windows = |config: &ModelConfig| -> Vec<usize> {
        config.layers.iter().map(|layer| layer.sliding_window.unwrap_or(0)).collect()
    };
    let gemma2 = tiny_models::gemma2();
    assert_eq!(windows(&of_gguf(&gemma2.to_gguf()).config), [64, 0, 64]);
    assert_eq!(windows(&of_folder(&gemma2, json!({}))), [64, 0, 64]);
    let types = json!(["full_attention", "sliding_attention", "full_attention"]);
    assert_eq!(windows(&of_folder(&gemma2, json!({ "layer_types": types }))), [0, 64, 0]);
    let listed = "gemma2.attention.sliding_window_pattern";
    let listed = gemma2.to_gguf().bools(listed, &[true, true, false]);
    assert_eq!(windows(&of_gguf(&listed).config), [64, 64, 0]);
    let gemma3 = tiny_models::gemma3();
    assert_eq!(windows(&of_gguf(&gemma3.to_gguf()).config), [5, 5, 5, 5, 5, 0, 5]);
    let mistral = tiny_models::mistral();
    assert_eq!(windows(&of_folder(&mistral, json!({ "sliding_window": 8 }))), [8, 8]);
    // Qwen states a window that is switched off, as it also is where the switch is left out.
    let mut qwen2 = tiny_models::qwen2();
    assert_eq!(windows(&of_folder(&qwen2, json!({}))), [0, 0]);
    qwen2.config.as_object_mut().unwrap().remove("use_sliding_window");
    assert_eq!(windows(&of_folder(&qwen2, json!({}))), [0, 0]);
}

#[test]
fn constants_of_the_families() {
    let gemma3 = of_gguf(&tiny_models::gemma3().to_gguf()).config;
    assert_eq!(gemma3.embedding_scale, 32f32.sqrt());
    assert_eq!(gemma3.attention_scale, 0.25);
    assert_eq!(gemma3.activation, Activation::GeluTanh);
    assert_eq!((gemma3.attention_softcap, gemma3.final_softcap), (None, None));
    assert!(gemma3.has_qk_norm && gemma3.has_post_norms && gemma3.tied);
    let gemma2 = tiny_models::gemma2();
    let of_file = of_gguf(&gemma2.to_gguf()).config;
    assert_eq!((of_file.attention_softcap, of_file.final_softcap), (Some(2.0), Some(3.0)));
    let silent = ["gemma2.attn_logit_softcapping", "gemma2.final_logit_softcapping"];
    let silent = silent.iter().fold(gemma2.to_gguf(), |file, key| file.without(key));
    let silent = of_gguf(&silent).config;
    assert_eq!((silent.attention_softcap, silent.final_softcap), (Some(50.0), Some(30.0)));
    let scaled = of_folder(&gemma2, json!({ "query_pre_attn_scalar": 64 }));
    assert_eq!(scaled.attention_scale, 0.125);
    let llama = of_gguf(&tiny_models::llama().to_gguf()).config;
    assert_eq!(llama.rope_style, RopeStyle::Interleaved);
    assert_eq!(of_folder(&tiny_models::llama(), json!({})).rope_style, RopeStyle::Halves);
    assert_eq!((llama.head_dim, llama.q_size(), llama.kv_size()), (8, 32, 16));
    // 2 (keys and values) x 16 positions x 2 layers x 2 heads x 8 values padded to 16 x 2 bytes
    assert_eq!(llama.kv_bytes_per_block(2), 4096);
    assert!(of_gguf(&tiny_models::qwen2().to_gguf()).config.has_qkv_bias);
}

/// A model that also sees keeps its language half one level down, in config and in names.
#[test]
fn language_half_of_a_larger_model() {
    let plain = tiny_models::gemma3();
    let mut nested = plain.clone();
    nested.config = json!({ "model_type": "gemma3", "text_config": plain.config });
    nested.tensors = plain
        .tensors
        .iter()
        .map(|(name, tensor)| (format!("language_model.{name}"), tensor.clone()))
        .collect();
    assert_eq!(of_folder(&nested, json!({})), of_folder(&plain, json!({})));
}

#[test]
fn metadata_getters() {
    let file = tiny_models::llama()
        .to_gguf()
        .string("text", "بيت")
        .u32("number", 7)
        .raw("negative", 5, &(-7i32).to_le_bytes())
        .raw("long", 10, &(1u64 << 40).to_le_bytes())
        .raw("double", 12, &0.5f64.to_le_bytes())
        .bool("flag", true)
        .strings("words", &["", "a", "ب"])
        .f32s("floats", &[1.5, -2.0])
        .i32s("ints", &[3, -4]);
    let model = of_gguf(&file);
    let metadata = model.metadata.as_ref().expect("a GGUF file has metadata");
    assert_eq!(metadata.str("text").expect("a string"), Some("بيت"));
    assert_eq!(metadata.u32("number").expect("a number"), Some(7));
    assert_eq!(metadata.u64("long").expect("a number"), Some(1 << 40));
    assert_eq!(metadata.f32("double").expect("a number"), Some(0.5));
    assert_eq!(metadata.bool("flag").expect("a boolean"), Some(true));
    assert_eq!(metadata.str_array("words").expect("strings"), Some(vec!["", "a", "ب"]));
    assert_eq!(metadata.f32_array("floats").expect("floats"), Some(vec![1.5, -2.0]));
    assert_eq!(metadata.i32_array("ints").expect("ints"), Some(vec![3, -4]));
    assert_eq!(metadata.str("nothing").expect("no error"), None);
    assert_eq!(metadata.array_len("words"), Some(3));
    for (result, reason) in [
        (metadata.u32("negative").map(drop), "setting `negative` is -7, negative"),
        (metadata.u32("long").map(drop), "setting `long` is 1099511627776, too large"),
        (metadata.u32("text").map(drop), "setting `text` is a string, expected a whole number"),
        (metadata.str("words").map(drop), "setting `words` is an array, expected a string"),
        (metadata.f32_array("ints").map(drop), "expected an array of f32 numbers"),
    ] {
        let error = result.expect_err("another type").to_string();
        assert!(error.contains(reason), "{error}");
    }
}
