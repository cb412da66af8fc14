//! Steps 3 to 5 and the end: products of whole rows, each with what follows it.

use super::plan::{Plan, copy, each_place};
use super::{Cpu, Normed, kinds_of, round_share};
use crate::cpu::activations::Activations;
use crate::cpu::elementwise::{Gate, GateActivation, SoftCap, rms_norm_in_place};
use crate::cpu::packed::PackedMatrix;
use crate::cpu::shared::Shared;

/// Steps 3 and 5: a product added to the hidden state.
#[derive(Debug)]
pub struct AddProduct<'a> {
    /// `[rows, matrix columns]`
    pub input: &'a [f32],
    /// `[width, columns]`
    pub matrix: &'a PackedMatrix,
    /// Norm of the product before it is added: weights `[width]`, eps, and memory `[rows, width]`.
    pub post_norm: Option<(&'a [f32], f32, &'a mut [f32])>,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, width]`
    pub hidden: &'a mut [f32],
}

impl AddProduct<'_> {
    /// Adds to `hidden`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads) = (cpu.isa, cpu.threads());
        let (width, cols) = (self.matrix.rows(), self.matrix.cols());
        let rows = self.input.len() / cols;
        assert!(self.input.len() == rows * cols && self.hidden.len() == rows * width);
        let kinds = kinds_of([self.matrix]);
        self.activations.reshape(rows, cols);
        let writer = self.activations.writer(kinds);
        let plan = Plan::new(self.matrix.groups(), rows, cols, threads);
        let (input, matrix) = (self.input, self.matrix);
        let hidden = Shared::new(self.hidden);
        let (norm, product) = match self.post_norm {
            Some((weight, eps, memory)) => {
                assert!(weight.len() == width && memory.len() >= rows * width);
                (Some((weight, eps)), Shared::new(memory))
            }
            None => (None, hidden),
        };
        let shares = plan.shares(threads);
        cpu.run_with_scratch(|worker, scratch| {
            matrix.prefetch(isa, shares.own_start(worker), matrix.groups());
            round_share(worker, input, cols, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |groups, until, tokens| {
                let lanes = &mut scratch.left[..groups.len() * tokens.len()];
                matrix.product_of(isa, groups.clone(), until, &x, tokens.clone(), lanes);
                each_place(groups, tokens, width, lanes, |at, lanes| {
                    // SAFETY: one thread has a group for all tokens.
                    let out = unsafe { product.slice(at) };
                    if norm.is_some() {
                        copy(lanes, out);
                    } else {
                        out.iter_mut().zip(lanes).for_each(|(out, x)| *out += *x);
                    }
                });
            });
            if let Some((weight, eps)) = norm {
                worker.barrier();
                for row in worker.share(rows) {
                    let at = row * width..(row + 1) * width;
                    // SAFETY: shares do not overlap, and the products are all written.
                    let (out, x) = unsafe { (hidden.slice(at.clone()), product.slice(at)) };
                    rms_norm_in_place(isa, x, weight, eps);
                    out.iter_mut().zip(x).for_each(|(out, x)| *out += *x);
                }
            }
        });
    }
}

/// Step 4: norm, gate and up, activation.
#[derive(Debug)]
pub struct GateUp<'a> {
    /// The input.
    pub input: Normed<'a>,
    /// `[inner, width]`
    pub gate: &'a PackedMatrix,
    /// `[inner, width]`
    pub up: &'a PackedMatrix,
    /// On the gate.
    pub activation: GateActivation,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, inner]`
    pub out: &'a mut [f32],
}

impl GateUp<'_> {
    /// Computes `out`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads, activation) = (cpu.isa, cpu.threads(), self.activation);
        let (width, inner) = (self.input.width(), self.gate.rows());
        let rows = self.input.hidden.len() / width;
        assert!(self.input.hidden.len() == rows * width && self.out.len() == rows * inner);
        assert_eq!(self.up.rows(), inner, "gate and up are of one size");
        let (input, gate, up) = (self.input, self.gate, self.up);
        self.activations.reshape(rows, width);
        let writer = self.activations.writer(kinds_of([gate, up]));
        let plan = Plan::new(gate.groups(), rows, width, threads);
        let out = Shared::new(self.out);
        let shares = plan.shares(threads);
        cpu.run_with_scratch(|worker, scratch| {
            gate.prefetch(isa, shares.own_start(worker), gate.groups());
            up.prefetch(isa, shares.own_start(worker), up.groups());
            input.write_share(worker, rows, scratch, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |groups, until, tokens| {
                let left = &mut scratch.left[..groups.len() * tokens.len()];
                let right = &mut scratch.right[..groups.len() * tokens.len()];
                gate.product_of(isa, groups.clone(), until, &x, tokens.clone(), left);
                up.product_of(isa, groups.clone(), until, &x, tokens.clone(), right);
                isa.run(Gate { activation, gate: left, up: right });
                each_place(groups, tokens, inner, right, |at, lanes| {
                    // SAFETY: one thread has a group for all tokens.
                    copy(lanes, unsafe { out.slice(at) });
                });
            });
        });
    }
}

/// The end: final norm, output matrix and soft cap.
#[derive(Debug)]
pub struct Logits<'a> {
    /// The input.
    pub input: Normed<'a>,
    /// How many rows the input has.
    pub rows: usize,
    /// `[vocabulary, width]`
    pub matrix: &'a PackedMatrix,
    /// `Some(cap)`: logits become `cap * tanh(logit / cap)`.
    pub softcap: Option<f32>,
    /// Working memory for the rounded input.
    pub activations: &'a mut Activations,
    /// `[rows, vocabulary]`
    pub out: &'a mut [f32],
}

impl Logits<'_> {
    /// Computes `out`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn run(self, cpu: &mut Cpu) {
        let (isa, threads) = (cpu.isa, cpu.threads());
        let (width, size, rows) = (self.input.width(), self.matrix.rows(), self.rows);
        assert_eq!(self.input.hidden.len(), rows * width, "whole rows");
        assert_eq!(self.out.len(), rows * size, "a place for each logit");
        let (input, matrix, softcap) = (self.input, self.matrix, self.softcap);
        self.activations.reshape(rows, width);
        let writer = self.activations.writer(kinds_of([matrix]));
        let plan = Plan::new(matrix.groups(), rows, width, threads);
        let out = Shared::new(self.out);
        let shares = plan.shares(threads);
        cpu.run_with_scratch(|worker, scratch| {
            matrix.prefetch(isa, shares.own_start(worker), matrix.groups());
            input.write_share(worker, rows, scratch, isa, &writer);
            worker.barrier();
            // SAFETY: after the barrier nobody writes them.
            let x = unsafe { writer.rows() };
            plan.each(&shares, worker, |groups, until, tokens| {
                let lanes = &mut scratch.left[..groups.len() * tokens.len()];
                matrix.product_of(isa, groups.clone(), until, &x, tokens.clone(), lanes);
                if let Some(cap) = softcap {
                    isa.run(SoftCap { cap, x: lanes });
                }
                each_place(groups, tokens, size, lanes, |at, lanes| {
                    // SAFETY: one thread has a group for all tokens.
                    copy(lanes, unsafe { out.slice(at) });
                });
            });
        });
    }
}
