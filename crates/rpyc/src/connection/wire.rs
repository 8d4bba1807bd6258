//! How a connection's bytes are driven: by the threads that wait, or by an async runtime.

use std::sync::Arc;

use bytes::Bytes;
use rpyc_proto::session::Session;
use rpyc_proto::wire::frame::Frame;

use crate::link::{End, EndCause, Link};
use crate::sync::{Instant, Mutex};
use crate::transport::{Stream, Transport};
use crate::waiter::Waiter;

/// The engine under a connection.
pub(crate) enum Wire {
    /// Threads that wait read.
    Blocking(Box<Link<Stream, Waiter>>),
    /// A task of an async runtime reads.
    #[cfg(feature = "tokio")]
    Runtime(crate::tokio::RuntimeWire),
}

impl Wire {
    /// The link, if threads drive it.
    #[cfg_attr(
        not(feature = "tokio"),
        expect(
            clippy::unnecessary_wraps,
            reason = "without a runtime there is nothing else"
        )
    )]
    pub(crate) const fn link(&self) -> Option<&Link<Stream, Waiter>> {
        match self {
            Self::Blocking(link) => Some(link),
            #[cfg(feature = "tokio")]
            Self::Runtime(_) => None,
        }
    }

    pub(crate) fn session(&self) -> &Mutex<Session<Waiter>> {
        match self {
            Self::Blocking(link) => link.session(),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.session(),
        }
    }

    /// Queues a frame. Where a look at the clock can be saved: a moment just before, by less than a
    /// millisecond as long as the courier gets to run.
    pub(crate) fn push(&self, frame: &mut Frame<Bytes>) -> Option<Instant> {
        match self {
            Self::Blocking(link) => link.push(frame),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => {
                wire.push(frame);
                None
            }
        }
    }

    /// Notes that the peer is of this package.
    pub(crate) fn note_kin(&self) {
        match self {
            Self::Blocking(link) => link.note_kin(),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.note_kin(),
        }
    }

    /// Queues a frame that nobody waits for.
    pub(crate) fn push_unhurried(&self, frame: &mut Frame<Bytes>) {
        match self {
            Self::Blocking(link) => link.push_unhurried(frame),
            // All that is queued leaves at its task's next turn.
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.push(frame),
        }
    }

    /// See [`Link::flush_unhurried`].
    pub(crate) fn flush_unhurried(&self) {
        if let Some(link) = self.link() {
            link.flush_unhurried();
        }
    }

    /// Sends what can leave without waiting.
    pub(crate) fn flush_now(&self) {
        match self {
            Self::Blocking(link) => link.flush_now(),
            // Its task is told by each push.
            #[cfg(feature = "tokio")]
            Self::Runtime(_) => {}
        }
    }

    /// Sends what can leave without waiting, before the connection ends.
    pub(crate) fn flush_out(&self) {
        if let Some(link) = self.link() {
            link.flush_out();
        }
    }

    /// Sends what can leave without waiting, now or within a millisecond.
    pub(crate) fn flush_soon(&self) {
        if self.link().is_none_or(Link::is_due) {
            self.flush_now();
        }
    }

    /// See [`Connection::is_quiet`](super::Connection::is_quiet).
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            // In the order in which a message goes from one to the next.
            Self::Blocking(link) => !link.has_input() && !link.is_handling() && !link.has_unsent(),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.is_quiet(),
        }
    }

    pub(crate) fn end(&self) -> Option<Arc<End>> {
        match self {
            Self::Blocking(link) => link.end().cloned(),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.end(),
        }
    }

    pub(crate) fn finish(&self, cause: EndCause) {
        match self {
            Self::Blocking(link) => link.finish(cause),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.finish(cause),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Blocking(link) => link.transport().is_local(),
            #[cfg(feature = "tokio")]
            Self::Runtime(wire) => wire.is_local(),
        }
    }
}
