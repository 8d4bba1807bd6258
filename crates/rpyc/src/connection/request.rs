//! A request of ours.

use crate::sync::Instant;
use std::sync::Arc;

use bytes::Bytes;
use rpyc_proto::consts::Handler;
use rpyc_proto::wire::frame::Frame;

use super::Peer;
use super::driver::BlockingDriver;
use crate::error::{Error, Result, TimedOut};
use crate::link::Link;
use crate::pending::AsyncResult;
use crate::transport::Stream;
use crate::value::Value;
use crate::waiter::{Outcome, Slot, Waiter};

/// A request that is written and not sent yet.
pub(crate) struct Request<'a> {
    peer: &'a Arc<Peer>,
    handler: Handler,
    seq: u64,
    frame: Result<Frame<Bytes>>,
    /// What the frame refers to. If a proxy among it is the last one, its release must not leave
    /// before the request does.
    kept: [Value; 2],
}

impl<'a> Request<'a> {
    pub(super) const fn new(
        peer: &'a Arc<Peer>,
        handler: Handler,
        seq: u64,
        frame: Result<Frame<Bytes>>,
    ) -> Self {
        Self {
            peer,
            handler,
            seq,
            frame,
            kept: [Value::None, Value::None],
        }
    }

    /// The same, with the values that were written into it.
    pub(crate) fn keeping(mut self, values: [Value; 2]) -> Self {
        self.kept = values;
        self
    }

    /// Sends it and blocks until its answer is there, for as long as the configuration says.
    pub(crate) fn wait(self) -> Result<Value> {
        let Some(link) = self.peer.wire.link() else {
            return self.send().wait();
        };
        let Self {
            peer,
            handler,
            seq,
            frame,
            kept,
        } = self;
        let slot = Slot::blocking(handler);
        enqueue(peer, seq, frame?, &slot)?;
        drop(kept);
        let started = Instant::now();
        let deadline = peer
            .config
            .timeout
            .and_then(|timeout| started.checked_add(timeout));
        wait_for(peer, link, seq, &slot, handler, started, deadline)
    }

    /// Sends it, without waiting. If it can't be sent, that is the result.
    pub(crate) fn send(self) -> AsyncResult {
        let slot = Slot::detached(self.handler);
        let sent = self
            .frame
            .and_then(|frame| enqueue(self.peer, self.seq, frame, &slot));
        drop(self.kept);
        match sent {
            Ok(()) => self.peer.wire.flush_soon(),
            // Nobody has the slot yet, so nobody can have set a callback.
            Err(error) => drop(slot.put(Outcome::Failed(error))),
        }
        AsyncResult::new(Arc::clone(self.peer), self.seq, slot, self.handler)
    }
}

/// Lists the request as waiting, and queues its frame.
fn enqueue(peer: &Arc<Peer>, seq: u64, frame: Frame<Bytes>, slot: &Arc<Slot>) -> Result<()> {
    let begun = {
        let mut session = peer.wire.session().lock();
        session.begin_numbered(seq, Waiter::Slot(Arc::clone(slot)))
    };
    begun.map_err(|error| Error::Limit(error.to_string()))?;
    peer.wire.push(frame);
    if let Some(end) = peer.wire.end() {
        // Whoever ended the connection may not have seen the request in the list.
        let waiter = peer.wire.session().lock().cancel(seq);
        drop(waiter);
        return Err(peer.lost(name_of(slot.handler()), &end));
    }
    Ok(())
}

/// Blocks until an answer is there, and reads meanwhile if nobody else does.
pub(crate) fn wait_for(
    peer: &Arc<Peer>,
    link: &Link<Stream, Waiter>,
    seq: u64,
    slot: &Arc<Slot>,
    handler: Handler,
    started: Instant,
    deadline: Option<Instant>,
) -> Result<Value> {
    let mut driver = BlockingDriver::new(peer);
    let mut is_ready = |_: &mut BlockingDriver<'_>| slot.is_ready();
    let waited = link.wait(&mut driver, &mut is_ready, deadline);
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
        Ok(_) => Err(Error::TimedOut(Box::new(TimedOut {
            operation: name_of(handler),
            peer: peer.name().to_owned(),
            waited: started.elapsed(),
            sent,
        }))),
    }
}

/// The operation in RPyC's words.
pub(crate) fn name_of(handler: Handler) -> String {
    format!("{handler:?}").to_uppercase()
}
