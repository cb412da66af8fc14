//! Settings: which place wins, what is refused, and that nothing secret is shown.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use mizan::catalog::Catalog;
use mizan::config::{Config, ConfigError, PaymentSecrets, Secret, ServeFlags, StoreFlags};

const FILE: &str = "\
[server]
port = 1111
queue = 11
data = \"/file/data\"
models = [\"b\"]
[tiers.standard]
credits_per_output_token = 1
[[models]]
id = \"a\"
tier = \"standard\"
sources = [{ path = \"a.gguf\" }]
[[models]]
id = \"b\"
aliases = [\"bee\"]
tier = \"standard\"
sources = [{ path = \"b.gguf\" }]
";

fn catalog() -> Catalog {
    Catalog::parse(FILE, "models.toml", Path::new("")).expect("sound")
}

fn command() -> clap::Command {
    ServeFlags::augment_args(clap::Command::new("mizan"))
}

fn flags(arguments: &[&str]) -> Result<ServeFlags, String> {
    let arguments = std::iter::once(&"mizan").chain(arguments);
    let matches = command().try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    Ok(ServeFlags::from_arg_matches(&matches).expect("clap checked them"))
}

fn resolve(arguments: &[&str]) -> Result<Config, ConfigError> {
    Config::resolve(flags(arguments).expect("flags"), catalog())
}

/// What a process with these flags and this environment, and no other, resolves to.
fn resolve_in_process(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let (_, test) = module_path!().split_once("::").expect("a module of the test program");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([&format!("{test}::prints_what_it_resolves_to"), "--exact", "--nocapture"])
        .env_clear()
        .env("TEST_ARGUMENTS", arguments.join("\n"))
        .envs(environment.iter().copied())
        .output()
        .expect("this program runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.split_once("RESOLVED ")).map(|(_, line)| line);
    lines.collect::<Vec<_>>().join("\n")
}

/// The other half of [`resolve_in_process`]; by itself it resolves no flags at all.
#[test]
fn prints_what_it_resolves_to() {
    let arguments = std::env::var("TEST_ARGUMENTS").unwrap_or_default();
    let arguments: Vec<&str> = arguments.lines().collect();
    let mut text = FILE.to_owned();
    if arguments.contains(&"--model=pays") {
        text.push_str("[payments.tap]\n");
    }
    let catalog = Catalog::parse(&text, "models.toml", Path::new("")).expect("sound");
    match flags(&arguments).map(|flags| Config::resolve(flags, catalog)) {
        Ok(Ok(config)) => println!(
            "\nRESOLVED port={} queue={} batch={:?} data={} models={} key={:?}",
            config.port,
            config.queue,
            config.max_batch,
            config.data_dir.display(),
            config.models.join(","),
            config.admin_key,
        ),
        Ok(Err(error)) => println!("\nRESOLVED {error}"),
        Err(error) => println!("\nRESOLVED {}", error.lines().next().unwrap_or_default()),
    }
}

#[test]
fn flags_come_before_environment_before_file_before_defaults() {
    let check = |arguments: &[&str], environment: &[(&str, &str)], expected: &str| {
        assert_eq!(resolve_in_process(arguments, environment), expected);
    };
    check(&[], &[], "port=1111 queue=11 batch=None data=/file/data models=b key=None");
    check(
        &[],
        &[("MIZAN_PORT", "2222"), ("MIZAN_DATA", "/env"), ("MIZAN_MAX_BATCH", "2")],
        "port=2222 queue=11 batch=Some(2) data=/env models=b key=None",
    );
    check(
        &["--port=3333", "--data=/flag", "--model=a", "--model=b"],
        &[("MIZAN_PORT", "2222"), ("MIZAN_DATA", "/env"), ("MIZAN_MODEL", "b")],
        "port=3333 queue=11 batch=None data=/flag models=a,b key=None",
    );
    check(
        &[],
        &[("MIZAN_MODEL", "bee,a"), ("MIZAN_ADMIN_KEY", "sixteen or more characters")],
        "port=1111 queue=11 batch=None data=/file/data models=b,a key=Some(***)",
    );
    check(
        &[],
        &[("MIZAN_PORT", "x")],
        "error: invalid value 'x' for '--port <PORT>': x is out of range: a whole number from 0 \
         to 65535",
    );
}

#[test]
fn flags_out_of_bounds_are_refused_with_the_bounds() {
    let check = |argument: &str, expected: &str| {
        let error = flags(&[argument]).expect_err(argument);
        let line = error.lines().next().expect("a line");
        assert_eq!(line, format!("error: invalid value {expected}"));
    };
    check(
        "--threads=0",
        "'0' for '--threads <N>': 0 is out of range: a whole number from 1 to 1024",
    );
    check(
        "--kv-memory=4G",
        "'4G' for '--kv-memory <SIZE>': \"4G\" is not a size: write a whole number and a unit, \
         such as \"512MiB\" or \"4GiB\"",
    );
    check(
        "--kv-type=int8",
        "'int8' for '--kv-type <bf16|fp8>': unknown type \"int8\" of keys and values: there are \
         bf16 and fp8",
    );
    check(
        "--device=cuda",
        "'cuda' for '--device <DEVICE>': no device \"cuda\": this build has auto and cpu; one for \
         NVIDIA GPUs is made by `cargo build --release --features cuda`",
    );
    check(
        "--device=cuda:one",
        "'cuda:one' for '--device <DEVICE>': unknown device \"cuda:one\": this build has auto and \
         cpu",
    );
}

#[test]
fn what_can_not_be_is_refused_with_what_would_be_right() {
    let check = |arguments: &[&str], expected: &str| {
        assert_eq!(resolve(arguments).expect_err("refused").to_string(), expected);
    };
    check(&["--model=c"], "unknown model \"c\": neither a file nor in models.toml, which has a, b");
    check(&["--model=b", "--model=bee"], "model \"b\" is named twice: name each once");
    let fp8_of = |device: &str, why: &str| {
        check(
            &[&format!("--device={device}"), "--kv-type=fp8"],
            &format!(
                "kv_type fp8 is for GPUs, and {why}: set kv_type to bf16; on the CPU, less \
                 kv_memory or a smaller context_length saves memory"
            ),
        );
    };
    fp8_of("cpu", "the device is cpu");
    if !cfg!(feature = "cuda") {
        fp8_of("auto", "this build is without the feature cuda");
    }
    check(&["--admin-key=short"], "the operator's key has 5 characters: it needs at least 16");
    let missing = Config::load(flags(&["--config=/nowhere/models.toml"]).expect("flags"));
    assert_eq!(
        missing.expect_err("no such file").to_string(),
        "/nowhere/models.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_is_named_is_read_and_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shop.toml");
    std::fs::write(&file, FILE.replace("queue", "queeu")).expect("written");
    let argument = format!("--config={}", file.display());
    let error = Config::load(flags(&[&argument]).expect("flags")).expect_err("refused");
    let expected = format!("{}:3:1: unknown key `queeu`, expected one of ", file.display());
    assert!(error.to_string().starts_with(&expected), "{error}");

    std::fs::write(&file, FILE).expect("written");
    let store = StoreFlags { config: Some(file), data: None };
    let config = Config::load(store.into()).expect("sound");
    assert_eq!(config.port, 1111);
}

#[test]
fn a_model_may_be_named_by_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("My Model (v2).Q4_K_M.gguf");
    std::fs::write(&file, "GGUF").expect("written");
    let argument = format!("--model={}", file.display());
    let config = resolve(&[&argument]).expect("sound");
    assert_eq!(config.models, ["my-model--v2-.q4_k_m"]);
    let entry = config.model("my-model--v2-.q4_k_m").expect("an entry");
    assert_eq!(config.catalog.tier_of(entry).credits_per_output_token, 1);
    // The others are in the catalog but not served.
    assert!(config.model("a").is_none());
}

#[test]
fn without_models_all_are_served_the_first_is_the_default() {
    let text = FILE.replace("models = [\"b\"]\n", "");
    let catalog = Catalog::parse(&text, "models.toml", Path::new("")).expect("sound");
    let config = Config::resolve(ServeFlags::default(), catalog).expect("sound");
    assert_eq!(config.models, ["a", "b"]);
    assert_eq!(config.model("bee").map(|entry| entry.id.as_str()), Some("b"));
}

#[test]
fn units_are_those_of_the_config() {
    let config = resolve(&[
        "--kv-memory=1GiB",
        "--max-body=2MiB",
        "--keep-alive-secs=0",
        "--retain-output-days=2",
        "--retain-responses-days=3",
        "--verify-hours=0",
        "--stall-secs=7",
        "--cors-origins=https://a.example,http://b.example:81",
    ])
    .expect("sound");
    assert_eq!(config.kv_memory, Some(1 << 30));
    assert_eq!(config.max_body_bytes, 2 << 20);
    assert_eq!(config.keep_alive, None);
    assert_eq!(config.retain_output, Duration::from_secs(2 * 24 * 60 * 60));
    assert_eq!(config.retain_responses, Some(Duration::from_secs(3 * 24 * 60 * 60)));
    let none = resolve(&["--retain-responses-days=0"]).expect("sound");
    assert_eq!(none.retain_responses, None);
    assert_eq!(config.verify_every, None);
    assert_eq!(config.stall_timeout, Duration::from_secs(7));
    assert_eq!(config.cors_origins, ["https://a.example", "http://b.example:81"]);
    assert!(config.threads >= 1);
}

#[test]
fn every_flag_is_documented_and_a_variable_of_the_same_name() {
    let untouched = format!("{:?}", resolve(&[]).expect("sound"));
    let command = command();
    for argument in command.get_arguments() {
        let Some(flag) = argument.get_long() else { panic!("{argument} has no long name") };
        let variable = format!("MIZAN_{}", flag.replace('-', "_").to_uppercase());
        let environment = argument.get_env().expect("a variable").to_string_lossy();
        assert_eq!(environment, variable);
        let help = argument.get_help().expect("a description").to_string();
        let (_, default) = help.split_once("[default: ").expect("a default");
        let default = default.split(']').next().unwrap_or_default();
        // A default that is a value, not a description, is the one that is used.
        let is_value = !default.contains(' ') && default != "none";
        if is_value && !["port", "queue"].contains(&flag) {
            let config = resolve(&[&format!("--{flag}={default}")]).expect(flag);
            assert_eq!(format!("{config:?}"), untouched, "--{flag}");
        }
    }
    let shipped = Config::resolve(ServeFlags::default(), Catalog::shipped()).expect("sound");
    assert_eq!((shipped.port, shipped.queue), (8080, 256));
}

/// Settings with these sections and these secrets of payment providers.
fn paying(
    sections: &str,
    flags: ServeFlags,
    payment_secrets: PaymentSecrets,
) -> Result<Config, ConfigError> {
    let text = format!("{FILE}{sections}");
    let catalog = Catalog::parse(&text, "models.toml", Path::new("")).expect("sound");
    Config::resolve(ServeFlags { payment_secrets: Some(payment_secrets), ..flags }, catalog)
}

fn given(secret: &str) -> Option<Secret> {
    Some(Secret::new(secret))
}

#[test]
fn a_provider_without_its_secret_refuses_the_start() {
    let outside = || flags(&["--public-url=https://pay.example"]).expect("flags");
    let refused = |sections: &str, flags: ServeFlags, secrets: PaymentSecrets| {
        paying(sections, flags, secrets).expect_err("refused").to_string()
    };
    let missing = |section: &str, variable: &str, why: &str| {
        format!(
            "[payments.{section}] needs its secret in {variable}, but {why}: set it in the \
             environment, or take the section away"
        )
    };
    let (tap, fatoorah) = ("[payments.tap]", "[payments.myfatoorah]");
    let none = PaymentSecrets::default;
    let empty = "it is not set or empty";
    let expected = missing("tap", "MIZAN_TAP_SECRET_KEY", empty);
    assert_eq!(refused(tap, outside(), none()), expected);
    let secrets = PaymentSecrets { tap_secret_key: given(""), ..none() };
    assert_eq!(refused(tap, outside(), secrets), expected);
    let secrets = PaymentSecrets { tap_secret_key: given("sk_test\n"), ..none() };
    let unclean = "it has blanks, line breaks or characters outside of ASCII";
    assert_eq!(refused(tap, outside(), secrets), missing("tap", "MIZAN_TAP_SECRET_KEY", unclean));
    assert_eq!(
        refused(fatoorah, outside(), none()),
        missing("myfatoorah", "MIZAN_MYFATOORAH_TOKEN", empty)
    );
    let secrets = PaymentSecrets { myfatoorah_token: given("t"), ..none() };
    assert_eq!(
        refused(fatoorah, outside(), secrets),
        missing("myfatoorah", "MIZAN_MYFATOORAH_WEBHOOK_SECRET", empty)
    );
    let secrets = PaymentSecrets { tap_secret_key: given("sk_test"), ..none() };
    assert_eq!(
        refused(tap, ServeFlags::default(), secrets),
        "[payments.tap] sends customers and callbacks back to this server: set public_url in \
         [server], or MIZAN_PUBLIC_URL, to its address from outside"
    );

    // Commands that take no payments work without.
    let command = ServeFlags::from(StoreFlags::default());
    let config = paying(tap, command, none()).expect("no server");
    assert!(config.payments.is_empty());
}

#[test]
fn providers_are_ready_in_the_order_of_the_file_format() {
    let sections = "[payments.tap]\n[payments.myfatoorah]\n\
                    [payments.manual]\ninstructions = \"{reference}\"";
    let flags = flags(&["--public-url=https://pay.example:8443"]).expect("flags");
    let secrets = PaymentSecrets {
        tap_secret_key: given("sk_test_zzz"),
        myfatoorah_token: given("token_zzz"),
        myfatoorah_webhook_secret: given("webhook_zzz"),
    };
    let config = paying(sections, flags, secrets).expect("sound");
    let names: Vec<&str> = config.payments.iter().map(|provider| provider.name()).collect();
    assert_eq!(names, ["manual", "tap", "myfatoorah"]);
    assert_eq!(config.payment_provider("tap").expect("enabled").name(), "tap");
    assert!(config.payment_provider("cash").is_none());
    assert_eq!(config.public_url.as_deref(), Some("https://pay.example:8443"));
    let shown = format!("{config:?}");
    assert!(shown.contains("api.myfatoorah.com") && !shown.contains("zzz"), "{shown}");
}

#[test]
fn secrets_of_providers_are_read_from_the_environment() {
    // The other half runs in a process of its own, with only this environment.
    let check = |environment: &[(&str, &str)], expected: &str| {
        let arguments = ["--public-url=https://pay.example", "--model=pays"];
        let found = resolve_in_process(&arguments, environment);
        assert!(found.contains(expected), "{found}");
    };
    check(&[], "MIZAN_TAP_SECRET_KEY, but it is not set or empty");
    check(&[("MIZAN_TAP_SECRET_KEY", "")], "MIZAN_TAP_SECRET_KEY, but it is not set or empty");
    check(&[("MIZAN_TAP_SECRET_KEY", "sk_test")], "unknown model \"pays\"");
}

#[test]
fn secrets_are_not_shown() {
    let secret = Secret::new("sixteen characters");
    assert_eq!(format!("{secret:?}"), "***");
    assert_eq!(secret.expose(), "sixteen characters");
    let config = resolve(&["--admin-key=sixteen characters"]).expect("sound");
    assert!(!format!("{config:?}").contains("sixteen"));
    // `--help` shows the values of variables, but not of this one.
    let command = command();
    let key = command.get_arguments().find(|argument| argument.get_long() == Some("admin-key"));
    assert!(key.expect("the flag").is_hide_env_values_set());
}
