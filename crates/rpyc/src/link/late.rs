//! Small frames that wait for company: who sends them if none comes.
//!
//! # Theory of operation
//!
//! Many small frames are cheaper in one write. So while they follow each other quickly, the answers
//! of quick handlers or a program's asynchronous calls, they may stay in the outbox until the next
//! ones are there, too: see [`Outbox::due`](super::outbox::Outbox::due), which looks at how long the
//! last ones took. But the next handler may be slow, or block forever, and a program may make no
//! further call. Its thread can't help, so another one must: the *courier*, a thread that looks at
//! the outboxes in question every [`TICK`] and sends what has waited for [`LATE`] there. So a frame
//! leaves within a millisecond, whatever user code does; a busy machine's scheduling comes on top.
//!
//! Releases of references, and the answers to them, are waited for by nobody. While a connection has
//! many of them they wait for the next request or answer in the same way, if not as fast.
//!
//! There is one courier for the process. It is started when a frame is held back and ends when
//! none was for a while, so programs without such traffic have no thread of ours. It holds no
//! connection, never waits in a transport and runs nobody's code. A child of a fork starts its own:
//! which of the [`COURIERS`] is used depends on the number of forks, so a lock that was held in the
//! parent is never met again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::outbox::Outbox;
use crate::sync::Instant;
use crate::transport::{BulkOf, Transport};

/// How often the courier looks.
const TICK: Duration = Duration::from_micros(700);
/// What has waited for so long is sent by the courier.
pub(super) const LATE: Duration = Duration::from_micros(250);
/// After so many looks without anything held back, an outbox is not looked at any more.
pub(super) const QUIET: u32 = 40;

/// One for each generation of forked processes. Beyond them nothing is held back.
static COURIERS: [Courier; 16] = [const { Courier::new() }; 16];
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// In the child of a fork: the courier did not come along.
pub fn forget_courier() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Sends what is held back on any connection, as far as it goes without waiting, and ends the
/// courier. To be called before the process ends, or forks: the child must not have copies of calls
/// that are about to leave, nor be warned of a thread.
pub fn dismiss_courier() {
    if let Some(courier) = COURIERS.get(generation()) {
        courier.dismiss();
    }
}

/// As [`dismiss_courier`], and nothing is held back any more: the process is about to end.
pub fn retire_courier() {
    dismiss_courier();
    GENERATION.store(COURIERS.len(), Ordering::Relaxed);
}

/// Which courier is this process's.
pub(super) fn generation() -> usize {
    GENERATION.load(Ordering::Relaxed)
}

/// What the courier looks at.
trait Watched: Send + Sync {
    /// Sends what is late. Tells whether to look again.
    fn tend(&self, now: Instant) -> bool;

    /// Has frames wait no more without a new courier, and sends those that do.
    fn let_go(&self);
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
        if self.outbox.is_late(now) {
            self.send();
        }
        self.outbox.is_watched()
    }

    fn let_go(&self) {
        self.outbox.set_watched(false);
        self.send();
    }
}

impl<T: Transport> Exit<T> {
    /// Sends what is queued, unless another thread does.
    fn send(&self) {
        if let Some(mut sender) = self.outbox.begin() {
            // If it can't be sent now, it stays. An error is for the thread that serves to find. What a
            // thread queues meanwhile waits as before: else this one would send piece by piece for as
            // long as that one goes on.
            let mut more = sender.refill();
            while more && self.transport.send(sender.queue()).is_ok() {
                more = sender.refill_if_wanted();
            }
        }
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
    running: Option<Running>,
}

struct Running {
    thread: JoinHandle<()>,
    dismissed: Arc<AtomicBool>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("watched", &self.watched.len())
            .field("running", &self.running.is_some())
            .finish()
    }
}

impl Courier {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                watched: Vec::new(),
                running: None,
            }),
        }
    }

    fn watch(&'static self, exit: Weak<dyn Watched>) -> bool {
        let mut state = self.state.lock();
        if state.running.is_none() {
            let dismissed = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&dismissed);
            let thread = thread::Builder::new().name("rpyc-late".to_owned());
            let thread = thread.spawn(move || self.run(&seen));
            state.running = thread.ok().map(|thread| Running { thread, dismissed });
        }
        if state.running.is_some() {
            state.watched.push(exit);
        }
        state.running.is_some()
    }

    fn dismiss(&self) {
        let (watched, running) = {
            let mut state = self.state.lock();
            let running = state.running.take();
            if let Some(running) = &running {
                running.dismissed.store(true, Ordering::Relaxed);
            }
            (std::mem::take(&mut state.watched), running)
        };
        for exit in watched.iter().filter_map(Weak::upgrade) {
            exit.let_go();
        }
        if let Some(running) = running {
            // It is there at its next look, a tick away. It can't have panicked.
            let _ = running.thread.join();
        }
    }

    fn run(&self, dismissed: &AtomicBool) {
        loop {
            thread::sleep(TICK);
            let watched = self.state.lock().watched.clone();
            let now = Instant::now();
            let look = |exit: &Weak<dyn Watched>| exit.upgrade().is_some_and(|exit| exit.tend(now));
            let mut again = watched.iter().map(look).collect::<Vec<_>>().into_iter();
            let mut state = self.state.lock();
            // The list is a successor's then.
            if dismissed.load(Ordering::Relaxed) {
                return;
            }
            // Others only append: the first ones are still those that were looked at.
            state.watched.retain(|_| again.next().unwrap_or(true));
            if state.watched.is_empty() {
                state.running = None;
                return;
            }
        }
    }
}
