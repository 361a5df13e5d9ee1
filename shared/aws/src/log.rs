//! The log of a process: JSON lines on standard error.

use std::{io, panic};

use tracing::{Level, Metadata, error};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

/// Writes each event as a line with its fields and those of the span around it. `RUST_LOG` sets the level, `info` by default.
/// Leaves out the message of a panic, because it can quote log data.
pub fn log_to_stderr() {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(io::stderr)
        // Otherwise a closed standard error would end the process: the subscriber reports it by a print that panics.
        .log_internal_errors(false)
        .with_filter(filter_fn(|metadata| is_safe(metadata) && is_useful(metadata)));
    registry().with(chosen).with(lines).init();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panicked");
    }));
}

/// Below `info`, the SDK and its HTTP client log whole requests with their bodies, and secrets that a profile repeats. No
/// `RUST_LOG` enables that.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("flowherd")
}

/// The SDK warns about each object of a multipart upload, because a reader of the whole object cannot verify the checksums of
/// its parts. Every large object is one, and the reader of the log can do nothing about it.
fn is_useful(metadata: &Metadata<'_>) -> bool {
    !(*metadata.level() == Level::WARN && metadata.target() == "aws_sdk_s3::http_response_checksum")
}

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use tracing::warn;

    use super::*;

    #[test]
    fn the_sdks_warning_about_checksums_of_parts_is_not_logged_and_its_other_warnings_are() {
        const CHILD: &str = "FLOWHERD_TEST_LOG_OF_THE_SDK";
        if env::var_os(CHILD).is_some() {
            log_to_stderr();
            warn!(target: "aws_sdk_s3::http_response_checksum", "part-level checksum");
            warn!(target: "aws_sdk_s3::operation", "something else");
            return;
        }
        let itself =
            "log::tests::the_sdks_warning_about_checksums_of_parts_is_not_logged_and_its_other_warnings_are";
        let mut child = Command::new(env::current_exe().unwrap());
        let ran = child.args(["--exact", itself, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let logged = String::from_utf8(ran.stderr).unwrap();
        assert!(logged.contains("something else") && !logged.contains("part-level"), "{logged}");
    }

    #[test]
    fn a_panic_is_logged_with_its_location_and_without_its_message() {
        // In a child process, because the log and the hook belong to the process.
        const CHILD: &str = "LOG_OF_A_PANIC";
        if env::var_os(CHILD).is_some() {
            log_to_stderr();
            let _ = panic::catch_unwind(|| panic!("what\nsomebody logged"));
            return;
        }
        let itself = "log::tests::a_panic_is_logged_with_its_location_and_without_its_message";
        let mut child = Command::new(env::current_exe().unwrap());
        let ran = child.args(["--exact", itself, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let logged = String::from_utf8(ran.stderr).unwrap();
        assert!(logged.contains(r#""message":"panicked""#) && logged.contains("log.rs:"), "{logged}");
        assert!(!logged.contains("somebody"), "{logged}");
    }
}
