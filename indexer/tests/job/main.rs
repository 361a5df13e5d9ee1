//! The indexer against a fake cluster that fails according to a script.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failures;
#[allow(dead_code, unreachable_pub)] // the tests across crates use it too
#[path = "../../../tests/src/fake_cluster/mod.rs"]
mod fake_cluster;
mod limits;
mod outages;
mod properties;
mod support;
mod verify;
