//! All integration tests, in one binary: it links once, and tests run side by side.
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod api;
mod catalog;
mod cli;
mod config;
mod crash;
mod engine;
mod grammar;
mod hub;
mod ledger;
mod model;
mod notices;
mod numerics;
mod payments;
mod prompts;
mod registry;
mod support;
mod telemetry;
mod text;
mod tidy;
mod vectors;
