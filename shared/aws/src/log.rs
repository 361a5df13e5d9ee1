//! The log of a process: JSON lines on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

/// Every event is a line with its fields and those of the span around it. `RUST_LOG` chooses the level, `info` by default.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(io::stderr)
        // A log that nobody reads any more is no reason to end: it would be told by a print that panics.
        .log_internal_errors(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
}
