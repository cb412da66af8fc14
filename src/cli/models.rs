//! `mizan models`: what models.toml offers, and what of it is on this machine.

use anyhow::Result;

use crate::config::StoreFlags;
use crate::hub;

use super::load_config;

pub(crate) fn run(store: StoreFlags) -> Result<()> {
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
