//! Tests across crates. `promises` holds one test for each line of docs/semantics.md.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod agree;
mod bad_objects;
mod batches;

mod cloud;
mod command;
mod conformance;
mod delivery;
mod disks;
mod docs;
mod faults;
mod fleet;
mod functions;
mod fuzzed;
mod generate;
mod golden;
mod limits;

mod model;
mod place;
mod planning;
mod promises;
mod query;
mod questions;
mod queue_model;
mod rerun;
mod schedules;
mod security;
mod smoke;
mod stack;
mod start;
