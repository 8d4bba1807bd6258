//! The task that moves a connection's bytes and handles its messages.
//!
//! # Theory of operation
//!
//! One task per connection reads, handles what is complete, and writes. Methods run inside it, so
//! they must not block; an asynchronous method that is not done at once goes on in a task of its own,
//! and requests that follow it are not held up. Answers are queued and leave together at the end of a
//! turn, or after [`HOLD`] if methods take that long.
//!
//! A peer may send without a pause. So a turn has bounds: how many messages it handles, how long it does so,
//! and how often it receives. Then the task gives way, and not just to tasks that are ready: the runtime
//! looks at its clock and its sockets before it goes on.
//!
//! A connection at rest holds no memory for receiving: the buffer belongs to the worker thread, and
//! is lent to whoever reads.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use ::tokio::task::coop::has_budget_remaining;
use ::tokio::task::yield_now;
use ::tokio::time::Sleep;
use bytes::Bytes;

use super::place::Place;
use super::wire::RuntimeWire;
use crate::brine::BytesBuffer;
use crate::connection::{Handled, Peer, Role, Seq, Wire, guarded, performing};
use crate::error::Exception;
use crate::link::{EndCause, Inbox, Signs};
use crate::object::LaterReply;
use crate::transport::SendQueue;
use crate::value::Value;

/// Messages handled before the task lets others run.
const TURN: usize = 128;
/// How long it may take before that, unless a single message takes longer.
const SPAN: Duration = Duration::from_millis(1);
/// How often it receives before that.
const RECEIVES: usize = 32;
/// How long a finished answer may wait for others to leave with it.
const HOLD: Duration = Duration::from_micros(500);
/// With this many bytes of answers waiting to be sent, no more requests are handled.
const HIGH_WATER: usize = 8 * 1024 * 1024;
/// With this many asynchronous methods going on, no more requests are handled.
const MAX_RUNNING: usize = 1024;
/// How many pieces go into one system call.
const MAX_PIECES: usize = 64;

/// One connection's bytes.
pub(super) struct Driver<S> {
    stream: S,
    /// Weak, so that a connection that nobody can use any more ends.
    peer: Weak<Peer>,
    inbox: Inbox<BytesBuffer>,
    queue: SendQueue<Bytes>,
    /// Bytes in the queue.
    queued: usize,
    /// How many bytes may wait while nothing is handled.
    backlog: usize,
    /// How often something was received.
    heard: u64,
    /// When something is due for signs of life, and how often.
    timer: Option<(Duration, Pin<Box<Sleep>>)>,
}

/// What a turn has taken so far.
#[derive(Default)]
struct Spent {
    /// When its first message was handled, or its third portion received.
    began: Option<Instant>,
    /// How long it took, when that was looked at last.
    time: Duration,
    messages: usize,
    receives: usize,
}

impl Spent {
    /// A message was handled. Tells how long the turn takes already.
    fn note_message(&mut self, began: Instant) -> Duration {
        self.messages += 1;
        self.time = began.elapsed();
        self.time
    }

    /// A portion was received. Most turns receive one, and a call needs no clock for that.
    fn note_receive(&mut self) {
        self.receives += 1;
        if self.receives > 2 {
            self.time = self.began.get_or_insert_with(Instant::now).elapsed();
        }
    }

    /// Whether it is the turn of others.
    fn is_enough(&self) -> bool {
        self.messages >= TURN || self.receives >= RECEIVES || self.time > SPAN
    }
}

/// In a task, methods run in the order of their requests, and nobody else can read.
struct Task;

impl Role for Task {
    fn pass_on(&mut self) {}

    fn before_user_code(&mut self) {}
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(stream: S, peer: &Arc<Peer>) -> Self {
        let limits = peer.config().limits;
        Self {
            stream,
            peer: Arc::downgrade(peer),
            inbox: Inbox::new(limits, 1),
            queue: SendQueue::default(),
            queued: 0,
            backlog: limits.backlog,
            heard: 0,
            timer: None,
        }
    }

    /// Drives until the connection ends. `guest`: it is a server's, and the task keeps it alive.
    pub(super) async fn run(mut self, guest: Option<(Arc<Peer>, Place)>) {
        let (keep, place) = guest.unzip();
        let cause = poll_fn(|context| self.turn(context)).await;
        if let Some(peer) = self.peer.upgrade() {
            peer.finish(cause);
            if let Wire::Runtime(wire) = peer.wire() {
                self.take_output(wire);
            }
        }
        drop(keep);
        // The last words: what is queued, such as the peer's being told to close.
        let bye = async {
            let _ = poll_fn(|context| self.write(context)).await;
            poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await
        };
        let _ = ::tokio::time::timeout(Duration::from_secs(1), bye).await;
        drop(place);
    }

    /// One turn: handle, write, read. Ready when the connection must end.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<EndCause> {
        let mut spent = Spent::default();
        loop {
            let Some(peer) = self.peer.upgrade() else {
                return Poll::Ready(EndCause::Closed);
            };
            let Wire::Runtime(wire) = peer.wire() else {
                return Poll::Ready(EndCause::Closed);
            };
            if let Err(cause) = self.handle(&peer, wire, &mut spent, context) {
                return Poll::Ready(cause);
            }
            if let Some(pause) = peer.heartbeat.pause()
                && let Err(cause) = self.tend(&peer, wire, pause, context)
            {
                return Poll::Ready(cause);
            }
            self.take_output(wire);
            let choked = self.queued > HIGH_WATER;
            if let Some(end) = wire.end() {
                return Poll::Ready(end.cause().clone());
            }
            let written = match self.write(context) {
                Poll::Ready(Err(error)) => return Poll::Ready(io_cause(&error)),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if spent.is_enough() {
                // Others first: this connection could go on for ever.
                return give_way(context);
            }
            if choked && self.queued <= HIGH_WATER {
                // Messages may have been left for want of room: nothing else would wake this task.
                continue;
            }
            if self.inbox.held() < self.backlog {
                match self.read(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(self.end_of_stream()),
                    Poll::Ready(Ok(_)) => {
                        spent.note_receive();
                        continue;
                    }
                    // Many peers end without saying so in TLS. A message that is cut off is seen in the
                    // frames.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Poll::Ready(self.end_of_stream());
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(io_cause(&error)),
                    Poll::Pending => {}
                }
            }
            if !has_budget_remaining() {
                // The runtime has cut the turn short: nobody knows whether there is something to receive.
                return give_way(context);
            }
            self.inbox.rest();
            if wire.sleep(context.waker(), !written) {
                return Poll::Pending;
            }
        }
    }

    /// Handles complete messages, until there are none or the turn is over.
    fn handle(
        &mut self,
        peer: &Arc<Peer>,
        wire: &RuntimeWire,
        spent: &mut Spent,
        context: &mut Context<'_>,
    ) -> Result<(), EndCause> {
        let mut role = Task;
        // When the first answer was queued that has not left.
        let mut since = None;
        let mut looked = false;
        while !spent.is_enough() {
            if wire.running() >= MAX_RUNNING || self.queued > HIGH_WATER {
                return Ok(());
            }
            let Some(payload) = self.inbox.take().map_err(EndCause::Frame)? else {
                return Ok(());
            };
            let began = *spent.began.get_or_insert_with(Instant::now);
            if !std::mem::replace(&mut looked, true) {
                wire.note_busy();
                // What follows may give up what comes before it.
                self.inbox.absorb();
                self.inbox.show_new(|payload| peer.look_at(payload));
            }
            if let Handled::Later { seq, future } = peer.handle(payload, &mut role)? {
                go_on(peer, wire, seq, future);
            }
            if wire.end().is_some() {
                return Ok(());
            }
            let elapsed = spent.note_message(began);
            if wire.has_output() && elapsed - *since.get_or_insert(elapsed) > HOLD {
                since = None;
                self.take_output(wire);
                if let Poll::Ready(Err(error)) = self.write(context) {
                    return Err(io_cause(&error));
                }
            }
        }
        Ok(())
    }

    /// Shows and looks for signs of life, if it is time.
    fn tend(
        &mut self,
        peer: &Arc<Peer>,
        wire: &RuntimeWire,
        pause: Duration,
        context: &mut Context<'_>,
    ) -> Result<(), EndCause> {
        let next = |pause| ::tokio::time::Instant::now() + pause;
        let (set, timer) = self
            .timer
            .get_or_insert_with(|| (pause, Box::pin(::tokio::time::sleep(pause))));
        if *set != pause {
            *set = pause;
            timer.as_mut().reset(next(pause));
        }
        while timer.as_mut().poll(context).is_ready() {
            timer.as_mut().reset(next(pause));
            if peer.beats() && self.queue.frames.is_empty() && !wire.has_output() {
                wire.show_life();
            }
            // While nothing is received there is nothing to be heard.
            let deaf = self.inbox.held() >= self.backlog
                || self.queued > HIGH_WATER
                || wire.running() >= MAX_RUNNING;
            peer.judge(Signs {
                heard: self.heard,
                unread: if deaf { usize::MAX } else { 0 },
            })?;
        }
        Ok(())
    }

    fn take_output(&mut self, wire: &RuntimeWire) {
        self.queued += wire.take_output(&mut self.queue);
    }

    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.frames.is_empty() {
            let pieces = self.queue.pieces(MAX_PIECES);
            let stream = Pin::new(&mut self.stream);
            let count = ready!(stream.poll_write_vectored(context, &pieces))?;
            self.queue.advance(count);
            self.queued = self.queued.saturating_sub(count);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = if let Some(memory) = self.inbox.unwritten() {
            ready!(pin!(self.stream.read_buf(memory)).poll(context))?
        } else {
            let mut buffer = ReadBuf::new(self.inbox.space());
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            buffer.filled().len()
        };
        self.inbox.filled(count);
        self.heard = self.heard.wrapping_add(1);
        Poll::Ready(Ok(count))
    }

    fn end_of_stream(&self) -> EndCause {
        if self.inbox.held() > 0 {
            EndCause::Cut
        } else {
            EndCause::PeerClosed
        }
    }
}

/// Ends a turn that is not done. A task that merely wakes itself is run again dozens of times before a
/// runtime of one thread looks at its timers.
fn give_way(context: &mut Context<'_>) -> Poll<EndCause> {
    let _: Poll<()> = pin!(yield_now()).poll(context);
    Poll::Pending
}

/// Polls an asynchronous method once, in the order of the requests. If it is not done, it goes on in
/// a task of its own.
fn go_on(peer: &Arc<Peer>, wire: &RuntimeWire, seq: Seq, mut future: LaterReply) {
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(outcome) = poll_guarded(peer, &seq, &mut future, &mut context) {
        peer.reply(&seq, outcome);
        return;
    }
    wire.begin_method();
    let peer = Arc::clone(peer);
    ::tokio::spawn(async move {
        let outcome = poll_fn(|context| poll_guarded(&peer, &seq, &mut future, context)).await;
        peer.reply(&seq, outcome);
        if let Wire::Runtime(wire) = peer.wire() {
            wire.end_method();
        }
    });
}

/// Polls code of the user: a panic becomes an exception.
fn poll_guarded(
    peer: &Arc<Peer>,
    seq: &Seq,
    future: &mut LaterReply,
    context: &mut Context<'_>,
) -> Poll<Result<Value, Exception>> {
    let poll = || Ok(future.as_mut().poll(context));
    match performing(peer, seq, || guarded(poll)) {
        Ok(poll) => poll,
        Err(exception) => Poll::Ready(Err(exception)),
    }
}

fn io_cause(error: &io::Error) -> EndCause {
    EndCause::Io(error.kind(), error.to_string())
}
