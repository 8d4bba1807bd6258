//! Items of remote iterators, read ahead.
//!
//! # Theory of operation
//!
//! `next(proxy)` is a request, so iterating a remote list of a thousand items is a thousand requests.
//! For the iterators of builtin containers one request brings many items. What a program sees stays
//! the same:
//!
//! *The remote iterator does not run ahead.* The peer takes one item, and looks at the following ones
//! with a copy of the iterator (`peek`). It does so only if nobody there can use the iterator. The
//! next request says how many of the items seen were used, and the peer skips them. Before anything
//! else is sent, and before the proxy is used in any other way, the peer is told too ([`settle`]). So
//! the iterator's end, and whatever happens to the container before, are noticed when they would be
//! noticed without reading ahead.
//!
//! *Nothing is used that could have changed.* Every message that this side sends or receives may go
//! along with a change of the container: it makes all items worthless that were read ahead before
//! ([`Activity`]). Exceptions are messages that run no code of the user: requests for items, the
//! inspection of classes, releases of items. Objects among the items are let go of at once, so that
//! they live no longer than they would. Items are also worthless after a short time, which the
//! configuration key `read_ahead` gives in seconds: changes by others, which no order ties to this
//! connection, are noticed that much later at most.
//!
//! *Two threads may use one iterator.* Requests for items are performed in the order in which they
//! are sent, and each begins by skipping what was used when it was sent. The items that come with
//! the answer are kept only if no later request was sent meanwhile.
//!
//! How many items are asked for depends on how many of the last ones were used.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rpyc_proto::consts::Handler;
use rpyc_proto::dispatch;
use rpyc_proto::features::Feature;
use rpyc_proto::id::EncodedId;
use rpyc_proto::wire::Writer;

use crate::bulk::PyBulk;
use crate::engine::Engine;
use crate::model::{PyModel, Raised};
use crate::netref::{self, PyNetref};
use crate::request::{self, Arguments};

/// How many items are asked for first.
const FIRST: usize = 16;
/// The most items that are asked for.
const MOST: usize = 4096;
/// How much more is asked for after all items were used.
const GROWTH: usize = 16;
/// The same, once items turned out worthless.
const SLOW_GROWTH: usize = 2;
/// How deep items are searched for proxies.
const DEEP: usize = 8;

/// Whether a request, and its answer, run no code of the user at the peer and so change nothing.
pub(crate) fn is_quiet(handler: i64) -> bool {
    matches!(
        Handler::from_wire(handler),
        Some(Handler::ReadAhead | Handler::Inspect | Handler::Features)
    )
}

/// The messages of a connection after which the peer's containers may be different.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    messages: AtomicU64,
    /// Iterators with items, or of which items were used.
    holders: Mutex<Vec<Weak<Ahead>>>,
    has_holders: AtomicBool,
}

impl Activity {
    /// Notes a message from the peer, before what it brings is used.
    pub(crate) fn note_arrival(&self) {
        for holder in self.note() {
            let dropped = holder.state.lock().let_go();
            drop(dropped);
            self.hold(&holder);
        }
    }

    /// Notes a message that is about to be queued. The peer must skip this many items of these
    /// iterators first.
    pub(crate) fn note_departure(&self) -> impl Iterator<Item = (EncodedId, usize)> + use<> {
        self.note().into_iter().filter_map(|holder| {
            let mut state = holder.state.lock();
            let (used, dropped) = state.settle();
            drop(state);
            drop(dropped);
            (used > 0).then(|| (holder.id.clone(), used))
        })
    }

    fn note(&self) -> Vec<Arc<Ahead>> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        if !self.has_holders.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        let holders = std::mem::take(&mut *self.holders.lock());
        let alive = holders.iter().filter_map(Weak::upgrade);
        alive
            .inspect(|holder| holder.state.lock().held = false)
            .collect()
    }

    /// How many messages there were so far: the same number again says that there was none meanwhile.
    pub(crate) fn count(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    fn hold(&self, ahead: &Arc<Ahead>) {
        if !std::mem::replace(&mut ahead.state.lock().held, true) {
            self.holders.lock().push(Arc::downgrade(ahead));
            self.has_holders.store(true, Ordering::Relaxed);
        }
    }
}

/// What was read ahead of one iterator.
#[derive(Debug)]
pub(crate) struct Ahead {
    id: EncodedId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Items that the peer has seen and not taken, in order.
    items: VecDeque<Py<PyAny>>,
    /// How many were used since the peer was told.
    used: usize,
    /// How many messages there had been when the peer was asked last.
    messages: u64,
    /// When they get worthless.
    expiry: Option<Instant>,
    /// Counts the requests for items.
    requests: u64,
    /// How many items to ask for; 0: the first ones.
    count: usize,
    /// Items were worthless once.
    careful: bool,
    /// The peer does not look ahead in this iterator.
    off: bool,
    /// It is among the holders of the connection's [`Activity`].
    held: bool,
}

impl State {
    /// The next item, if it is still good.
    fn pop(&mut self) -> Option<Py<PyAny>> {
        if self.items.is_empty() || self.expiry.is_none_or(|expiry| Instant::now() >= expiry) {
            return None;
        }
        self.used += 1;
        self.items.pop_front()
    }

    /// Lets go of the items. To be dropped without the lock.
    #[must_use]
    fn let_go(&mut self) -> VecDeque<Py<PyAny>> {
        if !self.items.is_empty() {
            self.careful = true;
            self.count = self.used + 1;
        }
        std::mem::take(&mut self.items)
    }

    /// Takes the number of items that the peer is to skip, and lets go of the others.
    fn settle(&mut self) -> (usize, VecDeque<Py<PyAny>>) {
        let dropped = self.let_go();
        (std::mem::take(&mut self.used), dropped)
    }

    /// How many items to ask for now.
    fn next_count(&mut self, messages: u64) -> usize {
        self.count = match self.count {
            0 => FIRST,
            // One item was asked for because of a message per item, and that is still so.
            1 if self.messages != messages => 1,
            count if self.used + 1 < count => count,
            count if self.careful => (count * SLOW_GROWTH).min(MOST),
            count => (count * GROWTH).min(MOST),
        };
        self.count
    }
}

impl Ahead {
    /// Nothing yet, of the iterator with this id.
    pub(crate) fn of(id: EncodedId) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::default(),
        })
    }

    /// Visits what it holds, for the garbage collector.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.try_lock() {
            Some(state) => state.items.iter().try_for_each(|item| visit.call(item)),
            None => Ok(()),
        }
    }
}

/// The next item of a remote iterator, read ahead if possible. StopIteration if there is none.
pub(crate) fn next<'py>(netref: &Bound<'py, PyNetref>) -> PyResult<Bound<'py, PyAny>> {
    let py = netref.py();
    if let (Some(engine), Some(ahead)) = (netref.get().native_engine(py), netref.get().ahead()) {
        let item = ahead.state.lock().pop();
        if let Some(item) = item {
            return Ok(item.into_bound(py));
        }
        if !ahead.state.lock().off
            && let Some(limit) = time_limit(engine)?
        {
            if Engine::peer_has(engine, Feature::ReadAhead)? {
                return read(engine, ahead, limit);
            }
            ahead.state.lock().off = true;
        }
    }
    let name = intern!(py, "__next__").as_any();
    let none = PyTuple::empty(py).into_any();
    netref::request(netref, Handler::CallAttr, [name, &none, &none])
}

/// For how long items may be used; `None`: nothing is read ahead.
fn time_limit(engine: &Bound<'_, Engine>) -> PyResult<Option<Duration>> {
    let py = engine.py();
    let seconds = engine
        .get()
        .config(py)
        .get_item(intern!(py, "read_ahead"))?;
    let seconds = seconds.filter(|seconds| !seconds.is_none());
    let seconds: f64 = seconds.map_or(Ok(0.0), |seconds| seconds.extract())?;
    Ok(Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero()))
}

/// Asks for items, and gives the first one.
fn read<'py>(
    engine: &Bound<'py, Engine>,
    ahead: &Arc<Ahead>,
    limit: Duration,
) -> PyResult<Bound<'py, PyAny>> {
    let dropped = ahead.state.lock().let_go();
    drop(dropped);
    let activity = &engine.get().activity;
    let messages = activity.count();
    let number = Cell::new(0);
    let query = Query {
        ahead,
        messages,
        number: &number,
    };
    let answer = request::sync(engine, Handler::ReadAhead, query)?;
    let (goes_on, items): (bool, Bound<'py, PyTuple>) = answer.extract()?;
    let Ok(first) = items.get_item(0) else {
        return Err(PyValueError::new_err(
            "the peer answered a request for items of an iterator without any",
        ));
    };
    note_item(items.as_any(), 0);
    let rest: VecDeque<Py<PyAny>> = items.iter().skip(1).map(Bound::unbind).collect();
    drop(items);
    let mut state = ahead.state.lock();
    if state.requests != number.get() {
        // Another thread asked after this one did: its items follow this one's first.
        drop(state);
        return Ok(first);
    }
    state.off = !goes_on;
    state.messages = messages;
    if rest.is_empty() || activity.count() != messages {
        drop(state);
        return Ok(first);
    }
    state.items = rest;
    state.expiry = Instant::now().checked_add(limit);
    drop(state);
    activity.hold(ahead);
    Ok(first)
}

/// Marks the proxies in an item, which are new ones mostly.
fn note_item(item: &Bound<'_, PyAny>, depth: usize) {
    if let Ok(netref) = item.cast::<PyNetref>() {
        netref.get().set_item();
    } else if depth < DEEP
        && let Ok(parts) = item.cast_exact::<PyTuple>()
    {
        for part in parts.iter_borrowed() {
            note_item(&part, depth + 1);
        }
    }
}

/// Tells the peer how many items were used, before the iterator is used in another way.
pub(crate) fn settle(netref: &Bound<'_, PyNetref>, ahead: &Ahead) -> PyResult<()> {
    let (used, dropped) = ahead.state.lock().settle();
    drop(dropped);
    if used == 0 {
        return Ok(());
    }
    let none = 0usize.into_pyobject(netref.py())?;
    let used = used.into_pyobject(netref.py())?;
    netref::request(netref, Handler::ReadAhead, [used.as_any(), none.as_any()]).map(drop)
}

/// A request for items. What it says is settled when it is written: from then until it is queued no
/// other thread runs Python code, so requests leave in the order in which they count.
struct Query<'a> {
    ahead: &'a Ahead,
    /// How many messages there have been.
    messages: u64,
    /// Which of the requests for items it is.
    number: &'a Cell<u64>,
}

impl<'py> Arguments<'py> for Query<'_> {
    fn write(&self, _: &mut PyModel<'_, 'py>, out: &mut Writer<PyBulk>) -> Result<(), Raised> {
        let mut state = self.ahead.state.lock();
        state.requests += 1;
        self.number.set(state.requests);
        let count = state.next_count(self.messages);
        let skip = std::mem::take(&mut state.used);
        drop(state);
        put_arguments(out, &self.ahead.id, skip, count);
        Ok(())
    }
}

/// Writes the arguments of a request for items.
pub(crate) fn put_arguments(out: &mut Writer<PyBulk>, id: &EncodedId, skip: usize, count: usize) {
    dispatch::put_target(out, id.as_bytes(), 2);
    // Both are numbers of items that are in memory, or soon will be.
    dispatch::put_boxed_with(out, |out| out.put_int(skip as i64));
    dispatch::put_boxed_with(out, |out| out.put_int(count as i64));
}
