//! Code that several tests share: a reference model of the pipeline, in-memory fakes, a local AWS, generators of objects, and
//! runners for the programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)] // only tests use it

pub mod command;
pub mod compress;
#[cfg(feature = "cloud")]
pub mod cutting_proxy;
pub mod fake;
pub mod fake_cluster;
#[cfg(feature = "cloud")]
pub mod fault_proxy;
pub mod function_host;
pub mod fuzzing;
pub mod ledger;
#[cfg(feature = "cloud")]
pub mod local_cloud;
pub mod model;
pub mod objects;
#[cfg(feature = "cloud")]
pub mod on_terminal;
#[cfg(feature = "cloud")]
pub mod python_server;
#[cfg(feature = "cloud")]
pub mod recording_proxy;
#[cfg(feature = "cloud")]
pub mod requests;
#[cfg(feature = "cloud")]
pub mod search_node;
#[cfg(feature = "cloud")]
pub mod servers;
