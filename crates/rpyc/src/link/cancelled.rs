//! Requests whose answer nobody waits for any more.
//!
//! The peer says so in a message with the request's number, which follows the request. So there is
//! something to skip only while a request waits behind another one: before it is performed, what has
//! arrived behind it is looked through, and while it runs, if somebody asks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rpyc_proto::dispatch;
use rpyc_proto::message::Message;
use rpyc_proto::wire::Payload;

use super::Link;

use crate::transport::{BulkOf, Transport};

/// Numbers that are remembered. Nearly all are forgotten when their request is done with; those of
/// requests that were done before the message came stay, until there are too many.
const MOST: usize = 4096;

/// A message that cancels a request is never longer, in bytes. Most requests are.
const LONGEST: usize = 56;

/// The requests of a peer that it has given up, by their sequence numbers.
#[derive(Debug, Default)]
pub struct Cancelled {
    /// How many there are: nearly always none, and then a request pays for this look only.
    count: AtomicUsize,
    /// The [`clock`] at the last look before a request.
    looked: AtomicU64,
    seqs: Mutex<BTreeSet<u64>>,
}

impl Cancelled {
    /// Notes that nobody waits for the answer to a request.
    pub fn note(&self, seq: u64) {
        let mut seqs = self.seqs.lock();
        seqs.insert(seq);
        if seqs.len() > MOST {
            // The oldest is the least likely to come yet.
            seqs.pop_first();
        }
        self.count.store(seqs.len(), Ordering::Release);
    }

    /// Notes what a message cancels, if it is one that does.
    pub fn note_message<B>(&self, payload: &Payload<B>) {
        if payload.head.len() <= LONGEST
            && let Some(seq) = dispatch::peek_cancel(payload)
        {
            self.note(seq);
        }
    }

    /// Whether none is, as nearly always.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether a request was given up.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        !self.is_empty() && self.seqs.lock().contains(&seq)
    }

    /// Forgets a request; tells whether it was given up.
    pub fn forget(&self, seq: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut seqs = self.seqs.lock();
        let was = seqs.remove(&seq);
        self.count.store(seqs.len(), Ordering::Release);
        was
    }

    /// Notes what is given up by messages that have arrived and were not handled yet. `receive`: also
    /// by those that can be received without waiting. `prefix`: they begin with so many bytes of
    /// something else.
    pub fn look_ahead<T: Transport, W>(&self, link: &Link<T, W>, receive: bool, prefix: usize) {
        link.look_ahead(receive, |payload| {
            if prefix == 0 {
                self.note_message(payload);
            } else if payload.bulk.is_empty() && payload.head.len() <= prefix + LONGEST {
                let rest = payload.head.get(prefix..).unwrap_or_default();
                self.note_message(&Payload::<BulkOf<T>>::plain(rest.to_vec()));
            }
        });
    }

    /// As [`look_ahead`](Self::look_ahead), before a request is performed that has waited behind another
    /// one, or behind which another one waits. Not twice in a tick of the system: while requests are
    /// performed quickly hardly anything new has come.
    pub fn look_behind<T: Transport, W>(&self, link: &Link<T, W>, prefix: usize) {
        if link.had_queue() {
            let now = clock();
            if self.looked.load(Ordering::Relaxed) != now {
                self.looked.store(now, Ordering::Relaxed);
                self.look_ahead(link, true, prefix);
            }
        }
    }

    /// If a request that is about to be performed was given up: its message. Then it is forgotten, gets
    /// no answer, and what its arguments refer to is to be released.
    pub fn skipped<B>(&self, payload: &Payload<B>) -> Option<Message> {
        if self.is_empty() {
            return None;
        }
        let message = Message::parse(payload).ok()?;
        message.number.filter(|seq| self.forget(*seq))?;
        Some(message)
    }
}

/// A number that changes with each tick of the system, every few milliseconds: to read it costs next to
/// nothing. Never 0, which says that there was no look.
fn clock() -> u64 {
    coarsetime::Instant::now().as_ticks() | 1
}
