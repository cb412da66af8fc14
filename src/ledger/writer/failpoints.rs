//! Kills the process before each single statement of the writer, one after the other, while a
//! script of every kind of command runs. What was answered is there afterwards, what was not is
//! there whole or not at all.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use crate::ledger::{
    AccountId, CheckedTopup, Credits, KeyId, Ledger, LedgerOptions, MeterId, MeterRequest,
    NewKeyRequest, NewTopup, NewVouchers, PaidProof, PaymentEvent, RefundId, RefundOutcome,
    TopupId, VoucherCode,
};
use crate::money::Fils;

/// Set for the child process: the folder of its books, and the statement it does not survive.
const FOLDER: &str = "LEDGER_FAILPOINT_FOLDER";
const STATEMENT: &str = "LEDGER_FAILPOINT_STATEMENT";

/// Statements until the end.
static LEFT: AtomicI64 = AtomicI64::new(i64::MAX);

/// Counts the statements of `conn`, in a child process.
pub(super) fn arm(conn: &Connection) {
    if std::env::var_os(STATEMENT).is_some() {
        conn.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(count));
    }
}

fn count(_: TraceEvent<'_>) {
    if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        std::process::abort();
    }
}

/// What the script made so far.
#[derive(Default)]
struct Made {
    account: Option<AccountId>,
    key: Option<KeyId>,
    meter: Option<MeterId>,
    topup: Option<TopupId>,
    refund: Option<RefundId>,
    codes: Vec<VoucherCode>,
}

/// One command, answered. Each is one commit.
type Step = fn(&Ledger, &mut Made);

const SCRIPT: &[Step] = &[
    |ledger, made| {
        made.account = ledger.create_account("alice", "default", "test").wait().ok();
    },
    |ledger, made| _ = ledger.grant(made.account(), Credits(400), "why", "test").wait().unwrap(),
    |ledger, made| {
        let key = NewKeyRequest::new(made.account(), "key");
        made.key = ledger.create_key(key, "test").wait().ok().map(|key| key.id);
    },
    open_meter,
    charge,
    charge_many,
    |ledger, made| _ = ledger.close_meter(made.meter.unwrap(), "stop").wait().unwrap(),
    open_meter,
    charge,
    |ledger, made| _ = ledger.reverse_meter(made.meter.unwrap(), "why").wait().unwrap(),
    order,
    |ledger, made| {
        let url = Some("https://pay.example".to_owned());
        ledger.topup_started(made.topup(), "chg_1", url, None).wait().unwrap();
    },
    |ledger, made| {
        ledger.topup_checked(made.topup(), CheckedTopup::Failed).wait().unwrap();
    },
    |ledger, made| {
        let told = ledger.record_event("tap", made.topup, event("first"));
        told.wait().unwrap();
    },
    |ledger, made| {
        ledger.pay_topup(made.topup(), proof(1_999, "short")).wait().unwrap_err();
    },
    |ledger, made| _ = ledger.pay_topup(made.topup(), proof(2_000, "paid")).wait().unwrap(),
    |ledger, made| _ = ledger.pay_topup(made.topup(), proof(2_000, "again")).wait().unwrap(),
    begin_refund,
    |ledger, made| {
        let failed = RefundOutcome::Failed { why: "no".to_owned() };
        ledger.finish_refund(made.refund.unwrap(), failed, "test").wait().unwrap();
    },
    begin_refund,
    |ledger, made| {
        let done = RefundOutcome::Done { provider_refund_id: Some("re_1".to_owned()) };
        ledger.finish_refund(made.refund.unwrap(), done, "test").wait().unwrap();
    },
    |ledger, made| {
        let (name, credits) = ("spring".to_owned(), Credits(50));
        let new = NewVouchers { name, credits, count: 3, expires_ms: None };
        made.codes = ledger.create_vouchers(new, "test").wait().unwrap().codes;
    },
    |ledger, made| {
        ledger.redeem_voucher(made.account(), &made.codes[0], "test").wait().unwrap();
    },
    |ledger, _| _ = ledger.void_vouchers("spring", "test").wait().unwrap(),
    |ledger, made| _ = ledger.correct(made.account(), 7, "why", "test", None).wait().unwrap(),
    |ledger, made| _ = ledger.correct(made.account(), -9, "why", "test", None).wait().unwrap(),
    |ledger, made| ledger.freeze_account(made.account(), "test").wait().unwrap(),
    |ledger, made| ledger.thaw_account(made.account(), "test").wait().unwrap(),
    |ledger, made| ledger.set_plan(made.account(), "gold", "test").wait().unwrap(),
    |ledger, made| ledger.revoke_key(made.key.unwrap(), "test").wait().unwrap(),
    |ledger, made| ledger.close_account(made.account(), "test").wait().unwrap(),
];

impl Made {
    fn account(&self) -> AccountId {
        self.account.unwrap()
    }

    fn topup(&self) -> TopupId {
        self.topup.unwrap()
    }
}

fn open_meter(ledger: &Ledger, made: &mut Made) {
    let request = MeterRequest {
        account: made.account(),
        key: made.key.unwrap(),
        model: "model".to_owned(),
        model_digest: [0; 32],
        credits_per_token: 2,
        streamed: true,
        input_tokens: 1,
        idempotency_key: None,
        body_hash: [0; 32],
    };
    made.meter = ledger.open_meter(request).wait().ok();
}

fn charge(ledger: &Ledger, made: &mut Made) {
    ledger.charge(made.meter.unwrap(), 0, vec![vec![1], vec![2, 3]]).wait().unwrap();
}

/// More ids than are kept beside the meter, for another choice than those that are.
fn charge_many(ledger: &Ledger, made: &mut Made) {
    ledger.charge(made.meter.unwrap(), 1, vec![vec![4; 65]]).wait().unwrap();
}

fn order(ledger: &Ledger, made: &mut Made) {
    let new = NewTopup {
        account: made.account(),
        pack: "small".to_owned(),
        fils: Fils(2_000),
        credits: Credits(5_000),
        provider: "tap".to_owned(),
        idempotency_key: Some("once".to_owned()),
        expires_after_ms: 60_000,
        actor: "test".to_owned(),
    };
    made.topup = ledger.create_topup(new).wait().ok().map(|created| created.topup.id);
}

fn event(key: &str) -> PaymentEvent {
    let (raw, verdict) = (b"{}".to_vec(), "CAPTURED".to_owned());
    PaymentEvent { key: key.to_owned(), raw, verdict }
}

fn proof(fils: i64, key: &str) -> PaidProof {
    PaidProof {
        provider: "tap".to_owned(),
        provider_order_id: Some("chg_1".to_owned()),
        provider_payment_id: "chg_1".to_owned(),
        fils: Fils(fils),
        event: Some(event(key)),
        actor: "payments".to_owned(),
        reason: Some("why".to_owned()),
    }
}

fn begin_refund(ledger: &Ledger, made: &mut Made) {
    let refund = ledger.begin_refund(made.topup(), Some(Credits(1_000)), "why", "test");
    made.refund = refund.wait().ok().map(|refund| refund.id);
}

fn open(folder: &Path) -> Ledger {
    let options = LedgerOptions {
        checkpoint_rows: u64::MAX,
        idle: Duration::from_secs(3_600),
        ..LedgerOptions::default()
    };
    Ledger::open(&folder.join("ledger.db"), options).unwrap()
}

/// In memory where there is such a folder: a killed process asks for no disk.
fn fresh_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What a new process makes of the books in `folder`, but for names made at random and times.
fn recovered(folder: &Path) -> Vec<String> {
    let ledger = open(folder);
    let report = ledger.verify().unwrap();
    assert!(report.is_ok(), "{report:#?}");
    assert_eq!(report.open_meters, 0);
    let conn = Connection::open(folder.join("ledger.db")).unwrap();
    [
        "SELECT name||plan||balance||','||credited||','||(closed_ms IS NULL)||(frozen_ms IS NULL)
         FROM account ORDER BY id",
        "SELECT 'key'||used||(revoked_ms IS NULL) FROM api_key ORDER BY id",
        "SELECT 'meter'||used||state FROM meter ORDER BY rowid",
        "SELECT seq||kind||from_id||'>'||to_id||':'||amount||actor FROM transfer ORDER BY seq",
        "SELECT state||coalesce(provider_order_id,'')||refunded_fils||','||refunded_credits
         FROM topup ORDER BY rowid",
        "SELECT 'refund'||state||fils||','||credits FROM refund ORDER BY rowid",
        "SELECT event_key||verdict||(topup_id IS NULL) FROM payment_event ORDER BY rowid",
        "SELECT name||count||(voided_ms IS NULL) FROM voucher_batch ORDER BY id",
        "SELECT 'vouchers'||count(*)||','||count(redeemed_by) FROM voucher",
        "SELECT actor||action FROM audit ORDER BY id",
    ]
    .iter()
    .flat_map(|sql| {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<String>>()
    })
    .collect()
}

/// The books after no command, after the first, and so on.
fn expected() -> Vec<Vec<String>> {
    let folder = fresh_folder();
    let ledger = open(folder.path());
    let mut made = Made::default();
    let state = || {
        let copy = fresh_folder();
        for name in ["ledger.db", "ledger.db-wal", "server.keys"] {
            fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        recovered(copy.path())
    };
    let mut states = vec![state()];
    for step in SCRIPT {
        step(&ledger, &mut made);
        states.push(state());
    }
    states
}

/// How a child ended.
struct Ended {
    /// Commands it had an answer to.
    answered: usize,
    finished: bool,
}

/// The test binary once more, as the process that is killed.
fn run_child(folder: &Path, statement: i64) -> Ended {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::the_process_that_is_killed"), "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(STATEMENT, statement.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The harness writes to the same pipe.
    let answered = lines.filter(|line| line.as_ref().unwrap().ends_with("@answered")).count();
    Ended { answered, finished: child.wait().unwrap().success() }
}

#[test]
fn a_kill_before_any_statement_loses_nothing_that_was_answered() {
    let expected = expected();
    let (statement, finished) = (AtomicI64::new(0), AtomicBool::new(false));
    let between = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !finished.load(Ordering::SeqCst) {
                    let statement = 1 + statement.fetch_add(1, Ordering::SeqCst);
                    let folder = fresh_folder();
                    let ended = run_child(folder.path(), statement);
                    let found = recovered(folder.path());
                    let answered = ended.answered;
                    if ended.finished {
                        finished.store(true, Ordering::SeqCst);
                        assert_eq!(answered, SCRIPT.len());
                    }
                    let next = &expected[(answered + 1).min(SCRIPT.len())];
                    assert!(
                        found == expected[answered] || found == *next,
                        "statement {statement}, after {answered} answers: {found:#?}"
                    );
                    between.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let kills = between.into_inner();
    assert!(kills > 8 * SCRIPT.len(), "{kills} kills are too few to say anything");
}

/// Does nothing by itself; the test above runs it in a process of its own.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let ledger = open(Path::new(&folder));
    let statement: i64 = std::env::var(STATEMENT).unwrap().parse().unwrap();
    LEFT.store(statement, Ordering::SeqCst);
    let mut made = Made::default();
    for step in SCRIPT {
        step(&ledger, &mut made);
        println!("@answered");
    }
    // What shutting down writes is the books' own affair; it has no answer.
    LEFT.store(i64::MAX, Ordering::SeqCst);
}
