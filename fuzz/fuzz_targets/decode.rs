//! The target itself is one with the replay in the tests.

#![no_main]

#[allow(dead_code, reason = "shared: not every target uses all of it")]
#[path = "../../tests/it/fuzz/loading.rs"]
mod loading;
#[path = "../../tests/it/support/shape.rs"]
mod shape;
#[path = "../../tests/it/fuzz/decode.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
