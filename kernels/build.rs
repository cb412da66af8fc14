//! With the feature `cuda`: compiles `cuda/*.cu` with nvcc into one file that the crate embeds.
//! Without it: does nothing.
//!
//! `CUDA_COMPUTE_CAP` (90 if not set) names the GPU generation that gets machine code; others from
//! 8.0 on get PTX, which their driver compiles when the kernels are loaded. A kernel of the
//! decoding path that spills registers fails the build: it would run, several times slower.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kernels that a step waits for.
const HOT: [&str; 7] =
    ["product_", "expand_", "conclude_sums", "attention_", "prefill_", "project_heads", "sample"];

fn main() {
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    println!("cargo::rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let nvcc = env::var_os("NVCC").unwrap_or_else(|| "nvcc".into());
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "90".to_owned());
    println!("cargo::rustc-env=KERNELS_CAPABILITY={capability}");
    // Hopper's own instructions are in `90a` only.
    let machine = if capability == "90" { "90a" } else { &capability };
    let mut files: Vec<PathBuf> = fs::read_dir("cuda")
        .expect("kernels/cuda can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    files.sort();
    // One module holds all kernels, so one file includes all sources.
    let all = out.join("kernels.cu");
    let include = |path: &PathBuf| {
        let path = path.canonicalize().expect("a source file");
        format!("#include \"{}\"\n", path.display())
    };
    fs::write(&all, files.iter().map(include).collect::<String>()).expect("OUT_DIR is writable");
    let output = Command::new(&nvcc)
        .args(["-fatbin", "-std=c++17", "-O3", "-lineinfo", "-Xptxas", "-v"])
        .arg(format!("-gencode=arch=compute_{machine},code=sm_{machine}"))
        .arg("-gencode=arch=compute_80,code=compute_80")
        .arg("-o")
        .args([out.join("kernels.fatbin"), all])
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("{nvcc:?} cannot be run: {error}; `.ci/cuda-toolchain.sh` installs one")
    });
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nvcc failed:\n{report}");
    refuse_spills(&report, &out);
}

/// Reads ptxas' report: after the line that names a kernel comes the one that counts its spills.
fn refuse_spills(report: &str, out: &Path) {
    let (mut kernel, mut num_kernels, mut spilling) = ("", 0, Vec::new());
    for line in report.lines() {
        if let Some(name) = line.split("Compiling entry function '").nth(1) {
            kernel = name.split('\'').next().unwrap_or(name);
            num_kernels += 1;
        }
        let spills = line.contains("spill stores") && !line.contains(" 0 bytes spill stores");
        if spills && HOT.iter().any(|hot| kernel.starts_with(hot)) {
            spilling.push(format!("{kernel}: {}", line.trim()));
        }
    }
    fs::write(out.join("ptxas.txt"), report).expect("OUT_DIR is writable");
    assert!(num_kernels > 0, "ptxas reported on no kernel; has its report changed?\n{report}");
    assert!(spilling.is_empty(), "kernels that spill registers:\n{}", spilling.join("\n"));
}
