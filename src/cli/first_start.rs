//! The first start: an operator's key, a demo account with credits, and its key, shown once.
//!
//! Promises: the operator's key is stored as its SHA-256 only; nothing is made twice.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::api::OperatorKey;
use crate::catalog::DEFAULT_PLAN;
use crate::config::Config;
use crate::ledger::{Credits, Ledger, fresh_secret};

/// The account that a newcomer's first requests are charged to.
pub(crate) const DEMO_ACCOUNT: &str = "demo";

pub(crate) const DEMO_CREDITS: Credits = Credits(5_000);

/// What the audit names as the actor of all that happens here.
const ACTOR: &str = "first start";

/// Secrets that were just made.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) operator_key: Option<String>,
    pub(crate) demo_key: Option<String>,
}

/// The operator's key to compare with: the given one, the stored one, or a new one.
pub(crate) fn operator_key(config: &Config, made: &mut Made) -> Result<OperatorKey> {
    if let Some(given) = &config.admin_key {
        return Ok(OperatorKey::of(given.expose()));
    }
    let path = config.data_dir.join("operator.sha256");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| {
            format!("{} is damaged: remove it, and the next start makes a new key", path.display())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = fresh_secret();
            let key = OperatorKey::of(&secret);
            write_private(&path, &format!("{key}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
            made.operator_key = Some(secret);
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Makes the demo account, its credits and its key, if the books have no account yet.
pub(crate) fn demo_account(ledger: &Ledger, made: &mut Made) -> Result<()> {
    if !ledger.accounts()?.is_empty() {
        return Ok(());
    }
    let account = ledger.create_account(DEMO_ACCOUNT, DEFAULT_PLAN, ACTOR).wait()?;
    ledger.grant(account, DEMO_CREDITS, "to try the server with", ACTOR).wait()?;
    let key = ledger.create_key(account, "first key", None, ACTOR).wait()?;
    made.demo_key = Some(key.secret);
    Ok(())
}

/// Makes a folder that only its owner can enter.
pub(crate) fn make_data_dir(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(partial, path)
}
