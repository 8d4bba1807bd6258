//! Signs of life: noticing that the peer is there while nobody waits for it, and showing it that we are.
//!
//! An empty frame is a sign of life: it means nothing and is passed over by whoever reads it.
//!
//! A connection that nobody reads may still have to listen: a peer that is silent must be found, and
//! one that asks whether we are there must be answered. A thread that tends a connection looks at what
//! has arrived *without taking it*, and receives it only if it starts with what is its own concern.
//! The rest stays where programs that wait for the descriptor find it.

use std::time::Duration;

use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch;
use rpyc_proto::message::Message;
use rpyc_proto::wire::Payload;
use rpyc_proto::wire::frame::{Frame, HEADER};

use super::{Driver, Link, Parker};
use crate::sync::Ordering;
use crate::transport::{BulkOf, Peeked, Received, Transport};

/// What has been seen of the peer. It changes with every sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    /// How often something was received, or left after it had been held up.
    pub heard: u64,
    /// Bytes that have arrived and that nobody has received.
    pub unread: usize,
}

/// How many messages one look handles: a peer must not keep the thread from its other connections.
const MOST: usize = 100;
/// How many bytes a look takes in: a concern of the tending thread is shorter.
const LOOK: usize = 1024;

impl<T: Transport, W> Link<T, W> {
    /// Listens, without waiting, and unless another thread reads. Handles what arrived as long as it
    /// is a payload that `concerns` the calling thread. Tells what has been seen of the peer.
    ///
    /// # Errors
    /// What handling a message raised.
    pub fn tend<D: Driver<T>>(
        &self,
        driver: &mut D,
        mut concerns: impl FnMut(&Payload<BulkOf<T>>) -> bool,
    ) -> Result<Signs, D::Error> {
        let me = Parker::current();
        let mut unread = 0;
        if self.ended.get().is_none() && self.roles.try_lead(&me) {
            let result = self.tend_as_leader(driver, &mut concerns);
            self.roles.leave(&me);
            unread = result?;
        }
        let heard = self.heard.load(Ordering::Relaxed);
        Ok(Signs { heard, unread })
    }

    /// Shows `see` what has arrived and was not handled yet, each payload once. `receive`: also what
    /// can be received without waiting. Does nothing if another thread reads: it will handle that.
    pub fn look_ahead(&self, receive: bool, see: impl FnMut(&Payload<BulkOf<T>>)) {
        let me = Parker::current();
        let nested = self.roles.is_leader(&me);
        if !nested && !self.roles.try_lead(&me) {
            return;
        }
        let mut end = None;
        let whole = self.exit.transport.is_whole();
        while whole && receive && self.inbox.lock().held() < self.limits.backlog {
            match self.receive_whole(Some(Duration::ZERO)) {
                Ok(Received::Data) => {}
                Ok(Received::Nothing) => break,
                last => {
                    end = Some((last, false));
                    break;
                }
            }
        }
        let mut inbox = self.inbox.lock();
        inbox.absorb();
        while !whole && receive && self.ending.get().is_none() && inbox.held() < self.limits.backlog
        {
            let held = inbox.held();
            match self
                .exit
                .transport
                .receive(&mut inbox, Some(Duration::ZERO))
            {
                Ok(Received::Data) => {
                    self.note_heard();
                    inbox.absorb();
                }
                Ok(Received::Nothing) => break,
                last => {
                    end = Some((last, held > 0 && !inbox.has_payload()));
                    break;
                }
            }
        }
        inbox.show_new(see);
        drop(inbox);
        if let Some((last, cut)) = end {
            self.note_received(last, cut);
        }
        if !nested {
            self.roles.leave(&me);
        }
    }

    /// Whether a message can be handled without code of the user: a question that any connection answers,
    /// or an answer that the connection itself waits for: `owns` says so of what waits.
    pub fn is_own<B>(&self, payload: &Payload<B>, owns: impl FnOnce(&W) -> bool) -> bool {
        let Ok(message) = Message::parse(payload) else {
            return false;
        };
        if message.kind != MessageKind::Request {
            let session = self.session.lock();
            let waiter = message.number.and_then(|number| session.waiter(number));
            return waiter.is_some_and(owns);
        }
        matches!(
            dispatch::peek_handler(payload, message.body),
            Some(Handler::Ping | Handler::Features | Handler::Heartbeat)
        )
    }

    /// Sends a sign of life, if it can leave without waiting and nothing else is about to.
    pub fn show_life(&self) {
        if !self.exit.outbox.is_busy() {
            self.push(&mut Frame::empty(1));
            self.flush_now();
        }
    }

    /// Tells how many bytes are left unread.
    fn tend_as_leader<D: Driver<T>>(
        &self,
        driver: &mut D,
        concerns: &mut impl FnMut(&Payload<BulkOf<T>>) -> bool,
    ) -> Result<usize, D::Error> {
        for _ in 0..MOST {
            let mut inbox = self.inbox.lock();
            let next = inbox.take_if(&mut *concerns);
            if let Some(payload) = next {
                self.note_begun(&inbox);
                drop(inbox);
                let result = driver.arrived(payload);
                self.note_handled();
                result?;
                if !self.is_leading() {
                    return Ok(0);
                }
                continue;
            }
            drop(inbox);
            let mut first = [0; LOOK];
            let (seen, all) = match self.exit.transport.peek(&mut first) {
                Ok(Peeked::Bytes { seen, all }) => (seen, all),
                Ok(Peeked::Nothing) => return Ok(0),
                Ok(Peeked::End) => {
                    let cut = self.inbox.lock().held() > 0;
                    self.note_received(Ok(Received::End), cut);
                    self.end_if_idle();
                    return Ok(0);
                }
                Err(error) => {
                    self.note_received(Err(error), false);
                    self.end_if_idle();
                    return Ok(0);
                }
            };
            let seen = first.get(..seen).unwrap_or_default();
            if self.inbox.lock().held() > 0 {
                // The rest of something that is not for this thread.
                return Ok(all);
            }
            let Some((payload, length)) = concern(seen, concerns) else {
                return Ok(all);
            };
            if let Err(error) = self.exit.transport.skip(length) {
                self.note_received(Err(error), false);
                return Ok(0);
            }
            self.note_heard();
            if let Some(payload) = payload {
                self.note_begun(&self.inbox.lock());
                let result = driver.arrived(payload);
                self.note_handled();
                result?;
                // Whoever waits for the role got it, if a handler passed it on.
                if !self.is_leading() {
                    return Ok(0);
                }
            }
        }
        Ok(0)
    }

    /// Ends the link if nothing of what arrived is left to handle.
    fn end_if_idle(&self) {
        if let Some(end) = self.ending.get()
            && !self.inbox.lock().settle()
        {
            self.finish(end.cause().clone());
        }
    }
}

/// If bytes start with an empty frame, or with one that concerns the tending thread: the payload, if
/// there is one, and the length of the frame.
fn concern<B>(
    bytes: &[u8],
    concerns: &mut impl FnMut(&Payload<B>) -> bool,
) -> Option<(Option<Payload<B>>, usize)> {
    let (&[a, b, c, d, compressed], rest) = bytes.split_first_chunk::<HEADER>()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    // The body, and the newline that ends the frame.
    let body = rest.get(..=length)?.get(..length)?;
    let whole = HEADER + length + 1;
    if length == 0 {
        return Some((None, whole));
    }
    let payload = Payload::plain(body.to_vec());
    (compressed == 0 && concerns(&payload)).then_some((Some(payload), whole))
}
