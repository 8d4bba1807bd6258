//! Receiving: the holder of the read role takes what the transport has into the inbox.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::outbox::Flushed;
use super::{BUSY_SLICE, Driver, End, EndCause, Link, remaining, shorter};
use crate::sync::{Instant, Ordering};
use crate::transport::{Received, Transport};

impl<T: Transport, W> Link<T, W> {
    /// After the deadline: one last look without waiting. Tells whether something came.
    pub(super) fn receive_now<D: Driver<T>>(&self, driver: &mut D) -> bool
    where
        W: Send,
    {
        driver.blocking(|| {
            self.receive_slice(Some(Duration::ZERO));
            self.ending.get().is_some() || self.inbox.lock().has_payload()
        })
    }

    /// Sends what is due and receives once. Holds the read role.
    pub(super) fn receive_slice(&self, slice: Option<Duration>) {
        if self.has_output() {
            // The sender receives while it waits, so this can't block for long.
            match self.flush_slice(slice) {
                Flushed::All => {}
                Flushed::Waiting | Flushed::Ended => return,
            }
        }
        // A sender that gives up leaves its frames to the next wait: don't wait for too long.
        let slice = if self.exit.outbox.is_busy() {
            shorter(slice, Some(BUSY_SLICE))
        } else {
            slice
        };
        if self.exit.transport.is_whole() {
            if !self.inbox.lock().settle() {
                let received = self.receive_whole(slice);
                self.note_received(received, false);
            }
            return;
        }
        // When the slice is over: asked for only if one receive does not do.
        let mut over = None;
        let mut slice = slice;
        let mut inbox = self.inbox.lock();
        if inbox.settle() {
            return;
        }
        loop {
            let received = self.exit.transport.receive(&mut inbox, slice);
            if !matches!(received, Ok(Received::Data)) {
                let cut = inbox.held() > 0;
                drop(inbox);
                self.note_received(received, cut);
                return;
            }
            self.note_heard();
            if inbox.settle() {
                return;
            }
            // A part of a frame. However slowly the rest comes, the slice is prolonged once at most.
            if let Some(whole) = slice.filter(|slice| !slice.is_zero()) {
                let over = *over.get_or_insert_with(|| Instant::now() + whole);
                let left = remaining(over);
                if left.is_zero() {
                    return;
                }
                slice = Some(left);
            }
        }
    }

    /// Sending failed, but the peer may have answered before it went away. Receives what is here.
    /// Tells whether there is something to handle. Holds the read role.
    pub(super) fn receive_rest(&self) -> bool {
        if self.exit.transport.is_whole() {
            while self.inbox.lock().held() < self.limits.backlog {
                match self.receive_whole(Some(Duration::ZERO)) {
                    Ok(Received::Data) => {}
                    Ok(Received::Nothing | Received::End) | Err(_) => break,
                }
            }
            return self.inbox.lock().has_payload();
        }
        let mut inbox = self.inbox.lock();
        // Bounded: the peer may go on for ever without listening.
        while !inbox.settle() || inbox.held() < self.limits.backlog {
            match self
                .exit
                .transport
                .receive(&mut inbox, Some(Duration::ZERO))
            {
                Ok(Received::Data) => inbox.absorb(),
                Ok(Received::Nothing | Received::End) | Err(_) => break,
            }
        }
        inbox.has_payload()
    }

    /// Receives a payload from a transport that receives them whole, with no lock held meanwhile.
    pub(super) fn receive_whole(&self, slice: Option<Duration>) -> io::Result<Received> {
        let Some(payload) = self.exit.transport.receive_whole(slice)? else {
            return Ok(Received::Nothing);
        };
        self.note_heard();
        // An empty one is a sign of life, and no more.
        if !payload.is_empty() {
            self.inbox.lock().push(payload);
        }
        Ok(Received::Data)
    }

    /// The peer gave a sign of life.
    pub(super) fn note_heard(&self) {
        // Only the holder of the read role, or the sender, comes here; a lost count is no loss.
        let heard = self.heard.load(Ordering::Relaxed);
        self.heard.store(heard.wrapping_add(1), Ordering::Relaxed);
    }

    /// Keeps the end of the stream, if this is it. `cut`: a part of a message is here.
    pub(super) fn note_received(&self, received: io::Result<Received>, cut: bool) {
        let cause = match received {
            Ok(Received::Data | Received::Nothing) => return,
            Ok(Received::End) if cut => EndCause::Cut,
            Ok(Received::End) => EndCause::PeerClosed,
            Err(error) => EndCause::Io(error.kind(), error.to_string()),
        };
        let _ = self.ending.set(Arc::new(End::new(cause)));
    }
}
