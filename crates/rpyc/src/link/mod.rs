//! One connection: who reads, who waits, and how frames leave.
//!
//! # Theory of operation
//!
//! *Reading.* At most one thread holds the read role (`roles`). A thread that waits for something
//! ([`Link::wait`]) takes the role if it is free and receives; every complete payload goes to the
//! [`Driver`], which finds out what it means and wakes whoever it is for. Threads that find the role
//! taken park. A leader that is done, or that is about to run a request, passes the role on to a
//! parked thread. A thread can wait again from within a request: it just takes the role again. If the
//! face allows it, small answers that came along with the one that the leader waits for are handled
//! before it leaves: whoever waits for them next finds them.
//!
//! *Writing.* Frames are appended to an outbox under a short lock. Whoever finds nobody sending
//! becomes the sender and sends until the outbox is empty; others leave their frame and go on. When
//! the transport is full and nobody reads, the sender also *receives* (into memory, bounded), so two
//! peers that both write never wait for each other.
//!
//! *The end.* The first fatal error, end of stream or close is kept as the [`End`]. Payloads that
//! arrived before it are still handled; then every waiter is woken and sees it.
//!
//! No lock is held while the driver runs. Waits in the kernel happen inside
//! [`Driver::blocking`], so a face can release what it must (Python: the interpreter lock).

mod cancelled;
mod chaos;
mod deadlines;
mod end;
mod inbox;
mod late;
mod outbox;
mod pace;
mod parker;
mod pulse;
mod receiving;
mod roles;
mod sending;
mod slot;
mod stall;
mod tending;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpyc_proto::limits::Limits;
use rpyc_proto::session::Session;
use rpyc_proto::wire::Payload;

use crate::sync::{AtomicBool, AtomicU64, Instant, Mutex, OnceLock, Ordering};
use crate::transport::{BulkOf, Transport};
pub use cancelled::Cancelled;
pub use deadlines::{Deadlines, Limit};
pub use end::{End, EndCause};
pub use inbox::Inbox;
use late::Exit;
pub use late::{dismiss_courier, forget_courier, retire_courier};
use outbox::Outbox;
pub use parker::{Parker, Sleep, Source};
pub(crate) use pulse::{Pulse, Verdict};
use roles::Roles;
pub use slot::Slot;
use stall::Stall;
pub use tending::Signs;

/// The longest single wait for bytes while frames are being sent. A sender that gives up can't wake a
/// thread that waits in the kernel: it finds the frames that were left after this time.
const BUSY_SLICE: Duration = Duration::from_millis(50);

/// What a face does for the link.
pub trait Driver<T: Transport> {
    /// How a wait fails: an exception of the face.
    type Error;

    /// Runs `work`, which waits in the kernel or for other threads. No user code runs in it.
    fn blocking<R: Send>(&mut self, work: impl FnOnce() -> R + Send) -> R;

    /// The longest time to wait before [`check`](Self::check) is called, if there is one.
    fn slice(&self) -> Option<Duration>;

    /// Called after each wait: whether the waiting thread is interrupted (Ctrl-C).
    ///
    /// # Errors
    /// The interruption.
    fn check(&mut self) -> Result<(), Self::Error>;

    /// Handles a payload. The thread holds the read role; before it runs user code it must call
    /// [`Link::pass_on`].
    ///
    /// # Errors
    /// Goes to whoever called [`Link::wait`].
    fn arrived(&mut self, payload: Payload<BulkOf<T>>) -> Result<(), Self::Error>;

    /// After [`arrived`](Self::arrived): whether small answers that came along are handled at once, though
    /// the thread may have what it waits for. Only if that takes little time and runs no user code, and
    /// if the thread still holds the read role.
    fn goes_on(&self) -> bool {
        false
    }

    /// Handles a message that another thread received and put aside for this one. Tells whether
    /// there was one. The thread may hold the read role, as in [`arrived`](Self::arrived).
    ///
    /// # Errors
    /// Goes to whoever called [`Link::wait`].
    fn handle_aside(&mut self) -> Result<bool, Self::Error> {
        Ok(false)
    }

    /// The error of a wait on a link that ended.
    fn ended(&mut self, end: &Arc<End>) -> Self::Error;
}

/// What [`Link::wait`] waits for.
pub trait Until<D> {
    /// Whether it is there.
    fn is_done(&mut self, driver: &mut D) -> bool;
}

impl<D, F: FnMut(&mut D) -> bool> Until<D> for F {
    fn is_done(&mut self, driver: &mut D) -> bool {
        self(driver)
    }
}

/// One end of a connection over a transport; `W` is what waits for answers.
pub struct Link<T: Transport, W> {
    exit: Arc<Exit<T>>,
    limits: Limits,
    session: Mutex<Session<W>>,
    roles: Roles,
    /// Locked by the holder of the read role only.
    inbox: Mutex<Inbox<T::Buffer>>,
    stall: Stall,
    /// Signs of life of the peer so far.
    heard: AtomicU64,
    /// Messages taken so far to be handled, and handled so far.
    begun: AtomicU64,
    /// More had arrived when the last one was taken; it, or the one before.
    more: AtomicBool,
    queued: AtomicBool,
    handled: AtomicU64,
    /// The stream ended, but payloads that arrived before may still be waiting.
    ending: OnceLock<Arc<End>>,
    ended: OnceLock<Arc<End>>,
    /// Sending failed, and nobody has looked yet for what had arrived by then.
    undrained: AtomicBool,
    /// See [`Packing::pads`](crate::transport::Packing::pads).
    pads: AtomicBool,
    unread: OnceLock<Unread>,
}

/// What is called when payloads are left unread.
type Unread = Box<dyn Fn() + Send + Sync>;

impl<T: Transport, W> fmt::Debug for Link<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("end", &self.ended.get())
            .finish_non_exhaustive()
    }
}

impl<T: Transport, W> Link<T, W> {
    /// A link over a connected transport. The first `prefix` bytes of each payload are no brine.
    pub fn new(transport: T, limits: Limits, prefix: usize) -> Self {
        Self {
            exit: Arc::new(Exit {
                transport,
                outbox: Outbox::default(),
            }),
            limits,
            session: Mutex::new(Session::new(&limits)),
            roles: Roles::default(),
            inbox: Mutex::new(Inbox::new(limits, prefix)),
            stall: Stall::default(),
            heard: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            more: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            ending: OnceLock::new(),
            ended: OnceLock::new(),
            undrained: AtomicBool::new(false),
            pads: AtomicBool::new(false),
            unread: OnceLock::new(),
        }
    }

    /// Ends the link when the peer has taken no byte of what is to be sent for this long.
    #[must_use]
    pub fn give_up_sending_after(mut self, limit: Option<Duration>) -> Self {
        self.stall = Stall::new(limit);
        self
    }

    /// The open requests.
    pub const fn session(&self) -> &Mutex<Session<W>> {
        &self.session
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.exit.transport
    }

    /// The end, if the link has ended.
    pub fn end(&self) -> Option<&Arc<End>> {
        self.ended.get()
    }

    /// Whether bytes or payloads were received that nobody has handled yet.
    pub fn has_input(&self) -> bool {
        // If the inbox is locked somebody is just reading it.
        self.inbox
            .try_lock()
            .is_some_and(|mut inbox| inbox.settle())
    }

    /// Gives up memory that nothing is in: for a connection that nobody will wait on for some time.
    /// The next wait takes some again.
    pub fn rest(&self) {
        // If the inbox is locked somebody is just reading it.
        if let Some(mut inbox) = self.inbox.try_lock() {
            inbox.rest();
        }
    }

    /// Has `callback` called when a thread stops waiting, leaves payloads that it received unread,
    /// and nobody else reads. For whoever serves only when the transport has something: these are in
    /// memory already. Can be set once; no lock is held when it is called.
    pub fn on_unread(&self, callback: impl Fn() + Send + Sync + 'static) {
        let _ = self.unread.set(Box::new(callback));
    }

    /// Whether frames are queued, or being sent.
    pub fn has_unsent(&self) -> bool {
        self.exit.outbox.is_busy()
    }

    /// Whether a thread is handling a message, performing a request for instance.
    pub fn is_handling(&self) -> bool {
        // In this order: what is found handled was begun before.
        let handled = self.handled.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire) != handled
    }

    /// Whether it ends: no more can arrive, though some of what did may still be waiting.
    pub fn is_ending(&self) -> bool {
        self.ending.get().is_some()
    }

    /// Whether the message that is being handled was one of several: it has waited behind another one, or
    /// one waits behind it. Holds the read role.
    pub fn had_queue(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether the calling thread holds the read role.
    pub fn is_leading(&self) -> bool {
        Parker::with_current(|me| self.roles.is_leader(me))
    }

    /// Whether any thread holds the read role.
    pub fn is_being_read(&self) -> bool {
        self.roles.is_taken()
    }

    /// Hands the read role to a parked thread, or frees it. Does nothing without the role.
    pub fn pass_on(&self) {
        Parker::with_current(|me| self.roles.leave(me));
    }

    /// Ends the link: the transport is shut down and every waiter woken.
    pub fn finish(&self, cause: EndCause) {
        let end = self.ending.get_or_init(|| Arc::new(End::new(cause)));
        let _ = self.ended.set(Arc::clone(end));
        self.exit.transport.shutdown();
        self.exit.outbox.close();
        self.roles.wake_all();
    }

    fn ended_error<D: Driver<T>>(&self, driver: &mut D) -> D::Error {
        let end = self.ended.get().or_else(|| self.ending.get());
        let end = end.map_or_else(|| Arc::new(End::new(EndCause::Closed)), Arc::clone);
        driver.ended(&end)
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
