//! What a run was asked, written down before anything is done, sent to the workers, and checked against what was done.

pub mod active;
pub mod begin;
mod check;
pub mod event;
#[cfg(feature = "aws")]
pub mod lambda;
pub mod manifest;
pub mod parallel;
pub mod plan;
pub mod reconcile;
pub mod redrive;
mod report;
#[cfg(feature = "aws")]
pub mod settings;
pub mod steps;
