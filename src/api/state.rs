//! What every handler is given, and the few things they all do with it.
//! Promises: blocking reads and long text work never run on the threads that serve connections.
//! Never knows: routes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::address::local_address;
use super::dashboard::Tickets;
use super::error::ApiError;
use super::lifecycle::Lifecycle;
use super::limits::Limiter;
use super::operator::OperatorKey;
use super::passwords::Passwords;
use super::sign_ins::SignIns;
use super::tries::Tries;
use super::unsettled::Unsettled;
use crate::billing::Billing;
use crate::billing::notices::{NoticeCounts, Outbound};
use crate::config::Config;
use crate::ledger::{Clock, Ledger, LedgerError};
use crate::registry::{LoadedModel, Registry};
use crate::responses::Responses;
use crate::telemetry::Metrics;

/// How long a team's server may take for a notice.
pub const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// Text up to this length is rendered and tokenized where it is; a hop would take longer.
const SHORT_TEXT_BYTES: usize = 4 * 1024;

/// Calls to payment providers at a time. They may take seconds, and are few.
const MAX_PROVIDER_CALLS: usize = 8;

/// Everything the routes need; clones share it.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The settings.
    pub config: Arc<Config>,
    /// The models.
    pub registry: Arc<Registry>,
    /// The books.
    pub ledger: Ledger,
    /// The time, shared with the ledger.
    pub clock: Arc<dyn Clock>,
    /// The sales.
    pub billing: Billing,
    pub(super) metrics: Arc<Metrics>,
    /// Without one, nobody is the operator over HTTP.
    pub(super) operator_key: Option<OperatorKey>,
    /// Without one, responses are not kept.
    pub(super) responses: Option<Responses>,
    pub(super) lifecycle: Lifecycle,
    /// What accounts have used of their plans.
    pub(super) limiter: Limiter,
    pub(super) passwords: Passwords,
    pub(super) sign_ins: SignIns,
    /// Browsers that signed in with a key.
    pub(super) tickets: Tickets,
    /// Plain answers that may still be reversed.
    pub(super) unsettled: Unsettled,
    /// Where notices may be sent.
    pub(super) outbound: Arc<Outbound>,
    pub(super) notice_counts: Arc<NoticeCounts>,
    /// Unix seconds when this state was made; what `/v1/models` shows as `created`.
    pub(super) started_secs: i64,
    /// Bounds how many requests wait for a model that is not in memory.
    load_places: Arc<Semaphore>,
    /// Bounds how many long texts are tokenized at once.
    text_turns: Arc<Semaphore>,
    /// Bounds how many providers are asked at once.
    provider_turns: Arc<Semaphore>,
    /// Who tried which vouchers that are not there.
    pub(super) voucher_tries: Tries,
    /// Who ordered packs.
    pub(super) order_tries: Tries,
}

impl AppState {
    /// A server's state, taking requests.
    pub fn new(
        config: Arc<Config>,
        registry: Arc<Registry>,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let turns = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let local_url = local_address(&config.host, config.port);
        Self {
            billing: Billing::new(Arc::clone(&config), ledger.clone(), &local_url),
            outbound: Arc::new(Outbound::new(config.notice_networks, config.port, NOTICE_TIMEOUT)),
            notice_counts: Arc::default(),
            started_secs: clock.now_ms() / 1000,
            registry,
            ledger,
            clock,
            metrics: Arc::default(),
            operator_key: None,
            responses: None,
            lifecycle: Lifecycle::new(),
            limiter: Limiter::default(),
            passwords: Passwords::default(),
            sign_ins: SignIns::default(),
            tickets: Tickets::default(),
            unsettled: Unsettled::default(),
            load_places: Arc::new(Semaphore::new(config.queue)),
            text_turns: Arc::new(Semaphore::new(turns)),
            provider_turns: Arc::new(Semaphore::new(MAX_PROVIDER_CALLS)),
            voucher_tries: Tries::new("wrong vouchers"),
            order_tries: Tries::new("orders"),
            config,
        }
    }

    /// The same state, whose admin routes take the operator's key.
    #[must_use]
    pub fn with_operator_key(self, key: OperatorKey) -> Self {
        Self { operator_key: Some(key), ..self }
    }

    /// The same state, which keeps responses if there is where.
    #[must_use]
    pub fn with_responses(self, responses: Option<Responses>) -> Self {
        Self { responses, ..self }
    }

    /// What a sender of notices counts, to be shown with the other metrics.
    pub fn notice_counts(&self) -> Arc<NoticeCounts> {
        Arc::clone(&self.notice_counts)
    }

    /// Unix seconds.
    pub(super) fn now_secs(&self) -> i64 {
        self.clock.now_ms() / 1000
    }

    /// Runs a short query of the ledger, which blocks.
    pub(super) async fn read_ledger<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let ledger = self.ledger.clone();
        let read = spawn_blocking(move || read(&ledger)).await;
        Ok(read.map_err(|_panicked| ApiError::Internal)??)
    }

    /// Does something about a sale, which blocks for as long as a provider takes to answer.
    pub(super) async fn sell<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Billing) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.provider_turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_closed| ApiError::ShuttingDown)?;
        let billing = self.billing.clone();
        let work = move || {
            let _turn = turn;
            work(&billing)
        };
        spawn_blocking(work).await.map_err(|_panicked| ApiError::Internal)
    }

    /// The model that answers to `name`, loaded if need be.
    pub(super) async fn model(&self, name: &str) -> Result<Arc<LoadedModel>, ApiError> {
        if let Some(model) = self.registry.get_loaded(name) {
            return Ok(model);
        }
        // Whoever waits holds a request in memory: as many as wait for a model that is there.
        let full = |_| ApiError::QueueFull { max_waiting: self.config.queue };
        let _place = self.load_places.try_acquire().map_err(full)?;
        // A load that has begun goes on without its caller; one that waits its turn does not.
        match timeout(self.config.model_wait, self.registry.get(name)).await {
            Ok(model) => Ok(model?),
            Err(_elapsed) => Err(ApiError::ModelLoading(name.to_owned())),
        }
    }

    /// Does work on text of `bytes` length: here if it is short, else on a thread for blocking
    /// work, as many at a time as there are processors.
    pub(super) async fn text_work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if bytes <= SHORT_TEXT_BYTES {
            return Ok(work());
        }
        let turn = self.text_turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_closed| ApiError::ShuttingDown)?;
        let work = move || {
            let _turn = turn;
            work()
        };
        spawn_blocking(work).await.map_err(|_panicked| ApiError::Internal)
    }
}
