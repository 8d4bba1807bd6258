//! How the bytes of a handshake move, so that its steps are written once.

use std::future::Future;
use std::io::{self, Read, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::opening::Opening;

/// A way to the peer. A thread blocks inside, so its futures are ready at once; those of a task are ready
/// sooner or later.
pub(crate) trait Line: Send {
    /// Fills the buffer.
    fn receive(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends all of it.
    fn send(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
}

impl Line for Opening<'_> {
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact(buffer)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.flush()
    }
}

/// The result of what waits for nothing but lines that block.
pub(super) fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(work).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a line that blocks does not keep anybody waiting"),
    }
}
