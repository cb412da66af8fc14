//! The rules of the house, as tests: which module may know which, and how a file must look.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, the modules of ours it may name, and the outside crates that only it (and those listed
/// with the same crate) may name. A new edge shows in a diff of this table.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("money", &[]),
    ("model", &[]),
    ("text", &[]),
    ("engine", &["model"]),
    ("grammar", &["engine", "text"]),
    ("ledger", &["money"]),
    ("payments", &["money"]),
    ("catalog", &["money"]),
    ("config", &["catalog", "payments"]),
    ("hub", &["catalog", "config"]),
    ("registry", &["engine", "grammar", "model", "text", "hub", "catalog", "config"]),
    ("metering", &["engine", "ledger", "catalog"]),
    ("telemetry", &["engine"]),
    ("responses", &[]),
    ("billing", &["catalog", "config", "ledger", "money", "payments"]),
    (
        "api",
        &[
            "billing",
            "catalog",
            "config",
            "engine",
            "grammar",
            "ledger",
            "metering",
            "money",
            "payments",
            "registry",
            "responses",
            "telemetry",
            "text",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "billing",
            "engine",
            "grammar",
            "model",
            "money",
            "payments",
            "text",
            "ledger",
            "catalog",
            "config",
            "hub",
            "registry",
            "responses",
            "metering",
            "telemetry",
        ],
    ),
];

/// Outside crate and the only modules that may name it: the five absences.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("kernels", &["model"]),
    ("candle_core", &["model"]),
    ("rusqlite", &["ledger", "responses"]),
    ("axum", &["api"]),
    ("tower_http", &["api"]),
    ("minijinja", &["text"]),
    ("llguidance", &["grammar"]),
    ("tokenizers", &["text"]),
    ("hf_hub", &["hub"]),
    ("clap", &["cli", "config", "catalog"]),
];

const MAX_LINES: usize = 600;
const MAX_COLUMNS: usize = 100;

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    let modules: BTreeSet<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    for (path, text) in sources(Path::new("src")) {
        let Some(module) = module_of(&path) else { continue };
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == module).map(|(_, list)| *list);
        let Some(allowed) = allowed else {
            wrong.push(format!("{}: module {module} is not in the table", path.display()));
            continue;
        };
        for (number, line) in code_lines(&text) {
            for used in crate_paths(line) {
                let known = modules.contains(used.as_str());
                if known && used != module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}:{number}: {module} -> {used}", path.display()));
                }
            }
            for (outside, homes) in ONLY_IN {
                if names_crate(line, outside) && !homes.contains(&module.as_str()) {
                    wrong.push(format!("{}:{number}: {module} names {outside}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the table:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_has_a_header_and_fits_the_page() {
    let mut wrong = Vec::new();
    for root in ["src", "kernels/src", "kernels/benches", "tests/it", "benches"] {
        for (path, text) in sources(Path::new(root)) {
            let shown = path.display();
            if !text.starts_with("//!") && !text.starts_with("#![doc") {
                wrong.push(format!("{shown}: no //! header"));
            }
            let lines = text.lines().count();
            if lines > MAX_LINES {
                wrong.push(format!("{shown}: {lines} lines, at most {MAX_LINES}"));
            }
            for (number, line) in text.lines().enumerate() {
                if line.chars().count() > MAX_COLUMNS && !line.contains("https://") {
                    wrong.push(format!("{shown}:{}: over {MAX_COLUMNS} columns", number + 1));
                }
            }
            for name in ["utils", "common", "helpers", "misc"] {
                if path.file_stem().is_some_and(|stem| stem == name) {
                    wrong.push(format!("{shown}: a file called {name} has no idea"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "untidy:\n{}", wrong.join("\n"));
}

#[test]
fn tests_are_never_ignored_and_nothing_is_left_over() {
    // Spelled in two halves, so that this file does not find itself.
    let banned = [concat!("#[ig", "nore"), concat!("TO", "DO"), concat!("FIX", "ME"), "dbg!("];
    let mut wrong = Vec::new();
    for root in ["src", "kernels/src", "kernels/benches", "tests/it", "benches"] {
        for (path, text) in sources(Path::new(root)) {
            for (number, line) in text.lines().enumerate() {
                for word in banned.iter().filter(|word| line.contains(**word)) {
                    if !path.ends_with("tidy.rs") {
                        wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "left over:\n{}", wrong.join("\n"));
}

/// The top level that a reader sees is fixed; what is not listed needs a reason and an edit here.
#[test]
fn the_visible_top_level_is_fixed() {
    let expected: BTreeSet<&str> = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "benches",
        "kernels",
        "models.toml",
        "src",
        "tests",
    ]
    .into();
    let found: BTreeSet<String> = fs::read_dir(root())
        .expect("the repository can be listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_readme_lists_every_route_and_every_setting() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let mut missing = Vec::new();
    for route in paths_given_to("route").iter().filter(|route| !readme.contains(route.as_str())) {
        missing.push(format!("route {route}"));
    }
    for (path, text) in sources(Path::new("src")) {
        for setting in settings(&text).filter(|setting| !readme.contains(setting.as_str())) {
            missing.push(format!("{}: setting {setting}", path.display()));
        }
    }
    assert!(missing.is_empty(), "README.md does not mention:\n{}", missing.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder` (relative to the repository), with their texts.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(root()).expect("below the root").to_path_buf();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// `src/engine/scheduler.rs` -> `engine`; nothing for `lib.rs` and `main.rs`, which only declare.
fn module_of(path: &Path) -> Option<String> {
    let first = path.components().nth(1)?.as_os_str().to_string_lossy().into_owned();
    let name = first.strip_suffix(".rs").unwrap_or(&first);
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

/// Lines of code with their numbers: comments name other modules freely.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The first segments of every `crate::` path in a line; grouped imports of several of our
/// modules (`crate::{..}`) are read too.
fn crate_paths(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split([',', '}']).map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let name: String =
                name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::"))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// The paths that `src/api` gives to a method of routers: `.route("…")`, `.nest("…")`.
pub(crate) fn paths_given_to(method: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (_, text) in sources(Path::new("src/api")) {
        let code: Vec<&str> = code_lines(&text).map(|(_, line)| line).collect();
        for rest in code.join("\n").split(&format!(".{method}(")).skip(1) {
            // Long ones have a line of their own.
            let path = rest.trim_start().strip_prefix('"').and_then(|path| path.split('"').next());
            paths.extend(path.map(str::to_owned));
        }
    }
    paths
}

/// Environment variables of ours, wherever they are spelled out in a string.
fn settings(text: &str) -> impl Iterator<Item = String> {
    text.split("\"MIZAN_").skip(1).map(|rest| {
        let name = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_');
        format!("MIZAN_{}", name.collect::<String>())
    })
}
