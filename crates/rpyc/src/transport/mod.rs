//! How bytes move: sockets, pipes and memory behind one trait.

mod busy;
mod cores;
mod descriptor;
mod liveness;
mod memory;
mod padding;
mod pipe;
pub(crate) mod poll;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rpyc_proto::wire::frame::Frame;
use rpyc_proto::wire::{BulkBuffer, Payload};

use crate::link::Inbox;

pub use busy::forget_polling_threads;
pub use liveness::{notice_lost_peer, unread};
pub use memory::{Memory, memory_pair};
pub use pipe::Pipe;
pub use socket::Socket;
#[cfg(feature = "tls")]
use socket::is_local_peer;
pub use stream::Stream;
#[cfg(feature = "tls")]
pub use tls::Tls;

/// The bulk parts that a transport moves.
pub type BulkOf<T> = <<T as Transport>::Buffer as BulkBuffer>::Done;

/// Small frames are put together up to so many bytes: one piece of memory is cheaper to send than many.
const JOINED: usize = 16 * 1024;

/// With so many frames queued, where in a page the next one comes to lie is nothing to be planned: others
/// are on their way.
const FEW: usize = 8;

/// How frames may be put together for a transport and its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// A small frame may become a part of the one before: what counts is bytes.
    pub joins: bool,
    /// Empty frames may be sent ahead of a large value: the peer passes them over.
    pub pads: bool,
}

/// Frames on their way out, in order.
///
/// `sent` counts the bytes of the first frame that have left already.
#[derive(Debug)]
pub struct SendQueue<B> {
    /// The frames.
    pub frames: VecDeque<Frame<B>>,
    /// Bytes of the first frame that have left.
    pub sent: usize,
}

impl<B> Default for SendQueue<B> {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            sent: 0,
        }
    }
}

impl<B: AsRef<[u8]>> SendQueue<B> {
    /// Notes that `count` more bytes have left, and drops the frames that are complete.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.frames.front() {
            let missing = first.len() - self.sent;
            if count < missing {
                self.sent += count;
                return;
            }
            count -= missing;
            self.sent = 0;
            self.frames.pop_front();
        }
    }

    /// Appends a frame: takes it, or copies it.
    pub fn push(&mut self, frame: &mut Frame<B>, packing: Packing) {
        if packing.pads
            && self.frames.len() < FEW
            && let Some((before, value)) = frame.first_part()
        {
            let ahead: usize = self.frames.iter().map(Frame::len).sum();
            let at = ahead.saturating_sub(self.sent) + before;
            match padding::frames(at, value.as_ptr().addr()) {
                0 => {}
                count => self.frames.push_back(Frame::empty(count)),
            }
        }
        if packing.joins
            && let Some(last) = self.frames.back_mut()
            && last.join(frame, JOINED)
        {
            return;
        }
        self.frames.push_back(frame.take());
    }

    /// Changes whenever bytes leave: the frames that are left, and how much of the first has left.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        (self.frames.len(), self.sent)
    }

    /// What is to leave next, if it is one piece.
    #[must_use]
    pub fn only_piece(&self) -> Option<&[u8]> {
        if self.frames.len() != 1 {
            return None;
        }
        self.frames.front()?.contiguous()?.get(self.sent..)
    }

    /// Up to `max` pieces that are to leave next.
    pub fn pieces(&self, max: usize) -> Vec<io::IoSlice<'_>> {
        let mut skip = self.sent;
        let mut pieces = Vec::new();
        for piece in self.frames.iter().flat_map(Frame::pieces) {
            let here = skip.min(piece.len());
            skip -= here;
            if let Some(rest) = piece.get(here..).filter(|rest| !rest.is_empty()) {
                pieces.push(io::IoSlice::new(rest));
                if pieces.len() == max {
                    break;
                }
            }
        }
        pieces
    }
}

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Something was put into the inbox.
    Data,
    /// Nothing came in time, or a signal interrupted the wait.
    Nothing,
    /// The peer closed its side in an orderly way.
    End,
}

/// What has arrived and was not received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peeked {
    /// This many bytes were seen, and as many have arrived in all.
    Bytes {
        /// Bytes that were copied.
        seen: usize,
        /// Bytes that have arrived.
        all: usize,
    },
    /// Nothing, or nothing is known.
    Nothing,
    /// The end of the stream, and nothing before it.
    End,
}

/// An exclusive way to one peer.
///
/// One thread sends and one receives at a time; the [`Link`](crate::link::Link) sees to that. Errors
/// of kind `WouldBlock` say that nothing could be done right now. Any other error ends the link.
pub trait Transport: Send + Sync {
    /// What large `bytes` values are received into.
    type Buffer: BulkBuffer<Done: AsRef<[u8]> + Send> + Send;

    /// Sends from the front of the queue without waiting, and removes what has left.
    ///
    /// # Errors
    /// `WouldBlock` if frames remain; anything else is fatal.
    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()>;

    /// Waits up to `timeout` (`None`: without limit) for bytes and puts them into the inbox. A
    /// signal ends the wait early.
    ///
    /// # Errors
    /// Fatal ones.
    fn receive(
        &self,
        inbox: &mut Inbox<Self::Buffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received>;

    /// Whether payloads are received whole, by [`receive_whole`](Self::receive_whole): what does so is
    /// code of a program, which must not run under a lock.
    fn is_whole(&self) -> bool {
        false
    }

    /// Waits as [`receive`](Self::receive) does, for a payload. `None`: none came.
    ///
    /// # Errors
    /// Fatal ones.
    fn receive_whole(
        &self,
        timeout: Option<Duration>,
    ) -> io::Result<Option<Payload<BulkOf<Self>>>> {
        let _ = timeout;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits up to `timeout` until bytes can be sent; with `or_read`, also until some can be
    /// received. Tells whether some can be received. A signal ends the wait early.
    ///
    /// # Errors
    /// Fatal ones.
    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool>;

    /// Looks at what has arrived and was not received, without taking it or waiting. Fills `first`
    /// with the first bytes, as far as the transport can.
    ///
    /// # Errors
    /// Fatal ones.
    fn peek(&self, first: &mut [u8]) -> io::Result<Peeked> {
        let _ = first;
        Ok(Peeked::Nothing)
    }

    /// Throws away the next bytes, which a [`peek`](Self::peek) has seen.
    ///
    /// # Errors
    /// Fatal ones.
    fn skip(&self, count: usize) -> io::Result<()> {
        let _ = count;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether any thread may send, at any time: nothing of the face is needed for it.
    fn sends_anywhere(&self) -> bool {
        true
    }

    /// Whether what is sent is copied into pages as it is, so that it matters where in a page it comes to
    /// lie.
    fn fills_pages(&self) -> bool {
        false
    }

    /// Whether the peer is on this machine, so that compressing never pays.
    fn is_local(&self) -> bool;

    /// Ends both directions. Whoever waits in this transport returns.
    fn shutdown(&self);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use rpyc_proto::wire::Writer;

    use super::*;

    /// A peer that takes nothing must not make each frame more expensive than the one before.
    #[test]
    fn a_long_queue_is_not_looked_through() {
        let packing = Packing {
            joins: true,
            pads: true,
        };
        let mut queue = SendQueue::default();
        for _ in 0..50 {
            let mut writer = Writer::new_frame();
            writer.put_bulk(50_000, vec![1; 50_000]);
            queue.push(writer.seal().unwrap(), packing);
        }
        let padding = queue.frames.iter().filter(|frame| frame.len() < 1000);
        assert!((1..=FEW).contains(&padding.count()));
        assert_eq!(
            queue
                .frames
                .iter()
                .filter(|frame| frame.len() > 1000)
                .count(),
            50
        );
    }
}
