//! A transport with a peer in it, made of loom's parts.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rpyc::link::Inbox;
use rpyc::sync::{Condvar, Instant, Mutex};
use rpyc::transport::{Received, SendQueue, Transport};
use rpyc_proto::consts::MessageKind;
use rpyc_proto::limits::Limits;
use rpyc_proto::message::{self, Dialect};
use rpyc_proto::session::{Event, Session};
use rpyc_proto::wire::frame::HEADER;
use rpyc_proto::wire::{Payload, Writer};

/// What the peer does with a request: these are the numbers that requests carry.
pub(crate) mod ask {
    /// It is answered at once.
    pub(crate) const ECHO: i64 = 0;
    /// The peer asks back first, for [`ECHO`], and answers when that is answered.
    pub(crate) const CALL_BACK: i64 = 1;
    /// The peer asks back for something that calls in turn.
    pub(crate) const CALL_BACK_DEEP: i64 = 2;
    /// It is answered when the next request has been, or has come.
    pub(crate) const HOLD: i64 = 3;
    /// It is never answered.
    pub(crate) const IGNORE: i64 = 4;
    /// The peer answers, and closes its side.
    pub(crate) const LAST: i64 = 5;
}

/// This end of the way to the peer.
pub(crate) struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What the peer knows of our requests.
    peer: Session<u64>,
    held: Vec<u64>,
    to_us: VecDeque<Payload<Vec<u8>>>,
    /// How many frames the peer takes for now.
    room: usize,
    /// How many frames the peer has taken.
    taken: usize,
    /// The peer takes a frame for each one that we take.
    fair: bool,
    closed: bool,
}

impl Wire {
    /// A peer that takes everything.
    pub(crate) fn new() -> Self {
        Self::with_room(usize::MAX, false)
    }

    /// A peer that takes `room` frames, and then, if it is `fair`, one for each that we receive.
    pub(crate) fn with_room(room: usize, fair: bool) -> Self {
        Self {
            state: Mutex::new(State {
                peer: Session::new(&Limits::default()),
                held: Vec::new(),
                to_us: VecDeque::new(),
                room,
                taken: 0,
                fair,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// The peer takes this many frames more.
    pub(crate) fn make_room(&self, frames: usize) {
        self.state.lock().room += frames;
        self.changed.notify_all();
    }

    /// How many frames have reached the peer.
    pub(crate) fn taken(&self) -> usize {
        self.state.lock().taken
    }

    /// The peer asks for something of its own accord.
    pub(crate) fn ask(&self, number: i64) {
        self.state.lock().ask(number, u64::MAX);
        self.changed.notify_all();
    }

    /// The peer closes its side.
    pub(crate) fn hang_up(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Wakes who waits here, so that the time is looked at again.
    pub(crate) fn tick(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }
}

impl State {
    fn take(&mut self, payload: &Payload<Vec<u8>>) {
        self.taken += 1;
        match self.peer.handle(payload).expect("a message") {
            Event::Request { seq, body } => {
                let mut head = payload.reader_at(seq.start);
                let seq = u64::try_from(head.small_int("a number").unwrap()).unwrap();
                let number = payload.reader_at(body).small_int("what to do").unwrap();
                self.perform(seq, number);
            }
            // What we asked for the request `waiter` is answered: so is the request.
            Event::Answer { waiter, .. } if waiter != u64::MAX => self.answer(waiter),
            Event::Answer { .. } => {}
            Event::Orphan { .. } => panic!("the peer never asked for this"),
        }
    }

    fn perform(&mut self, seq: u64, number: i64) {
        match number {
            ask::ECHO => {
                self.answer(seq);
                for held in std::mem::take(&mut self.held) {
                    self.answer(held);
                }
            }
            ask::CALL_BACK => self.ask(ask::ECHO, seq),
            ask::CALL_BACK_DEEP => self.ask(ask::CALL_BACK, seq),
            ask::HOLD => {
                let before = std::mem::replace(&mut self.held, vec![seq]);
                before.into_iter().for_each(|seq| self.answer(seq));
            }
            ask::IGNORE => {}
            ask::LAST => {
                self.answer(seq);
                self.closed = true;
            }
            other => panic!("nothing has the number {other}"),
        }
    }

    fn answer(&mut self, seq: u64) {
        let mut out = Writer::new();
        message::put_numbered_head(&mut out, Dialect::V6, MessageKind::Reply, seq);
        // Every answer is told from the others by its body.
        out.put_int(i64::try_from(seq).unwrap());
        self.to_us.push_back(out.into_payload());
    }

    fn ask(&mut self, number: i64, for_request: u64) {
        let seq = self.peer.begin(for_request).unwrap();
        let mut out = Writer::new();
        message::put_numbered_head(&mut out, Dialect::V6, MessageKind::Request, seq);
        out.put_int(number);
        self.to_us.push_back(out.into_payload());
    }
}

impl Transport for Wire {
    type Buffer = Vec<u8>;

    fn send(&self, queue: &mut SendQueue<Vec<u8>>) -> io::Result<()> {
        let mut state = self.state.lock();
        while let Some(frame) = queue.frames.front() {
            if state.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if state.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.room -= 1;
            let bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
            // It may be several in a row.
            let mut rest = bytes.as_slice();
            while let Some((length, _)) = rest.split_first_chunk::<4>() {
                let end = HEADER + u32::from_be_bytes(*length) as usize;
                state.take(&Payload::plain(rest[HEADER..end].to_vec()));
                rest = &rest[end + 1..];
            }
            queue.advance(bytes.len());
            self.changed.notify_all();
        }
        Ok(())
    }

    fn receive(
        &self,
        inbox: &mut Inbox<Vec<u8>>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.state.lock();
        loop {
            if let Some(payload) = state.to_us.pop_front() {
                inbox.push(payload);
                if state.fair {
                    state.room += 1;
                    self.changed.notify_all();
                }
                return Ok(Received::Data);
            }
            if state.closed {
                return Ok(Received::End);
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return Ok(Received::Nothing);
                    }
                }
            }
        }
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        loop {
            let readable = or_read && !state.to_us.is_empty();
            if readable || state.room > 0 || state.closed {
                return Ok(readable);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Ok(false);
            }
        }
    }

    fn is_local(&self) -> bool {
        true
    }

    fn shutdown(&self) {
        self.hang_up();
    }
}
