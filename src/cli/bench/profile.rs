//! `--profile`: where the time of a token goes, step by step of the forward pass.

use std::time::Duration;

use anyhow::Result;

use super::forward::Forward;
use crate::model::Decoder;
use crate::model::executor::StepTimes;

/// Runs `rounds` prefills and decodes, after one of each that only warms up, and prints what each
/// step took of them.
pub(super) fn print(decoder: Decoder, prompt: usize, tokens: usize, rounds: usize) -> Result<()> {
    let (decoder, times) = decoder.timed();
    let mut forward = Forward::new(decoder);
    let mut measure = |name: &str, count: usize, decodes: bool| -> Result<()> {
        for round in 0..=rounds {
            if decodes {
                forward.decode(count)?
            } else {
                forward.prefill(count)?
            };
            if round == 0 {
                times.take().for_each(drop);
            }
        }
        print_table(name, rounds * count, &times);
        Ok(())
    };
    measure(&format!("prefill of {prompt} tokens"), prompt, false)?;
    measure(&format!("decode of {tokens} tokens"), tokens, true)
}

fn print_table(name: &str, tokens: usize, times: &StepTimes) {
    let steps: Vec<_> = times.take().collect();
    let total: Duration = steps.iter().map(|(_, time)| time).sum();
    println!("{name:28}{:>12}{:>9}", "us a token", "share");
    for (step, time) in steps.iter().chain([&("all", total)]) {
        let micros = time.as_secs_f64() * 1e6 / tokens as f64;
        let share = 100.0 * time.as_secs_f64() / total.as_secs_f64();
        println!("  {step:26}{micros:12.1}{share:8.1}%");
    }
}
