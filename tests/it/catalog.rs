//! `models.toml`: what is refused, with which words and where; what the shipped file holds.

use std::path::{Path, PathBuf};

use mizan::catalog::{
    Catalog, Device, ModelEntry, Pack, Plan, Pooling, Sha256Digest, Source, Tier,
};
use mizan::money::Fils;

/// What a file needs besides the lines under test, which come first so that lines count from 1.
const TIERS: &str = "[tiers.standard]\ncredits_per_output_token = 1\n";
const MODEL: &str =
    "[[models]]\nid = \"m\"\ntier = \"standard\"\nsources = [{ path = \"m.gguf\" }]\n";

fn parse(text: &str) -> Result<Catalog, String> {
    Catalog::parse(text, "models.toml", Path::new("/etc/mizan")).map_err(|error| error.to_string())
}

/// The only model of a file whose lines of `[[models]]` are `lines`.
fn model(lines: &str) -> Result<ModelEntry, String> {
    let catalog = parse(&format!("[[models]]\n{lines}\n{TIERS}"))?;
    Ok(catalog.models.into_iter().next().expect("one model"))
}

#[track_caller]
fn check(found: Result<impl std::fmt::Debug, String>, expected: &str) {
    assert_eq!(found.expect_err("this should be refused"), expected);
}

/// Lines at the top of a file that is otherwise right.
#[track_caller]
fn refused(lines: &str, expected: &str) {
    check(parse(&format!("{lines}\n{TIERS}{MODEL}")), expected);
}

/// Lines of a `[[models]]` entry that has an id, a tier and a source.
#[track_caller]
fn model_refused(lines: &str, expected: &str) {
    let rest = "id = \"m\"\ntier = \"standard\"\nsources = [{ path = \"m.gguf\" }]";
    check(model(&format!("{lines}\n{rest}")), expected);
}

#[track_caller]
fn sources_refused(sources: &str, expected: &str) {
    check(model(&format!("sources = {sources}\nid = \"m\"\ntier = \"standard\"")), expected);
}

#[test]
fn unknown_keys_are_refused_with_the_known_ones() {
    refused(
        "[server]\nhots = \"0.0.0.0\"",
        "models.toml:2:1: unknown key `hots`, expected one of `host`, `port`, `public_url`, \
         `data`, `models`, `device`, `threads`, `max_batch`, `max_step_tokens`, `kv_memory`, \
         `kv_type`, `model_memory`, `model_wait_secs`, `prefix_cache`, `speculation`, `queue`, \
         `max_body`, `cors_origins`, `stall_secs`, `first_token_secs`, `request_secs`, \
         `keep_alive_secs`, `shutdown_secs`, `retain_output_days`, `retain_responses_days`, \
         `verify_hours`, `notice_networks`",
    );
    refused(
        "[severs]",
        "models.toml:1:2: unknown key `severs`, expected one of `server`, `tiers`, `packs`, \
         `plans`, `payments`, `models`",
    );
    refused(
        "[tiers.gold]\ncredits_per_token = 3",
        "models.toml:2:1: unknown key `credits_per_token`, expected `credits_per_output_token`",
    );
    refused(
        "[plans.team]\nmax_requests = 3",
        "models.toml:2:1: unknown key `max_requests`, expected one of `max_requests_per_minute`, \
         `max_input_tokens_per_minute`, `max_prompt_tokens`, `max_concurrent_requests`",
    );
    model_refused(
        "sampling = { temprature = 1.0 }",
        "models.toml:2:14: unknown key `temprature`, expected one of `temperature`, `top_p`, \
         `top_k`, `min_p`, `repetition_penalty`",
    );
    sources_refused(
        "[{ url = \"https://example.com/m.gguf\" }]",
        "models.toml:2:14: unknown key `url`, expected one of `path`, `hub`, `files`, `revision`, \
         `wheels`",
    );
}

#[test]
fn broken_toml_is_refused_where_it_breaks() {
    refused("[server]\nport 8080", "models.toml:2:6: key with no value, expected `=`");
    refused("[server]\nport = 1\nport = 2", "models.toml:3:1: duplicate key");
    refused("[server]\nhost = 127.0.0.1", "models.toml:2:13: invalid float");
    check(parse(""), "models.toml:1:1: missing key `tiers`");
    check(parse(TIERS), "models.toml:1:1: missing key `models`");
    check(
        parse(&format!("models = []\n{TIERS}")),
        "models.toml:1:10: no model: give at least one [[models]]",
    );
    check(model("id = \"m\"\ntier = \"standard\""), "models.toml:1:1: missing key `sources`");
}

#[test]
fn settings_out_of_bounds_are_refused_with_the_bounds() {
    refused(
        "[server]\nport = 65536",
        "models.toml:2:8: 65536 is out of range: a whole number from 0 to 65535",
    );
    refused(
        "[server]\nthreads = -1",
        "models.toml:2:11: -1 is out of range: a whole number from 1 to 1024",
    );
    refused(
        "[server]\nqueue = 2.5",
        "models.toml:2:9: invalid type: floating point `2.5`, expected a whole number from 1 to \
         100000",
    );
    refused(
        "[server]\nport = \"8080\"",
        "models.toml:2:8: invalid type: string \"8080\", expected a whole number from 0 to 65535",
    );
    refused(
        "[server]\nkv_memory = \"4GiG\"",
        "models.toml:2:13: \"4GiG\" is not a size: write a whole number and a unit, such as \
         \"512MiB\" or \"4GiB\"",
    );
    refused(
        "[server]\nkv_memory = \"1.5GiB\"",
        "models.toml:2:13: \"1.5GiB\" is not a size: write a whole number and a unit, such as \
         \"512MiB\" or \"4GiB\"",
    );
    refused(
        "[server]\nkv_memory = \"4KiB\"",
        "models.toml:2:13: 4KiB is out of range: a size from 1MiB to 16TiB",
    );
    refused(
        "[server]\nmax_body = \"99999999999TiB\"",
        "models.toml:2:12: 18446744073709551615 bytes is out of range: a size from 1KiB to 1GiB",
    );
    refused(
        "[server]\nmax_body = 2.5",
        "models.toml:2:12: invalid type: floating point `2.5`, expected a size such as \"512MiB\" \
         or \"4GiB\"",
    );
    refused(
        "[server]\ndevice = \"gpu\"",
        "models.toml:2:10: unknown device \"gpu\": this build has auto and cpu",
    );
    refused(
        "[server]\nhost = \"http://localhost\"",
        "models.toml:2:8: \"http://localhost\" is not an address to listen on: write one such as \
         127.0.0.1, 0.0.0.0 or ::1, and the port as a setting of its own",
    );
    refused(
        "[server]\ncors_origins = [\"https://a.example\", \"b.example/chat\"]",
        "models.toml:2:38: \"b.example/chat\" is not an origin: write scheme and host, such as \
         \"https://chat.example.com\", without a path",
    );
}

#[test]
fn prices_are_whole_fils_and_never_floats() {
    let pack = |price: &str| format!("[[packs]]\nid = \"a\"\ncredits = 5_000\nprice_kwd = {price}");
    for price in ["2", "2.0"] {
        let kind = if price == "2" { "integer" } else { "floating point" };
        refused(
            &pack(price),
            &format!(
                "models.toml:4:13: invalid type: {kind} `{price}`, expected a price in KWD, as \
                 text with three decimals, such as \"2.000\""
            ),
        );
    }
    refused(
        &pack("\"2.0005\""),
        "models.toml:4:13: \"2.0005\" has 4 decimals: an amount is whole fils, at most three, \
         such as \"2.000\"",
    );
    for wrong in ["", "2.", ".5", "-2.000", "2,000", "2 KWD", "1e3", "٢"] {
        refused(
            &pack(&format!("\"{wrong}\"")),
            &format!(
                "models.toml:4:13: \"{wrong}\" is not an amount: write KWD with three decimals, \
                 such as \"2.000\""
            ),
        );
    }
    refused(
        &pack("\"0.000\""),
        "models.toml:4:13: a price of 0 would give credits away: use a grant or a voucher",
    );
    refused(
        &pack("\"99999999999999999999.000\""),
        "models.toml:4:13: 99999999999999999999.000 KWD is out of range: a price is at most \
         1000000.000 KWD",
    );
    let fils = |price: &str| {
        let text = format!("{}\n{TIERS}{MODEL}", pack(&format!("\"{price}\"")));
        parse(&text).expect(price).packs[0].price.0
    };
    assert_eq!(fils("2.000"), 2_000);
    assert_eq!(fils("2"), 2_000);
    assert_eq!(fils("2.1"), 2_100);
    assert_eq!(fils("0.001"), 1);
    assert_eq!(fils("12.345"), 12_345);
    assert_eq!(fils("1000000.000"), 1_000_000_000);
}

#[test]
fn ways_to_pay_are_checked() {
    refused(
        "[payments.stripe]",
        "models.toml:1:11: unknown key `stripe`, expected one of `manual`, `tap`, `myfatoorah`",
    );
    refused(
        "[payments.tap]\nsecret = \"sk_live\"",
        "models.toml:2:1: unknown key `secret`, expected one of `source`, `merchant`, `base_url`, \
         `timeout_secs`",
    );
    refused(
        "[payments.tap]\nsource = \"knet\"",
        "models.toml:2:10: unknown source \"knet\": one of src_all, src_kw.knet, src_card",
    );
    refused(
        "[payments.tap]\nmerchant = \"1 2\"",
        "models.toml:2:12: \"1 2\" is not a merchant: write the number that Tap gave, in quotes",
    );
    refused(
        "[payments.tap]\ntimeout_secs = 0",
        "models.toml:2:16: 0 is out of range: a whole number from 1 to 120",
    );
    refused(
        "[payments.myfatoorah]\nmethod = \"kn\"",
        "models.toml:2:10: unknown method \"kn\": there are knet and card",
    );
    refused(
        "[payments.myfatoorah]\ntoken = \"x\"",
        "models.toml:2:1: unknown key `token`, expected one of `method`, `base_url`, \
         `timeout_secs`",
    );
    refused("[payments.manual]", "models.toml:1:1: missing key `instructions`");
    refused(
        "[payments.manual]\ninstructions = \"Pay us\"",
        "models.toml:2:16: instructions need {reference} in them: what the customer writes on the \
         transfer, so that the operator finds the order",
    );
    for wrong in ["http://pay.example", "http://127.0.0.1.pay.example", "http://localhosts"] {
        refused(
            &format!("[payments.tap]\nbase_url = \"{wrong}\""),
            &format!(
                "models.toml:2:12: \"{wrong}\" is not secure: write https://, or http:// with \
                 127.0.0.1 or localhost"
            ),
        );
    }
    refused(
        "[server]\npublic_url = \"https://pay.example/\"",
        "models.toml:2:14: \"https://pay.example/\" is not an origin: write scheme and host, such \
         as \"https://chat.example.com\", without a path",
    );
    for right in ["https://pay.example:8443", "http://localhost", "http://[::1]:80"] {
        let text = format!("[server]\npublic_url = \"{right}\"\n{TIERS}{MODEL}");
        let server = parse(&text).expect(right).server;
        assert_eq!(server.public_url.map(|origin| origin.to_string()).as_deref(), Some(right));
    }
}

#[test]
fn the_shipped_ways_to_pay_are_the_defaults() {
    let shipped = Catalog::shipped().payments;
    let manual = shipped.manual.as_ref().expect("bank transfer").instructions.to_string();
    assert!(manual.contains("{amount} KWD") && !manual.contains('\n'), "{manual}");
    assert!(shipped.tap.is_none() && shipped.myfatoorah.is_none());

    // What the comments show is what a bare section means, but for the merchant.
    let text = include_str!("../../models.toml");
    let start = text.find("# [payments.tap]").expect("a section");
    let end = start + text[start..].find("# ----").expect("the next part");
    let lines = text[start..end].lines().filter_map(|line| line.strip_prefix("# "));
    let lines = lines.filter(|line| !line.starts_with("merchant")).collect::<Vec<_>>().join("\n");
    let shown = parse(&format!("{lines}\n{TIERS}{MODEL}")).expect("sound").payments;
    let bare = "[payments.tap]\nbase_url = \"https://api.tap.company\"\n[payments.myfatoorah]\n\
                base_url = \"https://api.myfatoorah.com\"";
    let bare = parse(&format!("{bare}\n{TIERS}{MODEL}")).expect("sound").payments;
    assert_eq!(format!("{shown:?}"), format!("{bare:?}"));
}

#[test]
fn credits_are_whole_numbers() {
    refused(
        "[[packs]]\nid = \"a\"\ncredits = 5000.5\nprice_kwd = \"2.000\"",
        "models.toml:3:11: invalid type: floating point `5000.5`, expected a whole number from 1 \
         to 1000000000000",
    );
    refused(
        "[tiers.half]\ncredits_per_output_token = 0.5",
        "models.toml:2:28: invalid type: floating point `0.5`, expected a whole number from 1 to \
         1000000",
    );
    refused(
        "[tiers.free]\ncredits_per_output_token = 0",
        "models.toml:2:28: 0 is out of range: a whole number from 1 to 1000000",
    );
}

#[test]
fn names_mean_one_thing() {
    let pack = "[[packs]]\nid = \"a\"\ncredits = 1\nprice_kwd = \"1.000\"\n";
    refused(
        &format!("{pack}{pack}"),
        "models.toml:6:6: pack id \"a\" is there twice: each needs its own",
    );
    refused(MODEL, "models.toml:9:6: model id \"m\" is there twice: each needs its own");
    refused(
        &MODEL.replace("\"m\"", "\"M\""),
        "models.toml:9:6: model id \"m\" is there twice: each needs its own",
    );
    refused(
        &format!("{MODEL}aliases = [\"n\", \"m\"]").replacen("\"m\"", "\"x\"", 1),
        "models.toml:9:6: model name \"m\" is there twice: each needs its own",
    );
    model_refused(
        "aliases = [\"m\"]",
        "models.toml:2:12: model name \"m\" is there twice: each needs its own",
    );
    check(
        model("id = \"m\"\ntier = \"premum\"\nsources = [{ path = \"m.gguf\" }]"),
        "models.toml:3:8: unknown tier \"premum\": one of standard",
    );
    for id in ["", ".hidden", "../up", "a/b", "a b", "é"] {
        check(
            model(&format!("id = \"{id}\"\ntier = \"standard\"\nsources = [{{ path = \"m\" }}]")),
            &format!(
                "models.toml:2:6: model id \"{id}\" is not one: up to 64 of a-z, A-Z, 0-9, '.', \
                 '-', '_', the first a letter or digit (other names may stand in `aliases`)"
            ),
        );
    }
}

#[test]
fn models_are_refused_where_they_can_not_work() {
    model_refused(
        "sha256 = \"abc\"",
        "models.toml:2:10: a sha256 has 64 hexadecimal digits, this has 3",
    );
    model_refused(
        &format!("sha256 = \"{}g\"", "0".repeat(63)),
        "models.toml:2:10: a sha256 has 64 hexadecimal digits (0-9, a-f); the one at place 64 is \
         not",
    );
    model_refused(
        "context_length = 8",
        "models.toml:2:18: 8 is out of range: a whole number from 16 to 16777216",
    );
    model_refused(
        "pooling = \"max\"",
        "models.toml:2:11: unknown variant `max`, expected one of `mean`, `cls`, `last`",
    );
    model_refused(
        "sampling = { temperature = 2.5 }",
        "models.toml:2:28: 2.5 is out of range: a number from 0 to 2",
    );
    model_refused(
        "sampling = { top_p = nan }",
        "models.toml:2:22: NaN is out of range: a number from 0 to 1",
    );
    model_refused(
        "chat_template = \"gemma\"",
        "models.toml:2:17: a chat_template is Jinja source, and this has neither {{ }} nor {% %}",
    );
}

#[test]
fn sources_are_refused_where_they_can_not_work() {
    sources_refused(
        "[]",
        "models.toml:2:11: no source: give at least one of { path = \"..\" }, { hub = \
         \"owner/name\", files = [..] }, { wheels = [..] }",
    );
    sources_refused(
        "[{ }]",
        "models.toml:2:12: a source has exactly one of `path`, `hub`, `wheels`",
    );
    sources_refused(
        "[{ path = \"a\", hub = \"b/c\" }]",
        "models.toml:2:12: a source has exactly one of `path`, `hub`, `wheels`",
    );
    sources_refused(
        "[{ path = \"a\", revision = \"main\" }]",
        "models.toml:2:37: `revision` belongs to a hub source only",
    );
    sources_refused(
        "[{ hub = \"b/c\" }]",
        "models.toml:2:12: a hub source needs `files`, such as files = [\"model-Q4_K_M.gguf\"]",
    );
    for repo in ["c", "a/b/c", "../c", "a/..", "https://huggingface.co/a/b"] {
        sources_refused(
            &format!("[{{ hub = \"{repo}\", files = [\"m.gguf\"] }}]"),
            &format!("models.toml:2:20: \"{repo}\" is not a hub repository: write owner/name"),
        );
    }
    for file in ["", "/etc/passwd", "../m.gguf", "a/../../m.gguf", "m.gguf?x=1"] {
        sources_refused(
            &format!("[{{ hub = \"a/b\", files = [\"{file}\"] }}]"),
            &format!(
                "models.toml:2:36: \"{file}\" is not a file of a repository: write a relative path \
                 of it"
            ),
        );
    }
    for files in ["[]", "[\"a.gguf\", \"b.gguf\"]", "[\"model.safetensors\"]"] {
        sources_refused(
            &format!("[{{ hub = \"a/b\", files = {files} }}]"),
            "models.toml:2:35: files are one .gguf, or config.json, tokenizer.json and the \
             .safetensors of one model",
        );
    }
    sources_refused(
        "[{ hub = \"a/b\", files = [\"m.gguf\"], revision = \"../x\" }]",
        "models.toml:2:58: \"../x\" is not a revision: write a branch, tag or commit, such as \
         \"main\"",
    );
    for package in ["llm", "llm>=1", "--index-url=x==1", "a b==1", "a==1 --pre", "a=="] {
        sources_refused(
            &format!("[{{ wheels = [{{ package = \"{package}\", member = \"m\" }}] }}]"),
            &format!(
                "models.toml:2:24: package \"{package}\" is not pinned: write \"name==version\""
            ),
        );
    }
    sources_refused(
        "[{ wheels = [{ package = \"a==1\", member = \"m\" }] }]",
        "models.toml:2:12: a model that comes in wheels needs `bytes` and `sha256` of the whole \
         file",
    );
}

#[test]
fn columns_count_characters() {
    refused(
        "# ميزان\n[server] # 🪙\nhost = \"é\"",
        "models.toml:3:8: \"é\" is not an address to listen on: write one such as 127.0.0.1, \
         0.0.0.0 or ::1, and the port as a setting of its own",
    );
    refused(
        "plans = { \"équipe 🪙\" = { max_requests = 1 } }",
        "models.toml:1:26: unknown key `max_requests`, expected one of `max_requests_per_minute`, \
         `max_input_tokens_per_minute`, `max_prompt_tokens`, `max_concurrent_requests`",
    );
}

#[test]
fn a_small_file_is_enough() {
    let catalog = parse(&format!("{TIERS}{MODEL}")).expect("sound");
    assert_eq!(catalog.tiers["standard"], Tier { credits_per_output_token: 1 });
    assert_eq!(catalog.plans["default"], Plan::default());
    let model = catalog.model("m").expect("m");
    // Relative paths start at the file's folder.
    let path = PathBuf::from("/etc/mizan/m.gguf");
    assert_eq!(model.sources, [Source::Path { path }]);
    assert_eq!(catalog.tier_of(model).credits_per_output_token, 1);
    assert!(catalog.model("n").is_none());
}

#[test]
fn every_key_of_a_model_is_read() {
    let model = model(
        "id = \"m\"\naliases = [\"meta/M:latest\"]\ntier = \"standard\"\nowned_by = \"us\"\n\
         context_length = 4096\nchat_template = \"{{ bos_token }}\"\n\
         pooling = \"mean\"\nmin_dimensions = 32\n\
         sampling = { temperature = 0, top_p = 0.5, top_k = 4, min_p = 0.05, \
         repetition_penalty = 1.1 }\n\
         sources = [{ hub = \"a/b\", files = [\"m.gguf\"], revision = \"v1\" }]",
    )
    .expect("sound");
    assert!(model.answers_to("m") && model.answers_to("meta/M:latest") && !model.answers_to("M"));
    assert_eq!(model.owned_by.as_deref(), Some("us"));
    assert_eq!(model.context_length, Some(4096));
    assert_eq!(model.chat_template.as_deref(), Some("{{ bos_token }}"));
    assert_eq!(model.pooling, Some(Pooling::Mean));
    assert_eq!(model.min_dimensions, Some(32));
    assert_eq!(model.sampling.temperature, Some(0.0));
    assert_eq!(model.sampling.top_p, Some(0.5));
    assert_eq!(model.sampling.top_k, Some(4));
    assert_eq!(model.sampling.min_p, Some(0.05));
    assert_eq!(model.sampling.repetition_penalty, Some(1.1));
    let files = vec!["m.gguf".to_owned()];
    let (repo, revision) = ("a/b".to_owned(), "v1".to_owned());
    assert_eq!(model.sources, [Source::Hub { repo, files, revision }]);
}

#[test]
fn every_server_setting_is_read() {
    let text = format!(
        "[server]\nhost = \"::1\"\nport = 0\npublic_url = \"https://Pay.example\"\ndata = \"/srv\"\nmodels = [\"m\"]\ndevice = \"cpu\"\n\
         threads = 3\nmax_batch = 4\nmax_step_tokens = 16\nkv_memory = \"1 GiB\"\n\
         kv_type = \"fp8\"\nmodel_memory = 17179869184\nmodel_wait_secs = 10\n\
         prefix_cache = false\nspeculation = \"off\"\nfirst_token_secs = 11\nrequest_secs = 12\n\
         queue = 5\nmax_body = \"1MB\"\n\
         cors_origins = [\"https://Chat.Example.com:8443\"]\nstall_secs = 6\n\
         keep_alive_secs = 0\nshutdown_secs = 7\nretain_output_days = 8\n\
         retain_responses_days = 13\nverify_hours = 9\n\
         notice_networks = \"any\"\n\
         {TIERS}{MODEL}"
    );
    let server = parse(&text).expect("sound").server;
    assert_eq!(server.device, Some(Device::Cpu));
    assert_eq!(
        format!("{server:?}"),
        "ServerSettings { host: Some(Host(\"::1\")), port: Some(0), \
         public_url: Some(SecureOrigin(\"https://pay.example\")), data: Some(\"/srv\"), models: Some([\"m\"]), device: Some(Cpu), threads: Some(3), max_batch: Some(4), \
         max_step_tokens: Some(16), kv_memory: Some(1GiB), kv_type: Some(Fp8), \
         model_memory: Some(16GiB), model_wait_secs: Some(10), prefix_cache: Some(false), \
         speculation: Some(Off), queue: Some(5), max_body: Some(1000000 bytes), \
         cors_origins: Some([Origin(\"https://chat.example.com:8443\")]), stall_secs: Some(6), \
         first_token_secs: Some(11), request_secs: Some(12), \
         keep_alive_secs: Some(0), shutdown_secs: Some(7), retain_output_days: Some(8), \
         retain_responses_days: Some(13), verify_hours: Some(9), notice_networks: Some(Any) }"
    );
}

#[test]
fn the_shipped_file_is_sound() {
    let catalog = Catalog::shipped();
    let rate = |tier: &str| catalog.tiers[tier].credits_per_output_token;
    assert_eq!((rate("standard"), rate("premium")), (1, 2));
    let pack = |id: &str, credits, fils| Pack { id: id.to_owned(), credits, price: Fils(fils) };
    assert_eq!(catalog.packs, [pack("starter", 5_000, 2_000), pack("value", 15_000, 5_000)]);
    assert!(catalog.plans.contains_key("default"));

    let default = &catalog.models[0];
    assert_eq!(default.id, "smollm2-135m-instruct");
    assert_eq!(default.bytes, Some(98_362_432));
    assert_eq!(
        default.sha256.map(|digest| Sha256Digest(digest).to_string()).as_deref(),
        Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
    );
    for id in ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m"] {
        let model = catalog.model(id).expect(id);
        assert!(model.sources.iter().any(|source| matches!(source, Source::Wheel { .. })), "{id}");
    }
    for model in &catalog.models {
        let reasons_at_length = model.id.starts_with("deepseek-r1");
        assert_eq!(model.tier == "premium", reasons_at_length, "{}", model.id);
        assert_eq!(model.id, model.id.to_lowercase());
        assert!(model.owned_by.is_some(), "{}", model.id);
    }
    assert_eq!(catalog.models.len(), 15);
}

#[test]
fn the_shipped_file_shows_every_setting_and_its_default() {
    let text = include_str!("../../models.toml");
    let start = text.find("\n[server]\n").expect("a [server] section");
    let end = text.find("[tiers.standard]").expect("a tier");
    let mut uncommented = String::new();
    for line in text[start..end].lines() {
        let setting = line.strip_prefix("# ").filter(|line| line.contains(" = "));
        uncommented.push_str(setting.unwrap_or(line));
        uncommented.push('\n');
    }
    let server = parse(&format!("{uncommented}\n{TIERS}{MODEL}")).expect("sound").server;
    let defaults = mizan::catalog::ServerSettings::defaults();
    assert!(!format!("{server:?}").contains("None"), "{server:?}");
    // What the file shows for a setting that has a fixed default is that default.
    let shown = format!("{:?}", defaults.clone().or(server.clone()));
    let with_origins = |settings: mizan::catalog::ServerSettings| {
        let cors_origins = defaults.cors_origins.clone();
        format!("{:?}", mizan::catalog::ServerSettings { cors_origins, ..settings })
    };
    assert_eq!(with_origins(server), shown);
}

#[test]
fn no_edit_of_the_shipped_file_makes_it_panic() {
    let text: Vec<char> = include_str!("../../models.toml").chars().collect();
    let replacements = ["", "\"", "[", "}", "=", "\n", "-9", "1e400", "é", "\\", "'''"];
    for (round, at) in (0..text.len()).step_by(41).enumerate() {
        let (before, after) = text.split_at(at);
        let replacement = replacements[round % replacements.len()];
        let edited = [&String::from_iter(before), replacement, &String::from_iter(&after[1..])];
        for text in [edited.concat(), edited[0].to_owned()] {
            if let Err(error) = Catalog::parse(&text, "models.toml", Path::new("")) {
                let lines = text.lines().count().max(1) + 1;
                assert!((1..=lines).contains(&error.line) && error.column > 0, "{error}");
                assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error}");
            }
        }
    }
}
