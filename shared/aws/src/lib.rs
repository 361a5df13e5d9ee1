//! S3 and SQS behind the ports of `shared`. The ports block; each call here waits for the SDK's future on the runtime's
//! handle, from a thread that is not one of the runtime's own.

mod connect;
mod limit;
mod log;
pub mod s3;
pub mod settings;
pub mod sqs;

use std::io;

pub use connect::Aws;
pub use limit::TimeLimit;
pub use log::log_to_stderr;

/// An SDK's error as the ports know it: the whole chain on one line, because the outermost says only "service error".
pub fn io_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut told = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !told.ends_with(&text) {
            told += if told.is_empty() { "" } else { ": " };
            told += &text;
        }
        next = error.source();
    }
    io::Error::other(told)
}
