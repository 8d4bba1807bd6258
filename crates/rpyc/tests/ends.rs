//! How links end: by either side, by rubbish, by deadlines of single calls.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use common::pairs::{half_raw, socket_pair};
use common::{Face, Handler, Stop, Wire, after, counter, echo, refuse, within};
use rpyc::link::EndCause;
use rpyc_proto::limits::Limits;
use rpyc_proto::message::MessageError;
use rpyc_proto::wire::FrameError;
use rpyc_proto::wire::zlib::InflateError;
use std::sync::atomic::Ordering;

on_every_transport!(
    the_end_of_the_stream_reaches_all_that_wait,
    closing_here_wakes_all_that_wait_here,
    what_arrived_before_the_end_is_handled,
    an_answer_is_read_though_sending_fails,
    a_link_that_ended_refuses_at_once,
    a_late_answer_is_an_orphan,
);

/// The peer answered and hung up. That something else can't be sent any more does not hide the answer.
fn an_answer_is_read_though_sending_fails<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let mut server = Face::new(b, echo());
    let pending = client.begin(0, b"answered").unwrap();
    assert!(server.serve(None).unwrap());
    server.link.finish(EndCause::Closed);
    drop(server);
    let unanswered = client.begin(0, b"too late").unwrap();
    let answer = client.finish(&pending, None).unwrap();
    assert_eq!(answer.unwrap().bytes, b"answered");
    assert!(is_gone(&client.finish(&unanswered, None).unwrap_err()));
}

/// Answers to even numbers come, then the stream ends.
fn the_end_of_the_stream_reaches_all_that_wait<T: Wire>(a: T, b: T) {
    const THREADS: i64 = 8;
    let client = Face::new(a, refuse());
    // The handler of the last request closes, once the answers before it were sent.
    let (asked, requests) = mpsc::channel();
    let asked = Mutex::new(asked);
    let note: Handler<T> = Arc::new(move |_, number, _| {
        asked.lock().unwrap().send(number).unwrap();
        number.to_be_bytes().to_vec()
    });
    let mut server = Face::new(b, note);
    let waiting = wait_in_threads(&client, 0..THREADS);
    for _ in 0..THREADS / 2 {
        assert!(server.serve(None).unwrap());
    }
    let answered: Vec<i64> = requests.try_iter().collect();
    assert_eq!(answered.len(), 4);
    server.link.finish(EndCause::Closed);
    drop(server);
    for (number, thread) in (0..).zip(waiting) {
        match thread.join().unwrap() {
            Ok(bytes) => {
                assert!(answered.contains(&number));
                assert_eq!(bytes, i64::to_be_bytes(number));
            }
            Err(stop) => {
                assert!(!answered.contains(&number), "{number} was answered");
                assert!(is_gone(&stop), "{stop:?}");
            }
        }
    }
    assert!(!client.link.is_being_read());
}

fn closing_here_wakes_all_that_wait_here<T: Wire>(a: T, b: T) {
    let client = Face::new(a, refuse());
    let arrived = counter();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let note = Arc::clone(&arrived);
    let never: Handler<T> = Arc::new(move |_, _, _| {
        note.fetch_add(1, Ordering::AcqRel);
        // Holds the answers back until the client is gone.
        let _ = released.lock().unwrap().recv();
        Vec::new()
    });
    let server = Face::new(b, never);
    let servers: Vec<_> = (0..4).map(|_| server.spawn_server()).collect();
    let waiting = wait_in_threads(&client, 0..4);
    common::until(|| arrived.load(Ordering::Acquire) == 4 && client.link.is_being_read());
    client.link.finish(EndCause::Face("had enough".into()));
    for thread in waiting {
        let stop = thread.join().unwrap().unwrap_err();
        assert!(matches!(stop.cause(), EndCause::Face(why) if why == "had enough"));
    }
    assert_eq!(client.link.end().unwrap().to_string(), "had enough");
    assert!(!client.link.is_being_read());
    drop(release);
    for server in servers {
        assert!(is_gone(&server.join().unwrap()));
    }
}

fn what_arrived_before_the_end_is_handled<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let mut server = Face::new(b, echo());
    let pending: Vec<_> = (0..5u8).map(|i| client.begin(0, &[i]).unwrap()).collect();
    for _ in &pending {
        assert!(server.serve(None).unwrap());
    }
    server.link.finish(EndCause::Closed);
    drop(server);
    for (i, pending) in (0..).zip(&pending) {
        assert_eq!(client.finish(pending, None).unwrap().unwrap().bytes, [i]);
    }
    let stop = client.serve(None).unwrap_err();
    assert!(matches!(stop.cause(), EndCause::PeerClosed));
}

fn a_link_that_ended_refuses_at_once<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    client.link.finish(EndCause::Closed);
    // The first end is the one that counts.
    client.link.finish(EndCause::Face("too late".into()));
    for _ in 0..2 {
        let stop = client.call(0, b"anyone?").unwrap_err();
        assert!(matches!(stop.cause(), EndCause::Closed));
        let stop = client.serve(None).unwrap_err();
        assert!(matches!(stop.cause(), EndCause::Closed));
    }
    let mut server = Face::new(b, refuse());
    assert!(is_gone(&server.serve(None).unwrap_err()));
    assert!(is_gone(&server.call(0, b"anyone?").unwrap_err()));
}

fn a_late_answer_is_an_orphan<T: Wire>(a: T, b: T) {
    let mut client = Face::new(a, refuse());
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let slow: Handler<T> = Arc::new(move |_, number, bytes| {
        if number == 1 {
            released.lock().unwrap().recv().unwrap();
        }
        bytes
    });
    let server = Face::new(b, slow).spawn_server();
    assert!(client.call_until(1, b"slow", after(50)).unwrap().is_none());
    assert!(!client.link.is_being_read());
    release.send(()).unwrap();
    assert_eq!(client.call(0, b"next").unwrap().bytes, b"next");
    assert_eq!(client.orphans, 1);
    client.link.finish(EndCause::Closed);
    server.join().unwrap();
}

#[test]
fn rubbish_ends_the_link_for_all_that_wait() {
    let small = Limits {
        frame: 1000,
        inflated: 5000,
        ..Limits::default()
    };
    let bomb = zlib_of_zeros();
    // An answer that nothing waits for stands before the rubbish and is passed over.
    let orphan = frame(0, b"\x02\x11\x16\x03\x39\x39\x39\x0axx");
    for (rubbish, expected) in [
        (
            frame(0, b"\x09\x11\x50\x51"),
            Fault::Message(MessageError::Kind(9)),
        ),
        (frame(0, b"\x02\xff"), Fault::Undecodable),
        (frame(0, b"\x01"), Fault::Undecodable),
        (
            frame(1, b"garbage"),
            Fault::Frame(FrameError::Inflate(InflateError::Corrupt)),
        ),
        (
            frame(1, &bomb),
            Fault::Frame(FrameError::Inflate(InflateError::TooLarge { limit: 5000 })),
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Fault::Frame(FrameError::TooLong {
                length: 0x4745_5420,
                limit: 1000,
            }),
        ),
    ] {
        let orphan = orphan.clone();
        within(move || {
            let (transport, mut peer) = half_raw();
            let client = Face::with_limits(transport, refuse(), small);
            let waiting = wait_in_threads(&client, 0..3);
            read_frames(&mut peer, 3);
            peer.write_all(&[orphan, rubbish].concat()).unwrap();
            for thread in waiting {
                let stop = thread.join().unwrap().unwrap_err();
                expected.assert_is(stop.cause());
            }
            // The transport was shut down: the peer sees the end, and does not wait for it.
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        });
    }
}

#[test]
fn a_cut_frame_before_the_end_is_no_message() {
    within(|| {
        let (transport, mut peer) = half_raw();
        let mut client = Face::new(transport, refuse());
        let whole = frame(0, b"\x02\x11\x50\x0e\x05hello");
        peer.write_all(&whole[..whole.len() - 1]).unwrap();
        drop(peer);
        let stop = client.serve(None).unwrap_err();
        assert!(matches!(stop.cause(), EndCause::Cut));
    });
}

#[test]
fn a_reset_is_an_end_with_its_reason() {
    within(|| {
        let (transport, peer) = half_raw();
        let mut client = Face::new(transport, refuse());
        // Unread bytes at its close make a Unix socket report a reset.
        client.begin(0, b"never read").unwrap();
        drop(peer);
        let stop = client.serve(None).unwrap_err();
        assert!(is_gone(&stop), "{stop:?}");
        assert!(!client.link.end().unwrap().to_string().is_empty());
    });
}

#[test]
fn open_requests_can_be_drained_after_the_end() {
    within(|| {
        let (a, b) = socket_pair();
        let mut client = Face::new(a, refuse());
        client.begin(0, b"one").unwrap();
        client.begin(0, b"two").unwrap();
        drop(Face::new(b, refuse()));
        assert!(is_gone(&client.serve(None).unwrap_err()));
        assert_eq!(client.link.session().lock().drain().count(), 2);
    });
}

/// What rubbish is found to be.
enum Fault {
    Frame(FrameError),
    Message(MessageError),
    Undecodable,
}

impl Fault {
    fn assert_is(&self, cause: &EndCause) {
        match (self, cause) {
            (Self::Frame(expected), EndCause::Frame(found)) => assert_eq!(found, expected),
            (Self::Message(expected), EndCause::Message(found)) => assert_eq!(found, expected),
            (Self::Undecodable, EndCause::Message(MessageError::Decode(_))) => {}
            _ => panic!("{cause:?}"),
        }
    }
}

/// Calls each number in a thread of its own.
fn wait_in_threads<T: Wire>(
    client: &Face<T>,
    numbers: std::ops::Range<i64>,
) -> Vec<JoinHandle<Result<Vec<u8>, Stop>>> {
    let count = numbers.end;
    let threads = numbers
        .map(|number| {
            let mut face = client.clone();
            thread::spawn(move || face.call(number, b"").map(|answer| answer.bytes))
        })
        .collect();
    common::until(|| client.link.session().lock().open().count() as i64 == count);
    threads
}

/// Whether the peer's going away ended it, in whichever way the transport tells.
fn is_gone(stop: &Stop) -> bool {
    matches!(stop.cause(), EndCause::PeerClosed | EndCause::Io(..))
}

fn frame(flag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], &[flag], body, b"\n"].concat()
}

fn read_frames(peer: &mut UnixStream, count: usize) {
    for _ in 0..count {
        let mut header = [0; 5];
        peer.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes(header[..4].try_into().unwrap());
        let mut rest = vec![0; length as usize + 1];
        peer.read_exact(&mut rest).unwrap();
    }
}

fn zlib_of_zeros() -> Vec<u8> {
    let zeros = [0; 20_000];
    rpyc_proto::wire::zlib::deflate(std::iter::once(&zeros[..]), zeros.len(), 0).unwrap()
}
