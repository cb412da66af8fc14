//! A whole server in memory: router, scripted models, books in a temporary folder, and a client
//! that reads answers as OpenAI's clients do.
#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use mizan::api::{self, AppState};
use mizan::catalog::Catalog;
use mizan::config::{Config, ServeFlags, StoreFlags};
use mizan::engine::Pooling;
use mizan::grammar::Environment;
use mizan::ledger::{
    AccountId, Clock, Credits, GenerationRecord, KeyLimit, Ledger, LedgerOptions, NewKey,
    NewKeyRequest, Scopes, SystemClock,
};
use mizan::payments::PaymentProvider;
use mizan::registry::{Embedding, LoadedModel, Registry};
use mizan::responses::Responses;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::scripted::{Bounds, Control, HIDDEN_SIZE, Scripted, TEMPLATE};

/// Costs 1 credit a token.
pub(crate) const STANDARD: &str = "scripted";
/// Costs 2.
pub(crate) const PREMIUM: &str = "scripted-premium";

const CATALOG: &str = r#"
[tiers.standard]
credits_per_output_token = 1
[tiers.premium]
credits_per_output_token = 2
[[packs]]
id = "starter"
credits = 5_000
price_kwd = "2.000"
[[packs]]
id = "value"
credits = 15_000
price_kwd = "5.000"
[[models]]
id = "scripted"
aliases = ["default"]
tier = "standard"
owned_by = "tests"
sources = [{ path = "none.gguf" }]
[[models]]
id = "scripted-premium"
tier = "premium"
min_dimensions = 2
sources = [{ path = "none.gguf" }]
[[models]]
id = "elsewhere"
tier = "standard"
sources = [{ path = "none.gguf" }]
"#;

/// How a test's server differs from the others.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) script: Vec<&'static [u8]>,
    /// What the models' prompts are written with.
    pub(crate) template: &'static str,
    pub(crate) credits: i64,
    pub(crate) bounds: Bounds,
    pub(crate) key_limit: Option<i64>,
    /// Whether the models make vectors of texts.
    pub(crate) embeds: bool,
    /// What the account's key may do.
    pub(crate) scopes: Scopes,
    /// Ways to pay.
    pub(crate) providers: Vec<Arc<dyn PaymentProvider>>,
    /// Lines of `[server]`.
    pub(crate) settings: &'static str,
    /// Lines of `[plans.default]`, the account's plan.
    pub(crate) plan: &'static str,
}

impl Setup {
    /// A model that says `script`, and an account with plenty of credits.
    pub(crate) fn saying(script: &[&'static str]) -> Self {
        Self {
            script: script.iter().map(|token| token.as_bytes()).collect(),
            template: TEMPLATE,
            credits: 5_000,
            bounds: Bounds::default(),
            key_limit: None,
            embeds: true,
            scopes: NewKeyRequest::DEFAULT_SCOPES,
            providers: Vec::new(),
            settings: "",
            plan: "",
        }
    }
}

/// A running server and one account on it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) state: AppState,
    pub(crate) router: Router,
    pub(crate) ledger: Ledger,
    pub(crate) account: AccountId,
    pub(crate) key: String,
    /// Of the standard model, then of the premium one.
    controls: [Arc<Control>; 2],
    script: Vec<&'static [u8]>,
    clock: Arc<Ahead>,
    folder: TempDir,
}

/// The machine's clock, ahead by so many milliseconds.
#[derive(Debug, Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An engine that waits for the script would never see that it is over.
        self.allow(usize::MAX);
    }
}

impl Server {
    pub(crate) fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Setup { settings, plan, .. } = setup;
        let text = format!("[server]\n{settings}\n{CATALOG}\n[plans.default]\n{plan}");
        let catalog = Catalog::parse(&text, "models.toml", folder.path()).unwrap();
        let data = Some(folder.path().to_owned());
        let store = StoreFlags { config: None, data };
        let mut config = Config::resolve(ServeFlags::from(store), catalog).unwrap();
        config.payments.extend(setup.providers);
        let config = Arc::new(config);

        let clock = Arc::new(Ahead::default());
        let options = LedgerOptions { clock: clock.clone(), ..LedgerOptions::default() };
        let ledger = Ledger::open(&config.ledger_path(), options).unwrap();
        let account = ledger.create_account("team", "default", "test").wait().unwrap();
        if setup.credits > 0 {
            ledger.grant(account, Credits(setup.credits), "to test", "test").wait().unwrap();
        }
        let limit =
            setup.key_limit.map(|credits| KeyLimit { credits: Credits(credits), reset: None });
        let key = ledger
            .create_key(
                NewKeyRequest {
                    limit,
                    scopes: setup.scopes,
                    ..NewKeyRequest::new(account, "first")
                },
                "test",
            )
            .wait()
            .unwrap()
            .secret;

        let mut controls = Vec::new();
        let models = [STANDARD, PREMIUM].map(|id| {
            let scripted = Scripted::start(&setup.script, setup.bounds, setup.template);
            controls.push(scripted.control);
            let entry = config.model(id).unwrap().clone();
            let embedding = Embedding {
                pooling: Pooling::Last,
                size: HIDDEN_SIZE,
                min_dimensions: entry.min_dimensions,
            };
            LoadedModel {
                tier: config.catalog.tier_of(&entry),
                entry,
                digest: [0xab; 32],
                engine: scripted.engine,
                grammar: Environment::new(
                    scripted.tokenizer.clone(),
                    scripted.tokenizer.vocab_size(),
                ),
                tokenizer: scripted.tokenizer,
                chat_template: Some(scripted.chat_template),
                embedding: if setup.embeds { Ok(embedding) } else { Err("it ranks texts".into()) },
                context_length: setup.bounds.context,
                memory: 0,
                loaded_at: 0,
            }
        });
        let registry = Arc::new(Registry::with_loaded(Arc::clone(&config), models.into()));
        let responses = config.retain_responses.map(|retain| {
            let path = config.responses_path();
            Responses::open(&path, retain).unwrap()
        });
        let state = AppState::new(config, registry, ledger.clone(), clock.clone())
            .with_responses(responses);
        Self {
            router: api::router(state.clone()),
            state,
            ledger,
            account,
            key,
            controls: controls.try_into().unwrap(),
            script: setup.script,
            clock,
            folder,
        }
    }

    /// Lets time pass, for the ledger as for the routes.
    pub(crate) fn advance(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// The same server at another time: `clock` is what its routes look at.
    pub(crate) fn set_clock(&mut self, clock: Arc<dyn Clock>) {
        self.state.clock = clock;
        self.router = api::router(self.state.clone());
    }

    /// A further key: of an account of this name, which is made if need be.
    pub(crate) fn key_of(&self, account: &str) -> NewKey {
        let id = self.account_of(account);
        self.ledger.create_key(NewKeyRequest::new(id, "further"), "test").wait().unwrap()
    }

    /// The account of this name, which is made if need be.
    pub(crate) fn account_of(&self, account: &str) -> AccountId {
        let found = self.ledger.accounts().unwrap().into_iter().find(|a| a.name == account);
        match found {
            Some(account) => account.id,
            None => {
                let id = self.ledger.create_account(account, "default", "test").wait().unwrap();
                self.ledger.grant(id, Credits(5_000), "to test", "test").wait().unwrap();
                id
            }
        }
    }

    /// Lets the models say the script's first `tokens` tokens.
    pub(crate) fn allow(&self, tokens: usize) {
        self.controls.iter().for_each(|control| control.allow(tokens));
    }

    /// Has the models fail on token `index`.
    pub(crate) fn fail_at(&self, index: usize) {
        self.controls.iter().for_each(|control| control.fail_at(index));
    }

    /// Has the standard model panic on token `index`.
    pub(crate) fn panic_at(&self, index: usize) {
        self.controls[0].panic_at(index);
    }

    /// Has the standard model's device be lost on token `index`.
    pub(crate) fn lose_at(&self, index: usize) {
        self.controls[0].lose_at(index);
    }

    /// How many tokens of the script have text among its first `bytes` bytes.
    pub(crate) fn tokens_in(&self, bytes: usize) -> usize {
        let starts = self.script.iter().scan(0, |end, token| {
            let start = *end;
            *end += token.len();
            Some(start)
        });
        starts.take_while(|start| *start < bytes).count()
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Request<Body> {
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        match body {
            Some(body) => builder
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string())),
            None => builder.body(Body::empty()),
        }
        .unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, None)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, Some(body))).await
    }

    /// A request whose answer is read frame by frame. The status has to be 200.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> Frames {
        self.open(self.request(Method::POST, path, Some(body))).await
    }

    /// Sends a request whose answer is read frame by frame.
    pub(crate) async fn open(&self, request: Request<Body>) -> Frames {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Frames { body: response.into_body(), held: String::new() }
    }

    pub(crate) fn balance(&self) -> i64 {
        self.ledger.account_totals(self.account).unwrap().unwrap().balance.0
    }

    /// The one text that `sql` finds in the books.
    pub(crate) fn text_column(&self, sql: &str) -> String {
        let books = Connection::open(self.folder.path().join("ledger.db")).unwrap();
        books.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// How many responses are kept.
    pub(crate) fn rows_kept(&self) -> i64 {
        let kept = Connection::open(self.folder.path().join("responses.db")).unwrap();
        kept.query_row("SELECT count(*) FROM response", [], |row| row.get(0)).unwrap()
    }

    /// The ids of all meters, in order of opening.
    pub(crate) fn meters(&self) -> Vec<GenerationRecord> {
        let books = Connection::open(self.folder.path().join("ledger.db")).unwrap();
        let mut select = books.prepare("SELECT hex(id) FROM meter ORDER BY rowid").unwrap();
        let ids = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        ids.map(|id| {
            let id = id.unwrap().parse().unwrap();
            self.ledger.generation(self.account, id).unwrap().unwrap()
        })
        .collect()
    }

    /// The only meter, once it is closed or reversed.
    pub(crate) async fn settled(&self) -> GenerationRecord {
        for _ in 0..5_000 {
            let meters = self.meters();
            if let [record] = meters.as_slice()
                && record.closed_ms.is_some()
            {
                return record.clone();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("no single settled meter in ten seconds: {:?}", self.meters());
    }

    /// Every invariant of the books holds.
    pub(crate) fn verify_books(&self) {
        let report = self.ledger.verify().unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error} in {} {:?}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The frames of a stream. Dropping it is hanging up.
#[derive(Debug)]
pub(crate) struct Frames {
    body: Body,
    held: String,
}

impl Frames {
    /// The next frame, without its blank line; `None` at the end of the stream.
    pub(crate) async fn next_raw(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.held.find("\n\n") {
                let frame = self.held[..end].to_owned();
                self.held.drain(..end + 2);
                return Some(frame);
            }
            let Some(frame) = self.body.frame().await else {
                assert_eq!(self.held, "", "a frame without its blank line");
                return None;
            };
            let data = frame.unwrap().into_data().unwrap();
            self.held.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next frame's JSON, or its text where that is no JSON (`[DONE]`).
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let frame = self.next_raw().await?;
        let data = frame.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {frame:?}"));
        Some(serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
    }

    /// All frames to the end.
    pub(crate) async fn rest(mut self) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}
