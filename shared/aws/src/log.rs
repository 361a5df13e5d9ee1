//! The log of a process: JSON lines on standard error.

use std::{io, panic};

use tracing::{Level, Metadata, error};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

/// Every event is a line with its fields and those of the span around it. `RUST_LOG` chooses the level, `info` by default.
/// What a panic says is left out, because it may quote what was being read.
pub fn log_to_stderr() {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(io::stderr)
        // A log that nobody reads any more is no reason to end: it would be told by a print that panics.
        .log_internal_errors(false)
        .with_filter(filter_fn(|metadata| is_safe(metadata) && is_useful(metadata)));
    registry().with(chosen).with(lines).init();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panicked");
    }));
}

/// Below `info` the SDK and what it stands on tell whole requests, with the bytes of bodies, and secrets that stand twice in
/// a profile. No `RUST_LOG` brings that into the log.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("flowherd")
}

/// The SDK warns of each object that was uploaded in parts: it has a checksum for each part, which a reader of the whole
/// cannot compare. That is true of every large object, and nobody can act on it.
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
    fn a_panic_is_a_line_of_the_log_that_tells_its_place_and_not_what_it_says() {
        // In a process of its own: log and hook are those of a process.
        const CHILD: &str = "LOG_OF_A_PANIC";
        if env::var_os(CHILD).is_some() {
            log_to_stderr();
            let _ = panic::catch_unwind(|| panic!("what\nsomebody logged"));
            return;
        }
        let itself = "log::tests::a_panic_is_a_line_of_the_log_that_tells_its_place_and_not_what_it_says";
        let mut child = Command::new(env::current_exe().unwrap());
        let ran = child.args(["--exact", itself, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let told = String::from_utf8(ran.stderr).unwrap();
        assert!(told.contains(r#""message":"panicked""#) && told.contains("log.rs:"), "{told}");
        assert!(!told.contains("somebody"), "{told}");
    }
}
