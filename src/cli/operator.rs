//! The way of the commands that write to the books: through the control socket of the server that
//! runs on the data folder, or of one started for this command alone.
//!
//! Promises: one path for both, so that a command does the same whether or not a server runs; only
//! the data folder's owner can open the socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{self, AppState};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError, LedgerOptions, SystemClock};
use crate::registry::Registry;
use crate::responses::{Responses, StoreError, discard};

use super::client::Client;
use super::first_start::make_data_dir;

/// The longest path that a socket can be bound to, less one for the end (unix(7): `sun_path`).
const MAX_SOCKET_PATH: usize = 107;

/// How often, and how far apart, books that another process holds are tried: five seconds in all.
const MAX_TRIES: usize = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// A server that can be told to do things.
pub(crate) struct Operator {
    pub(crate) client: Client,
    private: Option<PrivateServer>,
}

/// A server of this command's own, without a port.
struct PrivateServer {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    ledger: Ledger,
    registry: Arc<Registry>,
}

impl Operator {
    /// Connects to the server on `config`'s data folder, or opens the books here.
    pub(crate) async fn connect(config: &Arc<Config>) -> Result<Self> {
        let socket = socket_path(config);
        let client = Client::new(&socket);
        make_data_dir(&config.data_dir)?;
        let mut tries = 0;
        let ledger = loop {
            if client.is_up().await {
                return Ok(Self { client, private: None });
            }
            match open_ledger(config) {
                // A server that starts, or another command that is about to end.
                Err(LedgerError::Locked(_)) if tries < MAX_TRIES => tries += 1,
                opened => break opened?,
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        };
        let registry = Arc::new(Registry::new(Arc::clone(config)));
        let state = AppState::new(
            Arc::clone(config),
            Arc::clone(&registry),
            ledger.clone(),
            Arc::new(SystemClock),
        )
        .with_responses(open_responses(config)?);
        let listener = bind(&socket)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let until = async {
                let _ = stopped.await;
            };
            api::serve_control(listener, state, until).await;
        });
        Ok(Self { client, private: Some(PrivateServer { stop, serving, ledger, registry }) })
    }

    /// The books, if this command opened them itself.
    pub(crate) fn own_ledger(&self) -> Option<Ledger> {
        self.private.as_ref().map(|private| private.ledger.clone())
    }

    /// Loads a model into this command's own server, however long that takes.
    pub(crate) async fn load_own(&self, model: &str) -> Result<()> {
        if let Some(private) = &self.private {
            private.registry.get(model).await?;
        }
        Ok(())
    }

    /// Ends what this command started. Not needed for the books: they are whole at any time.
    pub(crate) async fn finish(self) {
        let Some(private) = self.private else { return };
        // The receiver is gone only if serving has ended already.
        let _ = private.stop.send(());
        let _ = private.serving.await;
        private.ledger.shutdown();
    }
}

/// Opens the books of a data folder for writing; one process at a time can.
pub(crate) fn open_ledger(config: &Config) -> Result<Ledger, LedgerError> {
    let options =
        LedgerOptions { retain_ids: Some(config.retain_output), ..LedgerOptions::default() };
    Ledger::open(&config.ledger_path(), options)
}

/// Opens the responses of a data folder. Only who holds its books may.
pub(crate) fn open_responses(config: &Config) -> Result<Option<Responses>, StoreError> {
    let path = config.responses_path();
    match config.retain_responses {
        Some(retain) => Responses::open(&path, retain).map(Some),
        // What was kept while something was is to go, too.
        None => discard(&path).map(|()| None),
    }
}

/// Where the server of a data folder is reached on its own machine.
pub(crate) fn socket_path(config: &Config) -> PathBuf {
    config.data_dir.join("control.sock")
}

/// Binds the control socket. The caller holds the books' lock, so a socket that is left there is
/// nobody's.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    ensure!(
        path.as_os_str().len() <= MAX_SOCKET_PATH,
        "the path of the control socket is longer than {MAX_SOCKET_PATH} bytes: choose a shorter \
         data folder than {}",
        path.parent().unwrap_or(path).display()
    );
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // The folder is its owner's alone; this also holds where the folder was made by others.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}
