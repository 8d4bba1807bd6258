//! libFuzzer drives [`rpyc_fuzz::deframer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpyc_fuzz::deframer::check(data));
