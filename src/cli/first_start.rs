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
use crate::ledger::{AccountId, Credits, Ledger, fresh_secret};

/// The account that a newcomer's first requests are charged to.
pub(crate) const DEMO_ACCOUNT: &str = "demo";

pub(crate) const DEMO_CREDITS: Credits = Credits(5_000);

/// What the audit names as the actor of all that happens here.
const ACTOR: &str = "first start";

/// The label of the demo account's key.
const FIRST_KEY: &str = "first key";

/// The operator's key to compare with (the given one, the stored one, or a new one), and the secret
/// of a new one.
pub(crate) fn operator_key(config: &Config) -> Result<(OperatorKey, Option<String>)> {
    if let Some(given) = &config.admin_key {
        return Ok((OperatorKey::of(given.expose()), None));
    }
    let path = config.data_dir.join("operator.sha256");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let key = text.trim().parse().with_context(|| {
                let path = path.display();
                format!("{path} is damaged: remove it, and the next start makes a new key")
            })?;
            Ok((key, None))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = fresh_secret();
            let key = OperatorKey::of(&secret);
            write_private(&path, &format!("{key}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok((key, Some(secret)))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Makes the demo account if the books have no account yet, and gives it its credits if an earlier
/// start was cut off before. `None`: the operator has no open account of that name.
pub(crate) fn demo_account(ledger: &Ledger) -> Result<Option<AccountId>> {
    let accounts = ledger.accounts()?;
    let account = match accounts.iter().find(|account| account.name == DEMO_ACCOUNT) {
        Some(account) if account.closed_ms.is_none() => account.id,
        None if accounts.is_empty() => {
            ledger.create_account(DEMO_ACCOUNT, DEFAULT_PLAN, ACTOR).wait()?
        }
        Some(_) | None => return Ok(None),
    };
    let reason = "to try the server with";
    ledger.grant_once("demo credits", account, DEMO_CREDITS, reason, ACTOR).wait()?;
    Ok(Some(account))
}

/// Makes the demo account's key, unless it has been made before. Returns its secret.
pub(crate) fn demo_key(ledger: &Ledger, account: AccountId) -> Result<Option<String>> {
    if ledger.keys(account)?.iter().any(|key| key.label == FIRST_KEY) {
        return Ok(None);
    }
    Ok(Some(ledger.create_key(account, FIRST_KEY, None, ACTOR).wait()?.secret))
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
pub(super) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
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
