//! One job, whatever home it runs in: open an object, run the pipeline, commit its outputs, write the receipt; and the
//! messages of a queue that ask for such jobs.

#[cfg(feature = "aws")]
pub mod aws;
pub mod job;
#[cfg(feature = "aws")]
pub mod poller;
#[cfg(feature = "aws")]
pub mod settings;
pub mod tasks;
