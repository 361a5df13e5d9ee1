//! What the tests across crates share: a reference model of the pipeline, a store in memory, and ways to make objects
//! and to run the command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)] // only tests use it

pub mod command;
pub mod model;
pub mod objects;
pub mod twin;
