//! A pair of pipes, such as a child's standard streams.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rpyc_proto::wire::BulkBuffer;
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::{Errno, read, writev};

use super::{BulkOf, Peeked, Received, SendQueue, Transport, poll, unread};
use crate::link::Inbox;

/// The kernel's least pipe capacity that a writable pipe can take at once, in bytes.
///
/// A descriptor may be shared with other processes, so it is not made non-blocking. A write of at
/// most this size to a pipe that `poll` calls writable does not block (pipe(7)).
const ATOMIC: usize = 4096;
/// The longest wait in one system call: a shutdown is noticed within it.
const SLICE: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Ends {
    incoming: OwnedFd,
    outgoing: OwnedFd,
}

/// Two one-way descriptors.
#[derive(Debug)]
pub struct Pipe<B> {
    /// Gone after a shutdown. Whoever is in a system call holds them until that returns.
    fds: Mutex<Option<Arc<Ends>>>,
    buffer: PhantomData<fn() -> B>,
}

impl<B> Pipe<B> {
    /// Takes over a descriptor to read from and one to write to.
    #[must_use]
    pub fn new(incoming: OwnedFd, outgoing: OwnedFd) -> Self {
        Self {
            fds: Mutex::new(Some(Arc::new(Ends { incoming, outgoing }))),
            buffer: PhantomData,
        }
    }

    fn ends(&self) -> io::Result<Arc<Ends>> {
        self.fds
            .lock()
            .clone()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the pipe has been closed"))
    }
}

impl<B: BulkBuffer<Done: AsRef<[u8]> + Send> + Send> Transport for Pipe<B> {
    type Buffer = B;

    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()> {
        let ends = self.ends()?;
        let outgoing = &ends.outgoing;
        while !queue.frames.is_empty() {
            let ready = poll::wait(&[(outgoing.as_fd(), PollFlags::OUT)], Some(Duration::ZERO))?;
            if ready.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let written = {
                let pieces = queue.pieces(16);
                let mut room = ATOMIC;
                let slices: Vec<_> = pieces
                    .iter()
                    .map_while(|piece| {
                        let taken = room.min(piece.len());
                        room -= taken;
                        (taken > 0).then(|| io::IoSlice::new(&piece[..taken]))
                    })
                    .collect();
                writev(outgoing, &slices)
            };
            match written {
                Ok(count) => queue.advance(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        inbox: &mut Inbox<Self::Buffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        let ends = self.ends()?;
        let incoming = &ends.incoming;
        let slice = timeout.map_or(SLICE, |timeout| timeout.min(SLICE));
        if poll::wait(&[(incoming.as_fd(), PollFlags::IN)], Some(slice))?.is_empty() {
            return Ok(Received::Nothing);
        }
        let received = match inbox.unwritten() {
            Some(memory) => read(incoming, spare_capacity(memory)),
            None => read(incoming, inbox.space()),
        };
        match received {
            Ok(0) => Ok(Received::End),
            Ok(count) => {
                inbox.filled(count);
                Ok(Received::Data)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        let ends = self.ends()?;
        let mut wanted = vec![(ends.outgoing.as_fd(), PollFlags::OUT)];
        if or_read {
            wanted.push((ends.incoming.as_fd(), PollFlags::IN));
        }
        let ready = poll::wait(&wanted, Some(timeout.min(SLICE)))?;
        Ok(ready.intersects(PollFlags::IN | PollFlags::HUP))
    }

    fn peek(&self, _: &mut [u8]) -> io::Result<Peeked> {
        let ends = self.ends()?;
        let all = unread(&ends.incoming);
        if all > 0 {
            // A pipe can't be looked into.
            return Ok(Peeked::Bytes { seen: 0, all });
        }
        let ready = poll::wait(
            &[(ends.incoming.as_fd(), PollFlags::IN)],
            Some(Duration::ZERO),
        )?;
        Ok(
            if ready.contains(PollFlags::HUP) && !ready.contains(PollFlags::IN) {
                Peeked::End
            } else {
                Peeked::Nothing
            },
        )
    }

    fn is_local(&self) -> bool {
        true
    }

    fn shutdown(&self) {
        let ends = self.fds.lock().take();
        drop(ends);
    }
}
