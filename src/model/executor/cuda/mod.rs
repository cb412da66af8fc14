//! The executor for one NVIDIA GPU: packed weights, keys and values as bf16 or fp8, products on
//! tensor cores.
//!
//! Products take as many rows at a time as is fastest, whether their sequences decode or are
//! prefilled; a row's bits do not depend on it. But the vendor's library multiplies the many rows
//! of long prompts, apart from others, and large batches where weights are bf16.
//! Attention takes each row for itself, but the rows of a prompt together. A small step is filled
//! up to one of a few numbers of rows and queued whole, from a recording of its launches (a CUDA
//! graph): all that differs from step to step is in [`StepInputs`].
//!
//! Promises: the same bits for a row whatever other sequences are in the batch, but where the
//! library multiplies: those differ by rounding with the number of rows that it is given. So do
//! those of a row that is computed with fifteen others of its sequence, or more, from those of one
//! that is computed with fewer. Memory is taken when it is made, but
//! for more block tables or more changed logits than any before; a step that fails leaves nothing
//! half done that the next could see.
//! Never knows: how a product or a softmax is computed; that is `kernels`.

mod choose;
mod inputs;
mod room;
mod weights;

use std::collections::HashMap;
use std::sync::Arc;

use kernels::cpu::GateActivation;
pub use kernels::cuda::KvType;
use kernels::cuda::{
    AddNormed, Attention, AttentionScratch, Buffer, DENSE_TOKENS, DenseScratch, Division, Embed,
    Gpu, GpuError, Input, KvBuffer, Library, Next, Output, Prefill, Product, ProjectHeads,
    Recording, View,
};
use kernels::reference::RopePairs;

use self::choose::DeviceChoices;
use self::inputs::StepInputs;
use self::room::dense_matrices;
pub use self::room::{KvBlocks, Room, kv_bytes_per_block};
use self::weights::DeviceWeights;
use super::{Chooser, Executor, ExecutorLimits, Outputs};
use crate::model::batch::{BLOCK_SIZE, ForwardBatch};
use crate::model::config::{Activation, ModelConfig, RopeStyle};
use crate::model::decoder::DecoderShape;
use crate::model::error::ModelError;
use crate::model::load::Model;

/// Items of attention in one launch, at least: enough to fill any GPU many times over.
const MIN_ITEMS: usize = 2048;
/// Positions in an item.
const ITEM_POSITIONS: usize = 256;

/// Whether this build can run models on GPUs.
pub const IS_BUILT: bool = cfg!(feature = "cuda");

/// An executor, and what it takes of its GPU.
#[derive(Debug)]
pub struct Placed {
    /// The executor.
    pub executor: Box<dyn Executor>,
    /// Its blocks of keys and values.
    pub num_blocks: usize,
    /// Bytes in all.
    pub bytes: usize,
}

/// An executor on NVIDIA GPU number `gpu`, with as many blocks as `blocks` says.
pub fn on_gpu(
    gpu: usize,
    model: Arc<Model>,
    limits: ExecutorLimits,
    kv_type: KvType,
    blocks: KvBlocks,
) -> Result<Placed, ModelError> {
    place(open(gpu)?, model, limits, kv_type, blocks)
}

/// An executor on `gpu`, with as many blocks as `blocks` says, whatever `limits` say.
pub fn place(
    gpu: Box<dyn Gpu>,
    model: Arc<Model>,
    limits: ExecutorLimits,
    kv_type: KvType,
    blocks: KvBlocks,
) -> Result<Placed, ModelError> {
    let room = Room::of(&model, &limits, kv_type)?;
    let num_blocks = room.blocks(&*gpu, blocks)?;
    let limits = ExecutorLimits { num_blocks, ..limits };
    let executor = CudaExecutor::new(gpu, model, limits, kv_type)?;
    let bytes = room.with_blocks(num_blocks);
    Ok(Placed { executor: Box::new(executor), num_blocks, bytes })
}

/// Bytes that NVIDIA GPU number `gpu` has in all.
pub fn total_memory(gpu: usize) -> Result<u64, ModelError> {
    Ok(open(gpu)?.total_memory()? as u64)
}

#[cfg(feature = "cuda")]
fn open(gpu: usize) -> Result<Box<dyn Gpu>, ModelError> {
    Ok(Box::new(kernels::cuda::CandleGpu::new(gpu)?))
}

/// Refuses: this build has no kernels for GPUs.
#[cfg(not(feature = "cuda"))]
fn open(gpu: usize) -> Result<Box<dyn Gpu>, ModelError> {
    Err(ModelError::Executor(format!("this build is without the feature cuda: no GPU {gpu}")))
}

/// Runs the steps with [`kernels::cuda`].
#[derive(Debug)]
pub struct CudaExecutor {
    config: ModelConfig,
    gpu: Arc<dyn Gpu>,
    weights: DeviceWeights,
    /// The kinds of windows that layers have, and each layer's.
    windows: Vec<Option<usize>>,
    window_of: Vec<usize>,
    rotations: Vec<Buffer<f32>>, // One for each of the model's ropes.
    keys: Vec<KvBuffer>,         // One for each layer, as are the values.
    values: Vec<KvBuffer>,
    inputs: StepInputs,
    scratch: AttentionScratch,
    /// For steps of so many rows that the library multiplies some.
    dense: Option<DenseScratch>,
    state: State,
    queries: Buffer<u16>,  // [rows, q_size]
    attended: Buffer<u16>, // [rows, q_size up to a group]
    gated: Buffer<u16>,    // [rows, intermediate_size up to a group]
    product: Buffer<f32>,  // [rows, q_size + 2 kv_size], or what a post-norm normalizes
    device_logits: Buffer<f32>,
    device_hidden: Buffer<f32>,
    logits: Vec<f32>,       // [num_outputs, vocab_size]
    final_hidden: Vec<f32>, // [num_hidden, hidden_size]
    choices: DeviceChoices,
    /// The launches of whole steps, by how many rows they have; `None` after a first step of so
    /// many, which is run launch by launch, as the driver loads kernels when they first run.
    recordings: HashMap<usize, Option<Recording>>,
    /// The present step has been queued as a whole.
    is_replayed: bool,
}

/// Rows of steps that are recorded: a smaller step is filled up.
const BUCKETS: [usize; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/// The hidden state, and what the next product reads of it.
#[derive(Debug)]
struct State {
    hidden: Buffer<f32>,  // [rows, hidden_size]
    x: Buffer<u16>,       // [rows, stride]: times the weights of the norm that follows
    squares: Buffer<f32>, // [rows, parts]
    stride: usize,
    /// Parts of each row's sum of squares, as its last writer left them.
    parts: usize,
}

impl State {
    /// For a launch that writes the state: the state itself, and what it leaves for the next.
    fn next<'a>(
        &'a mut self,
        norm: View<'a, f32>,
        parts: usize,
    ) -> (&'a mut Buffer<f32>, Next<'a>) {
        self.parts = parts;
        let (x, squares) = (self.x.view_mut(), self.squares.view_mut());
        (&mut self.hidden, Next { norm, x, stride: self.stride, squares })
    }

    /// For a product that begins with a norm.
    fn normed(&self, width: usize, eps: f32) -> Input<'_> {
        let squares = self.squares.view();
        let division = Division { squares, parts: self.parts, width, eps };
        Input { x: self.x.view(), rows: None, division: Some(division) }
    }
}

impl CudaExecutor {
    /// Packs and uploads the weights and takes the memory for the largest step.
    ///
    /// Fails with [`ModelError::Executor`] when the model does not fit, or has sizes or types that
    /// the kernels do not take. Of the limits, `threads` are those that pack.
    pub fn new(
        gpu: Box<dyn Gpu>,
        model: Arc<Model>,
        limits: ExecutorLimits,
        kv_type: KvType,
    ) -> Result<Self, ModelError> {
        let config = model.config.clone();
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        if !Attention::is_supported(heads, kv_heads, head_dim) {
            return Err(ModelError::Executor(format!(
                "{heads} heads of {head_dim} values over {kv_heads} key heads: GPUs run heads of \
                 64, 128 or 256 values and up to 8 for each key head; use --device cpu"
            )));
        }
        // Positions beyond the whole cache are never reached.
        let max_context = config.max_context.min(limits.num_blocks * BLOCK_SIZE);
        let shape = DecoderShape { max_context, ..DecoderShape::new(&config, &limits) };
        let room = Room::of(&model, &limits, kv_type)?;
        room.blocks(&*gpu, KvBlocks::Exactly(limits.num_blocks))?;
        let weights = DeviceWeights::new(&model, &*gpu, limits.threads)?;
        let (windows, window_of) = kinds_of_windows(&config);
        let max_items = max_items(max_context);
        let rows = limits.max_tokens;
        let gpu_ref = &*gpu;
        let layer = || KvBuffer::zeros(gpu_ref, kv_type, limits.num_blocks, [kv_heads, head_dim]);
        let cache = || (0..config.num_layers).map(|_| layer()).collect::<Result<Vec<_>, _>>();
        let (keys, values) = (cache()?, cache()?);
        let halves = |len: usize| Buffer::<u16>::zeros(gpu_ref, rows * len);
        let floats = |len: usize| Buffer::<f32>::zeros(gpu_ref, rows * len);
        let dense = if rows < DENSE_TOKENS {
            None
        } else {
            Some(DenseScratch::new(gpu_ref, dense_matrices(&model)?.into_iter(), rows)?)
        };
        let hidden = config.hidden_size;
        let first = &weights.layers[0];
        let stride = first.qkv[0].matrix.input_stride();
        let parts = first.o.tiles().max(first.down.tiles());
        let product = (config.q_size() + 2 * config.kv_size()).max(hidden);
        Ok(Self {
            rotations: config
                .ropes
                .iter()
                .map(|rope| Ok(Buffer::from_slice(gpu_ref, &rotations(rope, max_context))?))
                .collect::<Result<_, ModelError>>()?,
            keys,
            values,
            inputs: StepInputs::new(gpu_ref, shape, max_items, [heads / kv_heads, windows.len()])?,
            scratch: AttentionScratch::new(gpu_ref, [rows, max_items], [kv_heads, head_dim])?,
            dense,
            state: State {
                hidden: floats(hidden)?,
                x: halves(stride)?,
                squares: floats(parts)?,
                stride,
                parts: 1,
            },
            queries: halves(config.q_size())?,
            attended: halves(first.o.input_stride())?,
            gated: halves(first.down.input_stride())?,
            product: floats(product)?,
            device_logits: Buffer::zeros(gpu_ref, limits.max_outputs * config.vocab_size)?,
            device_hidden: floats(hidden)?,
            logits: vec![0.0; limits.max_outputs * config.vocab_size],
            final_hidden: Vec::new(),
            choices: DeviceChoices::new(gpu_ref, &limits, config.vocab_size)?,
            recordings: HashMap::new(),
            is_replayed: false,
            windows,
            window_of,
            weights,
            config,
            gpu: Arc::from(gpu),
        })
    }

    /// Queues a whole step, launch by launch.
    fn launch_step(&mut self) -> Result<(), ModelError> {
        self.launch_embed()?;
        for layer in 0..self.config.num_layers {
            self.launch_qkv(layer)?;
            self.launch_attention(layer)?;
            self.add_product(layer, AddStep::Attention)?;
            self.launch_gate_up(layer)?;
            self.add_product(layer, AddStep::FeedForward)?;
        }
        self.launch_logits()
    }

    /// Queues a step of `rows` rows from its recording, which is made the second time that there is
    /// such a step; false the first time.
    fn replay(&mut self, rows: usize) -> Result<bool, ModelError> {
        let gpu = Arc::clone(&self.gpu);
        match self.recordings.get(&rows) {
            None => {
                self.recordings.insert(rows, None);
                return Ok(false);
            }
            Some(None) => {
                let mut failure = None;
                let recording = gpu.record(&mut || {
                    self.launch_step().map_err(|error| {
                        let why = GpuError::Failed(error.to_string());
                        failure = Some(error);
                        why
                    })
                });
                if let Some(error) = failure {
                    return Err(error);
                }
                self.recordings.insert(rows, Some(recording?));
            }
            Some(Some(_)) => {}
        }
        let Some(Some(recording)) = self.recordings.get(&rows) else { return Ok(false) };
        // SAFETY: all memory that its launches name is this executor's, and where it was:
        // recordings are dropped when the inputs move. The inputs hold a checked batch of so many
        // rows.
        unsafe { gpu.replay(recording)? };
        Ok(true)
    }

    fn launch_embed(&mut self) -> Result<(), ModelError> {
        let norm = self.weights.layers[0].attn_norm.view();
        let (hidden, next) = self.state.next(norm, 1);
        Embed {
            table: &self.weights.embedding,
            tokens: self.inputs.tokens(),
            scale: self.config.embedding_scale,
            hidden: hidden.view_mut(),
            next,
        }
        .run(&*self.gpu)?;
        Ok(())
    }

    fn launch_qkv(&mut self, index: usize) -> Result<(), ModelError> {
        let (config, gpu) = (&self.config, &*self.gpu);
        let layer = &self.weights.layers[index];
        let stride = config.q_size() + 2 * config.kv_size();
        let tokens = self.inputs.num_rows();
        let mut column = 0;
        for projection in &layer.qkv {
            let (matrix, len) = (&projection.matrix, self.product.len());
            let output = Output::Store {
                out: self.product.view_mut().slice(column..len),
                stride,
                bias: projection.bias.as_ref().map(Buffer::view),
                softcap: None,
            };
            let input = self.state.normed(config.hidden_size, config.norm_eps);
            let library = library(&self.inputs, &mut self.dense);
            Product { matrix, input, tokens, library, output }.run(gpu)?;
            column += matrix.rows();
        }
        ProjectHeads {
            products: self.product.view(),
            norms: layer.head_norms.as_ref().map(|(q, k)| (q.view(), k.view())),
            eps: config.norm_eps,
            rotations: self.rotations[config.layers[index].rope].view(),
            pairs: match config.rope_style {
                RopeStyle::Interleaved => RopePairs::Adjacent,
                RopeStyle::Halves => RopePairs::Halves,
            },
            rows: self.inputs.rows(),
            heads: config.num_heads,
            kv_heads: config.num_kv_heads,
            head_dim: config.head_dim,
            queries: self.queries.view_mut(),
            keys: self.keys[index].view_mut(),
            values: self.values[index].view_mut(),
        }
        .run(gpu)?;
        Ok(())
    }

    fn launch_attention(&mut self, index: usize) -> Result<(), ModelError> {
        let config = &self.config;
        let window = self.window_of[index];
        if let Some(tiles) = self.inputs.prefill() {
            Prefill {
                queries: self.queries.view(),
                keys: self.keys[index].view(),
                values: self.values[index].view(),
                rows: self.inputs.rows(),
                tiles,
                heads: config.num_heads,
                kv_heads: config.num_kv_heads,
                head_dim: config.head_dim,
                window: self.windows[window],
                scale: config.attention_scale,
                softcap: config.attention_softcap,
                out: self.attended.view_mut(),
                out_stride: self.weights.layers[index].o.input_stride(),
            }
            .run(&*self.gpu)?;
        }
        for items in self.inputs.attention(window) {
            Attention {
                queries: self.queries.view(),
                keys: self.keys[index].view(),
                values: self.values[index].view(),
                rows: self.inputs.rows(),
                items,
                scratch: &mut self.scratch,
                heads: config.num_heads,
                kv_heads: config.num_kv_heads,
                head_dim: config.head_dim,
                window: self.windows[window],
                scale: config.attention_scale,
                softcap: config.attention_softcap,
                out: self.attended.view_mut(),
                out_stride: self.weights.layers[index].o.input_stride(),
            }
            .run(&*self.gpu)?;
        }
        Ok(())
    }

    fn launch_gate_up(&mut self, index: usize) -> Result<(), ModelError> {
        let (config, layer) = (&self.config, &self.weights.layers[index]);
        let output = Output::Gate {
            activation: match config.activation {
                Activation::Silu => GateActivation::Silu,
                Activation::GeluTanh => GateActivation::GeluTanh,
            },
            x: self.gated.view_mut(),
            stride: layer.down.input_stride(),
        };
        let input = self.state.normed(config.hidden_size, config.norm_eps);
        let tokens = self.inputs.num_rows();
        let library = library(&self.inputs, &mut self.dense);
        Product { matrix: &layer.gate_up, input, tokens, library, output }.run(&*self.gpu)?;
        Ok(())
    }

    fn launch_logits(&mut self) -> Result<(), ModelError> {
        let (config, gpu) = (&self.config, &*self.gpu);
        let Some(rows) = self.inputs.outputs() else { return Ok(()) };
        let matrix = self.weights.output.as_ref().unwrap_or(&self.weights.embedding);
        let input =
            Input { rows: Some(rows), ..self.state.normed(config.hidden_size, config.norm_eps) };
        let output = Output::Store {
            out: self.device_logits.view_mut(),
            stride: config.vocab_size,
            bias: None,
            softcap: config.final_softcap,
        };
        Product { matrix, input, tokens: rows.len(), library: None, output }.run(gpu)?;
        Ok(())
    }

    /// Adds `weight * input` to the hidden state, normalized first where the model has post-norms.
    fn add_product(&mut self, index: usize, step: AddStep) -> Result<(), ModelError> {
        let (gpu, rows) = (&*self.gpu, self.inputs.num_rows());
        let layer = &self.weights.layers[index];
        let (matrix, post_norm, x, norm) = match step {
            AddStep::Attention => {
                (&layer.o, &layer.post_attn_norm, &self.attended, &layer.ffn_norm)
            }
            AddStep::FeedForward => {
                let next = self.weights.layers.get(index + 1);
                let norm = next.map_or(&self.weights.output_norm, |layer| &layer.attn_norm);
                (&layer.down, &layer.post_ffn_norm, &self.gated, norm)
            }
        };
        let input = Input { x: x.view(), rows: None, division: None };
        let library = library(&self.inputs, &mut self.dense);
        let Some(post_norm) = post_norm else {
            let (hidden, next) = self.state.next(norm.view(), matrix.tiles());
            let output = Output::Add { hidden: hidden.view_mut(), next };
            return Ok(Product { matrix, input, tokens: rows, library, output }.run(gpu)?);
        };
        let output = Output::Store {
            out: self.product.view_mut(),
            stride: matrix.rows(),
            bias: None,
            softcap: None,
        };
        Product { matrix, input, tokens: rows, library, output }.run(gpu)?;
        let (hidden, next) = self.state.next(norm.view(), 1);
        AddNormed {
            product: self.product.view(),
            post_norm: post_norm.view(),
            eps: self.config.norm_eps,
            rows,
            hidden: hidden.view_mut(),
            next,
        }
        .run(gpu)?;
        Ok(())
    }
}

/// What the library multiplies of the present step.
fn library<'a>(inputs: &'a StepInputs, dense: &'a mut Option<DenseScratch>) -> Option<Library<'a>> {
    dense.as_mut().map(|scratch| Library { long: inputs.long(), scratch })
}

/// The steps that add to the hidden state.
#[derive(Clone, Copy)]
enum AddStep {
    Attention,
    FeedForward,
}

impl Executor for CudaExecutor {
    fn embed(&mut self, batch: &ForwardBatch) -> Result<(), ModelError> {
        let max = self.inputs.max_bucket();
        let bucket = BUCKETS.into_iter().find(|rows| batch.num_tokens() <= *rows && *rows <= max);
        let bucket = bucket.filter(|_| batch.hidden.is_empty());
        let set = self.inputs.set(&*self.gpu, batch, &self.windows, bucket)?;
        if set.has_moved {
            self.recordings.clear();
        }
        self.choices.feed(&*self.gpu, &batch.fed, self.inputs.tokens_mut())?;
        self.is_replayed = match bucket.filter(|_| set.is_uniform) {
            Some(rows) => self.replay(rows)?,
            None => false,
        };
        if self.is_replayed { Ok(()) } else { self.launch_embed() }
    }

    fn norm_qkv(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        if self.is_replayed { Ok(()) } else { self.launch_qkv(index) }
    }

    fn attention(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        if self.is_replayed { Ok(()) } else { self.launch_attention(index) }
    }

    fn attention_output(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        if self.is_replayed { Ok(()) } else { self.add_product(index, AddStep::Attention) }
    }

    fn gate_up(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        if self.is_replayed { Ok(()) } else { self.launch_gate_up(index) }
    }

    fn down(&mut self, index: usize, _batch: &ForwardBatch) -> Result<(), ModelError> {
        if self.is_replayed { Ok(()) } else { self.add_product(index, AddStep::FeedForward) }
    }

    fn outputs(&mut self, batch: &ForwardBatch) -> Result<Outputs<'_>, ModelError> {
        self.queue_outputs(batch)?;
        let all: Vec<usize> = (0..batch.outputs.len()).collect();
        self.read(&all)
    }

    fn chooser(&mut self) -> Option<&mut dyn Chooser> {
        Some(self)
    }
}

/// Items that one launch has room for: those of the longest context at least.
fn max_items(max_context: usize) -> usize {
    max_context.div_ceil(ITEM_POSITIONS).max(MIN_ITEMS)
}

/// The different windows of a model's layers, and which of them each layer has.
fn kinds_of_windows(config: &ModelConfig) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut windows = Vec::new();
    let window_of = config
        .layers
        .iter()
        .map(|layer| {
            let known = windows.iter().position(|window| *window == layer.sliding_window);
            known.unwrap_or_else(|| {
                windows.push(layer.sliding_window);
                windows.len() - 1
            })
        })
        .collect();
    (windows, window_of)
}

/// Cosine and sine of each pair at each position. `[positions, head_dim / 2, 2]`
fn rotations(rope: &crate::model::rope::RopeTable, positions: usize) -> Vec<f32> {
    let pairs = rope.inv_freq.len();
    let (mut cos, mut sin) = (vec![0.0; pairs], vec![0.0; pairs]);
    let mut table = Vec::with_capacity(positions * pairs * 2);
    for position in 0..positions {
        rope.fill(position as u32, &mut cos, &mut sin);
        table.extend(cos.iter().zip(&sin).flat_map(|(cos, sin)| [*cos, *sin]));
    }
    table
}
