//! Threads that wait drive the connection.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use bytes::Bytes;
use rpyc_proto::message::Message;
use rpyc_proto::wire::Payload;

use super::Peer;
use super::cancel::performing;
use super::perform::{Handled, Role, Seq};
use crate::error::Exception;
use crate::link::{Driver, End, EndCause, Link, Parker};
use crate::object::LaterReply;
use crate::transport::Stream;
use crate::value::Value;
use crate::waiter::Waiter;

/// How often a blocking thread looks at an asynchronous method that other threads may have woken,
/// while it waits for the peer.
const LOOK: Duration = Duration::from_millis(5);

/// One thread that drives a connection.
pub(crate) struct BlockingDriver<'a> {
    peer: &'a Arc<Peer>,
    slice: Option<Duration>,
    /// The last message was an answer, and the read role was not passed on for it.
    goes_on: bool,
}

impl<'a> BlockingDriver<'a> {
    pub(crate) const fn new(peer: &'a Arc<Peer>) -> Self {
        Self {
            peer,
            slice: None,
            goes_on: false,
        }
    }

    fn link(&self) -> Option<&'a Link<Stream, Waiter>> {
        self.peer.wire().link()
    }

    /// Polls a future until it is ready, and drives the connection meanwhile: it may wait for an
    /// answer of the same peer.
    fn block_on(&self, seq: &Seq, future: LaterReply) -> Result<Value, Exception> {
        let Some(link) = self.link() else {
            return Err(Exception::new(
                "RuntimeError",
                "no thread drives this connection",
            ));
        };
        let flag = Arc::new(Woken {
            parker: Parker::current(),
            woken: AtomicBool::new(true),
        });
        let waker = Arc::clone(&flag).into();
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut outcome = None;
        let mut driver = BlockingDriver::new(self.peer);
        driver.slice = Some(LOOK);
        let mut poll = |_: &mut BlockingDriver<'_>| {
            if outcome.is_none() && flag.woken.swap(false, Ordering::AcqRel) {
                // The future is the user's code: another thread may read while it runs.
                link.pass_on();
                let polled = performing(self.peer, seq, || future.as_mut().poll(&mut context));
                if let Poll::Ready(ready) = polled {
                    outcome = Some(ready);
                }
            }
            outcome.is_some()
        };
        let waited = link.wait(&mut driver, &mut poll, None);
        match (outcome, waited) {
            (Some(outcome), _) => outcome,
            (None, Err(end)) => Err(Exception::new("EOFError", end.to_string())),
            (None, Ok(_)) => Err(Exception::new(
                "RuntimeError",
                "the method was not finished",
            )),
        }
    }
}

/// Wakes the thread that polls a future.
struct Woken {
    parker: Arc<Parker>,
    woken: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.parker.unpark();
    }
}

impl Driver<Stream> for BlockingDriver<'_> {
    type Error = Arc<End>;

    fn blocking<R: Send>(&mut self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn slice(&self) -> Option<Duration> {
        self.slice
    }

    fn check(&mut self) -> Result<(), Arc<End>> {
        Ok(())
    }

    fn arrived(&mut self, payload: Payload<Bytes>) -> Result<(), Arc<End>> {
        let is_request = !Message::is_answer(&payload);
        self.goes_on = !is_request;
        match self.peer.handle(payload, self) {
            Ok(Handled::Done) => {}
            Ok(Handled::Later { seq, future }) => {
                let outcome = self.block_on(&seq, future);
                self.peer.reply(&seq, outcome);
            }
            Err(cause) => self.peer.finish(cause),
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        self.goes_on && !self.peer.has_callbacks.load(Ordering::Relaxed)
    }

    fn ended(&mut self, end: &Arc<End>) -> Arc<End> {
        Arc::clone(end)
    }
}

impl Role for BlockingDriver<'_> {
    fn pass_on(&mut self) {
        self.goes_on = false;
        if let Some(link) = self.link() {
            link.pass_on();
        }
    }

    /// A method can run for long: what is finished must not wait behind it.
    fn before_user_code(&mut self) {
        if let Some(link) = self.link().filter(|link| link.is_due()) {
            // At the link's end the next wait says so.
            let _ = link.flush(self, None);
        }
    }
}

/// Waits for the connection's messages until it ends. For threads that serve.
pub(super) fn serve_all(peer: &Arc<Peer>, link: &Link<Stream, Waiter>) -> Arc<End> {
    let mut driver = BlockingDriver::new(peer);
    let mut never = |_: &mut BlockingDriver<'_>| false;
    let end = loop {
        if let Err(end) = link.wait(&mut driver, &mut never, None) {
            break end;
        }
    };
    peer.clean_up();
    end
}

/// The cause of an end that the peer brought about in an orderly way.
pub(super) const fn is_orderly(cause: &EndCause) -> bool {
    matches!(cause, EndCause::Closed | EndCause::PeerClosed)
}
