//! Tests across crates. `promises` holds one test for each line of docs/semantics.md.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod agree;
mod bad_objects;
mod batches;

mod cloud;
mod codecs;
mod command;
mod compressed;
mod concurrent_workers;
mod conformance;
mod conforming;
mod day;
mod delivery;
mod disks;
mod docs;
mod examples;
mod faults;
mod fixed_corpus;
mod fleet;
mod fleet_commands;
mod functions;
mod fuzzed;
mod generate;
mod golden;
mod headers;
mod hostile;
mod items;
mod limits;
mod manual;

mod model;
mod modules;
mod place;
mod planning;
mod presets;
mod promises;
mod protection;
mod query;
mod query_local;
mod questions;
mod queue_model;
mod report_page;
mod requests;
mod rerun;
mod rule_language;
mod runs;
mod schedules;
mod security;
mod smoke;
mod stack;
mod start;
mod suggest;
mod synth;
mod verify;
mod warnings;
