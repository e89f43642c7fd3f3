//! See src/fuzzing/metadata.rs for what is asked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bearerd::fuzzing::metadata(data));
