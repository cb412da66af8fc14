//! `mizan ledger backup` and `mizan ledger restore`.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cli::first_start::make_data_dir;
use crate::config::StoreFlags;
use crate::ledger::{self, ChainHead, Clock, Replaced, Restore, SystemClock};

use super::{books, load_config, print_report, thousands};

/// Reads only, so it also runs beside a server that serves.
pub(super) fn backup(store: StoreFlags, file: &Path) -> Result<()> {
    let made = ledger::backup(&books(store)?, file)?;
    print_report(&made.report);
    println!("backup        {} ({} bytes)", file.display(), thousands(made.bytes as i64));
    if let Some(keys) = &made.keys {
        println!("server keys   {}; keep both, and both secret", keys.display());
    }
    print_head(made.head);
    println!("the backup is right");
    Ok(())
}

pub(super) fn restore(store: StoreFlags, file: &Path, yes: bool) -> Result<()> {
    let config = load_config(store)?;
    make_data_dir(&config.data_dir)?;
    let restore = Restore::prepare(&config.ledger_path(), file)?;
    print_report(&restore.report);
    print_head(restore.head);
    println!("{}", told(&restore.replaces));
    ensure!(
        yes || !restore.replaces.is_loss(),
        "nothing was changed: to restore all the same, add --yes; the present books are then kept \
         under another name"
    );
    let restored = restore.carry_out(SystemClock.now_ms())?;
    if let Some(kept) = &restored.kept {
        println!("the books that were there are kept as {}", kept.display());
    }
    if let Some(kept) = &restored.kept_keys {
        println!("the server's keys that were there are kept as {}", kept.display());
    }
    if !restored.has_keys {
        println!("the backup has no server keys with it: those in the data folder stay");
    }
    println!("the backup is restored");
    Ok(())
}

fn print_head(head: ChainHead) {
    let hash: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("chain head    transfer {}, hash {hash}", head.seq);
}

fn told(replaced: &Replaced) -> String {
    match replaced {
        Replaced::Nothing => "there are no books yet".to_owned(),
        Replaced::Same { transfers: 0, operations: 0 } => {
            "the books have nothing that the backup has not".to_owned()
        }
        Replaced::Same { transfers, operations } => format!(
            "the books are newer: {} transfers and {} of the operators' actions are not in the \
             backup",
            thousands(*transfers),
            thousands(*operations)
        ),
        Replaced::Other { transfers } => format!(
            "these are other books: the backup is not the beginning of their {} transfers",
            thousands(*transfers)
        ),
        Replaced::Unreadable(why) => {
            format!("the books can not be read, so what the backup lacks is unknown: {why}")
        }
    }
}
