//! What the tests across crates share: a reference model of the pipeline, and ways to make and read objects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)] // only tests use it

pub mod model;
pub mod objects;
