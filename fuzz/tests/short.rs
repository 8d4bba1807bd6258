//! A short search without instrumentation: seeds, what was found before, and changes of both.
//!
//! `RPYC_FUZZ_SEED` starts another search; `RPYC_FUZZ_ROUNDS` makes it longer.

use std::panic::catch_unwind;

use rpyc_fuzz::{CHECKS, Changes, Check, seeds};

#[test]
fn nothing_is_found_near_the_seeds() {
    let seed = from_environment("RPYC_FUZZ_SEED").unwrap_or(1);
    for (name, check) in CHECKS {
        // Streams take their time, byte by byte.
        let rounds = from_environment("RPYC_FUZZ_ROUNDS").unwrap_or(match name {
            "deframer" => 400,
            _ => 40_000,
        });
        let inputs = seeds::of(name);
        inputs.iter().for_each(|input| attempt(name, check, input));
        let mut changes = Changes::new(seed);
        for _ in 0..rounds {
            attempt(name, check, &changes.of(&inputs));
        }
    }
}

fn attempt(name: &str, check: Check, input: &[u8]) {
    if catch_unwind(|| check(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{name} does not hold for {hex}");
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
