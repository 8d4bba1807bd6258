//! Thread-bound mode: nested requests go to the thread that they concern.
//!
//! Each message carries two thread ids in front: the sender's, and the receiver's thread that it is
//! for (0: any). Whoever reads a request for another thread that waits puts it aside for that one. A
//! request for any thread goes to one that is not occupied: the reader itself, another waiting
//! thread, or a worker. A thread is occupied while it has requests out or performs some; while it
//! is, its messages go to the thread at the other end that spoke to it last.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use rpyc::link::Parker;
use rpyc_proto::consts::MessageKind;
use rpyc_proto::wire::{Payload, Writer};

use crate::bulk::PyBulk;

/// The length of the two thread ids in bytes.
pub(crate) const PREFIX: usize = 16;

/// A request that waits for its thread, and the peer's thread that sent it.
pub(crate) type Aside = (u64, Payload<PyBulk>);

/// The threads of one connection.
#[derive(Debug, Default)]
pub(crate) struct BoundThreads {
    records: Mutex<HashMap<u64, Record>>,
    /// Requests for workers.
    spilled: Mutex<VecDeque<Aside>>,
}

#[derive(Debug, Default)]
struct Record {
    /// The thread at the other end.
    remote: u64,
    /// Requests that are out, and requests that are being performed.
    occupation: usize,
    /// Waits of the thread, nested ones included.
    waits: usize,
    parker: Option<Arc<Parker>>,
    aside: VecDeque<Aside>,
}

impl Record {
    const fn release(&mut self) {
        self.occupation = self.occupation.saturating_sub(1);
        if self.occupation == 0 {
            self.remote = 0;
        }
    }
}

/// What is to become of a received request.
#[derive(Debug)]
pub(crate) enum Route {
    /// The reader performs it.
    Here(Payload<PyBulk>),
    /// Another thread got it.
    Elsewhere,
    /// It waits for a worker, which is to be started.
    Worker,
}

/// The id of the calling thread, as Python knows it.
#[expect(unsafe_code, reason = "CPython's thread id has no safe wrapper")]
fn ident(_py: Python<'_>) -> u64 {
    // SAFETY: the function has no precondition.
    unsafe { pyo3::ffi::PyThread_get_thread_ident() as u64 }
}

impl BoundThreads {
    /// Writes the two thread ids in front of a message of this kind, and keeps the books.
    pub(crate) fn put_prefix(&self, py: Python<'_>, out: &mut Writer<PyBulk>, kind: MessageKind) {
        let me = ident(py);
        let mut records = self.records.lock();
        let record = records.entry(me).or_default();
        out.put_raw(&me.to_be_bytes());
        out.put_raw(&record.remote.to_be_bytes());
        if kind == MessageKind::Request {
            record.occupation += 1;
        } else {
            record.release();
        }
    }

    /// Takes the two thread ids off a received payload: sender and addressee.
    pub(crate) fn take_prefix(payload: &mut Payload<PyBulk>) -> Option<(u64, u64)> {
        let (sender, rest) = payload.head.split_first_chunk::<8>()?;
        let (addressee, _) = rest.split_first_chunk::<8>()?;
        let ids = (u64::from_be_bytes(*sender), u64::from_be_bytes(*addressee));
        payload.head.drain(..PREFIX);
        for (offset, _) in &mut payload.bulk {
            *offset -= PREFIX;
        }
        Some(ids)
    }

    /// Notes an answer to a request of the addressed thread.
    pub(crate) fn note_answer(&self, py: Python<'_>, sender: u64, addressee: u64) {
        let thread = if addressee == 0 { ident(py) } else { addressee };
        let mut records = self.records.lock();
        if let Some(record) = records.get_mut(&thread) {
            record.remote = sender;
            record.release();
        }
    }

    /// Decides which thread performs a request.
    pub(crate) fn route(
        &self,
        py: Python<'_>,
        (sender, addressee): (u64, u64),
        payload: Payload<PyBulk>,
    ) -> Route {
        let me = ident(py);
        let mut records = self.records.lock();
        let waits = |record: &Record| record.waits > 0;
        let target = if addressee != 0 && records.get(&addressee).is_some_and(waits) {
            Some(addressee)
        } else if records.get(&me).is_none_or(|record| record.occupation == 0) {
            Some(me)
        } else {
            let idle = |record: &Record| waits(record) && record.occupation == 0;
            records
                .iter()
                .find(|(_, record)| idle(record))
                .map(|(thread, _)| *thread)
        };
        match target {
            Some(thread) if thread == me => {
                Self::accept(records.entry(me).or_default(), sender);
                Route::Here(payload)
            }
            Some(thread) => {
                let record = records.entry(thread).or_default();
                record.aside.push_back((sender, payload));
                let parker = record.parker.clone();
                drop(records);
                if let Some(parker) = parker {
                    parker.unpark();
                }
                Route::Elsewhere
            }
            None => {
                drop(records);
                self.spilled.lock().push_back((sender, payload));
                Route::Worker
            }
        }
    }

    const fn accept(record: &mut Record, sender: u64) {
        record.remote = sender;
        record.occupation += 1;
    }

    /// A request that was put aside for the calling thread.
    pub(crate) fn take_aside(&self, py: Python<'_>) -> Option<Payload<PyBulk>> {
        let mut records = self.records.lock();
        let record = records.get_mut(&ident(py))?;
        let (sender, payload) = record.aside.pop_front()?;
        Self::accept(record, sender);
        Some(payload)
    }

    /// A request for the calling thread, which is a worker.
    pub(crate) fn take_spilled(&self, py: Python<'_>) -> Option<Payload<PyBulk>> {
        let (sender, payload) = self.spilled.lock().pop_front()?;
        Self::accept(self.records.lock().entry(ident(py)).or_default(), sender);
        Some(payload)
    }

    /// The calling thread starts to wait.
    pub(crate) fn begin_wait(&self, py: Python<'_>) {
        let mut records = self.records.lock();
        let record = records.entry(ident(py)).or_default();
        record.waits += 1;
        record.parker = Some(Parker::current());
    }

    /// The calling thread waits no longer. Tells how many requests that were put aside for it need
    /// workers now.
    pub(crate) fn end_wait(&self, py: Python<'_>) -> usize {
        let me = ident(py);
        let mut records = self.records.lock();
        let Some(record) = records.get_mut(&me) else {
            return 0;
        };
        record.waits = record.waits.saturating_sub(1);
        if record.waits > 0 {
            return 0;
        }
        let left = std::mem::take(&mut record.aside);
        if record.occupation == 0 {
            records.remove(&me);
        }
        drop(records);
        let count = left.len();
        self.spilled.lock().extend(left);
        count
    }
}
