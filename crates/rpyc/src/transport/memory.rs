//! Two ends in one process, for tests and for peers in threads.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rpyc_proto::wire::BulkBuffer;

use super::{BulkOf, Peeked, Received, SendQueue, Transport};
use crate::link::Inbox;

/// One end of a connection in memory.
#[derive(Debug)]
pub struct Memory<B> {
    shared: Arc<Shared>,
    /// Which of the two ways this end reads from; it writes to the other one.
    side: usize,
    buffer: PhantomData<fn() -> B>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    ways: [VecDeque<u8>; 2],
    closed: bool,
}

/// Two connected ends. Each way holds up to `capacity` bytes.
#[must_use]
pub fn memory_pair<B>(capacity: usize) -> (Memory<B>, Memory<B>) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Condvar::new(),
        capacity: capacity.max(1),
    });
    let end = |side| Memory {
        shared: Arc::clone(&shared),
        side,
        buffer: PhantomData,
    };
    (end(0), end(1))
}

impl<B: BulkBuffer<Done: AsRef<[u8]> + Send> + Send> Transport for Memory<B> {
    type Buffer = B;

    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        while !queue.frames.is_empty() {
            if state.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let way = &mut state.ways[1 - self.side];
            let room = self.shared.capacity - way.len();
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut count = 0;
            for piece in queue.pieces(16) {
                let part = &piece[..piece.len().min(room - count)];
                way.extend(part);
                count += part.len();
            }
            queue.advance(count);
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn receive(
        &self,
        inbox: &mut Inbox<Self::Buffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.shared.state.lock();
        loop {
            let way = &mut state.ways[self.side];
            if !way.is_empty() {
                let space = inbox.space();
                let count = space.len().min(way.len());
                for (target, byte) in space.iter_mut().zip(way.drain(..count)) {
                    *target = byte;
                }
                inbox.filled(count);
                self.shared.changed.notify_all();
                return Ok(Received::Data);
            }
            if state.closed {
                return Ok(Received::End);
            }
            match deadline {
                None => self.shared.changed.wait(&mut state),
                Some(deadline) => {
                    if self
                        .shared
                        .changed
                        .wait_until(&mut state, deadline)
                        .timed_out()
                    {
                        return Ok(Received::Nothing);
                    }
                }
            }
        }
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        loop {
            let readable = or_read && !state.ways[self.side].is_empty();
            let writable = state.ways[1 - self.side].len() < self.shared.capacity;
            if readable || writable || state.closed {
                return Ok(readable);
            }
            if self
                .shared
                .changed
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return Ok(false);
            }
        }
    }

    fn peek(&self, first: &mut [u8]) -> io::Result<Peeked> {
        let state = self.shared.state.lock();
        let way = &state.ways[self.side];
        if way.is_empty() {
            return Ok(if state.closed {
                Peeked::End
            } else {
                Peeked::Nothing
            });
        }
        let seen = first.len().min(way.len());
        for (target, &byte) in first.iter_mut().zip(way) {
            *target = byte;
        }
        let all = way.len();
        Ok(Peeked::Bytes { seen, all })
    }

    fn skip(&self, count: usize) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let way = &mut state.ways[self.side];
        let count = count.min(way.len());
        way.drain(..count);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn shutdown(&self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<B> Drop for Memory<B> {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
    }
}
