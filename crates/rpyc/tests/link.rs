//! Calls over a link: answers, callbacks, threads that share it, and much to send.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Answer, Face, Handler, Wire, counter, echo, refuse};
use rpyc::link::EndCause;

on_every_transport!(
    a_call_is_answered_whatever_its_size,
    callbacks_run_nested_in_the_waiting_thread,
    threads_that_share_a_link_get_their_own_answers,
    two_sides_that_only_write_do_not_block_each_other,
    a_large_value_arrives_as_bulk,
    frames_pushed_without_a_flush_leave_with_the_next_wait,
    a_burst_of_answers_is_handled_up_to_a_request,
);

fn a_call_is_answered_whatever_its_size<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let server = Face::new(b, echo()).spawn_server();
    for size in [0, 1, 5, 3_000, 4_096, 65_536, 200_000] {
        let asked: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        let answer = client.call(0, &asked).unwrap();
        assert!(answer.bytes == asked, "{size} bytes differ");
    }
    client.link.finish(EndCause::Closed);
    assert!(matches!(
        server.join().unwrap().cause(),
        EndCause::PeerClosed
    ));
}

fn callbacks_run_nested_in_the_waiting_thread<T: Wire>(a: T, b: T) {
    // Each side asks the other back with a number less by one, and appends its own to the answer.
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&threads);
    let back_and_forth = move |side: u8| -> Handler<T> {
        let seen = Arc::clone(&seen);
        Arc::new(move |face, number, _| {
            let thread = format!("{side} {:?}", thread::current().id());
            seen.lock().unwrap().insert(thread);
            let mut answer = if number > 0 {
                face.call(number - 1, b"").unwrap().bytes
            } else {
                Vec::new()
            };
            answer.extend([side, u8::try_from(number).unwrap()]);
            answer
        })
    };
    let mut client = Face::new(a, back_and_forth(b'a'));
    let server = Face::new(b, back_and_forth(b'b')).spawn_server();
    let answer = client.call(6, b"").unwrap();
    assert_eq!(answer.bytes, *b"b\x00a\x01b\x02a\x03b\x04a\x05b\x06");
    let mine = format!("97 {:?}", thread::current().id());
    let threads = threads.lock().unwrap();
    assert!(threads.contains(&mine));
    assert_eq!(threads.len(), 2, "one thread of each side: {threads:?}");
    client.link.finish(EndCause::Closed);
    server.join().unwrap();
}

fn threads_that_share_a_link_get_their_own_answers<T: Wire>(a: T, b: T) {
    let client = Face::new(a, refuse());
    let server = Face::new(b, echo());
    let servers = [server.spawn_server(), server.spawn_server()];
    thread::scope(|scope| {
        for thread in 0..16u32 {
            let mut face = client.clone();
            scope.spawn(move || {
                for call in 0..60u32 {
                    let mut asked = [thread.to_be_bytes(), call.to_be_bytes()].concat();
                    asked.resize(8 + (thread * call) as usize % 900, 7);
                    assert_eq!(face.call(0, &asked).unwrap().bytes, asked);
                }
            });
        }
    });
    assert_eq!(client.link.session().lock().open().count(), 0);
    assert!(!client.link.is_being_read());
    client.link.finish(EndCause::Closed);
    for server in servers {
        server.join().unwrap();
    }
}

fn two_sides_that_only_write_do_not_block_each_other<T: Wire>(a: T, b: T) {
    const FRAMES: u32 = 3_000;
    let finished = counter();
    thread::scope(|scope| {
        for transport in [a, b] {
            let finished = Arc::clone(&finished);
            scope.spawn(move || {
                let mut face = Face::new(transport, echo());
                let pending: Vec<_> = (0..FRAMES)
                    .map(|i| {
                        let bytes = [i.to_be_bytes().as_slice(), &[7; 1020]].concat();
                        face.begin(0, &bytes).unwrap()
                    })
                    .collect();
                for (i, pending) in (0..FRAMES).zip(&pending) {
                    let answer = face.finish(pending, None).unwrap().unwrap();
                    assert_eq!(answer.bytes[..4], i.to_be_bytes());
                    assert_eq!(answer.bytes.len(), 1024);
                }
                finished.fetch_add(1, Ordering::AcqRel);
                // The other side may still wait for answers.
                while finished.load(Ordering::Acquire) < 2 {
                    if face.serve(common::after(20)).is_err() {
                        // It is done and gone since the look at the counter.
                        assert_eq!(finished.load(Ordering::Acquire), 2);
                    }
                }
            });
        }
    });
}

fn a_large_value_arrives_as_bulk<T: Wire>(a: T, b: T) {
    const SIZE: usize = 64 * 1024 * 1024;
    let summary: Handler<T> = Arc::new(|_, _, bytes| {
        let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        [bytes.len() as u64, sum].map(u64::to_be_bytes).concat()
    });
    let mut client = Face::new(a, refuse());
    let server = Face::new(b, summary).spawn_server();
    let large: Vec<u8> = (0..SIZE).map(|i| (i % 253) as u8).collect();
    let sum: u64 = large.iter().map(|byte| u64::from(*byte)).sum();
    let expected = [SIZE as u64, sum].map(u64::to_be_bytes).concat();
    assert_eq!(client.call(0, &large).unwrap().bytes, expected);
    client.link.finish(EndCause::Closed);
    server.join().unwrap();
}

fn a_burst_of_answers_is_handled_up_to_a_request<T: Wire>(a: T, b: T) {
    let asked = counter();
    let seen = Arc::clone(&asked);
    let mut client = Face::new(
        a,
        Arc::new(move |_, _, bytes| {
            seen.fetch_add(1, Ordering::SeqCst);
            bytes
        }),
    );
    client.bursts = true;
    let mut server = Face::new(b, echo());
    let calls = [0, 1, 2].map(|number| client.begin(number, b"call").unwrap());
    server.serve(None).unwrap();
    server.serve(None).unwrap();
    let back = server.begin(0, b"back").unwrap();
    server.serve(None).unwrap();

    client.finish(&calls[0], None).unwrap().unwrap();
    assert_eq!(
        [false, true, false],
        [0, 1, 2].map(|at| calls[at].is_answered())
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    client.finish(&calls[2], None).unwrap().unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    server.finish(&back, None).unwrap().unwrap();
}

fn frames_pushed_without_a_flush_leave_with_the_next_wait<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let server = Face::new(b, echo()).spawn_server();
    let pending: Vec<_> = (0..20u8).map(|i| client.push(0, &[i; 10])).collect();
    assert!(client.link.has_output());
    for (i, pending) in (0..20u8).zip(&pending) {
        let answer = client.finish(pending, None).unwrap().unwrap();
        assert_eq!(answer.bytes, [i; 10]);
    }
    assert!(!client.link.has_output());
    client.link.finish(EndCause::Closed);
    server.join().unwrap();
}

#[test]
fn bulk_is_told_from_contiguous_bytes() {
    common::within(|| {
        let (a, b) = common::pairs::socket_pair();
        let mut client = Face::new(a, refuse());
        let server = Face::new(b, echo()).spawn_server();
        // A frame that fits the window is received in one piece, whatever is in it.
        for (size, bulk) in [(40_000, false), (70_000, true), (5_000_000, true)] {
            let asked = vec![3; size];
            let answer = client.call(0, &asked).unwrap();
            assert!(answer == Answer { bytes: asked, bulk }, "{size} bytes");
        }
        client.link.finish(EndCause::Closed);
        server.join().unwrap();
    });
}
