//! The engine: simulated with a model whose every fault is a wrong token, traced, sampled, and at
//! last on a real model.

mod ahead;
mod blocks;
mod constrained;
mod embedding;
mod fairness;
mod fake;
mod handle;
mod lost;
mod real;
mod sampler;
mod sampler_cuda;
mod scoring;
mod simulation;
mod speculation;
mod trace;
