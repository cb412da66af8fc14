//! The model's weights on the GPU, each matrix as the kernels of its step want it.
//!
//! Q, K and V are one matrix where they are stored alike, so that one launch computes them; gate
//! and up are one whose rows alternate by eights, so that a tile has both of what it multiplies.

use kernels::cuda::{Buffer, DeviceMatrix, Gpu, GpuError, PackedMatrix};

use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use crate::model::load::Model;
use crate::model::weights::{self, Tensor};

/// Everything a forward pass multiplies with.
#[derive(Debug)]
pub(super) struct DeviceWeights {
    pub(super) embedding: DeviceMatrix,
    /// `None`: the embedding is the output matrix too.
    pub(super) output: Option<DeviceMatrix>,
    pub(super) output_norm: Buffer<f32>,
    pub(super) layers: Vec<LayerWeights>,
}

/// One layer.
#[derive(Debug)]
pub(super) struct LayerWeights {
    pub(super) attn_norm: Buffer<f32>,
    /// Side by side, in this order: together all of Q, K and V.
    pub(super) qkv: Vec<Projection>,
    pub(super) head_norms: Option<(Buffer<f32>, Buffer<f32>)>,
    pub(super) o: DeviceMatrix,
    pub(super) post_attn_norm: Option<Buffer<f32>>,
    pub(super) ffn_norm: Buffer<f32>,
    pub(super) gate_up: DeviceMatrix,
    pub(super) down: DeviceMatrix,
    pub(super) post_ffn_norm: Option<Buffer<f32>>,
}

/// A part of Q, K and V.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) matrix: DeviceMatrix,
    pub(super) bias: Option<Buffer<f32>>,
}

impl DeviceWeights {
    /// Packs and uploads all of a model, a matrix at a time.
    pub(super) fn new(model: &Model, gpu: &dyn Gpu, threads: usize) -> Result<Self, ModelError> {
        let weights = &model.weights;
        let loader = Loader { gpu, threads };
        Ok(Self {
            embedding: loader.matrix(&[&weights.embedding])?,
            output: weights.output.as_ref().map(|output| loader.matrix(&[output])).transpose()?,
            output_norm: loader.vector(&weights.output_norm)?,
            layers: weights
                .layers
                .iter()
                .map(|layer| loader.layer(layer, &model.config))
                .collect::<Result<_, _>>()?,
        })
    }
}

struct Loader<'a> {
    gpu: &'a dyn Gpu,
    threads: usize,
}

impl Loader<'_> {
    /// The rows of several matrices of one type, one after the other.
    fn matrix(&self, parts: &[&Tensor]) -> Result<DeviceMatrix, ModelError> {
        let rows = parts.iter().map(|part| part.rows).sum();
        self.pack(parts, rows, |row| {
            let (mut part, mut row) = (0, row);
            while row >= parts[part].rows {
                row -= parts[part].rows;
                part += 1;
            }
            parts[part].row_bytes(row)
        })
    }

    /// Eight rows of gate, the eight of up that belong to them, and so on.
    fn gate_up(&self, gate: &Tensor, up: &Tensor) -> Result<DeviceMatrix, ModelError> {
        if gate.dtype != up.dtype {
            let message = format!("{gate:?} and {up:?} are stored in two ways: GPUs want one");
            return Err(ModelError::Executor(message));
        }
        self.pack(&[gate, up], 2 * gate.rows, |row| {
            let (tile, in_tile) = (row / 16, row % 16);
            let part = if in_tile < 8 { gate } else { up };
            part.row_bytes(tile * 8 + in_tile % 8)
        })
    }

    fn pack<'t>(
        &self,
        parts: &[&'t Tensor],
        rows: usize,
        row: impl Fn(usize) -> &'t [u8] + Sync,
    ) -> Result<DeviceMatrix, ModelError> {
        let first = parts[0];
        let packed = PackedMatrix::new(first.dtype, [rows, first.cols], self.threads, row)
            .ok_or_else(|| not_run(first))?;
        for part in parts {
            part.release_pages(0..part.bytes().len());
        }
        packed.upload(self.gpu).map_err(ModelError::from)
    }

    fn vector(&self, tensor: &Tensor) -> Result<Buffer<f32>, ModelError> {
        Ok(Buffer::from_slice(self.gpu, &tensor.to_f32())?)
    }

    fn optional(&self, tensor: &Option<Tensor>) -> Result<Option<Buffer<f32>>, ModelError> {
        tensor.as_ref().map(|tensor| self.vector(tensor)).transpose()
    }

    /// Q, K and V, neighbours of one type together.
    fn qkv(&self, layer: &weights::LayerWeights) -> Result<Vec<Projection>, ModelError> {
        let parts =
            [(&layer.q, &layer.q_bias), (&layer.k, &layer.k_bias), (&layer.v, &layer.v_bias)];
        let mut projections = Vec::new();
        for parts in parts.chunk_by(|(a, _), (b, _)| a.dtype == b.dtype) {
            let tensors: Vec<&Tensor> = parts.iter().map(|(tensor, _)| *tensor).collect();
            let bias: Vec<f32> = parts
                .iter()
                .filter_map(|(_, bias)| bias.as_ref())
                .flat_map(Tensor::to_f32)
                .collect();
            let bias = (!bias.is_empty()).then(|| Buffer::from_slice(self.gpu, &bias));
            let matrix = self.matrix(&tensors)?;
            projections.push(Projection { matrix, bias: bias.transpose()? });
        }
        Ok(projections)
    }

    fn layer(
        &self,
        layer: &weights::LayerWeights,
        config: &ModelConfig,
    ) -> Result<LayerWeights, ModelError> {
        let inner = config.intermediate_size;
        if !inner.is_multiple_of(8) {
            let message = format!("{inner} values between gate and down, not a multiple of 8");
            return Err(ModelError::Executor(message));
        }
        let norms = (self.optional(&layer.q_norm)?, self.optional(&layer.k_norm)?);
        Ok(LayerWeights {
            attn_norm: self.vector(&layer.attn_norm)?,
            qkv: self.qkv(layer)?,
            head_norms: norms.0.zip(norms.1),
            o: self.matrix(&[&layer.o])?,
            post_attn_norm: self.optional(&layer.post_attn_norm)?,
            ffn_norm: self.vector(&layer.ffn_norm)?,
            gate_up: self.gate_up(&layer.gate, &layer.up)?,
            down: self.matrix(&[&layer.down])?,
            post_ffn_norm: self.optional(&layer.post_ffn_norm)?,
        })
    }
}

pub(super) fn not_run(tensor: &Tensor) -> ModelError {
    ModelError::Executor(format!("{tensor:?}: GPUs do not run this type; use --device cpu"))
}

impl From<GpuError> for ModelError {
    fn from(error: GpuError) -> Self {
        match error {
            GpuError::Failed(_) => ModelError::Device(error.to_string()),
            GpuError::NoDevice(_) | GpuError::OutOfMemory { .. } => {
                ModelError::Executor(error.to_string())
            }
        }
    }
}
