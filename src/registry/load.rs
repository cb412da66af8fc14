//! From a model's files to a model that runs: context, KV memory, tokenizer, template, engine.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalog::{self, ModelEntry};
use crate::config::{Config, Device, KvType, Speculation};
use crate::engine::{Engine, EngineOptions, SPECULATIVE_ROWS};
use crate::grammar::Environment;
use crate::hub::ModelFiles;
use crate::model::executor::cpu::{CpuExecutor, weight_bytes};
use crate::model::executor::cuda::{self, KvBlocks, Placed};
use crate::model::{
    BLOCK_SIZE, DeclaredPooling, Decoder, DecoderShape, ExecutorLimits, Model, ModelConfig,
    ModelError, Pooling,
};
use crate::text::{ChatTemplate, Tokenizer};

use super::{Embedding, LoadError, LoadedModel, machine, vocabulary};

/// Bytes of a key or value in the CPU's cache: f16.
const KV_ELEMENT_BYTES: usize = 2;

/// Most KV memory that a model takes unless the operator or one full context asks for more.
const MAX_DEFAULT_KV_BYTES: u64 = 2 << 30;

/// Rows of a step beyond the batch's that have logits, so that a prompt can be scored while others
/// decode. Each takes a float for each token of the vocabulary.
const SCORED_ROWS: usize = 16;

/// What a step has room for.
#[derive(Clone, Copy)]
struct StepSizes {
    max_batch: usize,
    max_tokens: usize,
}

/// Where the operator does not say.
const ON_CPU: StepSizes = StepSizes { max_batch: 32, max_tokens: 512 };
/// A GPU has read its weights for many rows nearly as soon as for one.
const ON_GPU: StepSizes = StepSizes { max_batch: 256, max_tokens: 2048 };

/// Rows of a step on `device`, unless the operator says otherwise. `auto` is taken for the GPU in a
/// build that is for one.
pub fn default_step_tokens(device: Device) -> usize {
    match device {
        Device::Cuda(_) => ON_GPU.max_tokens,
        Device::Auto if cuda::IS_BUILT => ON_GPU.max_tokens,
        Device::Auto | Device::Cpu => ON_CPU.max_tokens,
    }
}

impl StepSizes {
    /// These, where the settings are silent; every sequence of a batch has a row.
    fn of(self, config: &Config) -> Self {
        let max_batch = config.max_batch.unwrap_or(self.max_batch);
        let max_tokens = config.max_step_tokens.unwrap_or(self.max_tokens).max(max_batch);
        Self { max_batch, max_tokens }
    }
}

/// The bounds of a decoder of its own.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    /// Rows in a step.
    pub max_tokens: usize,
    /// Rows with logits in a step.
    pub max_outputs: usize,
    /// KV blocks of [`BLOCK_SIZE`] positions.
    pub num_blocks: usize,
    /// Threads that compute.
    pub threads: usize,
    /// What computes.
    pub device: Device,
    /// How that keeps keys and values, if it is a GPU.
    pub kv_type: KvType,
}

/// Opens the model at `path` with nothing around it: for measurements and checks.
pub fn open_decoder(path: &Path, limits: DecoderLimits) -> Result<Decoder, ModelError> {
    let model = Arc::new(Model::open(path)?);
    let max_context = model.config.max_context;
    let DecoderLimits { max_tokens, max_outputs, num_blocks, threads, device, kv_type } = limits;
    let limits = ExecutorLimits { max_tokens, max_outputs, num_blocks, threads };
    let on_gpu = OnGpu { limits, kv_type: of_gpu(kv_type), blocks: KvBlocks::Exactly(num_blocks) };
    Ok(decoder(device, model, max_context, limits, on_gpu)?.decoder)
}

/// The tokenizer that comes with the model at `path`.
pub fn open_tokenizer(model: &Model, path: &Path) -> Result<Tokenizer, LoadError> {
    tokenizer(model, path).map(|(tokenizer, _)| tokenizer)
}

/// A model where it runs.
struct Opened {
    decoder: Decoder,
    num_blocks: usize,
    /// Bytes that it takes, if that is of a GPU.
    gpu_bytes: Option<usize>,
}

/// What a model may take of a GPU.
#[derive(Clone, Copy)]
struct OnGpu {
    limits: ExecutorLimits,
    kv_type: cuda::KvType,
    /// Whatever the limits say.
    blocks: KvBlocks,
}

fn of_gpu(kv_type: KvType) -> cuda::KvType {
    match kv_type {
        KvType::Bf16 => cuda::KvType::Bf16,
        KvType::Fp8 => cuda::KvType::Fp8,
    }
}

/// Opens a model on its device, within the limits of that.
fn decoder(
    device: Device,
    model: Arc<Model>,
    max_context: usize,
    on_cpu: ExecutorLimits,
    on_gpu: OnGpu,
) -> Result<Opened, ModelError> {
    let config = model.config.clone();
    let opened = |executor, limits: ExecutorLimits, gpu_bytes| {
        let shape = DecoderShape { max_context, ..DecoderShape::new(&config, &limits) };
        let decoder = Decoder::new(executor, shape);
        Opened { decoder, num_blocks: limits.num_blocks, gpu_bytes }
    };
    Ok(match place_on_gpu(device, &model, on_gpu)? {
        Some(Placed { executor, num_blocks, bytes }) => {
            opened(executor, ExecutorLimits { num_blocks, ..on_gpu.limits }, Some(bytes))
        }
        None => opened(Box::new(CpuExecutor::new(model, on_cpu)?), on_cpu, None),
    })
}

/// The model on the GPU of this device; `None` where it is to run on the CPU.
fn place_on_gpu(
    device: Device,
    model: &Arc<Model>,
    OnGpu { limits, kv_type, blocks }: OnGpu,
) -> Result<Option<Placed>, ModelError> {
    let on = |gpu: usize| cuda::on_gpu(gpu, Arc::clone(model), limits, kv_type, blocks);
    match device {
        Device::Cuda(gpu) => on(gpu).map(Some),
        Device::Auto if cuda::IS_BUILT => Ok(on(0)
            .inspect_err(|error| tracing::warn!(%error, "the model runs on the CPU instead"))
            .ok()),
        Device::Auto | Device::Cpu => Ok(None),
    }
}

/// A model that is mapped but takes no memory yet: its size is known before it is loaded.
pub(super) struct Plan {
    entry: ModelEntry,
    files: ModelFiles,
    model: Model,
    context_length: usize,
    num_blocks: usize,
    weight_bytes: u64,
}

impl Plan {
    pub(super) fn new(
        entry: ModelEntry,
        files: ModelFiles,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let model = Model::open(&files.path)?;
        let cap = entry.context_length.map_or(usize::MAX, |length| length as usize);
        let context_length = model.config.max_context.min(cap);
        let block_bytes = model.config.kv_bytes_per_block(KV_ELEMENT_BYTES);
        let bytes = config
            .kv_memory
            .unwrap_or_else(|| default_kv_bytes(&model.config, context_length, ON_CPU.of(config)));
        let num_blocks = num_blocks_in(bytes, block_bytes);
        if num_blocks == 0 {
            return Err(LoadError::Invalid(format!(
                "{bytes} bytes of KV memory do not hold one block of {block_bytes}: raise kv_memory"
            )));
        }
        let weight_bytes = weight_bytes(&model)? as u64;
        Ok(Self { entry, files, model, context_length, num_blocks, weight_bytes })
    }

    /// Bytes the model will take: its packed weights, the rest of its file, which stays mapped, and
    /// its KV blocks.
    pub(super) fn memory(&self) -> u64 {
        let block_bytes = self.model.config.kv_bytes_per_block(KV_ELEMENT_BYTES) as u64;
        self.weight_bytes.max(self.model.file_bytes()) + block_bytes * self.num_blocks as u64
    }

    pub(super) fn load(self, config: &Config) -> Result<LoadedModel, LoadError> {
        let memory = self.memory();
        let Self { entry, files, model, context_length, num_blocks, .. } = self;
        let (tokenizer, file_template) = tokenizer(&model, &files.path)?;
        // A vocabulary may be padded in the weights, never longer than them.
        if tokenizer.vocab_size() > model.config.vocab_size {
            return Err(LoadError::Invalid(format!(
                "the tokenizer has {} tokens and the weights only {}",
                tokenizer.vocab_size(),
                model.config.vocab_size
            )));
        }
        let embedding = embedding(&entry, &model)?;
        let chat_template = entry
            .chat_template
            .as_deref()
            .or(file_template.as_deref())
            .map(|source| ChatTemplate::compile(source, &tokenizer))
            .transpose()?;
        let speculative_rows = match config.speculation {
            Speculation::Off => 0,
            Speculation::PromptLookup => SPECULATIVE_ROWS,
        };
        let (on_cpu, on_gpu) = (ON_CPU.of(config), ON_GPU.of(config));
        let limits = |steps: StepSizes| ExecutorLimits {
            max_tokens: steps.max_tokens,
            max_outputs: steps.max_batch.max(speculative_rows) + SCORED_ROWS,
            num_blocks,
            threads: config.threads,
        };
        let vocab_size = model.config.vocab_size;
        let least = context_length.div_ceil(BLOCK_SIZE);
        let kv_type = of_gpu(config.kv_type);
        let blocks = match config.kv_memory {
            Some(bytes) => {
                let blocks = num_blocks_in(bytes, cuda::kv_bytes_per_block(&model.config, kv_type));
                KvBlocks::Exactly(blocks)
            }
            None => KvBlocks::AsFits { least, most: least.saturating_mul(on_gpu.max_batch) },
        };
        let gpu = OnGpu { limits: limits(on_gpu), kv_type, blocks };
        let model = Arc::new(model);
        let opened = decoder(config.device, model, context_length, limits(on_cpu), gpu)?;
        let Opened { decoder, num_blocks, gpu_bytes } = opened;
        let StepSizes { max_batch, max_tokens } = if gpu_bytes.is_some() { on_gpu } else { on_cpu };
        let memory = gpu_bytes.map_or(memory, |bytes| bytes as u64);
        let engine = Engine::start(
            decoder,
            EngineOptions {
                max_batch,
                max_step_tokens: max_tokens,
                max_waiting: config.queue,
                num_blocks,
                prefix_cache: config.prefix_cache,
                speculative_rows,
                name: entry.id.clone(),
            },
        )?;
        let tier = config.catalog.tier_of(&entry);
        let tokenizer = Arc::new(tokenizer);
        let grammar = Environment::new(Arc::clone(&tokenizer), vocab_size);
        let digest = files.digest;
        let loaded_at = unix_seconds();
        Ok(LoadedModel {
            entry,
            tier,
            digest,
            engine,
            tokenizer,
            grammar,
            chat_template,
            embedding,
            context_length,
            memory,
            loaded_at,
        })
    }
}

/// How the model makes vectors: as the operator says, or its files, or else of the last token,
/// which is the only one that has read all in a model that was made to continue text. vLLM does
/// the same.
fn embedding(entry: &ModelEntry, model: &Model) -> Result<Result<Embedding, String>, LoadError> {
    let size = model.config.hidden_size;
    if let Some(least) = entry.min_dimensions.filter(|least| *least > size) {
        return Err(LoadError::Invalid(format!(
            "min_dimensions is {least}, and its vectors have {size} values: lower it"
        )));
    }
    let pooling = match (entry.pooling, &model.pooling) {
        (Some(catalog::Pooling::Mean), _) => Pooling::Mean,
        (Some(catalog::Pooling::Cls), _) => Pooling::First,
        (Some(catalog::Pooling::Last), _) => Pooling::Last,
        (None, DeclaredPooling::By(pooling)) => *pooling,
        (None, DeclaredPooling::Unsaid) => Pooling::Last,
        (None, DeclaredPooling::Unsupported(why)) => return Ok(Err(why.clone())),
    };
    Ok(Ok(Embedding { pooling, size, min_dimensions: entry.min_dimensions }))
}

/// Blocks of so many bytes each; slots are counted in 32 bits.
fn num_blocks_in(bytes: u64, block_bytes: usize) -> usize {
    (bytes / block_bytes as u64).min(u64::from(u32::MAX / BLOCK_SIZE as u32)) as usize
}

/// A full batch of full contexts, if an eighth of the free memory and 2 GiB hold it; always one
/// full context.
fn default_kv_bytes(config: &ModelConfig, context_length: usize, steps: StepSizes) -> u64 {
    let blocks = context_length.div_ceil(BLOCK_SIZE) as u64;
    let one = blocks * config.kv_bytes_per_block(KV_ELEMENT_BYTES) as u64;
    let cap = (machine::available_memory() / 8).min(MAX_DEFAULT_KV_BYTES);
    one.saturating_mul(steps.max_batch as u64).min(cap).max(one)
}

/// The tokenizer that comes with the weights, and the chat template if there is one.
fn tokenizer(model: &Model, path: &Path) -> Result<(Tokenizer, Option<String>), LoadError> {
    if let Some(metadata) = &model.metadata {
        let tokenizer = Tokenizer::from_vocabulary(vocabulary(metadata)?)?;
        let template = metadata.str("tokenizer.chat_template").map_err(|p| p.at(path))?;
        return Ok((tokenizer, template.map(str::to_owned)));
    }
    let json = std::fs::read(path.join("tokenizer.json"))?;
    let settings = match std::fs::read(path.join("tokenizer_config.json")) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let tokenizer = Tokenizer::from_tokenizer_json(&json, settings.as_deref())?;
    Ok((tokenizer, folder_template(path, settings.as_deref())?))
}

/// A safetensors folder has its template in `chat_template.jinja` or in `tokenizer_config.json`,
/// where it is a string or a list of named ones.
fn folder_template(path: &Path, settings: Option<&[u8]>) -> Result<Option<String>, LoadError> {
    match std::fs::read_to_string(path.join("chat_template.jinja")) {
        Ok(source) => return Ok(Some(source)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let Some(settings) = settings else { return Ok(None) };
    let settings: serde_json::Value = serde_json::from_slice(settings)
        .map_err(|error| LoadError::Invalid(format!("tokenizer_config.json: {error}")))?;
    let source = match settings.get("chat_template") {
        Some(serde_json::Value::Array(named)) => named
            .iter()
            .find(|template| template["name"] == "default")
            .and_then(|template| template["template"].as_str()),
        Some(template) => template.as_str(),
        None => None,
    };
    Ok(source.map(str::to_owned))
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
