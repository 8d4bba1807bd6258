//! Calls that are given up: those of this side, and those that it performs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::dispatch;
use rpyc_proto::message::{self, Dialect};
use rpyc_proto::wire::Payload;
use scoped_tls::scoped_thread_local;

use super::Peer;
use super::perform::Seq;
use crate::link::Cancelled;
use crate::waiter::Waiter;

/// What a connection knows of calls that are given up.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    /// Requests of the peer.
    by_peer: Cancelled,
    /// The peer does not know the message that says so.
    peer_refuses: AtomicBool,
}

// The request that this thread performs, the innermost: whose it is, and its sequence number.
scoped_thread_local!(static PERFORMED_FOR: Arc<Peer>);
scoped_thread_local!(static PERFORMED: Seq);

/// Whether the caller of the method that runs in this thread has given the call up: its time was over,
/// or its result was dropped. What takes long can ask in a loop, and stop.
///
/// False outside of methods, and in threads that they start. True also if the connection has ended.
/// Callers tell if they are programs with this crate, or with `rpyc-rs` for Python.
///
/// It looks at what has arrived. Only in a method that is not asynchronous, on a connection that a
/// runtime drives, it learns nothing new: nothing is received while that runs.
///
/// ```
/// fn search(haystack: &[u64], needle: u64) -> Option<usize> {
///     let mut chunks = haystack.chunks(10_000).enumerate();
///     chunks.by_ref().take_while(|_| !rpyc::is_cancelled()).find_map(|(number, chunk)| {
///         Some(10_000 * number + chunk.iter().position(|straw| *straw == needle)?)
///     })
/// }
/// assert_eq!(search(&[1, 2, 3], 3), Some(2));
/// ```
#[must_use]
pub fn is_cancelled() -> bool {
    PERFORMED_FOR.is_set() && PERFORMED_FOR.with(|peer| PERFORMED.with(|seq| peer.is_given_up(seq)))
}

/// Performs a request in this thread. `seq`: its encoded sequence number.
pub(crate) fn performing<R>(peer: &Arc<Peer>, seq: &Seq, work: impl FnOnce() -> R) -> R {
    PERFORMED_FOR.set(peer, || PERFORMED.set(seq, work))
}

impl Peer {
    /// Nobody waits for the answer to a request any more: tells the peer, unless it would not understand.
    pub(crate) fn withdraw(&self, handler: Handler, seq: u64) {
        let waiter = self.wire.session().lock().cancel(seq);
        if waiter.is_none() {
            // It was answered, or never sent.
            return;
        }
        drop(waiter);
        if !handler.is_cancellable()
            || self.dialect() == Dialect::V5
            || self.given_up.peer_refuses.load(Ordering::Relaxed)
            || self.wire.end().is_some()
        {
            return;
        }
        self.push_own(Handler::Cancel, Waiter::Cancel, |out| {
            dispatch::put_boxed_with(out, |out| {
                out.put_tuple(1);
                out.put_int(seq.cast_signed());
            });
        });
        self.wire.flush_now();
    }

    /// Whether the caller of a request that is being performed has given it up.
    fn is_given_up(&self, seq: &[u8]) -> bool {
        let by_peer = &self.given_up.by_peer;
        if let Some(link) = self.wire.link() {
            by_peer.look_ahead(link, true, 0);
            if link.is_ending() {
                return true;
            }
        }
        // Only numbers can be given up, as ours are.
        self.wire.end().is_some() || message::number(seq).is_some_and(|seq| by_peer.contains(seq))
    }

    /// Notes how the peer took that a call was given up.
    pub(super) fn note_cancel_answer(&self, refused: bool) {
        self.given_up.peer_refuses.store(refused, Ordering::Relaxed);
    }

    /// Notes that the peer has given a request up.
    pub(super) fn note_cancelled(&self, seq: u64) {
        self.given_up.by_peer.note(seq);
    }

    /// Notes which requests a message gives up that was received and is not handled yet.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_at(&self, payload: &Payload<Bytes>) {
        self.given_up.by_peer.note_message(payload);
    }

    /// If a request that is about to be performed was given up, releases what it refers to.
    pub(super) fn skips(&self, payload: &Payload<Bytes>) -> bool {
        let by_peer = &self.given_up.by_peer;
        if let Some(link) = self.wire.link() {
            by_peer.look_behind(link, 0);
        }
        let Some(message) = by_peer.skipped(payload) else {
            return false;
        };
        if let Some(args) = dispatch::args_offset(payload, message.body) {
            self.release_refs(boxing::remote_refs(payload, args));
        }
        true
    }

    /// A request of the peer is done with.
    pub(super) fn forget_request(&self, seq: &[u8]) {
        let by_peer = &self.given_up.by_peer;
        if !by_peer.is_empty()
            && let Some(seq) = message::number(seq)
        {
            by_peer.forget(seq);
        }
    }
}
