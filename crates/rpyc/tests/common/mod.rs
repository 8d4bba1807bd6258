//! What the tests of this crate share: a small face, pairs of connected transports, a watchdog.

#![allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]

pub(crate) mod pairs;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rpyc::link::{Driver, End, EndCause, Link, Parker};
use rpyc::transport::Transport;
use rpyc_proto::consts::MessageKind;
use rpyc_proto::limits::Limits;
use rpyc_proto::message;
use rpyc_proto::session::Event;
use rpyc_proto::wire::{BULK_MIN, Payload, Reader, Token, Writer};

/// More than any test needs; a test that takes longer hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A transport as the tests use them.
pub(crate) trait Wire: Transport<Buffer = Vec<u8>> + 'static {}

impl<T: Transport<Buffer = Vec<u8>> + 'static> Wire for T {}

/// What a face does with a request: its number, its bytes, and what to answer.
pub(crate) type Handler<T> = Arc<dyn Fn(&mut Face<T>, i64, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// A thread's hold on a link. Requests carry a number and bytes, answers carry bytes.
pub(crate) struct Face<T: Wire> {
    pub(crate) link: Arc<Link<T, Arc<Slot>>>,
    pub(crate) handler: Handler<T>,
    /// How long a wait may last before `interrupted` is looked at.
    pub(crate) slice: Option<Duration>,
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Answers that this face met and nothing waited for.
    pub(crate) orphans: usize,
    /// How long it takes this face to handle such an answer.
    pub(crate) pace: Duration,
    /// Whether it handles answers that came along with the last one.
    pub(crate) bursts: bool,
}

/// Waits for one answer.
pub(crate) struct Slot {
    parker: Arc<Parker>,
    answer: Mutex<Option<Answer>>,
}

/// The bytes of an answer or request, and whether they came apart from their payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) bulk: bool,
}

/// A request that was sent.
pub(crate) struct Pending {
    pub(crate) seq: u64,
    slot: Arc<Slot>,
}

/// Why a wait failed.
#[derive(Debug)]
pub(crate) enum Stop {
    Ended(Arc<End>),
    Interrupted,
}

impl Pending {
    /// Whether the answer is there.
    pub(crate) fn is_answered(&self) -> bool {
        self.slot.answer.lock().unwrap().is_some()
    }
}

impl Stop {
    /// What ended the link.
    pub(crate) fn cause(&self) -> &EndCause {
        match self {
            Self::Ended(end) => end.cause(),
            Self::Interrupted => panic!("interrupted"),
        }
    }
}

/// Runs a test in a thread of its own and fails if it takes longer than [`LIMIT`].
pub(crate) fn within<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, finished) = mpsc::channel();
    let worker = thread::spawn(move || {
        let result = test();
        // The receiver is gone if the time was over.
        let _ = done.send(());
        result
    });
    if finished.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
        panic!("not done within {LIMIT:?}");
    }
    worker.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Looks until something is so.
pub(crate) fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < LIMIT, "it never came to be");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn after(milliseconds: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(milliseconds))
}

/// A handler that answers with what it got.
pub(crate) fn echo<T: Wire>() -> Handler<T> {
    Arc::new(|_, _, bytes| bytes)
}

/// A handler for sides that are not asked anything.
pub(crate) fn refuse<T: Wire>() -> Handler<T> {
    Arc::new(|_, number, _| panic!("nobody asks for {number} here"))
}

impl<T: Wire> Clone for Face<T> {
    fn clone(&self) -> Self {
        Self {
            link: Arc::clone(&self.link),
            handler: Arc::clone(&self.handler),
            slice: self.slice,
            interrupted: Arc::clone(&self.interrupted),
            orphans: 0,
            pace: self.pace,
            bursts: self.bursts,
        }
    }
}

impl<T: Wire> Face<T> {
    /// A link over `transport`.
    pub(crate) fn new(transport: T, handler: Handler<T>) -> Self {
        Self::with_limits(transport, handler, Limits::default())
    }

    /// A link with limits of its own.
    pub(crate) fn with_limits(transport: T, handler: Handler<T>, limits: Limits) -> Self {
        Self {
            link: Arc::new(Link::new(transport, limits, 1)),
            handler,
            slice: None,
            interrupted: Arc::default(),
            orphans: 0,
            pace: Duration::ZERO,
            bursts: false,
        }
    }

    /// Sends a request.
    pub(crate) fn begin(&mut self, number: i64, bytes: &[u8]) -> Result<Pending, Stop> {
        let pending = self.push(number, bytes);
        let link = Arc::clone(&self.link);
        link.flush(self, None)?;
        Ok(pending)
    }

    /// Appends a request to the outbox without sending it.
    pub(crate) fn push(&self, number: i64, bytes: &[u8]) -> Pending {
        let slot = Arc::new(Slot {
            parker: Parker::current(),
            answer: Mutex::default(),
        });
        let waiter = Arc::clone(&slot);
        let seq = self.link.session().lock().begin(waiter).unwrap();
        self.push_numbered(seq, number, bytes);
        Pending { seq, slot }
    }

    /// Sends a request whose answer nothing waits for.
    pub(crate) fn forget(&mut self, number: i64, bytes: &[u8]) -> Result<(), Stop> {
        let seq = self.link.session().lock().take_seq();
        self.push_numbered(seq, number, bytes);
        let link = Arc::clone(&self.link);
        link.flush(self, None)
    }

    /// Waits for an answer. `None`: it did not come by `deadline`.
    pub(crate) fn finish(
        &mut self,
        pending: &Pending,
        deadline: Option<Instant>,
    ) -> Result<Option<Answer>, Stop> {
        let mut done = |_: &mut Self| pending.is_answered();
        let link = Arc::clone(&self.link);
        let is_done = link.wait(self, &mut done, deadline)?;
        let answer = pending.slot.answer.lock().unwrap().take();
        // It can arrive at the very moment when the time is over.
        assert!(answer.is_some() || !is_done);
        Ok(answer)
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&mut self, number: i64, bytes: &[u8]) -> Result<Answer, Stop> {
        let pending = self.begin(number, bytes)?;
        let answer = self.finish(&pending, None)?;
        Ok(answer.expect("a wait without deadline ends with the answer"))
    }

    /// Sends a request and waits for its answer until `deadline`; then it is forgotten.
    pub(crate) fn call_until(
        &mut self,
        number: i64,
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Option<Answer>, Stop> {
        let pending = self.begin(number, bytes)?;
        let answer = self.finish(&pending, deadline)?;
        if answer.is_none() {
            self.link.session().lock().cancel(pending.seq);
        }
        Ok(answer)
    }

    /// Handles one message. Tells whether one was handled.
    pub(crate) fn serve(&mut self, deadline: Option<Instant>) -> Result<bool, Stop> {
        let link = Arc::clone(&self.link);
        link.serve(self, deadline)
    }

    /// Serves until the link ends.
    pub(crate) fn serve_all(&mut self) -> Stop {
        let link = Arc::clone(&self.link);
        let stop = link.wait(self, &mut |_: &mut Self| false, None);
        stop.expect_err("nothing but the end ends this")
    }

    /// A thread that serves until the link ends, and then tells why.
    pub(crate) fn spawn_server(&self) -> thread::JoinHandle<Stop> {
        let mut face = self.clone();
        thread::spawn(move || face.serve_all())
    }

    fn push_numbered(&self, seq: u64, number: i64, bytes: &[u8]) {
        let mut out = Writer::new_frame();
        message::put_numbered_head(&mut out, message::Dialect::V6, MessageKind::Request, seq);
        out.put_tuple(2);
        out.put_int(number);
        put_bytes(&mut out, bytes);
        self.link.push(out.seal().unwrap());
    }

    fn answer(&mut self, seq: &[u8], bytes: &[u8]) -> Result<(), Stop> {
        let mut out = Writer::new_frame();
        message::put_head(&mut out, message::Dialect::V6, MessageKind::Reply, seq);
        put_bytes(&mut out, bytes);
        let link = Arc::clone(&self.link);
        link.push(out.seal().unwrap());
        link.flush(self, None)
    }
}

impl<T: Wire> Driver<T> for Face<T> {
    type Error = Stop;

    fn blocking<R: Send>(&mut self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn slice(&self) -> Option<Duration> {
        self.slice
    }

    fn check(&mut self) -> Result<(), Stop> {
        if self.interrupted.load(Ordering::Acquire) {
            return Err(Stop::Interrupted);
        }
        Ok(())
    }

    fn arrived(&mut self, payload: Payload<Vec<u8>>) -> Result<(), Stop> {
        let event = self.link.session().lock().handle(&payload);
        match event {
            Ok(Event::Request { seq, body }) => {
                self.link.pass_on();
                let mut reader = payload.reader_at(body);
                reader.tuple_of(2, "a request").unwrap();
                let number = reader.small_int("a number").unwrap();
                let asked = take_bytes(&mut reader);
                let handler = Arc::clone(&self.handler);
                let bytes = handler(self, number, asked.bytes);
                self.answer(&payload.head[seq], &bytes)
            }
            Ok(Event::Answer { waiter, body, .. }) => {
                let answer = take_bytes(&mut payload.reader_at(body));
                *waiter.answer.lock().unwrap() = Some(answer);
                waiter.parker.unpark();
                Ok(())
            }
            Ok(Event::Orphan { .. }) => {
                self.orphans += 1;
                thread::sleep(self.pace);
                Ok(())
            }
            Err(error) => {
                self.link.finish(EndCause::Message(error));
                Err(self.ended(&Arc::clone(self.link.end().unwrap())))
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.bursts
    }

    fn ended(&mut self, end: &Arc<End>) -> Stop {
        Stop::Ended(Arc::clone(end))
    }
}

/// A counter that threads share.
pub(crate) fn counter() -> Arc<AtomicUsize> {
    Arc::default()
}

fn put_bytes(out: &mut Writer<Vec<u8>>, bytes: &[u8]) {
    if bytes.len() >= BULK_MIN {
        out.put_bulk(bytes.len(), bytes.to_vec());
    } else {
        out.put_bytes(bytes);
    }
}

fn take_bytes(reader: &mut Reader<'_, Vec<u8>>) -> Answer {
    match reader.token().unwrap() {
        Token::Bytes(bytes) => Answer {
            bytes: bytes.to_vec(),
            bulk: false,
        },
        Token::Bulk(index) => Answer {
            bytes: reader.bulk(index).unwrap().clone(),
            bulk: true,
        },
        other => panic!("{other:?} instead of bytes"),
    }
}
