//! The variables that the hub's own tools know.

use std::process::Command;

use super::*;

/// What a process with this environment, and no other, is set up to do.
fn set_up(environment: &[(&str, &str)]) -> String {
    let (_, test) = module_path!().split_once("::").expect("a module of the test program");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([&format!("{test}::prints_its_set_up"), "--exact", "--nocapture"])
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("this program runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line = text.lines().find_map(|line| line.strip_prefix("SET UP ")).expect("a line");
    line.to_owned()
}

/// The other half of [`set_up`]; by itself it shows this process's own.
#[test]
fn prints_its_set_up() {
    let Hub { cache, endpoint, token, offline, answer_timeout, stall_timeout, .. } =
        Hub::from_env();
    println!(
        "\nSET UP {} {endpoint} token={} offline={offline} {answer_timeout:?} {stall_timeout:?}",
        cache.unwrap_or_default().display(),
        token.as_ref().map_or("none", |token| token.expose()),
    );
    assert!(!format!("{token:?}").contains("hf_"), "a token is never shown");
}

#[test]
fn the_hubs_own_variables_are_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().to_str().expect("UTF-8");
    assert_eq!(
        set_up(&[("HOME", home)]),
        format!(
            "{home}/.cache/huggingface/hub https://huggingface.co token=none offline=false 6s 30s"
        )
    );
    fs::write(folder.path().join("token"), "hf_stored\n").expect("written");
    assert_eq!(
        set_up(&[("HF_HOME", home), ("HF_ENDPOINT", "https://mirror.example/"), ("HF_TOKEN", "")]),
        format!("{home}/hub https://mirror.example token=hf_stored offline=false 6s 30s")
    );
    assert_eq!(
        set_up(&[
            ("HF_HOME", home),
            ("HF_HUB_CACHE", "/cache"),
            ("HF_TOKEN", "hf_given"),
            ("HF_HUB_OFFLINE", "true"),
            ("HF_HUB_ETAG_TIMEOUT", "2"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "90"),
        ]),
        "/cache https://huggingface.co token=hf_given offline=true 2s 90s"
    );
}
