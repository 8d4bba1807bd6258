//! A connection that a task opens: who the other one is, before the first message.
//!
//! TLS and tokens are steps of the task. Any other authenticator is code that blocks, so it has a thread
//! of its own, which reads and writes through the runtime. However it waits, it ends with the deadline,
//! or when the task is gone.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use ::tokio::runtime::Handle;
use ::tokio::sync::oneshot;
use ::tokio::time::timeout_at;

use super::stream::Stream;
use crate::auth::line::Line;
use crate::opening::{Opening, too_long};

/// How long a handshake may take, and until when that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Limit {
    pub(super) fn from_now(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            timeout,
            deadline: now.checked_add(timeout).unwrap_or(now),
        }
    }

    /// The result of `work`, unless it takes too long.
    pub(super) async fn hold<T>(self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let done = timeout_at(self.deadline.into(), work).await;
        done.unwrap_or_else(|_| Err(too_long(self.timeout)))
    }
}

impl Line for Stream {
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact(buffer).await.map(drop)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }
}

/// Runs code that blocks, in a thread, and gives the stream back with what it said.
pub(super) async fn in_thread<T: Send + 'static>(
    stream: Stream,
    limit: Limit,
    work: impl FnOnce(&mut Opening<'_>) -> io::Result<T> + Send + 'static,
) -> io::Result<(Stream, T)> {
    let (sender, receiver) = oneshot::channel();
    let mut blocking = Blocking {
        stream,
        limit,
        runtime: Handle::current(),
        task: sender,
    };
    std::thread::Builder::new()
        .name("rpyc-handshake".to_owned())
        .spawn(move || {
            // An authenticator is the user's code.
            let outcome =
                catch_unwind(AssertUnwindSafe(|| work(&mut Opening::over(&mut blocking))));
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(_) => Err(io::Error::other("the authenticator panicked")),
            };
            let Blocking { stream, task, .. } = blocking;
            // It fails if nobody waits any more; then the stream is closed.
            let _ = task.send(outcome.map(|said| (stream, said)));
        })?;
    let gone = |_| Err(io::Error::other("the runtime is being shut down"));
    receiver.await.unwrap_or_else(gone)
}

/// A stream of the runtime, for a thread that blocks.
struct Blocking<T> {
    stream: Stream,
    limit: Limit,
    runtime: Handle,
    /// The task that waits for the thread.
    task: oneshot::Sender<io::Result<(Stream, T)>>,
}

impl<T> Blocking<T> {
    /// Waits until `step` is ready, the deadline, or the end of the task.
    fn wait<R>(
        &mut self,
        mut step: impl FnMut(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> io::Result<R> {
        let Self {
            stream,
            limit,
            runtime,
            task,
        } = self;
        let work = poll_fn(|context| {
            if task.poll_closed(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            step(Pin::new(&mut *stream), context)
        });
        runtime.block_on(limit.hold(work))
    }
}

impl<T: Send> Read for Blocking<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(|stream, context| {
            let mut buffer = ReadBuf::new(buffer);
            stream
                .poll_read(context, &mut buffer)
                .map_ok(|()| buffer.filled().len())
        })
    }
}

impl<T: Send> Write for Blocking<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(|stream, context| stream.poll_write(context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(Stream::poll_flush)
    }
}
