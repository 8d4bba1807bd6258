//! Numbers that a peer can't guess.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use rustix::rand::{GetRandomFlags, getrandom};

/// A random number from the operating system.
#[must_use]
pub fn unguessable() -> u64 {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // A kernel without the call: the standard library has found randomness elsewhere.
            Err(_) => return RandomState::new().hash_one(filled),
        }
    }
    u64::from_ne_bytes(bytes)
}

/// A number that stands for `address` in this process: always the same one, and it does not tell
/// the address. 63 bits, never 0.
#[must_use]
pub fn disguised(address: usize) -> i64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let hash = KEY.get_or_init(RandomState::new).hash_one(address);
    (hash >> 1).max(1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_disguises_stay() {
        assert_ne!(unguessable(), unguessable());
        assert_eq!(disguised(4096), disguised(4096));
        assert_ne!(disguised(4096), disguised(4104));
        assert!(disguised(4096) > 0);
    }
}
