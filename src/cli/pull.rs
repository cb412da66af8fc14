//! `mizan pull`: fetches a model's files, with a progress bar.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::catalog::ModelEntry;
use crate::config::{Config, StoreFlags};
use crate::hub::{self, ModelFiles, Progress};

use super::load_model_config;

#[derive(Debug, Args)]
pub(crate) struct PullFlags {
    /// A model of models.toml [default: its first]
    #[arg(value_name = "ID")]
    model: Option<String>,
    #[command(flatten)]
    store: StoreFlags,
}

pub(crate) fn run(flags: PullFlags) -> Result<()> {
    let (config, entry) = load_model_config(flags.store, flags.model)?;
    let files = fetch(&entry, &config)?;
    println!("{} is at {}", entry.id, files.path.display());
    Ok(())
}

/// Fetches a model if it is not here yet, and shows how that goes.
pub(crate) fn fetch(entry: &ModelEntry, config: &Config) -> Result<ModelFiles> {
    let mut display = Display::new(&entry.id);
    let fetched = hub::fetch(entry, &config.models_dir(), &mut |progress| display.show(progress));
    display.bar.finish_and_clear();
    Ok(fetched?)
}

struct Display {
    bar: ProgressBar,
    id: String,
}

impl Display {
    fn new(id: &str) -> Self {
        let bar = ProgressBar::hidden();
        let style = ProgressStyle::with_template(
            "{msg} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        );
        bar.set_style(style.expect("the template is fixed and valid").progress_chars("=> "));
        Self { bar, id: id.to_owned() }
    }

    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Waiting => self.say("another mizan is fetching it: waiting"),
            Progress::SourceFailed { source, why } => {
                self.say(&format!("not from {source}: {why}"))
            }
            Progress::Started { source, bytes } => {
                self.say(&format!("fetching {:.1} MB from {source}", bytes as f64 / 1e6));
                self.bar.set_length(bytes);
                self.bar.set_message(self.id.clone());
                if std::io::stderr().is_terminal() {
                    self.bar.set_draw_target(ProgressDrawTarget::stderr());
                    self.bar.enable_steady_tick(Duration::from_millis(250));
                }
            }
            Progress::Advanced { bytes } => self.bar.set_position(bytes),
            Progress::Verifying => self.bar.set_message(format!("{}: verifying", self.id)),
            Progress::Done => self.bar.set_draw_target(ProgressDrawTarget::hidden()),
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{}: {text}", self.id));
    }
}
