//! See `tests/src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flowherd_tests::fuzzing::check("names", data));
