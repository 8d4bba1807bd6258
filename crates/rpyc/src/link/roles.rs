//! Who reads.
//!
//! The role changes hands under one short lock. A thread is the leader from the moment it is made
//! so, even while it still sleeps; whatever wakes it, it either leads or leaves, so the role is
//! never lost.

use std::sync::Arc;

use super::chaos;
use super::parker::Parker;
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// The read role of a link.
#[derive(Debug, Default)]
pub(super) struct Roles {
    state: Mutex<State>,
    /// Threads that want to know of each handled message.
    observers: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    leader: Option<Arc<Parker>>,
    /// Threads that wait while another one leads, in order of arrival.
    parked: Vec<Arc<Parker>>,
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
        let mut state = self.state.lock();
        let listed = state
            .parked
            .iter()
            .position(|parker| Arc::ptr_eq(parker, me));
        match &state.leader {
            Some(leader) if !Arc::ptr_eq(leader, me) => {
                if listed.is_none() {
                    state.parked.push(Arc::clone(me));
                }
                return Turn::Follow;
            }
            Some(_) => {}
            None => state.leader = Some(Arc::clone(me)),
        }
        if let Some(place) = listed {
            state.parked.remove(place);
        }
        Turn::Lead
    }

    /// Takes the role if it is free.
    pub(super) fn try_lead(&self, me: &Arc<Parker>) -> bool {
        let mut state = self.state.lock();
        let free = state.leader.is_none();
        if free {
            state.leader = Some(Arc::clone(me));
        }
        free
    }

    /// Neither leads nor waits any more. A role held goes to the first parked thread.
    pub(super) fn leave(&self, me: &Arc<Parker>) {
        chaos::pause();
        let mut state = self.state.lock();
        state.parked.retain(|parker| !Arc::ptr_eq(parker, me));
        if state
            .leader
            .as_ref()
            .is_some_and(|leader| Arc::ptr_eq(leader, me))
        {
            state.leader = if state.parked.is_empty() {
                None
            } else {
                Some(state.parked.remove(0))
            };
            let next = state.leader.clone();
            // Waking may run code of the face: not under the lock.
            drop(state);
            chaos::pause();
            if let Some(next) = next {
                next.unpark();
            }
        }
    }

    pub(super) fn is_leader(&self, me: &Arc<Parker>) -> bool {
        self.state
            .lock()
            .leader
            .as_ref()
            .is_some_and(|leader| Arc::ptr_eq(leader, me))
    }

    pub(super) fn is_taken(&self) -> bool {
        self.state.lock().leader.is_some()
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

    /// Wakes all parked threads, and the leader: each looks at its condition again.
    pub(super) fn wake_all(&self) {
        let state = self.state.lock();
        let all: Vec<_> = state.parked.iter().chain(&state.leader).cloned().collect();
        drop(state);
        all.iter().for_each(|parker| parker.unpark());
    }
}
