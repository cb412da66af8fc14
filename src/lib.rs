#![doc = include_str!("ARCHITECTURE.md")]

pub mod api;
pub mod billing;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod engine;
pub mod grammar;
pub mod hub;
pub mod ledger;
pub mod metering;
pub mod model;
pub mod money;
pub mod payments;
pub mod registry;
pub mod telemetry;
pub mod text;
