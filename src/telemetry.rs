//! What operators watch: logs on standard error, and a table of metrics in Prometheus' text form.
//!
//! Promises: counting takes atomics, and a short lock to find a series that is not held; a label
//! value that nobody foresaw can not grow the table without bound. Names start with `mizan_`;
//! those that dashboards for vLLM read are repeated under vLLM's names.
//! Never knows: HTTP, credits' meaning, text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::engine::Stats;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `MIZAN_LOG` is no filter.
    #[error("MIZAN_LOG={0}: write a level (error, warn, info, debug, trace) or module=level,..")]
    Filter(String),
    /// `MIZAN_LOG_FORMAT` is no format.
    #[error("MIZAN_LOG_FORMAT={0}: write text or json")]
    Format(String),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Twice,
}

/// Sends logs to standard error: at `default_level` or as `MIZAN_LOG` says, for people or, with
/// `MIZAN_LOG_FORMAT=json`, one JSON object a line.
pub fn init_logs(default_level: &str) -> Result<(), LogError> {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let filter = given("MIZAN_LOG").unwrap_or_else(|| default_level.to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|_| LogError::Filter(filter))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set_up = match given("MIZAN_LOG_FORMAT").as_deref() {
        None | Some("text") => {
            let is_terminal = std::io::stderr().is_terminal();
            logs.with_target(false).with_ansi(is_terminal).try_init()
        }
        Some("json") => logs.json().flatten_event(true).try_init(),
        Some(other) => return Err(LogError::Format(other.to_owned())),
    };
    set_up.map_err(|_| LogError::Twice)
}

/// Upper bounds of a histogram's buckets, in seconds; the last bucket has none.
const BUCKETS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0,
];

/// A family has no more series than this; what comes later is counted under the label `other`.
const MAX_SERIES: usize = 1_000;

/// The table of metrics. Label values come from closed sets: route patterns, model ids, statuses;
/// never from what a caller wrote.
#[derive(Debug)]
pub struct Metrics {
    /// Answers, by `route` and `status`.
    pub http_requests: Family<Counter>,
    /// Generations that ended, by `model` and `finish_reason`.
    pub generations: Family<Counter>,
    /// Credits charged, by `model`.
    pub credits_charged: Family<Counter>,
    /// Credits given back because an answer was not sent, by `model`.
    pub credits_reversed: Family<Counter>,
    /// From the request to the first released text, by `model`.
    pub time_to_first_token: Family<Histogram>,
    /// Between two tokens of one generation, by `model`.
    pub inter_token_latency: Family<Histogram>,
    /// From the request to the end of its answer, by `model`.
    pub request_duration: Family<Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        const MODEL: &[&str] = &["model"];
        Metrics {
            http_requests: Family::new(
                "mizan_http_requests_total",
                None,
                "Answered HTTP requests.",
                &["route", "status"],
            ),
            generations: Family::new(
                "mizan_generations_total",
                Some("vllm:request_success_total"),
                "Generations that ended, by how.",
                &["model", "finish_reason"],
            ),
            credits_charged: Family::new(
                "mizan_credits_charged_total",
                None,
                "Credits charged for output tokens.",
                MODEL,
            ),
            credits_reversed: Family::new(
                "mizan_credits_reversed_total",
                None,
                "Credits given back for answers that were not sent.",
                MODEL,
            ),
            time_to_first_token: Family::new(
                "mizan_time_to_first_token_seconds",
                Some("vllm:time_to_first_token_seconds"),
                "From the request to the first released text.",
                MODEL,
            ),
            inter_token_latency: Family::new(
                "mizan_inter_token_latency_seconds",
                Some("vllm:inter_token_latency_seconds"),
                "Between two tokens of one generation.",
                MODEL,
            ),
            request_duration: Family::new(
                "mizan_request_duration_seconds",
                Some("vllm:e2e_request_latency_seconds"),
                "From the request to the end of its answer.",
                MODEL,
            ),
        }
    }
}

impl Metrics {
    /// All metrics in Prometheus' text format, version 0.0.4, with the figures of `engines`, which
    /// are named by their models.
    pub fn render(&self, engines: &[(&str, Stats)]) -> String {
        let mut page = String::new();
        header(&mut page, "mizan_build_info", "gauge", "The running version.");
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        sample(&mut page, "mizan_build_info", &version, 1);
        self.http_requests.render(&mut page);
        self.generations.render(&mut page);
        self.credits_charged.render(&mut page);
        self.credits_reversed.render(&mut page);
        self.time_to_first_token.render(&mut page);
        self.inter_token_latency.render(&mut page);
        self.request_duration.render(&mut page);
        render_engines(&mut page, engines);
        page
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}

/// How durations are distributed over fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is above the last.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts one `duration`.
    pub fn observe(&self, duration: Duration) {
        let bucket = BUCKETS.partition_point(|bound| *bound < duration.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(duration.as_micros() as u64, Relaxed);
    }
}

/// Metrics of one name, told apart by labels.
#[derive(Debug)]
pub struct Family<M> {
    name: &'static str,
    vllm_name: Option<&'static str>,
    help: &'static str,
    labels: &'static [&'static str],
    series: Mutex<BTreeMap<Vec<String>, Arc<M>>>,
}

impl<M: Default> Family<M> {
    fn new(
        name: &'static str,
        vllm_name: Option<&'static str>,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Family { name, vllm_name, help, labels, series: Mutex::default() }
    }

    /// The series with these label values, in the order of the family's labels. Keep it where it
    /// is counted often.
    pub fn with(&self, values: &[&str]) -> Arc<M> {
        assert_eq!(values.len(), self.labels.len(), "{} has labels {:?}", self.name, self.labels);
        let key = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let mut key: Vec<String> = key(values);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            key.fill("other".to_owned());
        }
        Arc::clone(series.entry(key).or_default())
    }

    /// Each series with its labels, under both names.
    fn each(
        &self,
        page: &mut String,
        kind: &str,
        show: impl Fn(&mut String, &str, &Labels<'_>, &M),
    ) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for name in std::iter::once(self.name).chain(self.vllm_name) {
            let is_vllm = name != self.name;
            header(page, name, kind, self.help);
            for (values, metric) in &*series {
                let labels =
                    self.labels.iter().map(|label| if is_vllm { vllm(label) } else { label });
                let labels: Vec<_> = labels.zip(values.iter().map(String::as_str)).collect();
                show(page, name, &labels, metric);
            }
        }
    }
}

impl Family<Counter> {
    fn render(&self, page: &mut String) {
        self.each(page, "counter", |page, name, labels, counter| {
            sample(page, name, labels, counter.0.load(Relaxed));
        });
    }
}

impl Family<Histogram> {
    fn render(&self, page: &mut String) {
        self.each(page, "histogram", |page, name, labels, histogram| {
            let mut count = 0;
            for (index, bucket) in histogram.buckets.iter().enumerate() {
                count += bucket.load(Relaxed);
                let bound = BUCKETS.get(index).map_or("+Inf".to_owned(), f64::to_string);
                let labels = [labels.as_slice(), &[("le", bound.as_str())]].concat();
                sample(page, &format!("{name}_bucket"), &labels, count);
            }
            let seconds = histogram.sum_micros.load(Relaxed) as f64 / 1e6;
            sample(page, &format!("{name}_sum"), labels, seconds);
            sample(page, &format!("{name}_count"), labels, count);
        });
    }
}

/// The name that vLLM gives a label.
fn vllm(label: &str) -> &str {
    match label {
        "model" => "model_name",
        "finish_reason" => "finished_reason",
        other => other,
    }
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Appends a metric of one value to a page; `kind` is Prometheus' word.
pub fn figure(
    page: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    value: impl std::fmt::Display,
) {
    header(page, name, kind, help);
    sample(page, name, &[], value);
}

/// Appends a histogram to a page, from the count in each bucket: one for each bound, in
/// microseconds, and one for what is above the last.
pub fn histogram(
    page: &mut String,
    name: &str,
    help: &str,
    bounds: &[u64],
    counts: &[u64],
    sum: u64,
) {
    header(page, name, "histogram", help);
    let seconds = |micros: u64| micros as f64 / 1e6;
    let mut total = 0;
    for (index, count) in counts.iter().enumerate() {
        total += count;
        let bound = bounds.get(index).map_or("+Inf".to_owned(), |b| seconds(*b).to_string());
        sample(page, &format!("{name}_bucket"), &[("le", bound.as_str())], total);
    }
    sample(page, &format!("{name}_sum"), &[], seconds(sum));
    sample(page, &format!("{name}_count"), &[], total);
}

fn header(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(page: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    page.push_str(name);
    for (index, (label, text)) in labels.iter().enumerate() {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(page, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
    }
    let _ = writeln!(page, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

type Figure = (&'static str, Option<&'static str>, &'static str, &'static str, fn(&Stats) -> f64);

/// What engines count: our name, vLLM's, kind, meaning, value.
const FIGURES: [Figure; 15] = [
    (
        "mizan_sequences_waiting",
        Some("vllm:num_requests_waiting"),
        "gauge",
        "Sequences that wait for a place in the batch.",
        |stats| stats.waiting as f64,
    ),
    (
        "mizan_sequences_running",
        Some("vllm:num_requests_running"),
        "gauge",
        "Sequences in the batch.",
        |stats| stats.running as f64,
    ),
    ("mizan_sequences_paused", None, "gauge", "Sequences whose reader is behind.", |stats| {
        stats.paused as f64
    }),
    (
        "mizan_kv_usage_ratio",
        Some("vllm:kv_cache_usage_perc"),
        "gauge",
        "Part of the KV memory that sequences own, 0 to 1.",
        |stats| stats.blocks.owned as f64 / (stats.blocks.total.max(1)) as f64,
    ),
    (
        "mizan_kv_blocks_cached",
        None,
        "gauge",
        "Blocks that hold computed prefixes and belong to no sequence.",
        |stats| stats.blocks.cached as f64,
    ),
    ("mizan_kv_blocks", None, "gauge", "Blocks of KV memory.", |stats| stats.blocks.total as f64),
    ("mizan_steps_total", None, "counter", "Batches computed.", |stats| stats.steps as f64),
    ("mizan_failed_steps_total", None, "counter", "Batches on which the model failed.", |stats| {
        stats.failed_steps as f64
    }),
    (
        "mizan_prompt_tokens_total",
        Some("vllm:prompt_tokens_total"),
        "counter",
        "Prompt tokens admitted.",
        |stats| stats.prompt_tokens as f64,
    ),
    (
        "mizan_prompt_tokens_cached_total",
        Some("vllm:prefix_cache_hits_total"),
        "counter",
        "Prompt tokens that the prefix cache had.",
        |stats| stats.cached_tokens as f64,
    ),
    (
        "mizan_generation_tokens_total",
        Some("vllm:generation_tokens_total"),
        "counter",
        "Tokens generated.",
        |stats| stats.generated_tokens as f64,
    ),
    (
        "mizan_draft_tokens_total",
        Some("vllm:spec_decode_num_draft_tokens_total"),
        "counter",
        "Tokens computed ahead on a guess.",
        |stats| stats.drafted_tokens as f64,
    ),
    (
        "mizan_draft_tokens_accepted_total",
        Some("vllm:spec_decode_num_accepted_tokens_total"),
        "counter",
        "Tokens computed ahead on a guess that was right.",
        |stats| stats.accepted_tokens as f64,
    ),
    (
        "mizan_preemptions_total",
        Some("vllm:num_preemptions_total"),
        "counter",
        "Times that a sequence gave its blocks up for another.",
        |stats| stats.preemptions as f64,
    ),
    (
        "mizan_pauses_total",
        None,
        "counter",
        "Times that a sequence gave its blocks up because its reader was behind.",
        |stats| stats.pauses as f64,
    ),
];

fn render_engines(page: &mut String, engines: &[(&str, Stats)]) {
    for (ours, vllms, kind, help, value) in FIGURES {
        for name in std::iter::once(ours).chain(vllms) {
            let label = if name == ours { "model" } else { vllm("model") };
            header(page, name, kind, help);
            for (model, stats) in engines {
                sample(page, name, &[(label, model)], value(stats));
            }
        }
    }
}
