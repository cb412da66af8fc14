//! `mizan verify`: this build's logits against candle-transformers, on the user's own file; or
//! against those that any other implementation wrote down.
//!
//! Two implementations that share no code past the file's bytes must agree on the distribution of
//! the next token at every position; if they do not, one of them computes something else.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::config::{Device, KvType, StoreFlags};
use crate::model::verify::{Comparison, Gates, Recorded, logits_of_each_position, verify};
use crate::model::{BLOCK_SIZE, Model};
use crate::registry::{self, DecoderLimits};
use crate::text::Specials;

use super::{load_model_config, pull};

/// English, code, numbers and other scripts: tokens of all kinds.
const TEXT: &str = r#"The scales of a merchant must be true: what is weighed is paid for, and
nothing else. In 1961 the dinar was divided into 1,000 fils, so that prices could be given to the
third decimal: 0.125, 2.000 and 19.999. Der Händler prüfte die Waage, bevor er die Gewürze abwog.
الميزان رمز للعدل. 秤は正直でなければならない。

fn weigh(left: u32, right: u32) -> Ordering {
    match left.cmp(&right) {
        Ordering::Equal => Ordering::Equal,
        other => other,
    }
}

for (index, weight) in weights.iter().enumerate() {
    println!("{index}: {weight}");
}
"#;

#[derive(Debug, Args)]
pub(crate) struct VerifyFlags {
    /// A model of models.toml, or the path of a model file [default: the first of models.toml]
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Compare on this text instead of a built-in one
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Compare this many positions at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    positions: usize,
    /// Compare with the logits in this file instead, of another implementation: safetensors with
    /// `tokens` (U32) and `logits` (F32, one row after each token)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "positions"])]
    against: Option<PathBuf>,
    /// Where the model runs [default: as in the settings]
    #[arg(long)]
    device: Option<Device>,
    /// How a GPU keeps keys and values [default: as in the settings]
    #[arg(long, value_name = "bf16|fp8")]
    kv_type: Option<KvType>,
    #[command(flatten)]
    store: StoreFlags,
}

pub(crate) fn run(flags: VerifyFlags) -> Result<()> {
    ensure!(flags.positions > 0, "there is nothing to compare at 0 positions");
    let (config, entry) = load_model_config(flags.store, flags.model)?;
    let files = pull::fetch(&entry, &config)?;
    let model = Model::open(&files.path)?;
    let device = flags.device.unwrap_or(config.device);
    let kv_type = flags.kv_type.unwrap_or(config.kv_type);
    let open = |tokens: &[u32]| {
        let limits = DecoderLimits {
            max_tokens: tokens.len(),
            max_outputs: tokens.len(),
            num_blocks: tokens.len().div_ceil(BLOCK_SIZE),
            threads: config.threads,
            device,
            kv_type,
        };
        registry::open_decoder(&files.path, limits)
    };
    if let Some(path) = &flags.against {
        let vocab_size = model.config.vocab_size;
        let recorded = Recorded::read(path, vocab_size)?;
        let mut decoder = open(&recorded.tokens)?;
        println!("{}: {} against {}", entry.id, files.path.display(), path.display());
        let logits = logits_of_each_position(&mut decoder, &recorded.tokens)?;
        return judge(&Comparison::of(&recorded.logits, &logits, vocab_size), &Gates::FLAT_LOGITS);
    }
    let text = match &flags.text {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?,
        None => TEXT.to_owned(),
    };
    let tokenizer = registry::open_tokenizer(&model, &files.path)?;
    let mut tokens: Vec<u32> = tokenizer.bos_prefix().into_iter().collect();
    tokens.extend(tokenizer.encode(&text, Specials::Plain));
    tokens.truncate(flags.positions.min(model.config.max_context));
    ensure!(!tokens.is_empty(), "the text has no tokens");

    let mut decoder = open(&tokens)?;
    println!("{}: {} against candle-transformers", entry.id, files.path.display());
    let comparison = verify(&files.path, &model, &mut decoder, &tokens)?;
    judge(&comparison, &Gates::ROUNDED_ACTIVATIONS)
}

fn judge(comparison: &Comparison, gates: &Gates) -> Result<()> {
    println!("{comparison}");
    if !comparison.is_within(gates) {
        bail!("the two disagree, do not serve this file: the bounds are {gates}");
    }
    println!("the two agree");
    Ok(())
}
