//! libFuzzer drives [`rpyc_fuzz::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpyc_fuzz::session::check(data));
