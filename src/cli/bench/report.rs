//! Measured rounds: printed as they come, then their medians and spread, and as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The figures of one workload.
pub(super) struct Series {
    /// Its key in the JSON.
    key: &'static str,
    /// What was measured.
    label: String,
    unit: Unit,
    figures: Vec<f64>,
}

enum Unit {
    /// Of so many tokens a round.
    TokensPerSecond(usize),
    Seconds,
}

impl Series {
    /// Tokens a second, of rounds of `tokens` tokens.
    pub(super) fn rates(key: &'static str, label: String, tokens: usize) -> Self {
        Self { key, label, unit: Unit::TokensPerSecond(tokens), figures: Vec::new() }
    }

    /// How long a round takes.
    pub(super) fn seconds(key: &'static str, label: String) -> Self {
        Self { key, label, unit: Unit::Seconds, figures: Vec::new() }
    }

    fn push(&mut self, time: Duration) {
        self.figures.push(match self.unit {
            Unit::TokensPerSecond(tokens) => tokens as f64 / time.as_secs_f64(),
            Unit::Seconds => time.as_secs_f64(),
        });
    }

    fn unit(&self) -> &'static str {
        match self.unit {
            Unit::TokensPerSecond(_) => "tokens/s",
            Unit::Seconds => "s",
        }
    }

    fn json(&self) -> Value {
        let (name, tokens) = match self.unit {
            Unit::TokensPerSecond(tokens) => ("tokens_per_second", Some(tokens)),
            Unit::Seconds => ("seconds", None),
        };
        json!({ "workload": self.label, "tokens": tokens, name: self.figures })
    }
}

/// All workloads of one model.
pub(super) struct Report {
    model: String,
    threads: usize,
    series: Vec<Series>,
}

impl Report {
    pub(super) fn new(model: String, threads: usize) -> Self {
        println!("{:14}{:28}{:>10}{:>10}{:>10}", "", "", "median", "least", "most");
        Self { model, threads, series: Vec::new() }
    }

    /// Measures `rounds` rounds, after one that only warms up, and prints what came of it.
    pub(super) fn add(
        &mut self,
        mut series: Series,
        rounds: usize,
        mut round: impl FnMut() -> Result<Duration>,
    ) -> Result<()> {
        for number in 0..=rounds {
            let time = round()?;
            if number > 0 {
                series.push(time);
            }
        }
        let mut sorted = series.figures.clone();
        let figures = [median(&mut sorted), sorted[0], sorted[rounds - 1]];
        let figures = figures.map(|figure| match series.unit {
            Unit::TokensPerSecond(_) => format!("{figure:10.1}"),
            Unit::Seconds => format!("{figure:10.4}"),
        });
        println!("{:14}{:28}{} {}", series.key, series.label, figures.concat(), series.unit());
        self.series.push(series);
        Ok(())
    }

    /// Writes the JSON, if it is wanted.
    pub(super) fn finish(self, path: Option<&Path>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        let mut figures = json!({ "model": self.model, "threads": self.threads });
        for series in &self.series {
            figures[series.key] = series.json();
        }
        std::fs::write(path, format!("{figures:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Of at least one value; sorts them.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Where the median of what `values` are a sample of lies, 19 times out of 20; they are sorted.
/// From their order alone, so it holds whatever they are spread like. `None` of fewer than 6.
pub(super) fn median_between(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len();
    // How likely it is that so few of them are below the median: that a coin falls so.
    let mut exactly = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut below = exactly;
    let mut rank = 0;
    while below <= 0.025 {
        rank += 1;
        exactly *= (count + 1 - rank) as f64 / rank as f64;
        below += exactly;
    }
    Some((*values.get(rank.checked_sub(1)?)?, *values.get(count - rank)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_two_of_the_values() {
        let values = |count: u32| (1..=count).map(f64::from).collect::<Vec<f64>>();
        // The ranks are those of the sign test's table.
        let check = |count, between| assert_eq!(median_between(&values(count)), between, "{count}");
        check(0, None);
        check(5, None);
        check(6, Some((1.0, 6.0)));
        check(9, Some((2.0, 8.0)));
        check(24, Some((7.0, 18.0)));
        check(100, Some((40.0, 61.0)));
    }

    #[test]
    fn median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_round_is_told_in_the_unit_of_its_series() {
        let mut rates = Series::rates("a", "b".to_owned(), 10);
        rates.push(Duration::from_secs(4));
        assert_eq!(rates.json()["tokens_per_second"], json!([2.5]));
        let mut seconds = Series::seconds("a", "b".to_owned());
        seconds.push(Duration::from_secs(4));
        assert_eq!(seconds.json()["seconds"], json!([4.0]));
    }
}
