//! Requests whose answer nobody waits for any more.
//!
//! *Here waited:* a call that timed out or was cancelled is [withdrawn](withdraw): the peer gets a
//! message with its number, and its answer, if one comes, is released undecoded.
//!
//! *Here performed:* the engine knows which requests the peer gave up ([`rpyc::link::Cancelled`]). A
//! handler that asks [`is_cancelled`] looks at what has arrived itself, since its connection may have no
//! other thread.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rpyc::link::Parker;
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::dispatch;
use rpyc_proto::features::Feature;
use rpyc_proto::message::Dialect;
use rpyc_proto::wire::Payload;

use crate::bound::PREFIX;
use crate::bulk::PyBulk;
use crate::engine::{Engine, PyLink};
use crate::greenlets;
use crate::request;
use crate::waiter::Waiter;

/// In thread-bound mode: notes what a message cancels, before it is put aside for a thread, where it
/// would come too late behind its request.
pub(crate) fn note_arrived(conn: &Bound<'_, Engine>, payload: &Payload<PyBulk>) {
    conn.get().cancelled().note_message(payload);
}

/// If a request that was just received has been cancelled already: releases what it refers to, and
/// tells where its sequence number stands.
pub(crate) fn skip(
    conn: &Bound<'_, Engine>,
    link: &PyLink,
    payload: &Payload<PyBulk>,
) -> Option<Range<usize>> {
    let cancelled = conn.get().cancelled();
    cancelled.look_behind(link, prefix(conn.get()));
    let message = cancelled.skipped(payload)?;
    if let Some(args) = dispatch::args_offset(payload, message.body) {
        for id in boxing::remote_refs(payload, args) {
            conn.get().push_release(conn.py(), id.encoded, 1);
        }
    }
    Some(message.seq)
}

/// What a message that waits begins with, in bytes.
fn prefix(engine: &Engine) -> usize {
    engine.bound_threads().map_or(0, |_| PREFIX)
}

/// While it lives, the thread performs a request.
pub(crate) struct Performing {
    engine: Py<Engine>,
    seq: u64,
}

struct Current {
    /// The green thread, if there are any. Never read through.
    thread: usize,
    engine: Py<Engine>,
    seq: u64,
}

thread_local! {
    /// The requests that this thread performs, the innermost last.
    static CURRENT: RefCell<Vec<Current>> = const { RefCell::new(Vec::new()) };
}

impl Performing {
    /// `seq`: the encoded sequence number. Only numbers are remembered, as ours are.
    pub(crate) fn begin(conn: &Bound<'_, Engine>, seq: Option<u64>) -> Option<Self> {
        let seq = seq?;
        let current = Current {
            thread: thread(),
            engine: conn.clone().unbind(),
            seq,
        };
        CURRENT.with_borrow_mut(|all| all.push(current));
        Some(Self {
            engine: conn.clone().unbind(),
            seq,
        })
    }
}

impl Drop for Performing {
    fn drop(&mut self) {
        let ended = CURRENT.with_borrow_mut(|all| {
            let mine = |one: &Current| one.seq == self.seq && one.engine.is(&self.engine);
            let place = all.iter().rposition(mine)?;
            Some(all.remove(place))
        });
        self.engine.get().cancelled().forget(self.seq);
        drop(ended);
    }
}

/// Tells whether the caller of the request that this thread performs has given it up.
///
/// False outside of requests. True also if the connection has ended. It looks at what has arrived, so
/// a handler may ask in a loop.
#[pyfunction]
pub(crate) fn is_cancelled(py: Python<'_>) -> bool {
    let me = thread();
    let current = CURRENT.with_borrow(|all| {
        let mine = all.iter().rev().find(|one| one.thread == me)?;
        Some((mine.engine.clone_ref(py), mine.seq))
    });
    let Some((engine, seq)) = current else {
        return false;
    };
    let engine = engine.get();
    let Ok(link) = engine.link() else {
        return true;
    };
    engine.cancelled().look_ahead(link, true, prefix(engine));
    link.is_ending() || engine.cancelled().contains(seq)
}

/// Nobody waits for the answer to a request any more: tells the peer, if it wants to know.
pub(crate) fn withdraw(
    conn: &Bound<'_, Engine>,
    link: &PyLink,
    handler: i64,
    seq: u64,
) -> PyResult<()> {
    let waited = link.session().lock().cancel(seq);
    if waited.is_none() {
        // It was answered.
        return Ok(());
    }
    drop(waited);
    let is_call = Handler::from_wire(handler).is_none_or(Handler::is_cancellable);
    let engine = conn.get();
    if !is_call || link.end().is_some() || engine.dialect() == Dialect::V5 {
        return Ok(());
    }
    let py = conn.py();
    match engine.peer_features() {
        Some(known) if !known.contains(Feature::Cancel) => return Ok(()),
        None if engine.refuses_cancel() => return Ok(()),
        _ => {}
    }
    let waiter = if engine.peer_features().is_some() {
        Waiter::Nobody
    } else {
        let answered = conn.as_any().getattr(intern!(py, "_note_cancel_answer"))?;
        Waiter::Own(answered.unbind())
    };
    let args = PyTuple::new(py, [seq])?;
    let number = i64::from(Handler::Cancel.number());
    request::send(conn, link, number, &request::Any(&args), waiter)?;
    py.detach(|| link.flush_out());
    Ok(())
}

/// Tells green threads apart; others have a list of their own each.
fn thread() -> usize {
    if greenlets::in_use() {
        Arc::as_ptr(&Parker::current()) as usize
    } else {
        0
    }
}
