//! Waits that a slow, silent or hostile peer would like to prolong, and frames that must not be
//! left behind.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::pairs::{half_raw, memory, socket_pair};
use common::{Face, Handler, LIMIT, Wire, after, echo, refuse, within};
use rpyc::link::{EndCause, Inbox};
use rpyc_proto::limits::Limits;
use rpyc_proto::wire::Payload;

/// Far longer than the deadlines below, far shorter than the watchdog's patience.
const ENOUGH: Duration = Duration::from_secs(10);
/// Several times what the transports and the outbox hold.
const LARGE: usize = 16 * 1024 * 1024;

/// A peer that sends one message after the other, faster than they are handled.
#[test]
fn a_deadline_holds_while_messages_keep_coming() {
    within(|| {
        let (transport, mut peer) = half_raw();
        let mut client = Face::new(transport, refuse());
        client.pace = Duration::from_millis(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let flood = thread::spawn(move || {
            // Answers that nothing waits for, so many that there are always more.
            let answer = [b"\x02\x11\x16\x03999\x0e\xc8", &[7; 200][..]].concat();
            let burst = frame(&answer).repeat(1000);
            while !stopped.load(Ordering::Acquire) {
                if peer.write_all(&burst).is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let (done, finished) = mpsc::channel();
        let link = Arc::clone(&client.link);
        let waiting = thread::spawn(move || {
            let pending = client.begin(0, b"never answered").unwrap();
            let answer = client
                .finish(&pending, after(200))
                .map(|answer| answer.is_some());
            // The test has given up if nobody listens.
            let _ = done.send(());
            answer
        });
        let in_time = finished.recv_timeout(ENOUGH).is_ok();
        stop.store(true, Ordering::Release);
        link.finish(EndCause::Closed);
        flood.join().unwrap();
        let answer = waiting.join().unwrap();
        assert!(in_time, "still waiting after {:?}", start.elapsed());
        assert!(!answer.unwrap());
    });
}

/// A peer that sends one byte of a frame after the other, so that each wait for bytes succeeds.
#[test]
fn a_deadline_holds_while_a_frame_trickles_in() {
    within(|| {
        assert_leaves_a_trickle(|mut client| {
            let pending = client.begin(0, b"never answered").unwrap();
            let answer = client.finish(&pending, after(200)).unwrap();
            assert!(answer.is_none());
        });
    });
}

/// The same peer must not keep Ctrl-C from being noticed.
#[test]
fn an_interruption_is_noticed_while_a_frame_trickles_in() {
    within(|| {
        assert_leaves_a_trickle(|mut client| {
            client.slice = Some(Duration::from_millis(100));
            client.interrupted.store(true, Ordering::Release);
            assert!(client.serve(None).is_err());
        });
    });
}

/// The peer closes its sending side and reads nothing: what is sent reaches nobody.
#[test]
fn a_flush_to_a_peer_that_hung_up_ends() {
    within(|| {
        let (transport, peer) = half_raw();
        let mut client = Face::new(transport, refuse());
        peer.shutdown(Shutdown::Write).unwrap();
        let (done, finished) = mpsc::channel();
        let link = Arc::clone(&client.link);
        let sending = thread::spawn(move || {
            let sent = client.begin(0, &vec![1; LARGE]).is_ok();
            let _ = done.send(sent);
        });
        let in_time = finished.recv_timeout(ENOUGH).is_ok();
        link.finish(EndCause::Closed);
        sending.join().unwrap();
        assert!(in_time, "still sending to a peer that hung up");
        drop(peer);
    });
}

#[test]
fn a_flush_to_a_peer_that_reads_nothing_ends_at_its_deadline() {
    within(|| {
        let (a, _b) = socket_pair();
        let mut client = Face::new(a, refuse());
        let pending = client.push(0, &vec![1; LARGE]);
        let link = Arc::clone(&client.link);
        assert!(link.flush(&mut client, after(100)).is_ok());
        assert!(client.finish(&pending, after(100)).unwrap().is_none());
        assert!(client.link.has_output(), "the rest is kept for later");
    });
}

/// A large frame is left half sent by a thread whose time is over. Another thread's frame stands
/// behind it, while a third one leads and reads.
#[test]
fn what_a_sender_left_behind_is_sent_by_those_who_wait() {
    within(|| {
        let (a, b) = memory();
        let (reading, may_read) = mpsc::channel();
        let client = Face::new(a, refuse());
        // Leads all the time, in one wait without a deadline.
        let leader = client.spawn_server();
        common::until(|| client.link.is_being_read());
        let mut impatient = client.clone();
        let first = impatient.push(0, &vec![1; LARGE]);
        let mut patient = client.clone();
        let (started, sending) = mpsc::channel();
        let giving_up = thread::spawn(move || {
            started.send(()).unwrap();
            let link = Arc::clone(&impatient.link);
            assert!(link.flush(&mut impatient, after(300)).is_ok());
            link.session().lock().cancel(first.seq);
        });
        sending.recv().unwrap();
        common::until(|| !client.link.has_output());
        let waiting = thread::spawn(move || patient.call(0, b"behind").map(|a| a.bytes));
        common::until(|| client.link.session().lock().open().count() == 2);
        giving_up.join().unwrap();
        let server = Face::new(b, echo());
        let served = thread::spawn(move || {
            may_read.recv().unwrap();
            server.spawn_server().join().unwrap()
        });
        reading.send(()).unwrap();
        let start = Instant::now();
        while !waiting.is_finished() && start.elapsed() < ENOUGH {
            thread::sleep(Duration::from_millis(5));
        }
        let in_time = waiting.is_finished();
        client.link.finish(EndCause::Closed);
        let answer = waiting.join().unwrap();
        leader.join().unwrap();
        served.join().unwrap();
        assert!(in_time, "the frame never left");
        assert_eq!(answer.unwrap(), b"behind");
    });
}

/// While a write is blocked, what arrives is kept in memory, up to the limit.
#[test]
fn the_backlog_is_bounded_for_small_frames() {
    within(|| assert_bounded_backlog(1000));
}

/// The same for values that are held apart from their payloads.
#[test]
fn the_backlog_is_bounded_for_large_values() {
    within(|| assert_bounded_backlog(256 * 1024));
}

#[test]
fn an_inbox_counts_what_it_holds() {
    let mut inbox: Inbox<Vec<u8>> = Inbox::new(Limits::default(), 1);
    assert_eq!(inbox.held(), 0);
    let payload = Payload {
        head: vec![1; 100],
        bulk: vec![(50, vec![2; 100_000]), (60, vec![3; 50_000])].into(),
        cut: false,
    };
    inbox.push(payload.clone());
    inbox.push(payload);
    assert!(inbox.has_payload());
    assert_eq!(inbox.held(), 2 * 150_100);
    assert!(inbox.take().unwrap().is_some());
    assert_eq!(inbox.held(), 150_100);
    assert!(inbox.take().unwrap().is_some());
    assert_eq!(inbox.held(), 0);
    assert!(inbox.take().unwrap().is_none());
}

/// Whoever answers a request wants to know whether more of them wait, to send the answers together.
#[test]
fn a_second_message_of_one_burst_is_noticed_while_the_first_is_handled() {
    within(|| {
        let (a, mut peer) = half_raw();
        let (saw, seen) = mpsc::channel();
        let saw = std::sync::Mutex::new(saw);
        let looks: Handler<_> = Arc::new(move |face: &mut Face<_>, _, bytes| {
            saw.lock().unwrap().send(face.link.has_input()).unwrap();
            bytes
        });
        let mut server = Face::new(a, looks);
        // Two requests in one write: (0, (0, b"x")).
        peer.write_all(&frame(b"\x01\x11\x50\x11\x50\x0ax").repeat(2))
            .unwrap();
        assert!(server.serve(None).unwrap());
        assert!(server.serve(None).unwrap());
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [true, false]);
    });
}

/// Answers are larger than what the transport holds, and the side that asks writes more requests
/// instead of reading: it must read meanwhile.
#[test]
fn a_writer_reads_what_comes_meanwhile() {
    within(|| {
        let (a, b) = memory();
        fn run<T: Wire>(a: T, b: T) {
            let mut client = Face::new(a, refuse());
            let server = Face::new(b, echo()).spawn_server();
            let asked = vec![5; 20_000];
            let pending: Vec<_> = (0..200).map(|_| client.begin(0, &asked).unwrap()).collect();
            for pending in &pending {
                assert_eq!(client.finish(pending, None).unwrap().unwrap().bytes, asked);
            }
            client.link.finish(EndCause::Closed);
            server.join().unwrap();
        }
        run(a, b);
    });
}

/// Runs `work` against a peer that sends a byte every few milliseconds; it must come back.
fn assert_leaves_a_trickle(
    work: impl FnOnce(Face<rpyc::transport::Socket<Vec<u8>>>) + Send + 'static,
) {
    let (transport, mut peer) = half_raw();
    let client = Face::new(transport, refuse());
    let link = Arc::clone(&client.link);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let trickle = thread::spawn(move || {
        peer.write_all(&[0, 1, 0, 0, 0]).unwrap();
        while !stopped.load(Ordering::Acquire) && peer.write_all(&[2]).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let (done, finished) = mpsc::channel();
    let waiting = thread::spawn(move || {
        work(client);
        let _ = done.send(());
    });
    let in_time = finished.recv_timeout(ENOUGH);
    stop.store(true, Ordering::Release);
    link.finish(EndCause::Closed);
    trickle.join().unwrap();
    let worked = waiting.join();
    assert_ne!(
        in_time,
        Err(mpsc::RecvTimeoutError::Timeout),
        "still waiting"
    );
    worked.unwrap();
}

/// A peer that reads nothing and sends messages of `size` bytes as long as they are taken.
fn assert_bounded_backlog(size: usize) {
    const BACKLOG: usize = 1024 * 1024;
    let limits = Limits {
        backlog: BACKLOG,
        ..Limits::default()
    };
    let (transport, mut peer) = half_raw();
    let mut client = Face::with_limits(transport, refuse(), limits);
    let link = Arc::clone(&client.link);
    let sending = thread::spawn(move || {
        let sent = client.begin(0, &vec![1; LARGE]);
        sent.and_then(|pending| client.finish(&pending, None))
            .is_ok()
    });
    // It is blocked once the peer's side of the stream has filled.
    let mut first = [0; 1];
    peer.read_exact(&mut first).unwrap();
    let taken = write_until_refused(&mut peer, size);
    link.finish(EndCause::Closed);
    assert!(!sending.join().unwrap(), "nobody answered it");
    assert!(taken > BACKLOG / 2, "only {taken} bytes were taken");
    assert!(taken < 4 * BACKLOG, "{taken} bytes were taken");
}

/// How many bytes the other side takes before it takes none for a while.
fn write_until_refused(peer: &mut UnixStream, size: usize) -> usize {
    const PATIENCE: Duration = Duration::from_millis(700);
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    let length = u32::try_from(size).unwrap().to_be_bytes();
    let body = [b"\x02\x11\x16\x03999\x0f", &length[..], &vec![7; size]].concat();
    let burst = frame(&body);
    let start = Instant::now();
    let mut taken = 0;
    while taken < LARGE && start.elapsed() < LIMIT / 2 {
        match peer.write(&burst[taken % burst.len()..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    taken
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[..], &[0], body, b"\n"].concat()
}
