//! The target itself is one with the replay in the tests.

#![no_main]

#[path = "../../tests/it/fuzz/request.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
