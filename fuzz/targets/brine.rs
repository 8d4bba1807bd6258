//! libFuzzer drives [`rpyc_fuzz::brine`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpyc_fuzz::brine::check(data));
