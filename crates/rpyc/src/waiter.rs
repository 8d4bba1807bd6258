//! What waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;
use rpyc_proto::consts::Handler;
use rpyc_proto::wire::Payload;

use crate::error::{Error, Exception};
use crate::link::Parker;
use crate::value::Value;

/// What a pending request hands its answer to.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Somebody waits for it.
    Slot(Arc<Slot>),
    /// Nobody does: the answer to a release.
    Nobody,
    /// The connection itself: how the peer took that a call was given up.
    Cancel,
}

/// The place where one answer is waited for: by a thread, by a task or by a callback.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The thread that blocks, woken by its parker.
    parker: Option<Arc<Parker>>,
    /// What was asked for, for error texts.
    handler: Handler,
    ready: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    callback: Option<Callback>,
}

/// Called with the answer, in the thread that received it.
pub(crate) type Callback = Box<dyn FnOnce(Result<Value, Error>) + Send>;

/// An answer, and the callback that waits for it.
pub(crate) struct Notice {
    callback: Callback,
    outcome: Outcome,
}

impl Notice {
    /// Runs the callback. It is the user's code: no lock may be held.
    pub(crate) fn give(self) {
        (self.callback)(self.outcome.into_result());
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A value.
    Value(Value),
    /// A serialized exception, decoded by whoever waits, and where it starts.
    Exception(Box<Payload<Bytes>>, usize),
    /// There is no answer.
    Failed(Error),
}

impl Outcome {
    /// What the caller gets.
    pub(crate) fn into_result(self) -> Result<Value, Error> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Exception(payload, body) => Err(Exception::read(&payload, body)?.into()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl Slot {
    /// A slot that the calling thread is about to wait for.
    pub(crate) fn blocking(handler: Handler) -> Arc<Self> {
        Arc::new(Self {
            parker: Some(Parker::current()),
            handler,
            ready: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// A slot that anybody may wait for later.
    pub(crate) fn detached(handler: Handler) -> Arc<Self> {
        Arc::new(Self {
            parker: None,
            handler,
            ready: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// Puts the answer in, and wakes who waits. If a callback does, it is left to be run.
    #[must_use]
    pub(crate) fn put(&self, outcome: Outcome) -> Option<Notice> {
        let mut state = self.state.lock();
        if let Some(callback) = state.callback.take() {
            self.ready.store(true, Ordering::Release);
            drop(state);
            return Some(Notice { callback, outcome });
        }
        // Nearly always there was none, and to move that out would be to move as much.
        let before = match &state.outcome {
            None => None,
            Some(_) => state.outcome.take(),
        };
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        self.ready.store(true, Ordering::Release);
        drop(state);
        drop(before);
        if let Some(parker) = &self.parker {
            parker.unpark();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }

    /// What was asked for.
    pub(crate) const fn handler(&self) -> Handler {
        self.handler
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Option<Outcome> {
        if !self.is_ready() {
            return None;
        }
        self.state.lock().outcome.take()
    }

    /// Hands the answer to `callback`, now if it is there.
    pub(crate) fn on_ready(&self, callback: Callback) {
        let mut state = self.state.lock();
        match state.outcome.take() {
            Some(outcome) => {
                drop(state);
                Notice { callback, outcome }.give();
            }
            None => state.callback = Some(callback),
        }
    }

    /// For a task: the answer if it is there; else `waker` is woken when it comes.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Outcome> {
        let mut state = self.state.lock();
        let outcome = state.outcome.take();
        if outcome.is_none() {
            let before = state.waker.replace(waker.clone());
            drop(state);
            drop(before);
        }
        outcome
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
