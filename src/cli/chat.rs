//! `mizan chat`: a conversation in the terminal, with what it costs.
//!
//! The conversation goes through the same API as everybody's, is charged to an account like
//! everybody's, and uses a key that is made for it and revoked at its end.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::config::{Config, ServeFlags, StoreFlags};

use super::client::Client;
use super::first_start::{self, DEMO_ACCOUNT};
use super::operator::Operator;
use super::{default_model, pull, runtime, thousands};

#[derive(Debug, Args)]
pub(crate) struct ChatFlags {
    /// A model of models.toml [default: its first]
    #[arg(value_name = "ID")]
    model: Option<String>,
    /// The account that pays
    #[arg(long, default_value = DEMO_ACCOUNT)]
    account: String,
    /// Ask this one thing and leave; otherwise questions are read from the terminal
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    #[command(flatten)]
    store: StoreFlags,
}

pub(crate) fn run(flags: ChatFlags) -> Result<()> {
    let config = Config::load(ServeFlags::from(flags.store.clone()))?;
    let entry = match &flags.model {
        Some(name) => config.model(name).with_context(|| {
            format!("there is no model {name:?}: `mizan models` lists what there is")
        })?,
        None => default_model(&config),
    };
    pull::fetch(entry, &config)?;
    let model = entry.id.clone();
    runtime()?.block_on(async {
        let config = std::sync::Arc::new(config);
        let operator = Operator::connect(&config).await?;
        if let Some(ledger) = operator.own_ledger() {
            // A newcomer's first command may be this one: the demo account comes with it.
            tokio::task::spawn_blocking(move || first_start::demo_account(&ledger)).await??;
            operator.load_own(&model).await?;
        }
        let talked = talk(&operator.client, &model, &flags).await;
        operator.finish().await;
        talked
    })
}

async fn talk(client: &Client, model: &str, flags: &ChatFlags) -> Result<()> {
    let keys = format!("/api/v1/admin/accounts/{}/keys", super::books::segment(&flags.account));
    let key = client.json(Method::POST, &keys, Some(&json!({ "label": "mizan chat" }))).await?;
    let secret = key["secret"].as_str().context("the server made no key")?;
    let mut conversation = Conversation {
        client: client.with_key(secret),
        model: model.to_owned(),
        max_tokens: flags.max_tokens,
        messages: Vec::new(),
    };
    let talked = conversation.run(flags.message.as_deref()).await;
    let key = format!("/api/v1/admin/keys/{}", key["id"]);
    client.json(Method::DELETE, &key, None).await?;
    talked
}

struct Conversation {
    client: Client,
    model: String,
    max_tokens: Option<u32>,
    messages: Vec<Value>,
}

impl Conversation {
    async fn run(&mut self, message: Option<&str>) -> Result<()> {
        if let Some(message) = message {
            return self.ask(message).await;
        }
        if !std::io::stdin().is_terminal() {
            let mut message = String::new();
            std::io::stdin().read_to_string(&mut message)?;
            return self.ask(message.trim_end()).await;
        }
        eprintln!("{}; an empty line or Control-D ends.", self.model);
        while let Some(message) = prompt()? {
            // A refusal, such as a context that is full, does not end the conversation.
            if let Err(error) = self.ask(&message).await {
                self.messages.pop();
                eprintln!("mizan: {error:#}");
            }
        }
        Ok(())
    }

    /// Sends the conversation with one more question, and shows the answer as it comes.
    async fn ask(&mut self, message: &str) -> Result<()> {
        if message.is_empty() {
            bail!("there is no message");
        }
        self.messages.push(json!({ "role": "user", "content": message }));
        let body = json!({
            "model": self.model,
            "messages": self.messages,
            "max_tokens": self.max_tokens,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let started = Instant::now();
        let mut first = None;
        let mut answer = String::new();
        let mut usage = Value::Null;
        let mut events = self.client.events("/v1/chat/completions", &body).await?;
        while let Some(event) = events.next().await? {
            if let Some(text) = event["choices"][0]["delta"]["content"].as_str() {
                first.get_or_insert_with(|| started.elapsed());
                print!("{text}");
                std::io::stdout().flush()?;
                answer.push_str(text);
            }
            if event["usage"].is_object() {
                usage = event["usage"].clone();
            }
        }
        println!();
        self.messages.push(json!({ "role": "assistant", "content": answer }));
        eprintln!("{}", summary(&usage, first.unwrap_or_default(), started.elapsed()));
        Ok(())
    }
}

fn prompt() -> Result<Option<String>> {
    eprint!("\n> ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

/// Tokens a second between the first token and the last, and what it cost.
fn summary(usage: &Value, first: Duration, total: Duration) -> String {
    let number = |field: &str| usage[field].as_i64().unwrap_or_default();
    let tokens = number("completion_tokens");
    let decode = (total - first.min(total)).as_secs_f64();
    let rate = if tokens > 1 && decode > 0.0 { (tokens - 1) as f64 / decode } else { 0.0 };
    let ended = if usage["credits_exhausted"] == true { "; the credits ran out" } else { "" };
    format!(
        "[{tokens} tokens, {rate:.1} tokens/s, first after {:.2} s; {} credits, {} left{ended}]",
        first.as_secs_f64(),
        thousands(number("credits")),
        thousands(number("balance")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_from_the_first_token() {
        let usage = json!({ "completion_tokens": 11, "credits": 22, "balance": 4978 });
        assert_eq!(
            summary(&usage, Duration::from_millis(500), Duration::from_millis(1500)),
            "[11 tokens, 10.0 tokens/s, first after 0.50 s; 22 credits, 4,978 left]"
        );
        let nothing = json!({ "completion_tokens": 0, "credits_exhausted": true });
        assert_eq!(
            summary(&nothing, Duration::ZERO, Duration::ZERO),
            "[0 tokens, 0.0 tokens/s, first after 0.00 s; 0 credits, 0 left; the credits ran out]"
        );
    }
}
