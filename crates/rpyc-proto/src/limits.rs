//! Bounds on what a peer can make us do.

/// How deeply values may nest, on the wire and while boxing.
///
/// RPyC itself fails between 330 and 490 levels, depending on the interpreter.
pub const MAX_DEPTH: usize = 500;

/// Limits that hold for one connection. All sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame body accepted, as transmitted.
    pub frame: usize,
    /// The longest payload accepted after decompression.
    pub inflated: usize,
    /// How many bytes of requests may wait unread in memory while a write is blocked.
    pub backlog: usize,
    /// How many requests of ours may wait for an answer.
    pub pending: usize,
    /// How many objects the peer may hold references to.
    pub exports: usize,
    /// How many requests of peers one thread may be performing, each inside the one before.
    ///
    /// A peer answers a request with a request of its own; if it never stops, that is a way to use
    /// up the stack.
    pub nested: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What the length field can say. Memory is taken as bytes arrive.
            frame: 0xffff_ffff,
            // A small frame can hold a thousand times its size.
            inflated: 0x2000_0000,
            backlog: 0x1000_0000,
            pending: 1_000_000,
            exports: 10_000_000,
            // A level takes about 3 KB of a stack of 8 MB. Python's own limit of 1000 frames stops
            // programs of RPyC between 100 and 200 levels.
            nested: 500,
        }
    }
}
