//! The smallest face: requests and answers carry one number.

use std::sync::Arc;
use std::time::Duration;

use rpyc::link::{Driver, End, EndCause, Link, Slot};
use rpyc::sync::{AtomicBool, Instant, Ordering};
use rpyc_proto::consts::MessageKind;
use rpyc_proto::limits::Limits;
use rpyc_proto::message::{self, Dialect};
use rpyc_proto::session::Event;
use rpyc_proto::wire::{Payload, Writer};

use crate::wire::{Wire, ask};

/// A thread's hold on the link.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) link: Arc<Link<Wire, Arc<Slot<i64>>>>,
    /// The next look for an interruption finds one.
    pub(crate) interrupted: bool,
    /// Set when the thread has its turn, and looks for what it waits for.
    pub(crate) looked: Option<Arc<AtomicBool>>,
    /// Answers that this face met and nothing waited for.
    pub(crate) orphans: usize,
    /// Requests of the peer that this face performed.
    pub(crate) performed: usize,
    /// The last message was an answer.
    answered: bool,
}

/// Why a wait failed.
#[derive(Debug)]
pub(crate) enum Stop {
    Ended(EndCause),
    Interrupted,
}

impl Face {
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            link: Arc::new(Link::new(wire, Limits::default(), 1)),
            interrupted: false,
            looked: None,
            orphans: 0,
            performed: 0,
            answered: false,
        }
    }

    /// Sends a request and waits for its answer, which must be the own one. `false`: not by
    /// `deadline`.
    pub(crate) fn call_until(
        &mut self,
        number: i64,
        deadline: Option<Instant>,
    ) -> Result<bool, Stop> {
        let slot = Slot::new();
        let seq = self.begin(number, Arc::clone(&slot));
        let link = Arc::clone(&self.link);
        let waited = link.wait(self, &mut |_: &mut Self| slot.is_ready(), deadline);
        let answer = slot.take();
        if answer.is_none() {
            link.session().lock().cancel(seq);
        }
        let done = waited?;
        if let Some(answer) = answer {
            assert_eq!(answer, seq as i64, "an answer to another request");
        }
        assert!(answer.is_some() || !done);
        Ok(answer.is_some())
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&mut self, number: i64) -> Result<(), Stop> {
        let done = self.call_until(number, None)?;
        assert!(done, "a wait without a deadline ends with the answer");
        Ok(())
    }

    /// Queues a request whose answer nothing waits for, and sends what can leave without waiting: as
    /// a dying proxy does.
    pub(crate) fn forget(&self, number: i64) {
        let seq = self.link.session().lock().take_seq();
        self.push(MessageKind::Request, seq, number);
        self.link.flush_now();
    }

    /// Handles one message, or sees another thread handle one.
    pub(crate) fn serve(&mut self, deadline: Option<Instant>) -> Result<bool, Stop> {
        let link = Arc::clone(&self.link);
        link.serve(self, deadline)
    }

    /// Nobody reads, nothing is left to send, and nothing is waited for.
    pub(crate) fn assert_idle(&self) {
        assert!(!self.link.is_being_read(), "the read role was not given up");
        assert!(!self.link.has_output(), "a frame was left behind");
        assert_eq!(self.link.session().lock().open().count(), 0);
    }

    fn begin(&self, number: i64, slot: Arc<Slot<i64>>) -> u64 {
        let seq = self.link.session().lock().begin(slot).unwrap();
        self.push(MessageKind::Request, seq, number);
        seq
    }

    fn push(&self, kind: MessageKind, seq: u64, number: i64) {
        let mut out = Writer::new_frame();
        message::put_numbered_head(&mut out, Dialect::V6, kind, seq);
        out.put_int(number);
        self.link.push(out.seal().unwrap());
    }
}

impl Driver<Wire> for Face {
    type Error = Stop;

    fn blocking<R: Send>(&mut self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn slice(&self) -> Option<Duration> {
        None
    }

    fn check(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.interrupted) {
            return Err(Stop::Interrupted);
        }
        Ok(())
    }

    fn arrived(&mut self, payload: Payload<Vec<u8>>) -> Result<(), Stop> {
        let event = self.link.session().lock().handle(&payload);
        match event.expect("the peer speaks the protocol") {
            Event::Request { seq, body } => {
                let mut head = payload.reader_at(seq.start);
                let seq = u64::try_from(head.small_int("a number").unwrap()).unwrap();
                let number = payload.reader_at(body).small_int("what to do").unwrap();
                self.link.pass_on();
                self.performed += 1;
                if number == ask::CALL_BACK {
                    self.call(ask::ECHO)?;
                }
                self.push(MessageKind::Reply, seq, 0);
                self.answered = false;
            }
            Event::Answer { waiter, body, .. } => {
                waiter.put(payload.reader_at(body).small_int("an answer").unwrap());
                self.answered = true;
            }
            Event::Orphan { .. } => {
                self.orphans += 1;
                self.answered = true;
            }
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        self.answered
    }

    fn handle_aside(&mut self) -> Result<bool, Stop> {
        if let Some(looked) = &self.looked {
            looked.store(true, Ordering::Release);
        }
        Ok(false)
    }

    fn ended(&mut self, end: &Arc<End>) -> Stop {
        Stop::Ended(end.cause().clone())
    }
}
