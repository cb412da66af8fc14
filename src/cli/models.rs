//! `mizan models`: what models.toml offers, and what of it is on this machine; what the running
//! server has in memory.

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::config::StoreFlags;
use crate::hub;

use super::client::Client;
use super::operator::socket_path;
use super::output::{OutputFlags, number, text};
use super::{load_config, runtime};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ModelsFlags {
    #[command(flatten)]
    store: StoreFlags,
    #[command(subcommand)]
    command: Option<ModelsCommand>,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Have the running server load a model
    Load {
        /// An id or alias of models.toml
        id: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
    /// Have the running server put a model out of memory that nobody uses
    Unload {
        /// An id or alias of models.toml
        id: String,
        #[command(flatten)]
        store: StoreFlags,
        #[command(flatten)]
        output: OutputFlags,
    },
}

pub(crate) fn run(flags: ModelsFlags) -> Result<()> {
    match flags.command {
        None => list(flags.store),
        Some(ModelsCommand::Load { id, store, output }) => {
            let model = tell(store, "load", &id)?;
            output.show(&model, |model| {
                let megabytes = number(model, "memory") / 1_000_000;
                println!("{} is loaded and takes {megabytes} MB", text(model, "id"));
            });
            Ok(())
        }
        Some(ModelsCommand::Unload { id, store, output }) => {
            let model = tell(store, "unload", &id)?;
            output.show(&model, |model| println!("{} is out of memory", text(model, "id")));
            Ok(())
        }
    }
}

fn list(store: StoreFlags) -> Result<()> {
    let config = load_config(store)?;
    println!("{:<34} {:<9} {:>13}  HERE", "MODEL", "TIER", "CREDITS/TOKEN");
    for id in &config.models {
        let entry = config.model(id).expect("every named model is in the catalog");
        let here = match hub::locate(entry, &config.models_dir()) {
            Ok(Some(files)) => format!("{:.0} MB, {}", files.bytes as f64 / 1e6, files.source),
            Ok(None) => format!("no: mizan pull {id}"),
            Err(error) => format!("unusable: {error}"),
        };
        let price = config.catalog.tier_of(entry).credits_per_output_token;
        println!("{id:<34} {:<9} {price:>13}  {here}", entry.tier);
    }
    Ok(())
}

/// Has the server do something with a model. Only one that runs will do: what is in memory ends
/// with the process that it is in.
fn tell(store: StoreFlags, what: &str, id: &str) -> Result<Value> {
    let config = load_config(store)?;
    let client = Client::new(&socket_path(&config));
    runtime()?.block_on(async {
        let data = config.data_dir.display();
        ensure!(client.is_up().await, "no server runs on {data}: start one with `mizan serve`");
        let path = format!("/api/v1/admin/models/{what}");
        let answer = client.json(Method::POST, &path, Some(&json!({ "model": id }))).await;
        answer.context("the server refused")
    })
}
