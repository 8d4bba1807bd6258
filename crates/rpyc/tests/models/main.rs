//! Models of the link: loom tries the orders in which its threads can go on.
//!
//! Here time only passes where a model says so. A thread that nobody wakes therefore sleeps for
//! ever, which loom reports as a deadlock, even if in real life a timeout would wake it: what these
//! models show is that nobody ever has to wait for a timeout.
//!
//! `make loom` tries more orders than `make test`; `LOOM_MAX_PREEMPTIONS` says how often a thread
//! may be interrupted at most where it need not wait.

#![cfg(loom)]

mod face;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use face::{Face, Stop};
use loom::model::Builder;
use loom::thread;
use rpyc::link::{EndCause, Parker};
use rpyc::sync::{AtomicBool, Instant, Ordering};
use wire::{Wire, ask};

/// Tries all orders with up to this many preemptions, if the environment does not say otherwise.
const PREEMPTIONS: usize = 2;
/// Steps of one order. More would be an endless loop.
const STEPS: usize = 50_000;

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.max_branches = STEPS;
    builder.check(test);
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(1))
}

/// Lets all time pass, and wakes who sleeps until then.
fn expire(face: &Face, sleepers: &[Arc<Parker>]) {
    Instant::run_out();
    face.link.transport().tick();
    sleepers.iter().for_each(|parker| parker.tick());
}

#[test]
fn two_callers_get_their_own_answers() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let mut second = first.clone();
        let other = thread::spawn(move || second.call(ask::ECHO).unwrap());
        first.call(ask::ECHO).unwrap();
        other.join().unwrap();
        first.assert_idle();
    });
}

#[test]
fn three_callers_get_their_own_answers() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let others = [(); 2].map(|()| {
            let mut face = first.clone();
            thread::spawn(move || face.call(ask::ECHO).unwrap())
        });
        first.call(ask::ECHO).unwrap();
        for other in others {
            other.join().unwrap();
        }
        first.assert_idle();
    });
}

/// The one who waits longer is answered by what the other one asks: whoever reads, both go on.
#[test]
fn the_later_answer_finds_its_caller() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let mut second = first.clone();
        let other = thread::spawn(move || second.call(ask::HOLD).unwrap());
        // Until the other one's request is there, or this would be answered before.
        while first.link.transport().taken() == 0 {
            thread::yield_now();
        }
        first.call(ask::ECHO).unwrap();
        other.join().unwrap();
        first.assert_idle();
    });
}

/// Requests of the peer are performed by whichever caller reads them, which calls in turn.
#[test]
fn callbacks_that_call_are_answered() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let mut second = first.clone();
        let other = thread::spawn(move || {
            second.call(ask::ECHO).unwrap();
            second.performed
        });
        first.call(ask::CALL_BACK_DEEP).unwrap();
        assert_eq!(first.performed + other.join().unwrap(), 1);
        first.assert_idle();
    });
}

#[test]
fn two_callers_with_callbacks() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let mut second = first.clone();
        let other = thread::spawn(move || {
            second.call(ask::CALL_BACK).unwrap();
            second.performed
        });
        first.call(ask::CALL_BACK).unwrap();
        assert_eq!(first.performed + other.join().unwrap(), 2);
        first.assert_idle();
    });
}

/// The thread that reads the answer goes on reading: nothing but the answer wakes who waits for it.
#[test]
fn an_answer_wakes_its_caller_though_the_reader_goes_on() {
    model(|| {
        let mut caller = Face::new(Wire::new());
        let mut reader = caller.clone();
        let other = thread::spawn(move || reader.call(ask::IGNORE));
        caller.call(ask::ECHO).unwrap();
        caller.link.transport().hang_up();
        other.join().unwrap().unwrap_err();
        assert!(!caller.link.is_being_read());
    });
}

/// The same for a thread that serves: it learns what the reader has handled.
#[test]
fn a_message_wakes_who_serves_though_the_reader_goes_on() {
    model(|| {
        let face = Face::new(Wire::new());
        let mut reader = face.clone();
        let reading = thread::spawn(move || reader.call(ask::IGNORE));
        let mut serving = face.clone();
        let looked = Arc::new(AtomicBool::new(false));
        serving.looked = Some(Arc::clone(&looked));
        let other = thread::spawn(move || assert!(serving.serve(None).unwrap()));
        while !looked.load(Ordering::Acquire) {
            thread::yield_now();
        }
        face.forget(ask::ECHO);
        other.join().unwrap();
        face.link.transport().hang_up();
        reading.join().unwrap().unwrap_err();
    });
}

/// One gives up, as leader or as follower, at any moment; the other one is not left without a reader.
#[test]
fn a_wait_that_times_out_hands_the_role_on() {
    model(|| {
        let mut patient = Face::new(Wire::new());
        let mut hasty = patient.clone();
        let clock = patient.clone();
        let (tell, told) = loom::sync::mpsc::channel();
        let giving_up = thread::spawn(move || {
            tell.send(Parker::current()).unwrap();
            assert!(!hasty.call_until(ask::IGNORE, soon()).unwrap());
        });
        let passing = thread::spawn(move || expire(&clock, &[told.recv().unwrap()]));
        patient.call(ask::ECHO).unwrap();
        giving_up.join().unwrap();
        passing.join().unwrap();
        patient.assert_idle();
    });
}

/// The time is over just when the answer comes: it is either taken, or an orphan for the other one.
#[test]
fn an_answer_may_come_when_the_time_is_over() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let clock = first.clone();
        let me = Parker::current();
        let passing = thread::spawn(move || expire(&clock, &[me]));
        let answered = first.call_until(ask::ECHO, soon()).unwrap();
        passing.join().unwrap();
        if !answered {
            first.call(ask::ECHO).unwrap();
            assert_eq!(first.orphans, 1);
        }
        first.assert_idle();
    });
}

#[test]
fn an_interrupted_wait_hands_the_role_on() {
    model(|| {
        let mut patient = Face::new(Wire::new());
        let mut interrupted = patient.clone();
        interrupted.interrupted = true;
        let other = thread::spawn(move || match interrupted.call(ask::ECHO) {
            // Interrupted after its wait; or the answer was there without any.
            Err(Stop::Interrupted) | Ok(()) => interrupted.orphans,
            Err(stop) => panic!("{stop:?}"),
        });
        patient.call(ask::ECHO).unwrap();
        other.join().unwrap();
        // The last answer may have come when nobody waited for it any more.
        assert!(!patient.link.is_being_read());
        assert!(!patient.link.has_output());
    });
}

#[test]
fn a_close_wakes_everybody() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let mut second = first.clone();
        let other = thread::spawn(move || second.call(ask::IGNORE));
        let closing = first.clone();
        let closer = thread::spawn(move || closing.link.finish(EndCause::Closed));
        let stop = first.call(ask::IGNORE).unwrap_err();
        assert!(matches!(stop, Stop::Ended(EndCause::Closed)), "{stop:?}");
        let stop = other.join().unwrap().unwrap_err();
        assert!(matches!(stop, Stop::Ended(EndCause::Closed)), "{stop:?}");
        closer.join().unwrap();
        assert!(!first.link.is_being_read());
    });
}

/// What came before the end is handled; then everybody sees the end. A call that was answered does
/// not fail because another thread met the end meanwhile.
#[test]
fn the_peer_answers_and_hangs_up() {
    the_peer_hangs_up_after(0);
}

/// The same, with an answer of ours still to be sent.
#[test]
fn the_peer_asks_answers_and_hangs_up() {
    the_peer_hangs_up_after(1);
}

fn the_peer_hangs_up_after(requests: usize) {
    model(move || {
        let mut first = Face::new(Wire::new());
        (0..requests).for_each(|_| first.link.transport().ask(ask::ECHO));
        let mut second = first.clone();
        let other = thread::spawn(move || second.call(ask::IGNORE));
        // Its request leaves before: the peer takes nothing after the last one.
        while first.link.transport().taken() == 0 {
            thread::yield_now();
        }
        first.call(ask::LAST).unwrap();
        // The end as met by reading, or by sending.
        let stop = other.join().unwrap().unwrap_err();
        assert!(
            matches!(stop, Stop::Ended(EndCause::PeerClosed | EndCause::Io(..))),
            "{stop:?}"
        );
        assert!(!first.link.is_being_read());
    });
}

#[test]
fn the_peer_hangs_up_at_any_moment() {
    model(|| {
        let mut first = Face::new(Wire::new());
        let mut second = first.clone();
        let other = thread::spawn(move || second.call(ask::IGNORE));
        let wire = first.clone();
        let peer = thread::spawn(move || wire.link.transport().hang_up());
        first.call(ask::IGNORE).unwrap_err();
        other.join().unwrap().unwrap_err();
        peer.join().unwrap();
        assert!(!first.link.is_being_read());
    });
}

/// One thread waits for a call, another one serves: it learns of whatever either handles.
#[test]
fn a_serving_thread_learns_of_each_message() {
    model(|| {
        let mut caller = Face::new(Wire::new());
        let mut serving = caller.clone();
        let other = thread::spawn(move || {
            assert!(serving.serve(None).unwrap());
            serving.performed
        });
        caller.call(ask::CALL_BACK).unwrap();
        // The one who serves may have come late, and missed it all.
        caller.link.transport().ask(ask::ECHO);
        let performed = other.join().unwrap();
        assert!(performed <= 2);
        assert!(!caller.link.is_being_read());
    });
}

/// A dying proxy leaves its release to whoever is sending, and never waits.
#[test]
fn no_release_is_left_behind() {
    model(|| {
        let mut caller = Face::new(Wire::new());
        let releasing = caller.clone();
        let other = thread::spawn(move || {
            releasing.forget(ask::IGNORE);
            releasing.forget(ask::IGNORE);
        });
        caller.call(ask::ECHO).unwrap();
        other.join().unwrap();
        caller.assert_idle();
        assert_eq!(caller.link.transport().taken(), 3);
    });
}

/// The peer takes one frame at a time, when it likes. Whoever sends, everything leaves.
#[test]
fn a_slow_peer_gets_everything() {
    model(|| {
        let mut first = Face::new(Wire::with_room(1, false));
        let mut second = first.clone();
        let wire = first.clone();
        let peer = thread::spawn(move || wire.link.transport().make_room(1));
        let other = thread::spawn(move || second.call(ask::ECHO).unwrap());
        first.call(ask::ECHO).unwrap();
        other.join().unwrap();
        peer.join().unwrap();
        first.assert_idle();
    });
}

/// A dying proxy begins to send, and gives up when the peer takes no more for now. Who relied on it,
/// parked or reading, goes on in its place.
#[test]
fn a_sender_that_gives_up_is_replaced() {
    a_sender_gives_up_beside(1);
}

/// Nobody else is there than the one who reads, and can't be woken: it looks again in a moment.
#[test]
fn a_sender_that_gives_up_is_replaced_by_the_reader() {
    a_sender_gives_up_beside(0);
}

fn a_sender_gives_up_beside(count: usize) {
    model(move || {
        let mut caller = Face::new(Wire::with_room(0, false));
        let releasing = caller.clone();
        let others: Vec<_> = (0..count)
            .map(|_| {
                let mut other = caller.clone();
                thread::spawn(move || other.call(ask::ECHO).unwrap())
            })
            .collect();
        let wire = caller.clone();
        let releasing = thread::spawn(move || releasing.forget(ask::IGNORE));
        let me = Parker::current();
        let peer = thread::spawn(move || {
            wire.link.transport().make_room(3);
            if count == 0 {
                expire(&wire, &[me]);
            }
        });
        caller.call(ask::ECHO).unwrap();
        releasing.join().unwrap();
        for other in others {
            other.join().unwrap();
        }
        peer.join().unwrap();
        caller.assert_idle();
    });
}

/// The peer takes a frame only when one of its own is taken: who can't send must read.
#[test]
fn both_sides_write() {
    model(|| {
        let mut face = Face::new(Wire::with_room(1, true));
        // Three from the peer are on their way, each of which is answered.
        (0..3).for_each(|_| face.link.transport().ask(ask::ECHO));
        face.call(ask::ECHO).unwrap();
        face.assert_idle();
        assert_eq!(face.performed, 3);
    });
}
