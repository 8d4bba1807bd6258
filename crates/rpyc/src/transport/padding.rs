//! Empty frames ahead of a large value, so that the kernel copies it at full speed.
//!
//! What is sent over TCP is copied into pages of the kernel, from the start of one if nothing else is on
//! its way, and copied out of them at the other end. On many processors a copy takes two to three times
//! as long if it writes up to 32 bytes behind the place that it reads from, modulo the 4 KiB of a page:
//! then what is read next seems to depend on what was just written. Chance does not decide about it:
//! large values lie 16 or 48 bytes behind the start of a page, where the C allocator and CPython put
//! them, and the message that they are sent in starts with 20 to 80 bytes.
//!
//! An empty frame means nothing, and is six bytes. A few of them move what follows out of the way of both
//! copies. Only peers that are known to be of this package get them: RPyC passes them over, too, but
//! what serves a connection for a moment counts one as a message.

use rpyc_proto::wire::frame::EMPTY;

/// A copy is slow if it writes less than this behind the place that it reads from.
const NEAR: usize = 32;
/// Bytes of a page.
const PAGE: usize = 4096;
/// Where a receiver puts a large value at most, counted from the start of a page.
const LAST_START: usize = 48;

/// How many empty frames are to be sent first. `at`: bytes that are sent before the value. `value`: the
/// address of the value.
pub(super) fn frames(at: usize, value: usize) -> usize {
    let is_slow = |at: usize| {
        let read_behind = at.wrapping_sub(value) % PAGE < NEAR;
        // The receiver reads at `at`, and writes to one of the places where large values start.
        read_behind || at < LAST_START + NEAR
    };
    (0..PAGE / EMPTY.len())
        .find(|frames| !is_slow(at + frames * EMPTY.len()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_copies_are_out_of_the_way() {
        for (start, before) in [16, 48].into_iter().flat_map(|start| {
            // A head, or frames of others and a head.
            (10..300).map(move |before| (start, before))
        }) {
            let value = 0x7f00_0000_0000 + start;
            let at = before + frames(before, value) * EMPTY.len();
            let distance = |to: usize, from: usize| to.wrapping_sub(from) % PAGE;
            assert!(distance(at, value) >= NEAR, "sent from {start} at {at}");
            for receiver in [16, 48] {
                assert!(distance(receiver, at) >= NEAR, "received at {receiver}");
            }
            assert!(at < before + 20 * EMPTY.len(), "{before} became {at}");
        }
        assert_eq!(frames(100, 0x7f00_0000_0010), 0);
    }
}
