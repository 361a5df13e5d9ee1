//! One job, whatever home it runs in: open an object, run the pipeline, commit its outputs, write the receipt; and the
//! messages of a queue that ask for such jobs.

pub mod batch;
#[cfg(feature = "aws")]
mod checks;
pub mod closing;
#[cfg(feature = "events")]
pub mod event;
pub mod job;
#[cfg(feature = "aws")]
pub mod lambda;
pub mod order;
pub mod plans;
#[cfg(feature = "aws")]
mod poller;
#[cfg(feature = "aws")]
pub mod settings;
#[cfg(feature = "aws")]
pub mod start;
pub mod tasks;
