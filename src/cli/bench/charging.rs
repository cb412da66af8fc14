//! `mizan bench charging`: what charging takes away from decoding, on this machine and its disk.
//!
//! A round runs the same requests three times: without a ledger, with one, whose commits each token
//! waits for, and without again. A machine that grows slower or faster so does it to both; and the
//! two runs without say how far apart two runs are that do not differ. At the end the books prove
//! what was charged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::generations::{Generations, Payer, Run};
use super::report::{median, median_between};
use super::temporary::Temporary;
use super::thread_times::of_threads_named;
use crate::cli::{load_model_config, runtime, thousands};
use crate::config::{Device, StoreFlags};
use crate::ledger::{Ledger, LedgerOptions, LedgerStats};
use crate::registry::Registry;

#[derive(Debug, Args)]
pub(crate) struct ChargingFlags {
    /// A model of models.toml, or the path of a model file
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Streams that run at once
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// Tokens of each stream's prompt
    #[arg(long, default_value_t = 128)]
    prompt: usize,
    /// Tokens of each stream's answer
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Measured rounds, after one that only warms up
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Threads that compute [default: the CPUs this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// Where the model runs [default: as in the settings]
    #[arg(long)]
    device: Option<Device>,
    /// Folder for the books, whose disk is measured [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    store: StoreFlags,
}

/// After each run; longer than the writer waits before it copies the WAL into the database:
/// otherwise the run without a ledger would pay for that. What a charge costs with it shows in runs
/// long enough to have their own.
const REST: Duration = Duration::from_millis(400);

/// What one run came to.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    tokens_per_second: f64,
    /// Between two deliveries of a stream, in milliseconds.
    gap_p50: f64,
    gap_p99: f64,
}

/// What a round's ledger did.
#[derive(Debug, Clone, PartialEq)]
struct Charging {
    charges_per_second: f64,
    /// How long text waits for its charge, in milliseconds.
    wait_p50: f64,
    wait_p99: f64,
    commands_per_commit: f64,
    commit_millis: f64,
    /// Processor time of a charge, in microseconds; 0 where the system does not tell.
    cpu: Cpu<f64>,
}

/// Where charging uses the processor.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cpu<T> {
    ledger: T,
    /// The tasks that wait for charges, with all else they do.
    runtime: T,
}

/// A run, and what the processor did for it beside the engine.
struct Timed {
    run: Run,
    cpu: Cpu<Duration>,
}

/// The same requests three times.
#[derive(Debug, Clone, PartialEq)]
struct Round {
    /// Of both runs.
    without: Figures,
    /// Tokens a second of the second, for each of the first: how far chance alone goes.
    again: f64,
    with: Figures,
    charging: Charging,
}

pub(super) fn run(flags: &ChargingFlags) -> Result<()> {
    let counts = [flags.streams, flags.prompt, flags.rounds];
    ensure!(counts.into_iter().all(|count| count > 0), "all counts start at 1");
    ensure!(flags.tokens > 1, "there is nothing between the tokens of an answer of one");
    let (mut config, entry) = load_model_config(flags.store.clone(), flags.model.clone())?;
    config.threads = flags.threads.unwrap_or(config.threads);
    config.device = flags.device.unwrap_or(config.device);
    config.queue = config.queue.max(flags.streams);
    config.max_batch = config.max_batch.max(Some(flags.streams));
    let threads = config.threads;
    // Dropped last, after the books in it.
    let folder = Temporary::create(flags.folder.as_deref(), "charging")?;
    let rounds = runtime()?.block_on(async {
        let registry = Registry::new(Arc::new(config));
        let model = Arc::new(registry).get(&entry.id).await?;
        let requests = Generations::new(model, flags.streams, flags.prompt, flags.tokens)?;
        let ledger = Ledger::open(&folder.path().join("ledger.db"), LedgerOptions::default())?;
        measure(&requests, &ledger, flags.rounds).await
    })?;
    println!(
        "{}, {threads} threads, {} streams of {} tokens, {} rounds",
        entry.id, flags.streams, flags.tokens, flags.rounds
    );
    print(&rounds);
    if let Some(path) = &flags.json {
        let rounds: Vec<Value> = rounds.iter().map(Round::json).collect();
        let figures = json!({
            "model": entry.id,
            "threads": threads,
            "streams": flags.streams,
            "tokens": flags.tokens,
            "rounds": rounds,
        });
        std::fs::write(path, format!("{figures:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn measure(requests: &Generations, ledger: &Ledger, rounds: usize) -> Result<Vec<Round>> {
    let payer = Payer::create(ledger.clone()).await?;
    let mut measured = Vec::new();
    let mut charged = 0;
    for number in 0..=rounds {
        let first = timed(requests, None).await?;
        let before = ledger.stats();
        let with = timed(requests, Some(&payer)).await?;
        let did = since(before, ledger.stats());
        let second = timed(requests, None).await?;
        for without in [&first, &second] {
            let same = with.run.delivered == without.run.delivered;
            ensure!(same, "charging has changed an answer");
        }
        payer.check(&with.run)?;
        charged += with.run.tokens();
        if number > 0 {
            measured.push(Round::new([&first, &second], &with, did));
        }
    }
    let report = ledger.verify()?;
    ensure!(report.is_ok(), "the books do not hold: {report:?}");
    println!("{} tokens delivered, charged and stored; the books hold", thousands(charged as i64));
    Ok(measured)
}

/// One run, and a rest.
async fn timed(requests: &Generations, payer: Option<&Payer>) -> Result<Timed> {
    let before = Cpu::now();
    let run = requests.run(payer).await?;
    let cpu = Cpu::now().since(before);
    tokio::time::sleep(REST).await;
    Ok(Timed { run, cpu })
}

/// What the ledger did between the two.
fn since(before: LedgerStats, mut did: LedgerStats) -> LedgerStats {
    did.commits -= before.commits;
    did.commands -= before.commands;
    did.commit_times.sum_micros -= before.commit_times.sum_micros;
    did
}

impl Cpu<Duration> {
    fn now() -> Self {
        let [ledger, runtime] =
            ["ledger", "tokio-rt-worker"].map(|name| of_threads_named(name).unwrap_or_default());
        Self { ledger, runtime }
    }

    fn since(self, before: Self) -> Self {
        Self {
            ledger: self.ledger.saturating_sub(before.ledger),
            runtime: self.runtime.saturating_sub(before.runtime),
        }
    }
}

impl Figures {
    fn new(run: &Run) -> Self {
        Self {
            tokens_per_second: run.tokens() as f64 / run.elapsed.as_secs_f64(),
            gap_p50: millis(&run.gaps, 50),
            gap_p99: millis(&run.gaps, 99),
        }
    }

    /// Of two runs: their means.
    fn of_both(runs: [&Run; 2]) -> Self {
        let [one, other] = runs.map(Self::new);
        Self {
            // As many tokens in each, so the mean is that of the times.
            tokens_per_second: 2.0 / (1.0 / one.tokens_per_second + 1.0 / other.tokens_per_second),
            gap_p50: (one.gap_p50 + other.gap_p50) / 2.0,
            gap_p99: (one.gap_p99 + other.gap_p99) / 2.0,
        }
    }

    fn json(&self) -> Value {
        json!({
            "tokens_per_second": self.tokens_per_second,
            "between_tokens_millis": { "p50": self.gap_p50, "p99": self.gap_p99 },
        })
    }
}

impl Round {
    fn new(without: [&Timed; 2], with: &Timed, did: LedgerStats) -> Self {
        let runs = without.map(|without| &without.run);
        let Timed { run, cpu } = with;
        let [charges, commits] = [run.waits.len() as f64, did.commits.max(1) as f64];
        // What the runtime's tasks do without charges is not charging.
        let tasks = (without[0].cpu.runtime + without[1].cpu.runtime).as_secs_f64() / 2.0;
        Self {
            again: runs[0].elapsed.as_secs_f64() / runs[1].elapsed.as_secs_f64(),
            without: Figures::of_both(runs),
            with: Figures::new(run),
            charging: Charging {
                charges_per_second: charges / run.elapsed.as_secs_f64(),
                wait_p50: millis(&run.waits, 50),
                wait_p99: millis(&run.waits, 99),
                commands_per_commit: did.commands as f64 / commits,
                commit_millis: did.commit_times.sum_micros as f64 / 1e3 / commits,
                cpu: Cpu {
                    ledger: cpu.ledger.as_secs_f64() * 1e6 / charges.max(1.0),
                    runtime: (cpu.runtime.as_secs_f64() - tasks) * 1e6 / charges.max(1.0),
                },
            },
        }
    }

    /// Tokens a second with charges, for each without.
    fn ratio(&self) -> f64 {
        self.with.tokens_per_second / self.without.tokens_per_second
    }

    fn json(&self) -> Value {
        let Charging { charges_per_second, wait_p50, wait_p99, .. } = self.charging;
        json!({
            "without": self.without.json(),
            "with": self.with.json(),
            "ratio": self.ratio(),
            "charges_per_second": charges_per_second,
            "charge_millis": { "p50": wait_p50, "p99": wait_p99 },
            "commands_per_commit": self.charging.commands_per_commit,
            "commit_millis": self.charging.commit_millis,
            "ratio_of_two_without": self.again,
            "charge_cpu_micros": {
                "ledger": self.charging.cpu.ledger,
                "runtime": self.charging.cpu.runtime,
            },
        })
    }
}

fn print(rounds: &[Round]) {
    println!("{:18}{:>12}{:>24}{:>10}", "", "tokens/s", "between tokens, ms p50", "p99");
    let line = |name, of: fn(&Round) -> &Figures| {
        let rate = middle(rounds, |round| of(round).tokens_per_second);
        let [p50, p99] = [|figures: &Figures| figures.gap_p50, |figures: &Figures| figures.gap_p99]
            .map(|gap| middle(rounds, |round| gap(of(round))));
        println!("{name:18}{rate:>12.1}{p50:>24.2}{p99:>10.2}");
    };
    line("without charges", |round| &round.without);
    line("with charges", |round| &round.with);
    let longer =
        |gap: fn(&Figures) -> f64| middle(rounds, |round| gap(&round.with) - gap(&round.without));
    let (p50, p99) = (longer(|figures| figures.gap_p50), longer(|figures| figures.gap_p99));
    println!("{:30}{p50:>+24.2}{p99:>+10.2}", "difference");
    println!("tokens/s with charges: {}", change(rounds.iter().map(Round::ratio)));
    println!("a run without again:   {}", change(rounds.iter().map(|round| round.again)));
    let of = |figure: fn(&Charging) -> f64| middle(rounds, |round| figure(&round.charging));
    println!(
        "charges: {:.0} a second; {:.2} ms p50, {:.2} ms p99; \
         {:.1} commands in a commit of {:.2} ms",
        of(|charging| charging.charges_per_second),
        of(|charging| charging.wait_p50),
        of(|charging| charging.wait_p99),
        of(|charging| charging.commands_per_commit),
        of(|charging| charging.commit_millis),
    );
    println!(
        "CPU of a charge: {:.1} us of the ledger's thread, {:.1} us of the tasks'; in all {:.2}% \
         of one CPU",
        of(|charging| charging.cpu.ledger),
        of(|charging| charging.cpu.runtime),
        of(Charging::cpu_percent),
    );
}

impl Charging {
    /// Of one CPU, while tokens are charged as fast as they are made.
    fn cpu_percent(&self) -> f64 {
        self.charges_per_second * (self.cpu.ledger + self.cpu.runtime) / 1e4
    }
}

/// The median of `ratios`, as a change in percent: where it lies, and the single ones.
fn change(ratios: impl Iterator<Item = f64>) -> String {
    let mut percents: Vec<f64> = ratios.map(|ratio| (ratio - 1.0) * 100.0).collect();
    let middle = median(&mut percents);
    let between = median_between(&percents)
        .map_or_else(String::new, |(least, most)| format!(" (95%: {least:+.2}% to {most:+.2}%)"));
    let (least, most) = (percents[0], percents[percents.len() - 1]);
    format!("{middle:+.2}%{between}; single rounds {least:+.2}% to {most:+.2}%")
}

/// The median over the rounds.
fn middle(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    median(&mut rounds.iter().map(of).collect::<Vec<f64>>())
}

/// So many percent of `times`, which are sorted, take at most this many milliseconds; 0 of none.
fn millis(times: &[Duration], percent: usize) -> f64 {
    let index = times.len().saturating_sub(1) * percent / 100;
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(tokens_per_second: f64, gap_p50: f64) -> Figures {
        Figures { tokens_per_second, gap_p50, gap_p99: 2.0 * gap_p50 }
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=101).map(Duration::from_millis).collect();
        assert_eq!((millis(&times, 50), millis(&times, 99)), (51.0, 100.0));
        assert_eq!((millis(&times[..1], 99), millis(&[], 50)), (1.0, 0.0));
    }

    #[test]
    fn a_round_compares_its_two_runs_and_rounds_have_a_median() {
        let charging = Charging {
            charges_per_second: 1.0,
            wait_p50: 1.0,
            wait_p99: 1.0,
            commands_per_commit: 1.0,
            commit_millis: 1.0,
            cpu: Cpu { ledger: 30.0, runtime: 10.0 },
        };
        assert_eq!(charging.cpu_percent(), 0.004);
        let round = |with| Round {
            without: figures(100.0, 1.0),
            again: 1.0,
            with: figures(with, 1.5),
            charging: charging.clone(),
        };
        let rounds = [round(99.0), round(50.0), round(101.0)];
        assert_eq!(rounds[1].ratio(), 0.5);
        assert_eq!(middle(&rounds, |round| round.with.tokens_per_second), 99.0);
        assert_eq!(rounds[1].json()["ratio"], 0.5);
        let change = change(rounds.iter().map(Round::ratio));
        assert_eq!(change, "-1.00%; single rounds -50.00% to +1.00%");
    }
}
