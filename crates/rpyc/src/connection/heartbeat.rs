//! Signs of life of connections that threads drive, and what is common to all.
//!
//! # Theory of operation
//!
//! One thread tends all connections of the process that want it. It starts with the first of them and
//! ends with the last. It never waits for a peer, and holds connections weakly.
//!
//! A connection with [`Config::heartbeat`](crate::Config::heartbeat) begins with a request for signs of
//! life. A peer that knows it sends an empty frame several times within that time, from a thread or task of
//! this kind, so it does so even while it runs a long request. Others answer with an exception; a
//! peer that was silent for half of the time is pinged, and answers when it serves.
//!
//! Whatever arrives is a sign of life. If a thread reads the connection, the link counts for it; otherwise
//! the thread here looks at what is there, and takes only what answers its own questions
//! (`link/tending.rs`). Where a task drives the connection, it does all this itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rpyc_proto::consts::Handler;
use rpyc_proto::dispatch;
use rpyc_proto::wire::Payload;

use super::Peer;
use super::driver::BlockingDriver;
use super::wire::Wire;
use crate::link::{EndCause, Link, Pulse, Signs, Verdict};
use crate::transport::Stream;
use crate::waiter::Waiter;

/// The signs of life of one connection. Most have none to do with.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    wanted: AtomicBool,
    pulse: Mutex<Option<Box<Pulse>>>,
}

impl Heartbeat {
    /// How long nothing is due. `None`: nothing ever is.
    pub(crate) fn pause(&self) -> Option<Duration> {
        if !self.wanted.load(Ordering::Acquire) {
            return None;
        }
        self.pulse.lock().as_deref().map(Pulse::pause)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Pulse) -> T) -> T {
        let mut pulse = self.pulse.lock();
        let pulse = pulse.get_or_insert_with(|| Box::new(Pulse::new(Instant::now())));
        let changed = change(pulse);
        self.wanted.store(true, Ordering::Release);
        changed
    }
}

impl Peer {
    /// Ends the connection if the peer gives no sign of life for this long.
    pub(super) fn listen(self: &Arc<Self>, limit: Duration) {
        if let Wire::Blocking(link) = &self.wire
            && matches!(link.transport(), Stream::Memory(_))
        {
            // The peer is this process.
            return;
        }
        let interval = (self.heartbeat).change(|pulse| pulse.listen(limit, Instant::now()));
        self.push_own(Handler::Heartbeat, Waiter::Nobody, |out| {
            dispatch::put_boxed_with(out, |out| {
                out.put_tuple(1);
                out.put_float(interval.as_secs_f64());
            });
        });
        self.wire.flush_now();
        self.start_tending();
    }

    /// Shows the peer signs of life: it has asked for one every so often.
    pub(super) fn beat(self: &Arc<Self>, interval: Duration) {
        self.heartbeat.change(|pulse| pulse.beat(interval));
        self.start_tending();
    }

    fn start_tending(self: &Arc<Self>) {
        // A task tends its connection itself.
        if self.wire.link().is_some() {
            TENDER.start(self);
        }
    }

    /// Whether signs of life are to be shown.
    #[cfg(feature = "tokio")]
    pub(crate) fn beats(&self) -> bool {
        self.heartbeat.change(|pulse| pulse.beats())
    }

    /// Judges what has been seen of the peer: asks whether it is there, or gives it up.
    ///
    /// # Errors
    /// The cause of the end.
    pub(crate) fn judge(&self, signs: Signs) -> Result<(), EndCause> {
        let verdict = (self.heartbeat).change(|pulse| pulse.judge(signs, Instant::now()));
        match verdict {
            Verdict::Fine => Ok(()),
            Verdict::Ask => {
                self.push_own(Handler::Ping, Waiter::Nobody, |out| {
                    dispatch::put_boxed_with(out, |out| {
                        out.put_tuple(1);
                        out.put_str("");
                    });
                });
                self.wire.flush_now();
                Ok(())
            }
            Verdict::Silent(limit) => Err(EndCause::Silent(limit)),
        }
    }

    /// Looks at what has arrived, without waiting, and handles what is no concern of the user's.
    pub(super) fn look(self: &Arc<Self>, link: &Link<Stream, Waiter>) -> Option<Signs> {
        let mut driver = BlockingDriver::new(self);
        let seen = link.tend(&mut driver, |payload| is_own(link, payload));
        link.flush_now();
        seen.ok()
    }

    /// Does what is due. `false`: nothing will be any more.
    fn tend(self: &Arc<Self>, link: &Link<Stream, Waiter>) -> bool {
        if link.end().is_none() {
            if self.heartbeat.change(|pulse| pulse.beats()) {
                link.show_life();
            }
            if let Some(signs) = self.look(link)
                && let Err(cause) = self.judge(signs)
            {
                link.finish(cause);
            }
        }
        if link.end().is_none() {
            return true;
        }
        if self.is_cleaned_up() {
            return false;
        }
        // What follows is code of the user.
        let peer = Arc::clone(self);
        let cleaning = thread::Builder::new()
            .name("rpyc-end".to_owned())
            .spawn(move || peer.clean_up());
        if let Err(error) = cleaning {
            log::error!(
                "{}: its end is noticed at its next use: {error}",
                self.name()
            );
        }
        false
    }
}

/// Whether a message can be handled without code of the user: an answer to a request of the connection
/// itself, or a question that any connection answers.
fn is_own(link: &Link<Stream, Waiter>, payload: &Payload<Bytes>) -> bool {
    link.is_own(payload, |waiter| !matches!(waiter, Waiter::Slot(_)))
}

static TENDER: Tender = Tender {
    state: Mutex::new(State {
        tended: Vec::new(),
        running: false,
    }),
    changed: Condvar::new(),
};

/// The thread, and what it tends.
struct Tender {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    tended: Vec<Tended>,
    running: bool,
}

struct Tended {
    peer: Weak<Peer>,
    due: Instant,
}

impl Tender {
    /// Tends a connection from now on.
    fn start(&'static self, peer: &Arc<Peer>) {
        let due = Instant::now() + peer.heartbeat.pause().unwrap_or_default();
        let weak = Arc::downgrade(peer);
        let mut state = self.state.lock();
        match state.tended.iter_mut().find(|one| one.peer.ptr_eq(&weak)) {
            Some(known) => known.due = known.due.min(due),
            None => state.tended.push(Tended { peer: weak, due }),
        }
        if !state.running {
            let thread = thread::Builder::new().name("rpyc-heartbeat".to_owned());
            match thread.spawn(|| self.run()) {
                Ok(_) => state.running = true,
                Err(error) => log::error!("no signs of life for {}: {error}", peer.name()),
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn run(&self) {
        while let Some(due) = self.next() {
            for peer in due {
                let Some(peer) = peer.upgrade() else { continue };
                let alive = peer.wire.link().is_some_and(|link| peer.tend(link));
                let pause = peer.heartbeat.pause().unwrap_or_default();
                let weak = Arc::downgrade(&peer);
                drop(peer);
                if alive {
                    let due = Instant::now() + pause;
                    let mut state = self.state.lock();
                    // It may have been started anew meanwhile.
                    if !state.tended.iter().any(|one| one.peer.ptr_eq(&weak)) {
                        state.tended.push(Tended { peer: weak, due });
                    }
                }
            }
        }
    }

    /// Waits for what is due, and takes it out. `None`: there is nothing left to tend.
    fn next(&self) -> Option<Vec<Weak<Peer>>> {
        let mut state = self.state.lock();
        loop {
            state.tended.retain(|one| one.peer.strong_count() > 0);
            let Some(first) = state.tended.iter().map(|one| one.due).min() else {
                state.running = false;
                return None;
            };
            let now = Instant::now();
            if first <= now {
                let due = state.tended.extract_if(.., |one| one.due <= now);
                return Some(due.map(|one| one.peer).collect());
            }
            self.changed.wait_until(&mut state, first);
        }
    }
}
