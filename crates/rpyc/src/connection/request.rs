//! A request of ours.

use crate::sync::Instant;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rpyc_proto::consts::Handler;
use rpyc_proto::wire::Writer;

use super::Peer;
use super::driver::BlockingDriver;
use crate::error::{Error, Result, TimedOut};
use crate::link::{Limit, Link};
use crate::pending::AsyncResult;
use crate::transport::Stream;
use crate::value::Value;
use crate::waiter::{Outcome, Slot, Waiter};

/// A request that is written and not sent yet.
///
/// What was written into it must live until it is sent: if a proxy among that is the last one, its release
/// must not leave before the request does.
pub(crate) struct Request<'a> {
    peer: &'a Arc<Peer>,
    handler: Handler,
    seq: u64,
    pub(super) out: Writer<Bytes>,
    /// Why it can't be sent.
    pub(super) failed: Option<Error>,
}

impl<'a> Request<'a> {
    /// Nothing is written yet.
    pub(super) fn new(peer: &'a Arc<Peer>, handler: Handler, seq: u64) -> Self {
        Self {
            peer,
            handler,
            seq,
            out: Writer::new_frame(),
            failed: None,
        }
    }

    /// Sends it and blocks until its answer is there, for as long as the configuration says.
    pub(crate) fn wait(mut self) -> Result<Value> {
        let Some(link) = self.peer.wire.link() else {
            return self.send().wait();
        };
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Self {
            peer, handler, seq, ..
        } = self;
        let slot = Slot::blocking(handler);
        enqueue(peer, seq, &mut self.out, &slot)?;
        let started = Instant::now();
        let patience = Patience::configured(peer, started);
        wait_for(peer, link, seq, &slot, handler, started, patience)
    }

    /// Sends it, without waiting. If it can't be sent, that is the result.
    pub(crate) fn send(mut self) -> AsyncResult {
        let slot = Slot::detached(self.handler);
        let sent = match self.failed {
            Some(error) => Err(error),
            None => enqueue(self.peer, self.seq, &mut self.out, &slot),
        };
        let moment = match sent {
            Ok(moment) => {
                self.peer.wire.flush_soon();
                moment
            }
            Err(error) => {
                // Nobody has the slot yet, so nobody can have set a callback.
                drop(slot.put(Outcome::Failed(error)));
                None
            }
        };
        let started = moment.unwrap_or_else(Instant::now);
        AsyncResult::new(Arc::clone(self.peer), self.seq, slot, self.handler, started)
    }
}

/// Lists the request as waiting, and queues its frame. May tell a moment just before that.
fn enqueue(
    peer: &Arc<Peer>,
    seq: u64,
    out: &mut Writer<Bytes>,
    slot: &Arc<Slot>,
) -> Result<Option<Instant>> {
    let begun = {
        let mut session = peer.wire.session().lock();
        session.begin_numbered(seq, Waiter::Slot(Arc::clone(slot)))
    };
    if let Err(error) = begun {
        return Err(Error::Limit(error.to_string()));
    }
    let pushed = peer.push(out);
    let end = peer.wire.end();
    if pushed.is_err() || end.is_some() {
        // Whoever ended the connection may not have seen the request in the list.
        let waiter = peer.wire.session().lock().cancel(seq);
        drop(waiter);
    }
    match end {
        Some(end) => Err(peer.lost(name_of(slot.handler()), &end)),
        None => pushed,
    }
}

/// Until when an answer is waited for, and what says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) deadline: Option<Instant>,
    option: &'static str,
}

impl Patience {
    /// As the configuration says, for a request that was sent at `started`.
    pub(crate) fn configured(peer: &Peer, started: Instant) -> Self {
        let timeout = peer.config.timeout;
        Self {
            deadline: timeout.and_then(|timeout| started.checked_add(timeout)),
            option: "Config::timeout",
        }
        .within(peer.deadlines.current())
    }

    /// This long from now.
    pub(crate) fn from_now(peer: &Peer, timeout: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(timeout),
            option: "AsyncResult::wait_timeout",
        }
        .within(peer.deadlines.current())
    }

    /// Whichever is over first: this, or a limit of the thread.
    fn within(self, limit: Option<Limit>) -> Self {
        match limit {
            Some(limit) if self.deadline.is_none_or(|own| limit.deadline < own) => Self {
                deadline: Some(limit.deadline),
                option: LIMIT,
            },
            _ => self,
        }
    }

    pub(crate) fn timed_out(
        self,
        peer: &Peer,
        handler: Handler,
        waited: Duration,
        sent: bool,
    ) -> Error {
        timed_out(peer, handler, waited, sent, self.option)
    }
}

/// What sets a limit for a thread.
const LIMIT: &str = "Connection::within";

/// If a limit of the thread is over: the error of a request that is not even begun.
pub(super) fn over(peer: &Peer, handler: Handler) -> Option<Error> {
    let limit = peer.deadlines.current()?;
    // A close is a close.
    let over = handler != Handler::Close && limit.deadline <= Instant::now();
    over.then(|| timed_out(peer, handler, limit.length, false, LIMIT))
}

fn timed_out(
    peer: &Peer,
    handler: Handler,
    waited: Duration,
    sent: bool,
    option: &'static str,
) -> Error {
    Error::TimedOut(Box::new(TimedOut {
        operation: name_of(handler),
        peer: peer.name().to_owned(),
        waited,
        sent,
        option,
    }))
}

/// Blocks until an answer is there, and reads meanwhile if nobody else does.
pub(crate) fn wait_for(
    peer: &Arc<Peer>,
    link: &Link<Stream, Waiter>,
    seq: u64,
    slot: &Arc<Slot>,
    handler: Handler,
    started: Instant,
    patience: Patience,
) -> Result<Value> {
    let mut driver = BlockingDriver::new(peer);
    let mut is_ready = |_: &mut BlockingDriver<'_>| slot.is_ready();
    let waited = link.wait(&mut driver, &mut is_ready, patience.deadline);
    if let Some(outcome) = slot.take() {
        return outcome.into_result();
    }
    let sent = !link.has_output();
    peer.withdraw(handler, seq);
    if let Some(outcome) = slot.take() {
        // It has come just now.
        return outcome.into_result();
    }
    match waited {
        Err(end) => {
            peer.clean_up();
            Err(peer.lost(name_of(handler), &end))
        }
        Ok(_) => Err(patience.timed_out(peer, handler, started.elapsed(), sent)),
    }
}

/// The operation in RPyC's words.
pub(crate) fn name_of(handler: Handler) -> String {
    format!("{handler:?}").to_uppercase()
}
