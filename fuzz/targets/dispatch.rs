//! libFuzzer drives [`rpyc_fuzz::dispatch`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpyc_fuzz::dispatch::check(data));
