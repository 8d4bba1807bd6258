//! libFuzzer drives [`rpyc_fuzz::exceptions`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpyc_fuzz::exceptions::check(data));
