//! Processes objects: [`processor`] makes one attempt at an object, for the worker and for `flowherd convert`. [`handler`]
//! and [`batch`] do so for the messages of a queue, [`map`] for the items of a Distributed Map. [`index`] makes the attempt of
//! an index run, which sends rows to a search cluster.

pub mod batch;
#[cfg(feature = "aws")]
mod checks;
pub mod config_cache;
#[cfg(feature = "events")]
pub mod event;
pub mod handler;
pub mod index;
#[cfg(feature = "aws")]
pub mod lambda;
pub mod map;
pub mod order;
#[cfg(feature = "aws")]
mod poller;
pub mod processor;
#[cfg(feature = "aws")]
pub mod settings;
#[cfg(feature = "aws")]
pub mod start;
pub mod telemetry;
