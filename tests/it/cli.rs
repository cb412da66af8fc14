//! The commands as an operator types them, against the real binary and a data folder of their own.

use std::process::{Output, Stdio};

use mizan::ledger::{Ledger, LedgerOptions, MeterRequest};
use tempfile::TempDir;

use crate::support::{self, models};

struct Shell {
    data: TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { data: TempDir::new().expect("a folder") }
    }

    fn run(&self, line: &str) -> Output {
        let mut command = support::binary(self.data.path());
        command.args(line.split_whitespace()).output().expect("the binary runs")
    }

    /// Standard output of a command that has to work.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mizan {line}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Standard error of a command that has to fail, with status 1 and one line.
    fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "mizan {line}");
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
        errors
    }
}

#[test]
fn an_operator_keeps_accounts_keys_and_grants_without_a_server() {
    let shell = Shell::new();
    shell.ok("account create research");
    assert_eq!(
        shell.ok("grant research 20000 --reason trial"),
        "granted 20,000 credits to research; its balance is 20,000\n"
    );
    let secret = shell.ok("key create research --label ci --limit 1000 --limit-reset daily");
    assert!(secret.starts_with("mz-") && secret.trim_end().len() == 46, "{secret}");

    let shown = shell.ok("account show research");
    assert!(shown.contains("20,000") && shown.contains("1,000 daily"), "{shown}");
    assert!(!shown.contains(secret.trim_end()), "a secret is shown once");

    assert_eq!(shell.ok("key revoke 1"), "revoked key 1\n");
    assert!(shell.ok("key list research").contains("revoked"));
    shell.ok("account close research");
    assert!(shell.ok("account list").contains("closed"));
    assert!(shell.ok("ledger verify").contains("the books are right"));
    let refused = shell.refused("grant research 1 --reason late");
    assert!(refused.contains("closed"), "{refused}");
}

#[test]
fn an_operator_sees_usage_and_sets_notices() {
    let shell = Shell::new();
    shell.ok("account create research");
    let usage = shell.ok("usage research --by model,day");
    assert!(
        usage.starts_with("MODEL") && usage.lines().last().expect("a line").starts_with("total")
    );
    let json: serde_json::Value =
        serde_json::from_str(&shell.ok("usage research --json")).expect("JSON");
    assert_eq!(json["total"]["requests"], 0);
    let csv = shell.ok("usage research --by key --csv");
    assert!(csv.starts_with("key_id,key_label,key_prefix,requests"), "{csv}");
    assert!(shell.ok("requests research --limit 5").starts_with("REQUEST"));
    assert!(shell.refused("requests research --limit 0").contains("1 to 1000"));
    assert!(shell.refused("usage nobody").contains("there is no account 'nobody'"));

    assert_eq!(shell.ok("account notice research"), "research is told of no balance\n");
    let set = shell.ok("account notice research --below 500 --url https://example.com/hook");
    assert!(set.contains("below 500 credits, at https://example.com/hook\nwhsec_"), "{set}");
    assert!(!shell.ok("account notice research").contains("whsec_"));
    let refused = shell.refused("account notice research --below 5 --url http://127.0.0.1/");
    assert!(refused.contains("loopback"), "{refused}");
    assert_eq!(shell.ok("account notice research --off"), "research is told of no balance\n");
}

#[test]
fn keys_have_scopes_limits_and_an_end() {
    let shell = Shell::new();
    shell.ok("account create research");
    let made = shell.ok(
        "key create research --label ci --scopes usage,inference --limit 1000 --limit-reset daily \
         --total-limit 9000 --expires 2090-01-31 --json",
    );
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON and nothing else");
    assert_eq!(made["scopes"], serde_json::json!(["inference", "usage"]));
    assert_eq!((made["limit"].as_i64(), made["total_limit"].as_i64()), (Some(1_000), Some(9_000)));
    shell.ok("key create research --label dash --scopes billing,keys,users --expires 90d");
    let listed = shell.ok("key list research");
    let row = |label: &str| listed.lines().find(|line| line.contains(label)).expect("a row");
    for shown in ["1,000 daily", "9,000", "2090-01-31", "never", "valid", "inference,usage"] {
        assert!(row("ci").contains(shown), "{shown} in {listed}");
    }
    assert!(row("dash").contains("billing,keys,users"), "{listed}");
    let usage = shell.run("key create research --expires tomorrow");
    assert!(String::from_utf8_lossy(&usage.stderr).contains("2027-01-31"));
    let past = shell.refused("key create research --expires 2001-01-01");
    assert!(past.contains("key expiry"), "{past}");
}

#[test]
fn users_are_invited_changed_and_disabled() {
    let shell = Shell::new();
    shell.ok("account create research");
    let invitation = shell.ok("user create Ann@Example.com --account research --role owner");
    assert!(invitation.starts_with("mi-") && invitation.trim_end().len() == 46, "{invitation}");
    assert_ne!(shell.ok("user invite 1"), invitation);
    let link = "\"http://127.0.0.1:8080/#/invitation/mi-";
    assert!(shell.ok("user invite 1 --json").contains(link));
    let refused = shell.refused("user role 1 member");
    assert!(refused.contains("last owner"), "{refused}");
    shell.ok("user create bob --account research --role owner");
    assert_eq!(shell.ok("user role 1 member"), "ann@example.com is now member\n");
    assert_eq!(shell.ok("user disable 1"), "disabled ann@example.com\n");
    shell.ok("user create root --role operator");
    let listed = shell.ok("user list");
    for words in [["ann@example.com", "disabled"], ["bob", "invited"], ["root", "operator"]] {
        let is_row = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(listed.lines().any(is_row), "{words:?} in {listed}");
    }
    assert!(!listed.contains("mi-"), "an invitation is shown once");
    let json: serde_json::Value =
        serde_json::from_str(&shell.ok("user list --json")).expect("JSON");
    assert_eq!(json["data"].as_array().map(Vec::len), Some(3));
    let json = shell.ok("grant research 5 --reason trial --json");
    assert_eq!(json, "{\"account\":\"research\",\"credits\":5,\"balance\":5}\n");
    assert!(shell.ok("ledger verify").contains("the books are right"));
}

#[test]
fn refusals_are_one_line_that_says_what_would_be_right() {
    let shell = Shell::new();
    for (line, expected) in [
        ("grant nobody 5 --reason x", "there is no account 'nobody'"),
        ("account create a --plan gold", "there is no plan 'gold'"),
        ("key revoke 77", "there is no such key"),
        ("chat no-such-model", "no-such-model"),
        ("bench decode ./missing.gguf", "missing.gguf"),
        ("--host not/an/address", ""),
    ] {
        let output = shell.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "mizan {line} worked");
        assert!(errors.contains(expected), "mizan {line}: {errors}");
    }
    let refused = Shell::new().refused("ledger verify");
    assert!(refused.contains("there are no books"), "{refused}");
}

#[test]
fn a_command_whose_output_nobody_reads_ends_without_a_word() {
    let shell = Shell::new();
    // Closed before the command begins, however fast it is.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = support::binary(shell.data.path());
    command.arg("models").stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn models_shows_what_is_here_and_how_to_get_the_rest() {
    let listed = Shell::new().ok("models");
    let line = listed.lines().find(|line| line.starts_with("smollm2-135m-instruct"));
    assert!(line.is_some_and(|line| line.contains("mizan pull")), "{listed}");
    let premium = listed.lines().find(|line| line.starts_with("deepseek-r1-distill-qwen-1.5b"));
    assert!(premium.is_some_and(|line| line.contains("premium")), "{listed}");
}

/// A backup, more work, and back: what is lost is told, and nothing is lost without a yes.
#[test]
fn the_books_are_copied_and_put_back() {
    let shell = Shell::new();
    shell.ok("account create research");
    shell.ok("grant research 500 --reason first");
    let file = shell.data.path().join("copies.db");
    let file = file.display();
    let told = shell.ok(&format!("ledger backup {file}"));
    let head = told.lines().find(|line| line.starts_with("chain head    transfer 1, hash "));
    assert!(head.is_some() && told.ends_with("the backup is right\n"), "{told}");
    let refused = shell.refused(&format!("ledger backup {file}"));
    assert!(refused.contains("is there already"), "{refused}");

    shell.ok("grant research 70 --reason second");
    let output = shell.run(&format!("ledger restore {file}"));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && told.contains("1 transfers and 1 of the"), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("add --yes"));
    assert!(shell.ok("account show research").contains("570"));
    let told = shell.ok(&format!("ledger restore {file} --yes"));
    assert!(told.contains("ledger.db.before-restore-"), "{told}");
    assert!(told.contains(head.expect("a line")), "{told}");
    assert!(shell.ok("account show research").contains("500"));
    assert!(shell.ok("ledger verify").contains("the books are right"));
}

#[test]
fn rows_of_the_books_are_printed() {
    let shell = Shell::new();
    shell.ok("account create research");
    shell.ok("account create sales");
    shell.ok("grant research 500 --reason first");
    shell.ok("grant sales 7 --reason second");
    let csv = shell.ok("ledger export --account research");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2, "{csv}");
    assert!(lines[0].starts_with("seq,time,kind,from,to,amount,unit,balance,"));
    assert!(lines[1].contains(",grant,house:granted,research,500,credits,500,first,"), "{csv}");
    let rows = shell.ok("ledger export --format jsonl --to 2020-01-01");
    assert_eq!(rows, "");
    assert_eq!(shell.ok("ledger export --format jsonl").lines().count(), 2);
    assert!(shell.ok("ledger export --what usage").starts_with("request,opened,closed,"));
    let refused = shell.refused("ledger export --account nobody");
    assert!(refused.contains("there is no account 'nobody'"), "{refused}");
    let output = shell.run("ledger export --from 2026-02-30");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("is not a day"), "{errors}");
}

/// A receipt made by the books themselves, checked with the key of the data folder, with the key
/// as a text, and with the server's answer in a file.
#[test]
fn a_receipt_is_checked_offline() {
    let shell = Shell::new();
    shell.ok("account create research");
    shell.ok("grant research 500 --reason first");
    shell.ok("key create research");
    let ledger = Ledger::open(&shell.data.path().join("ledger.db"), LedgerOptions::default())
        .expect("books");
    let account = ledger.accounts().expect("read")[0].id;
    let key = ledger.keys(account).expect("read")[0].id;
    let request = MeterRequest {
        account,
        key,
        model: "test-model".to_owned(),
        model_digest: [7; 32],
        credits_per_token: 2,
        streamed: true,
        input_tokens: 30,
        idempotency_key: None,
        body_hash: [1; 32],
    };
    let meter = ledger.open_meter(request).wait().expect("opened");
    ledger.charge(meter, 0, vec![vec![1, 2, 3]]).wait().expect("charged");
    ledger.close_meter(meter, "stop").wait().expect("closed");
    let receipt = ledger.charge_receipt(account, meter).expect("paid for");
    let public = ledger.server_keys().public_key();
    ledger.shutdown();

    let text = serde_json::to_string_pretty(&receipt).expect("JSON");
    let file = shell.data.path().join("receipt.json");
    std::fs::write(&file, &text).expect("written");
    let answer = shell.data.path().join("receipt-key.json");
    let shown = format!("{{\"data\": {{\"public_key\": \"{public}\"}}}}");
    std::fs::write(&answer, shown).expect("written");
    let check = format!("ledger receipt check {}", file.display());
    let keys = [String::new(), format!("--key {public}"), format!("--key {}", answer.display())];
    for key in keys {
        let told = shell.ok(&format!("{check} {key}"));
        for line in [
            "account        research (key mz-",
            "input          30 tokens, free",
            "output         3 tokens at 2 credits",
            "paid           6 credits",
            "the receipt is right",
        ] {
            assert!(told.contains(line), "{line}: {told}");
        }
    }
    let wrong = shell.refused(&format!("{check} --key nonsense"));
    assert!(wrong.contains("neither a file nor a key"), "{wrong}");
    std::fs::write(&file, text.replace("\"credits\": 6", "\"credits\": 5")).expect("written");
    let forged = shell.refused(&check);
    assert!(forged.contains("the signature does not fit"), "{forged}");
    std::fs::write(&file, "{}").expect("written");
    assert!(shell.refused(&check).contains("this is no receipt"));
}

/// Small books of every size; the real ones are `mizan bench ledger --rows 1000000`.
#[test]
fn the_ledgers_bench_prints_a_row_for_each_size() {
    let shell = Shell::new();
    let json = shell.data.path().join("figures.json");
    let line = format!(
        "bench ledger --rows 20 --rounds 1 --charges 64 --folder {} --json {}",
        shell.data.path().display(),
        json.display()
    );
    let table = shell.ok(&line);
    assert_eq!(table.lines().count(), 4, "{table}");
    let figures = std::fs::read_to_string(&json).expect("figures");
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures["sizes"][1]["rows"], 20);
    let left = std::fs::read_dir(shell.data.path()).expect("a folder");
    assert_eq!(left.count(), 1, "the books are gone, the figures stay");
}

/// Two streams of a real model; the real ones are `mizan bench charging MODEL`.
#[test]
fn the_bench_of_charging_proves_what_it_charged() {
    let shell = Shell::new();
    let json = shell.data.path().join("figures.json");
    let line = format!(
        "bench charging {} --streams 2 --prompt 8 --tokens 4 --rounds 2 --folder {} --json {}",
        models::path("smollm2-135m-instruct").display(),
        shell.data.path().display(),
        json.display()
    );
    let table = shell.ok(&line);
    // Of three rounds, one of which only warms up.
    assert!(table.starts_with("24 tokens delivered, charged and stored"), "{table}");
    let figures = std::fs::read_to_string(&json).expect("figures");
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures["rounds"].as_array().expect("rounds").len(), 2);
    let mut left = std::fs::read_dir(shell.data.path()).expect("a folder");
    let is_books = |name: &str| name.starts_with("mizan-bench");
    assert!(!left.any(|entry| is_books(&entry.expect("an entry").file_name().to_string_lossy())));
}
