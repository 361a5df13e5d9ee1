//! What a run was asked, written down before anything is done, and checked against what was done.

pub mod manifest;
pub mod plan;
pub mod reconcile;
