//! One job, whatever home it runs in: open an object, run the pipeline over it, commit its outputs, write the receipt.

pub mod job;
