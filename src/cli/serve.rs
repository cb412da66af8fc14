//! `mizan serve`: from nothing to a server that answers, in one command.
//!
//! In order: the port is taken, the default model is fetched if it is not here, the books are
//! opened, what a newcomer needs is printed once, and the model is loaded.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::{self, AppState, NOTICE_TIMEOUT};
use crate::billing::Poller;
use crate::billing::notices::{Outbound, Sender};
use crate::config::{Config, ServeFlags};
use crate::ledger::{Clock, SystemClock};
use crate::registry::Registry;
use crate::responses::Sweep;

use super::{default_model, first_start, operator, pull, runtime, thousands};

/// When the books are first checked: a start has enough to do.
const FIRST_CHECK: Duration = Duration::from_secs(60);

pub(crate) fn run(flags: ServeFlags) -> Result<()> {
    let config = Arc::new(Config::load(flags)?);
    runtime()?.block_on(serve(config))
}

async fn serve(config: Arc<Config>) -> Result<()> {
    let listener = TcpListener::bind((config.host.as_str(), config.port))
        .await
        .with_context(|| format!("cannot listen on {}:{}", config.host, config.port))?;
    let local = listener.local_addr()?;
    let address = format!("http://{local}");

    first_start::make_data_dir(&config.data_dir)?;
    let entry = default_model(&config).clone();
    let to_fetch = (entry.clone(), Arc::clone(&config));
    tokio::task::spawn_blocking(move || pull::fetch(&to_fetch.0, &to_fetch.1)).await??;

    // From here on commands find this server: the books are opened just before its control socket.
    let ledger = operator::open_ledger(&config)?;
    let (operator_key, new_key) = first_start::operator_key(&config)?;
    let mut keys_to_sign_in_with = Vec::new();
    if let Some(key) = new_key {
        keys_to_sign_in_with.push("the operator's key to run the place");
        println!("\nThe operator's key, shown once; keep it:\n\n  operator's key  {key}");
    }
    let books = ledger.clone();
    let demo_key = tokio::task::spawn_blocking(move || -> Result<Option<String>> {
        match first_start::demo_account(&books)? {
            Some(account) => first_start::demo_key(&books, account),
            None => Ok(None),
        }
    })
    .await??;
    if let Some(key) = demo_key {
        keys_to_sign_in_with.push("the demo account's to see what a customer sees");
        print_demo_key(&key, &entry.id, &address);
    }

    let dashboard = config
        .public_url
        .clone()
        .unwrap_or_else(|| api::local_address(&local.ip().to_string(), local.port()));
    println!("The dashboard is at {dashboard}/");
    if !keys_to_sign_in_with.is_empty() {
        println!("Sign in there with {}.\n", keys_to_sign_in_with.join(", or with "));
    }

    let registry = Arc::new(Registry::new(Arc::clone(&config)));
    registry.get(&entry.id).await?;
    let state = AppState::new(Arc::clone(&config), registry, ledger.clone(), Arc::new(SystemClock))
        .with_operator_key(operator_key);

    let responses = operator::open_responses(&config)?;
    let sweep = match &responses {
        Some(responses) => Some(Sweep::start(responses.clone(), || SystemClock.now_ms())?),
        None => None,
    };
    let state = state.with_responses(responses);

    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        stop.send_replace(true);
        stop_signal().await;
        eprintln!("mizan: stopped at once; the books are whole");
        std::process::exit(130);
    });
    let control = match operator::bind(&operator::socket_path(&config)) {
        Ok(listener) => {
            let state = state.clone();
            let until = until(stopped.clone());
            Some(tokio::spawn(async move { api::serve_control(listener, state, until).await }))
        }
        Err(error) => {
            tracing::warn!("commands cannot reach this server: {error:#}");
            None
        }
    };
    let watch = match config.verify_every {
        Some(every) => Some(ledger.watch(FIRST_CHECK.min(every), every)?),
        None => None,
    };
    let poller = Poller::start(state.billing.clone(), || SystemClock.now_ms())?;
    let outbound = Outbound::new(config.notice_networks, local.port(), NOTICE_TIMEOUT);
    let clock = Arc::clone(&state.clock);
    let notices = Sender::new(ledger.clone(), clock, outbound, state.notice_counts()).start()?;
    println!("Serving {} on {address}", entry.id);
    std::io::stdout().flush()?;
    api::serve(listener, state, until(stopped)).await;
    if let Some(control) = control {
        control.await?;
    }
    tokio::task::spawn_blocking(move || {
        drop(poller);
        drop(sweep);
        drop(watch);
        drop(notices);
        ledger.shutdown();
    })
    .await?;
    Ok(())
}

/// Resolves when the server was told to stop.
async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that nobody can tell us any more, which is a reason to stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Control-C, or the signal by which service managers stop a service.
async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM is not handled");
                let _ = interrupt.await;
            }
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
}

/// Shows the demo account's key, the only time that anybody sees it, and what to do with it.
fn print_demo_key(key: &str, model: &str, address: &str) {
    let credits = thousands(first_start::DEMO_CREDITS.0);
    println!("\nA demo account with {credits} credits; its key is shown once:\n");
    println!("  demo account    {key}");
    println!("\nTry it:\n");
    println!("  curl {address}/v1/chat/completions \\");
    println!("    -H 'Authorization: Bearer {key}' \\");
    println!("    -H 'Content-Type: application/json' \\");
    println!(
        "    -d '{{\"model\": \"{model}\", \"messages\": \
         [{{\"role\": \"user\", \"content\": \"What is the capital of Kuwait?\"}}]}}'\n"
    );
}
