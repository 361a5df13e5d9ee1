//! Any text as rules and as lookups: no panic, and every problem on a line of its own.
#![no_main]

use flowherd_shared::{config::Config, lookups::Lookups};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    for outcome in [Config::parse(data).map(|_| ()), Lookups::parse(data.as_bytes()).map(|_| ())] {
        if let Err(error) = outcome {
            assert!(!error.problems.is_empty());
        }
    }
});
