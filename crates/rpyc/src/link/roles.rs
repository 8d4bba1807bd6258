//! Who reads.
//!
//! # Theory of operation
//!
//! One word tells who leads: a thread whose parker's address it is. While no other thread waits it is
//! all there is to the role: to take it and to leave it is one step each. As soon as a thread has to
//! wait, the word is marked, and from then on, until none waits, it changes under the lock of the list
//! of those who do.
//!
//! A thread is the leader from the moment it is made so, even while it still sleeps; whatever wakes
//! it, it either leads or leaves, so the role is never lost.

use std::sync::Arc;

use super::chaos;
use super::parker::Parker;
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// The read role of a link.
#[derive(Debug, Default)]
pub(super) struct Roles {
    /// Who leads, and [`CROWD`]. 0: nobody.
    leader: AtomicUsize,
    /// Threads that wait while another one leads, in order of arrival.
    parked: Mutex<Vec<Arc<Parker>>>,
    /// Threads that want to know of each handled message.
    observers: AtomicUsize,
}

/// The mark of a word while threads are parked. No address has it.
const CROWD: usize = 1;
const _: () = assert!(align_of::<Parker>() > CROWD);

fn word(parker: &Arc<Parker>) -> usize {
    Arc::as_ptr(parker).addr()
}

/// What a waiting thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It holds the role and reads.
    Lead,
    /// Another thread reads.
    Follow,
}

/// While it lives, its thread is woken after each handled message.
pub(super) struct Observer<'a>(&'a AtomicUsize);

impl Drop for Observer<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Roles {
    /// Takes the role if it is free; otherwise the thread is listed among the parked.
    pub(super) fn turn(&self, me: &Arc<Parker>) -> Turn {
        if self.is_leader(me) || self.try_lead(me) {
            return Turn::Lead;
        }
        chaos::pause();
        let mut parked = self.parked.lock();
        loop {
            let leader = self.leader.load(Ordering::Relaxed);
            // It may have been left since, or left to this thread.
            if leader == 0 && self.try_lead(me) || leader & !CROWD == word(me) {
                return Turn::Lead;
            }
            let marked = leader & CROWD != 0;
            if leader != 0 && (marked || self.change(leader, leader | CROWD).is_ok()) {
                break;
            }
        }
        if !parked.iter().any(|parker| Arc::ptr_eq(parker, me)) {
            parked.push(Arc::clone(me));
        }
        Turn::Follow
    }

    /// Takes the role if it is free.
    pub(super) fn try_lead(&self, me: &Arc<Parker>) -> bool {
        self.change(0, word(me)).is_ok()
    }

    /// Neither leads nor waits any more. A role held goes to the first parked thread.
    pub(super) fn leave(&self, me: &Arc<Parker>) {
        chaos::pause();
        match self.change(word(me), 0) {
            Ok(_) => return,
            // Somebody else leads, or nobody, and no thread waits: neither does this one.
            Err(leader) if leader & CROWD == 0 => return,
            Err(_) => {}
        }
        let mut parked = self.parked.lock();
        parked.retain(|parker| !Arc::ptr_eq(parker, me));
        let leader = self.leader.load(Ordering::Relaxed);
        if leader & CROWD == 0 {
            // The last of those who waited has left meanwhile.
            let _ = self.change(word(me), 0);
            return;
        }
        let next = (leader & !CROWD == word(me) && !parked.is_empty()).then(|| parked.remove(0));
        let leader = match &next {
            Some(next) => word(next),
            None if leader & !CROWD == word(me) => 0,
            None => leader & !CROWD,
        };
        let crowd = if parked.is_empty() { 0 } else { CROWD };
        self.leader.store(leader | crowd, Ordering::Release);
        // Waking may run code of the face: not under the lock.
        drop(parked);
        chaos::pause();
        if let Some(next) = next {
            next.unpark();
        }
    }

    pub(super) fn is_leader(&self, me: &Arc<Parker>) -> bool {
        self.leader.load(Ordering::Acquire) & !CROWD == word(me)
    }

    pub(super) fn is_taken(&self) -> bool {
        self.leader.load(Ordering::Acquire) != 0
    }

    /// Changes the word, if it is what is expected. If not, what it is.
    fn change(&self, from: usize, to: usize) -> Result<usize, usize> {
        self.leader
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
    }

    pub(super) fn observe(&self) -> Observer<'_> {
        self.observers.fetch_add(1, Ordering::AcqRel);
        Observer(&self.observers)
    }

    /// Wakes the parked threads if one of them may be an observer.
    pub(super) fn wake_observers(&self) {
        if self.observers.load(Ordering::Acquire) > 0 {
            self.wake_all();
        }
    }

    /// Wakes all parked threads: each looks at its condition again. The leader is awake, or about to
    /// be woken by whoever made it so.
    pub(super) fn wake_all(&self) {
        let all = self.parked.lock().clone();
        all.iter().for_each(|parker| parker.unpark());
    }
}
