//! What must hold for any bytes that a peer sends.
//!
//! Each module has a function `check` that takes any bytes and panics if something does not hold.
//! `make fuzz` has libFuzzer look for such bytes; `tests/short.rs` tries the seeds, what was found
//! before (`found/`), and random changes of both, which needs nothing but a stable compiler.
//!
//! | module | what holds |
//! |---|---|
//! | [`brine`] | the reader agrees with a second one, written apart from it; writing gives the same value |
//! | [`deframer`] | however a stream is cut, the same payloads come out |
//! | [`session`] | requests and answers are matched as by a plain table |
//! | [`exceptions`] | what is read as an exception is written as the same one |
//! | [`dispatch`] | any message is refused or answered; the answer is a message |

pub mod brine;
pub mod deframer;
pub mod dispatch;
pub mod exceptions;
pub mod seeds;
pub mod session;
mod tree;

#[path = "../../crates/rpyc-proto/tests/common/mod.rs"]
mod common;

/// A function that panics if something does not hold for some bytes.
pub type Check = fn(&[u8]);

/// The checks, by the name of their module.
pub const CHECKS: [(&str, Check); 5] = [
    ("brine", brine::check),
    ("deframer", deframer::check),
    ("session", session::check),
    ("exceptions", exceptions::check),
    ("dispatch", dispatch::check),
];

/// A generator of changes that look random and are the same in each run.
pub struct Changes(common::Noise);

impl Changes {
    /// A generator; `seed` must not be 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(common::Noise::new(seed))
    }

    /// One of the inputs with some changes, perhaps with the end of another one.
    ///
    /// # Panics
    /// There are no inputs.
    pub fn of(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.0.below(inputs.len())].clone();
        if self.0.below(4) == 0 {
            let other = &inputs[self.0.below(inputs.len())];
            bytes.truncate(self.0.below(bytes.len() + 1));
            bytes.extend_from_slice(&other[self.0.below(other.len() + 1)..]);
        }
        self.0.mutate(&mut bytes);
        bytes
    }
}
