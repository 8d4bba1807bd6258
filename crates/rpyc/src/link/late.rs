//! Answers that wait behind a handler: who sends them if it takes long.
//!
//! # Theory of operation
//!
//! Many small answers are cheaper in one write. So while requests wait and handlers are quick, what
//! is finished may stay in the outbox until the next handlers are done, too: see
//! [`Outbox::before_handler`](super::outbox::Outbox::before_handler), which looks at how long the
//! last handlers took. But the next one may be slow, or block forever. Its thread can't help, so
//! another one must: the *courier*, a thread that looks at the outboxes in question every
//! [`TICK`] and sends what has waited for [`LATE`] there. So an answer leaves within a millisecond,
//! whatever the handlers do; a busy machine's scheduling comes on top.
//!
//! There is one courier for the process. It is started when an answer is held back and ends when
//! none was for a while, so programs without such traffic have no thread of ours. It holds no
//! connection, never waits in a transport and runs nobody's code. A child of a fork starts its own:
//! which of the [`COURIERS`] is used depends on the number of forks, so a lock that was held in the
//! parent is never met again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::outbox::Outbox;
use crate::sync::Instant;
use crate::transport::{BulkOf, Transport};

/// How often the courier looks.
const TICK: Duration = Duration::from_micros(700);
/// What has waited for so long is sent by the courier.
pub(super) const LATE: Duration = Duration::from_micros(150);
/// After so many looks without anything held back, an outbox is not looked at any more.
pub(super) const QUIET: u32 = 40;

/// One for each generation of forked processes. Beyond them nothing is held back.
static COURIERS: [Courier; 16] = [const { Courier::new() }; 16];
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// In the child of a fork: the courier did not come along.
pub fn forget_courier() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Which courier is this process's.
pub(super) fn generation() -> usize {
    GENERATION.load(Ordering::Relaxed)
}

/// What the courier looks at.
trait Watched: Send + Sync {
    /// Sends what is late. Tells whether to look again.
    fn tend(&self, now: Instant) -> bool;
}

/// The part of a link that sends.
pub(super) struct Exit<T: Transport> {
    pub(super) transport: T,
    pub(super) outbox: Outbox<BulkOf<T>>,
}

impl<T: Transport> Watched for Exit<T>
where
    BulkOf<T>: Send,
{
    fn tend(&self, now: Instant) -> bool {
        if self.outbox.is_late(now)
            && let Some(mut sender) = self.outbox.begin()
        {
            // If it can't be sent now, it stays. An error is for the thread that serves to find.
            while sender.refill() && self.transport.send(sender.queue()).is_ok() {}
        }
        self.outbox.is_watched()
    }
}

/// Has the courier look at an outbox. `false`: there is no courier.
pub(super) fn watch<T: Transport + 'static>(exit: &Arc<Exit<T>>) -> bool {
    let exit: Weak<Exit<T>> = Arc::downgrade(exit);
    COURIERS
        .get(generation())
        .is_some_and(|courier| courier.watch(exit))
}

#[derive(Debug)]
struct Courier {
    state: Mutex<State>,
}

struct State {
    watched: Vec<Weak<dyn Watched>>,
    running: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("watched", &self.watched.len())
            .field("running", &self.running)
            .finish()
    }
}

impl Courier {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                watched: Vec::new(),
                running: false,
            }),
        }
    }

    fn watch(&'static self, exit: Weak<dyn Watched>) -> bool {
        let mut state = self.state.lock();
        if !state.running {
            let thread = thread::Builder::new().name("rpyc-late".to_owned());
            state.running = thread.spawn(|| self.run()).is_ok();
        }
        if state.running {
            state.watched.push(exit);
        }
        state.running
    }

    fn run(&self) {
        loop {
            thread::sleep(TICK);
            let now = Instant::now();
            let mut state = self.state.lock();
            let mut watched = std::mem::take(&mut state.watched);
            drop(state);
            watched.retain(|exit| exit.upgrade().is_some_and(|exit| exit.tend(now)));
            let mut state = self.state.lock();
            watched.append(&mut state.watched);
            state.watched = watched;
            if state.watched.is_empty() {
                state.running = false;
                return;
            }
        }
    }
}
