//! Logs and metrics as operators see them.

use std::process::Command;
use std::time::Duration;

use mizan::engine::{BlockCounts, Stats};
use mizan::telemetry::{self, Metrics};

/// The lines of a page that start with `name`, in order.
fn lines<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    page.lines().filter(|line| line.starts_with(name)).collect()
}

#[test]
fn counters_are_shown_under_our_name_and_vllms() {
    let metrics = Metrics::default();
    metrics.generations.with(&["m", "stop"]).add(2);
    metrics.generations.with(&["m", "stop"]).add(1);
    metrics.generations.with(&["m", "length"]).add(1);
    metrics.http_requests.with(&["/v1/models", "200"]).add(1);
    let page = metrics.render(&[]);
    assert_eq!(
        lines(&page, "mizan_generations_total"),
        [
            "mizan_generations_total{model=\"m\",finish_reason=\"length\"} 1",
            "mizan_generations_total{model=\"m\",finish_reason=\"stop\"} 3",
        ]
    );
    assert_eq!(
        lines(&page, "vllm:request_success_total"),
        [
            "vllm:request_success_total{model_name=\"m\",finished_reason=\"length\"} 1",
            "vllm:request_success_total{model_name=\"m\",finished_reason=\"stop\"} 3",
        ]
    );
    assert_eq!(
        lines(&page, "mizan_http_requests_total"),
        ["mizan_http_requests_total{route=\"/v1/models\",status=\"200\"} 1"]
    );
    let version = format!("mizan_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines(&page, "mizan_build_info"), [version]);
}

#[test]
fn histograms_count_upwards() {
    let metrics = Metrics::default();
    let latency = metrics.time_to_first_token.with(&["m"]);
    // On a bound, between two, and above the last.
    for millis in [5, 6, 400_000] {
        latency.observe(Duration::from_millis(millis));
    }
    let page = metrics.render(&[]);
    let buckets = lines(&page, "mizan_time_to_first_token_seconds_bucket");
    let counts: Vec<&str> = buckets.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(counts.join(" "), "0 0 1 2 2 2 2 2 2 2 2 2 2 2 2 2 2 3");
    let name = "vllm:time_to_first_token_seconds";
    assert_eq!(buckets[2], "mizan_time_to_first_token_seconds_bucket{model=\"m\",le=\"0.005\"} 1");
    let sum = lines(&page, &format!("{name}_sum"));
    assert_eq!(sum, [format!("{name}_sum{{model_name=\"m\"}} 400.011")]);
    let count = lines(&page, &format!("{name}_count"));
    assert_eq!(count, [format!("{name}_count{{model_name=\"m\"}} 3")]);
}

#[test]
fn engines_are_told_apart_by_their_models() {
    let blocks = BlockCounts { free: 2, cached: 1, owned: 1, total: 4 };
    let busy = Stats { waiting: 3, running: 2, blocks, generated_tokens: 7, ..Stats::default() };
    let page = Metrics::default().render(&[("a", busy), ("b", Stats::default())]);
    let check = |name: &str, values: [&str; 2]| {
        let label = if name.starts_with("vllm:") { "model_name" } else { "model" };
        let line = |model, value| format!("{name}{{{label}=\"{model}\"}} {value}");
        let expected = [line("a", values[0]), line("b", values[1])];
        assert_eq!(lines(&page, &format!("{name}{{")), expected);
    };
    check("mizan_sequences_waiting", ["3", "0"]);
    check("vllm:num_requests_waiting", ["3", "0"]);
    check("vllm:num_requests_running", ["2", "0"]);
    check("vllm:kv_cache_usage_perc", ["0.25", "0"]);
    check("mizan_kv_blocks", ["4", "0"]);
    check("vllm:generation_tokens_total", ["7", "0"]);
}

#[test]
fn a_page_is_what_prometheus_reads() {
    let metrics = Metrics::default();
    metrics.http_requests.with(&["a\"b\\c\nd", "200"]).add(1);
    metrics.inter_token_latency.with(&["m"]).observe(Duration::from_micros(1));
    let page = metrics.render(&[("m", Stats::default())]);
    assert!(
        page.contains("mizan_http_requests_total{route=\"a\\\"b\\\\c\\nd\",status=\"200\"} 1\n")
    );
    assert!(page.ends_with('\n'));
    let mut typed = Vec::new();
    for line in page.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["#", "HELP", ..] => {}
            ["#", "TYPE", name, "counter" | "gauge" | "histogram"] => {
                assert!(!typed.contains(name), "{name} is described twice");
                typed.push(name);
            }
            [.., value] => {
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let family = typed.last().copied().unwrap_or("");
                assert!(name.starts_with(family), "{line} does not follow its family's header");
            }
            [] => panic!("an empty line"),
        }
    }
}

#[test]
fn labels_without_end_do_not_grow_the_table_without_end() {
    let metrics = Metrics::default();
    for index in 0..1_100 {
        metrics.credits_charged.with(&[&index.to_string()]).add(1);
    }
    metrics.credits_charged.with(&["0"]).add(1);
    let page = metrics.render(&[]);
    let series = lines(&page, "mizan_credits_charged_total{");
    assert_eq!(series.len(), 1_001);
    assert!(series.contains(&"mizan_credits_charged_total{model=\"other\"} 100"));
    assert!(series.contains(&"mizan_credits_charged_total{model=\"0\"} 2"));
}

/// What a process with this environment, and no other, writes to its standard error.
fn logs(environment: &[(&str, &str)]) -> String {
    let (_, test) = module_path!().split_once("::").expect("a module of the test program");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([&format!("{test}::writes_logs"), "--exact", "--nocapture"])
        .env_clear()
        .env("TEST_WRITES_LOGS", "1")
        .envs(environment.iter().copied())
        .output()
        .expect("this program runs");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// The other half of [`logs`]; by itself it sets nothing up, because that lasts for the process.
#[test]
fn writes_logs() {
    if std::env::var_os("TEST_WRITES_LOGS").is_none() {
        return;
    }
    match telemetry::init_logs("info") {
        Ok(()) => {
            tracing::info!(model = "m", "loaded");
            tracing::debug!("details");
        }
        Err(error) => eprint!("{error}"),
    }
}

#[test]
fn logs_are_at_the_level_and_in_the_form_that_was_asked_for() {
    let text = logs(&[]);
    assert!(text.ends_with(" INFO loaded model=\"m\"\n"), "{text}");
    assert!(logs(&[("MIZAN_LOG", "debug")]).ends_with("DEBUG details\n"));
    assert_eq!(logs(&[("MIZAN_LOG", "warn")]), "");

    let line = logs(&[("MIZAN_LOG_FORMAT", "json")]);
    let object: serde_json::Value = serde_json::from_str(&line).expect("one object");
    assert_eq!((&object["message"], &object["model"]), (&"loaded".into(), &"m".into()));
    assert_eq!(object["level"], "INFO");

    assert_eq!(
        logs(&[("MIZAN_LOG", "mizan=loud")]),
        "MIZAN_LOG=mizan=loud: write a level (error, warn, info, debug, trace) or module=level,.."
    );
    assert_eq!(logs(&[("MIZAN_LOG_FORMAT", "xml")]), "MIZAN_LOG_FORMAT=xml: write text or json");
}
