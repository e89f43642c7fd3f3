//! See src/fuzzing/retry_after.rs for what is asked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bearerd::fuzzing::retry_after(data));
