//! The model's weights, packed for the kernels.
//!
//! All matrices go into one arena, one after the other, each packed by all threads; its pages of
//! the file are then given back. So loading needs little more memory than what it ends with.

use std::sync::Arc;

use kernels::cpu::{Arena, Cpu, Kinds, PackedMatrix, Projection};

use crate::model::error::ModelError;
use crate::model::load::Model;
use crate::model::weights::{self, Tensor};

/// Everything a forward pass multiplies with.
#[derive(Debug)]
pub(super) struct PackedWeights {
    pub(super) embedding: Embedding,
    pub(super) output: PackedMatrix,
    pub(super) output_norm: Vec<f32>,
    pub(super) layers: Vec<LayerWeights>,
}

/// Where rows of the embedding come from.
#[derive(Debug)]
pub(super) enum Embedding {
    /// From the packed output matrix, which is the same.
    Output,
    /// From the file: a row for each token is all that is read of it.
    File(Box<Tensor>),
}

/// One layer.
#[derive(Debug)]
pub(super) struct LayerWeights {
    pub(super) attn_norm: Vec<f32>,
    pub(super) q: Heads,
    pub(super) k: Heads,
    pub(super) v: Heads,
    pub(super) o: PackedMatrix,
    pub(super) post_attn_norm: Option<Vec<f32>>,
    pub(super) ffn_norm: Vec<f32>,
    pub(super) gate: PackedMatrix,
    pub(super) up: PackedMatrix,
    pub(super) down: PackedMatrix,
    pub(super) post_ffn_norm: Option<Vec<f32>>,
}

/// A projection to heads.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) matrix: PackedMatrix,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) norm: Option<Vec<f32>>,
}

impl Heads {
    pub(super) fn projection(&self) -> Projection<'_> {
        let (bias, norm) = (self.bias.as_deref(), self.norm.as_deref());
        Projection { matrix: &self.matrix, bias, norm }
    }
}

impl PackedWeights {
    /// Packs all of a model.
    pub(super) fn new(model: &Arc<Model>, cpu: &mut Cpu) -> Result<Self, ModelError> {
        let weights = &model.weights;
        let output = weights.output.as_ref().unwrap_or(&weights.embedding);
        let bytes = weight_bytes(model)?;
        let arena = Arena::new(bytes)
            .map_err(|error| ModelError::Executor(format!("no {bytes} bytes: {error}")))?;
        let mut packer = Packer { arena, cpu };
        let layers: Vec<_> =
            weights.layers.iter().map(|layer| packer.layer(layer)).collect::<Result<_, _>>()?;
        Ok(Self {
            output: packer.matrix(output)?,
            embedding: match &weights.output {
                None => Embedding::Output,
                Some(_) => Embedding::File(Box::new(weights.embedding.clone())),
            },
            output_norm: weights.output_norm.to_f32(),
            layers,
        })
    }

    /// The kinds of activations that the matrices multiply.
    pub(super) fn kinds(&self) -> Kinds {
        let layers = self.layers.iter().flat_map(|layer| {
            let heads = [&layer.q.matrix, &layer.k.matrix, &layer.v.matrix];
            heads.into_iter().chain([&layer.o, &layer.gate, &layer.up, &layer.down])
        });
        layers.chain([&self.output]).fold(Kinds::default(), |kinds, m| kinds.with(m.kind()))
    }
}

/// Bytes of memory that a model's packed weights take; more than in the file where a type is kept
/// in a wider one.
///
/// # Errors
/// A matrix that cannot be packed.
pub fn weight_bytes(model: &Model) -> Result<usize, ModelError> {
    let weights = &model.weights;
    let output = weights.output.as_ref().unwrap_or(&weights.embedding);
    let layers = weights.layers.iter().flat_map(matrices);
    layers.chain([output]).try_fold(0_usize, |sum, m| Ok(sum.saturating_add(arena_bytes(m)?)))
}

/// The matrices of a layer, as the file has them.
fn matrices(layer: &weights::LayerWeights) -> [&Tensor; 7] {
    [&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down]
}

fn arena_bytes(matrix: &Tensor) -> Result<usize, ModelError> {
    PackedMatrix::arena_bytes(matrix.dtype, matrix.rows, matrix.cols)
        .ok_or_else(|| ModelError::Executor(format!("{matrix:?} cannot be packed")))
}

struct Packer<'a> {
    arena: Arena,
    cpu: &'a mut Cpu,
}

impl Packer<'_> {
    fn matrix(&mut self, tensor: &Tensor) -> Result<PackedMatrix, ModelError> {
        PackedMatrix::pack_and_release(
            tensor.dtype,
            tensor.rows,
            tensor.cols,
            tensor.bytes(),
            &mut self.arena,
            self.cpu.pool(),
            |read| tensor.release_pages(read),
        )
        .map_err(|error| ModelError::Executor(format!("{tensor:?}: {error}")))
    }

    fn heads(
        &mut self,
        matrix: &Tensor,
        bias: &Option<Tensor>,
        norm: &Option<Tensor>,
    ) -> Result<Heads, ModelError> {
        Ok(Heads { matrix: self.matrix(matrix)?, bias: vector(bias), norm: vector(norm) })
    }

    fn layer(&mut self, layer: &weights::LayerWeights) -> Result<LayerWeights, ModelError> {
        Ok(LayerWeights {
            attn_norm: layer.attn_norm.to_f32(),
            q: self.heads(&layer.q, &layer.q_bias, &layer.q_norm)?,
            k: self.heads(&layer.k, &layer.k_bias, &layer.k_norm)?,
            v: self.heads(&layer.v, &layer.v_bias, &None)?,
            o: self.matrix(&layer.o)?,
            post_attn_norm: vector(&layer.post_attn_norm),
            ffn_norm: layer.ffn_norm.to_f32(),
            gate: self.matrix(&layer.gate)?,
            up: self.matrix(&layer.up)?,
            down: self.matrix(&layer.down)?,
            post_ffn_norm: vector(&layer.post_ffn_norm),
        })
    }
}

fn vector(tensor: &Option<Tensor>) -> Option<Vec<f32>> {
    tensor.as_ref().map(Tensor::to_f32)
}
