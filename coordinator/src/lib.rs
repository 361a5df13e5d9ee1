//! Begins runs, sends their objects to the workers, and proves from the ledger what was done.
//!
//! A run is a sequence of operations: \[purge\] ▶ plan ▶ check … ▶ report ▶ end. In a fleet with driver map it is plan ▶ map ▶
//! report ▶ end. Each operation takes a [`state::RunState`] and returns the next one. The coordinator itself keeps nothing
//! between calls.

mod begin;
mod check;
#[cfg(feature = "aws")]
pub mod cluster;
#[cfg(feature = "aws")]
pub mod connect;
pub mod coordinator;
pub mod drive;
pub mod error;
pub mod event;
pub mod fleets;
pub mod forget;
mod index;
#[cfg(feature = "aws")]
pub mod lambda;
pub mod live;
pub mod manifest;
mod map;
pub mod marker;
#[cfg(feature = "aws")]
pub mod names;
pub mod options;
pub mod parallel;
mod plan;
pub mod planner;
mod purge;
pub mod reconcile;
pub mod redrive;
pub mod report;
pub mod runs;
pub mod search;
#[cfg(feature = "aws")]
pub mod settings;
pub mod state;
