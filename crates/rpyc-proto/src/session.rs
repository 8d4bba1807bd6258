//! Sequence numbers, and the requests that wait for an answer.
//!
//! A [`Session`] is one end of a connection without its transport: requests are begun here, and
//! received payloads are matched to them. What waits (`W`) and what bodies mean is the driver's.

use core::fmt;
use core::ops::{DerefMut, Range};

use hashbrown::HashMap;

use crate::consts::MessageKind;
use crate::limits::Limits;
use crate::message::{Message, MessageError};
use crate::wire::Payload;

/// The open requests of one end of a connection.
#[derive(Debug)]
pub struct Session<W> {
    next: u64,
    pending: HashMap<u64, W>,
    limit: usize,
}

/// What a received payload means for the session.
#[derive(Debug)]
pub enum Event<W> {
    /// The peer asks for something. The body starts at `body`.
    Request {
        /// Where the sequence number to answer with stands in the payload.
        seq: Range<usize>,
        /// Where the body starts.
        body: usize,
    },
    /// A request of ours was answered.
    Answer {
        /// What waited for it.
        waiter: W,
        /// Whether the answer is an exception.
        is_exception: bool,
        /// Where the body starts.
        body: usize,
    },
    /// An answer that nothing waits for, undecoded.
    Orphan {
        /// The sequence number, if it is a plain one.
        number: Option<u64>,
        /// Whether the answer is an exception.
        is_exception: bool,
        /// Where the body starts.
        body: usize,
    },
}

/// Too many requests wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyPending {
    /// The limit.
    pub limit: usize,
}

impl fmt::Display for TooManyPending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} requests wait for an answer", self.limit)
    }
}

impl core::error::Error for TooManyPending {}

impl<W> Session<W> {
    /// A session without requests.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            next: 0,
            pending: HashMap::new(),
            limit: limits.pending,
        }
    }

    /// Takes the next sequence number.
    pub const fn take_seq(&mut self) -> u64 {
        let seq = self.next;
        self.next += 1;
        seq
    }

    /// Takes the next sequence number for a request that `waiter` waits for.
    ///
    /// # Errors
    /// [`TooManyPending`]; the waiter is dropped.
    pub fn begin(&mut self, waiter: W) -> Result<u64, TooManyPending> {
        let seq = self.take_seq();
        self.begin_numbered(seq, waiter)?;
        Ok(seq)
    }

    /// Begins the request `seq`, a number taken before, that `waiter` waits for.
    ///
    /// # Errors
    /// [`TooManyPending`]; the waiter is dropped.
    pub fn begin_numbered(&mut self, seq: u64, waiter: W) -> Result<(), TooManyPending> {
        if self.pending.len() >= self.limit {
            return Err(TooManyPending { limit: self.limit });
        }
        self.pending.insert(seq, waiter);
        Ok(())
    }

    /// Makes `waiter` wait for the answer to `seq`. Returns what waited before.
    pub fn insert(&mut self, seq: u64, waiter: W) -> Option<W> {
        self.pending.insert(seq, waiter)
    }

    /// From now on there may be any number of open requests: a connection with too many of them must
    /// still be able to say that it closes.
    pub const fn lift_limit(&mut self) {
        self.limit = usize::MAX;
    }

    /// Forgets a request: its answer will be an orphan.
    pub fn cancel(&mut self, seq: u64) -> Option<W> {
        self.pending.remove(&seq)
    }

    /// What waits for the answer to `seq`.
    #[must_use]
    pub fn waiter(&self, seq: u64) -> Option<&W> {
        self.pending.get(&seq)
    }

    /// The sequence numbers of the open requests.
    pub fn open(&self) -> impl Iterator<Item = u64> {
        self.pending.keys().copied()
    }

    /// Takes all waiters: the connection ended.
    pub fn drain(&mut self) -> impl Iterator<Item = W> + use<W> {
        core::mem::take(&mut self.pending).into_values()
    }

    /// Finds out what a payload means.
    ///
    /// # Errors
    /// [`MessageError`]: the peer does not speak the protocol, and the connection must end.
    pub fn handle<B>(&mut self, payload: &Payload<B>) -> Result<Event<W>, MessageError> {
        Event::of(payload, || self)
    }
}

impl<W> Event<W> {
    /// Finds out what a payload means. `session` is called for answers only: it may take a lock.
    ///
    /// # Errors
    /// As [`Session::handle`].
    pub fn of<B, S: DerefMut<Target = Session<W>>>(
        payload: &Payload<B>,
        session: impl FnOnce() -> S,
    ) -> Result<Self, MessageError> {
        let Message {
            kind,
            seq,
            number,
            body,
            ..
        } = Message::parse(payload)?;
        if kind == MessageKind::Request {
            return Ok(Self::Request { seq, body });
        }
        let is_exception = kind == MessageKind::Exception;
        let waiter = number.and_then(|number| session().pending.remove(&number));
        Ok(match waiter {
            Some(waiter) => Self::Answer {
                waiter,
                is_exception,
                body,
            },
            None => Self::Orphan {
                number,
                is_exception,
                body,
            },
        })
    }
}
