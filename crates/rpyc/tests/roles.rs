//! Who reads: the role changes hands, and is never lost.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::pairs::socket_pair;
use common::{Face, Handler, Stop, Wire, after, counter, echo, refuse};
use rpyc::link::EndCause;

on_every_transport!(
    a_leader_whose_time_is_over_hands_the_role_on,
    a_request_that_runs_does_not_keep_others_from_reading,
    an_observer_learns_what_another_thread_handled,
    serving_nothing_takes_no_longer_than_allowed,
    an_interrupted_leader_hands_the_role_on,
    no_answer_is_lost_among_threads_that_come_and_go,
    an_answer_handled_just_before_the_role_is_taken_is_noticed,
    a_panic_in_a_request_leaves_the_link_usable,
);

fn a_leader_whose_time_is_over_hands_the_role_on<T: Wire>(a: T, b: T) {
    let mut leader = Face::new(a, refuse());
    let mut follower = leader.clone();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let held_back: Handler<T> = Arc::new(move |_, _, bytes| {
        released.lock().unwrap().recv().unwrap();
        bytes
    });
    let server = Face::new(b, held_back).spawn_server();
    let link = Arc::clone(&leader.link);
    let leading = thread::spawn(move || leader.serve(after(400)));
    common::until(|| link.is_being_read());
    let following = thread::spawn(move || {
        let answer = follower.call(0, b"mine").map(|answer| answer.bytes);
        (answer, follower.link.is_leading())
    });
    assert!(!leading.join().unwrap().unwrap(), "nothing came in time");
    // From here on only the follower can read.
    release.send(()).unwrap();
    let (answer, still_leading) = following.join().unwrap();
    assert_eq!(answer.unwrap(), b"mine");
    assert!(!still_leading);
    link.finish(EndCause::Closed);
    server.join().unwrap();
}

/// Two threads wait; the request that one of them runs blocks. The other one takes over.
fn a_request_that_runs_does_not_keep_others_from_reading<T: Wire>(a: T, b: T) {
    const CALL_BACK: i64 = 1;
    let running = counter();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let note = Arc::clone(&running);
    let blocks: Handler<T> = Arc::new(move |face, _, bytes| {
        assert!(!face.link.is_leading(), "the role was passed on before");
        note.fetch_add(1, Ordering::AcqRel);
        released.lock().unwrap().recv().unwrap();
        bytes
    });
    let client = Face::new(a, blocks);
    let calls_back: Handler<T> = Arc::new(|face, number, bytes| {
        if number == CALL_BACK {
            face.call(0, &bytes).unwrap().bytes
        } else {
            bytes
        }
    });
    let server = Face::new(b, calls_back);
    let servers = [server.spawn_server(), server.spawn_server()];
    let mut first = client.clone();
    let blocked = thread::spawn(move || first.call(CALL_BACK, b"back").map(|answer| answer.bytes));
    common::until(|| running.load(Ordering::Acquire) == 1);
    let mut second = client.clone();
    for _ in 0..50 {
        assert_eq!(second.call(0, b"through").unwrap().bytes, b"through");
    }
    release.send(()).unwrap();
    assert_eq!(blocked.join().unwrap().unwrap(), b"back");
    client.link.finish(EndCause::Closed);
    for server in servers {
        server.join().unwrap();
    }
}

fn an_observer_learns_what_another_thread_handled<T: Wire>(a: T, b: T) {
    let client = Face::new(a, refuse());
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let held_back: Handler<T> = Arc::new(move |_, number, bytes| {
        if number == 1 {
            released.lock().unwrap().recv().unwrap();
        }
        bytes
    });
    let server = Face::new(b, held_back);
    let servers = [server.spawn_server(), server.spawn_server()];
    let mut leader = client.clone();
    let leading = thread::spawn(move || {
        let answer = leader.call(1, b"late").map(|answer| answer.bytes);
        (answer, leader.orphans)
    });
    common::until(|| client.link.is_being_read());
    let mut observer = client.clone();
    let observing = thread::spawn(move || (observer.serve(after(20_000)), observer.orphans));
    // Answers that nothing waits for, until the observer has learnt of one.
    let mut other = client.clone();
    while !observing.is_finished() {
        other.forget(0, b"whatever").unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    let (observed, handled_itself) = observing.join().unwrap();
    assert!(observed.unwrap());
    assert_eq!(handled_itself, 0, "the leader reads");
    release.send(()).unwrap();
    let (answer, orphans) = leading.join().unwrap();
    assert_eq!(answer.unwrap(), b"late");
    assert!(orphans > 0);
    client.link.finish(EndCause::Closed);
    for server in servers {
        server.join().unwrap();
    }
}

fn serving_nothing_takes_no_longer_than_allowed<T: Wire>(a: T, b: T) {
    let mut face = Face::new(a, echo());
    let mut peer = Face::new(b, refuse());
    for milliseconds in [0, 1, 30, 120] {
        assert!(!face.serve(after(milliseconds)).unwrap());
    }
    // Something that is there already is handled by a look without waiting.
    let pending = peer.begin(0, b"here").unwrap();
    common::until(|| face.clone().serve(after(0)).unwrap());
    assert_eq!(peer.finish(&pending, None).unwrap().unwrap().bytes, b"here");
    assert!(!face.serve(after(0)).unwrap());
}

fn an_interrupted_leader_hands_the_role_on<T: Wire>(a: T, b: T) {
    let mut leader = Face::new(a, refuse());
    let follower = Face {
        slice: None,
        interrupted: Arc::default(),
        ..leader.clone()
    };
    leader.slice = Some(Duration::from_millis(20));
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let held_back: Handler<T> = Arc::new(move |_, _, bytes| {
        released.lock().unwrap().recv().unwrap();
        bytes
    });
    let server = Face::new(b, held_back).spawn_server();
    let link = Arc::clone(&leader.link);
    let interrupt = Arc::clone(&leader.interrupted);
    let leading = thread::spawn(move || leader.serve(None));
    common::until(|| link.is_being_read());
    let mut following = follower.clone();
    let following = thread::spawn(move || following.call(0, b"mine").map(|answer| answer.bytes));
    interrupt.store(true, Ordering::Release);
    let stop = leading.join().unwrap().unwrap_err();
    assert!(matches!(stop, Stop::Interrupted));
    release.send(()).unwrap();
    assert_eq!(following.join().unwrap().unwrap(), b"mine");
    link.finish(EndCause::Closed);
    server.join().unwrap();
}

/// Waits end at any moment: by an answer, by a deadline, as leader, as follower, while being woken.
fn no_answer_is_lost_among_threads_that_come_and_go<T: Wire>(a: T, b: T) {
    const THREADS: u64 = 6;
    const CALLS: u64 = 150;
    let client = Face::new(a, refuse());
    let server = Face::new(b, echo());
    let servers = [server.spawn_server(), server.spawn_server()];
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut face = client.clone();
            scope.spawn(move || {
                for call in 0..CALLS {
                    let asked = (thread * CALLS + call).to_be_bytes();
                    let pending = face.begin(0, &asked).unwrap();
                    // Short waits first, so that the role changes hands all the time.
                    let answer = (0..call % 4)
                        .find_map(|wait| face.finish(&pending, after(wait)).unwrap())
                        .or_else(|| face.finish(&pending, None).unwrap());
                    assert_eq!(answer.unwrap().bytes, asked);
                }
            });
        }
    });
    assert!(!client.link.is_being_read());
    assert_eq!(client.link.session().lock().open().count(), 0);
    client.link.finish(EndCause::Closed);
    for server in servers {
        server.join().unwrap();
    }
}

/// The thread has looked for its answer and found none. Before it takes the role, another thread
/// reads that answer and goes away.
fn an_answer_handled_just_before_the_role_is_taken_is_noticed<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let server = Face::new(b, echo()).spawn_server();
    let mut other = client.clone();
    let pending = client.begin(0, b"mine").unwrap();
    let mut looks = 0;
    let mut done = |_: &mut Face<T>| {
        let answered = pending.is_answered();
        looks += 1;
        if looks == 1 {
            // In a thread of its own, so that it is another reader. It finds nothing to do if the
            // role is held during this look.
            let result =
                thread::scope(|scope| scope.spawn(|| other.serve(after(300))).join().unwrap());
            result.unwrap();
        }
        answered
    };
    let link = Arc::clone(&client.link);
    assert!(link.wait(&mut client, &mut done, None).unwrap());
    assert_eq!(
        client.finish(&pending, None).unwrap().unwrap().bytes,
        b"mine"
    );
    link.finish(EndCause::Closed);
    server.join().unwrap();
}

fn a_panic_in_a_request_leaves_the_link_usable<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let panics: Handler<T> = Arc::new(|_, number, bytes| {
        // Unwinds like a panic, without the message in the test's output.
        if number == 1 {
            std::panic::resume_unwind(Box::new("a test's panic"));
        }
        bytes
    });
    let server = Face::new(b, panics);
    let first = server.spawn_server();
    assert!(client.begin(1, b"panics").is_ok());
    assert!(first.join().is_err());
    assert!(!server.link.is_being_read());
    let second = server.spawn_server();
    assert_eq!(client.call(0, b"fine").unwrap().bytes, b"fine");
    client.link.finish(EndCause::Closed);
    second.join().unwrap();
}

/// A server with several threads runs requests side by side, each in the thread that read it.
#[test]
fn several_serving_threads_share_the_work() {
    common::within(|| {
        const THREADS: usize = 4;
        let (a, b) = socket_pair();
        let client = Face::new(a, refuse());
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let running = counter();
        let note = Arc::clone(&seen);
        let all_at_once: Handler<_> = Arc::new(move |_, _, bytes| {
            note.lock()
                .unwrap()
                .insert(format!("{:?}", thread::current().id()));
            running.fetch_add(1, Ordering::AcqRel);
            // Goes on only when every thread runs a request.
            common::until(|| running.load(Ordering::Acquire) == THREADS);
            bytes
        });
        let server = Face::new(b, all_at_once);
        let servers: Vec<_> = (0..THREADS).map(|_| server.spawn_server()).collect();
        thread::scope(|scope| {
            for i in 0..THREADS {
                let mut face = client.clone();
                scope.spawn(move || {
                    let asked = i.to_be_bytes();
                    assert_eq!(face.call(0, &asked).unwrap().bytes, asked);
                });
            }
        });
        assert_eq!(seen.lock().unwrap().len(), THREADS);
        client.link.finish(EndCause::Closed);
        for server in servers {
            server.join().unwrap();
        }
    });
}
