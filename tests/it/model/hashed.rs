//! Models made by a formula (`benches/hashed_model.py`): the files hold what the formula says, the
//! executors compute what numpy computes from the formula alone, and the commands that measure run
//! on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use mizan::model::Model;
use mizan::model::verify::{Comparison, Gates, Recorded};
use serde_json::Value;
use tempfile::TempDir;

use super::{cpu_logits, reference_logits};
use crate::support;

/// Enough to leave the rope's original context of 64 positions.
const TOKENS: &str = "70";

/// A Python that has numpy: `MIZAN_TEST_PYTHON`, or `python3` with a numpy of its own or, once
/// installed, of ours.
fn python() -> Command {
    static FOUND: OnceLock<(String, Option<PathBuf>)> = OnceLock::new();
    let (program, packages) = FOUND.get_or_init(|| {
        if let Ok(python) = std::env::var("MIZAN_TEST_PYTHON") {
            return (python, None);
        }
        let python = "python3";
        let has_numpy = |path: &str| {
            let mut command = Command::new(python);
            command.args(["-c", "import numpy"]).stderr(Stdio::null());
            if !path.is_empty() {
                command.env("PYTHONPATH", path);
            }
            command.status().expect("there is a python3").success()
        };
        if has_numpy("") {
            return (python.to_owned(), None);
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("numpy");
        let shown = folder.to_string_lossy();
        if !has_numpy(&shown) {
            let install =
                ["-m", "pip", "install", "--quiet", "--upgrade", "--target", &shown, "numpy"];
            let status = Command::new(python).args(install).status();
            let is_there = status.is_ok_and(|status| status.success()) && has_numpy(&shown);
            assert!(
                is_there,
                "numpy cannot be installed: set MIZAN_TEST_PYTHON to a Python with it"
            );
        }
        (python.to_owned(), Some(folder))
    });
    let mut command = Command::new(program);
    if let Some(packages) = packages {
        command.env("PYTHONPATH", packages);
    }
    command
}

/// Runs one of the scripts with `arguments`.
fn script(name: &str, arguments: &[&str], out: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name);
    let mut command = python();
    command.arg(script).arg(out).args(["--shape", "tiny"]).args(arguments);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
}

/// The tiny model in a form.
fn model(folder: &TempDir, form: &str) -> PathBuf {
    let path = folder.path().join(if form == "hf" { "hf" } else { "model.gguf" });
    script("hashed_model.py", &["--as", form], &path);
    path
}

/// Its logits, computed by numpy from the formula.
fn recorded(folder: &TempDir, form: &str) -> PathBuf {
    let path = folder.path().join("logits.safetensors");
    script("hashed_logits.py", &["--as", form, "--tokens", TOKENS], &path);
    path
}

/// The file's logits through the reference executor, which are numpy's; close to them on the CPU.
fn check(form: &str) -> Vec<f32> {
    let _alone = support::all_cores();
    let folder = TempDir::new().expect("a folder");
    let model = Arc::new(Model::open(&model(&folder, form)).expect("a sound model"));
    let vocab_size = model.config.vocab_size;
    let Recorded { tokens, logits } =
        Recorded::read(&recorded(&folder, form), vocab_size).expect("a sound file");
    let actual = reference_logits(&model, &tokens, tokens.len());
    let comparison = Comparison::of(&logits, &actual, vocab_size);
    assert!(comparison.is_within(&Gates::EXACT), "{form}: {comparison}");
    let cpu = cpu_logits(&model, &tokens, tokens.len());
    let comparison = Comparison::of(&logits, &cpu, vocab_size);
    assert!(comparison.is_within(&Gates::FLAT_LOGITS), "{form} on the CPU: {comparison}");
    actual
}

#[test]
fn folder_and_gguf_are_the_same_model() {
    let vocab_size = 512;
    // In GGUF the values of a head have another order, and so do the sums over them.
    let comparison = Comparison::of(&check("hf"), &check("bf16"), vocab_size);
    assert!(comparison.is_within(&Gates::EXACT), "{comparison}");
}

#[test]
fn q8_0() {
    check("q8_0");
}

#[test]
fn q4_k_m() {
    check("q4_k_m");
}

#[test]
fn verify_compares_with_recorded_logits() {
    let folder = TempDir::new().expect("a folder");
    let (model, logits) = (model(&folder, "q8_0"), recorded(&folder, "q8_0"));
    let verify = || {
        let mut command = support::binary(folder.path());
        command.args(["verify", "--device", "cpu", "--against"]).arg(&logits).arg(&model);
        command.output().expect("the binary runs")
    };
    let output = verify();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && told.ends_with("the two agree\n"), "{told}{errors}");
    // Of another model of the same shape.
    script("hashed_logits.py", &["--as", "q4_k_m", "--tokens", TOKENS], &logits);
    let (output, expected) = (verify(), "the two disagree");
    assert!(!output.status.success() && text(&output.stderr).contains(expected));
    std::fs::write(&logits, "not safetensors").expect("it can be written");
    let expected = "there is nothing to compare with";
    assert!(text(&verify().stderr).contains(expected), "{}", text(&verify().stderr));
}

#[test]
fn streams_are_measured_and_charged() {
    let _alone = support::all_cores();
    let folder = TempDir::new().expect("a folder");
    let model = model(&folder, "q4_k_m");
    let json = folder.path().join("figures.json");
    let bench = |line: &str| -> (String, Value) {
        let mut command = support::binary(folder.path());
        command.arg("bench").args(line.split_whitespace()).arg(&model);
        let output = command.args(["--device", "cpu", "--json"]).arg(&json).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        let figures = std::fs::read_to_string(&json).expect("figures were written");
        (text(&output.stdout), serde_json::from_str(&figures).expect("JSON"))
    };
    let (told, figures) = bench(
        "streams --streams 1,9 --prompt 100 --tokens 20 --prefill 128 --rounds 2 \
         --bandwidth 10 --peak 0.1",
    );
    assert!(told.contains("decode, 9 streams") && told.contains("% of the bound"), "{told}");
    let number = |value: &Value| value.as_f64().expect("a number");
    for (row, streams) in [(0, 1), (1, 9)] {
        let row = &figures["decode"][row];
        assert_eq!(row["streams"], streams);
        assert_eq!(row["tokens_per_second"].as_array().map(Vec::len), Some(2));
        let context = number(&row["mean_context"]);
        assert!((101.0..125.0).contains(&context), "{context}");
        // Q4_K and Q6_K of all but the embedding; two bytes a key or value of 128 in four layers.
        let kv = 2.0 * 2.0 * 128.0 * 4.0 * context * f64::from(streams);
        let weights = number(&row["bytes_per_step"]) - kv;
        assert!((1.3e6..1.6e6).contains(&weights), "{weights} bytes of weights");
        assert!(number(&row["share_of_bandwidth"]) > 0.0);
    }
    let prefill = &figures["prefill"];
    assert_eq!(prefill["tokens"], 128);
    // The layers' matrices; the output matrix once.
    let layers = 4 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256);
    assert_eq!(number(&prefill["flops"]), f64::from(2 * (layers * 128 + 512 * 256)));
    assert!(number(&prefill["share_of_peak"]) > 0.0);

    let (told, figures) = bench("charging --streams 5 --prompt 20 --tokens 8 --rounds 1");
    assert!(told.contains("the books hold"), "{told}");
    assert_eq!(figures["rounds"].as_array().map(Vec::len), Some(1));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
