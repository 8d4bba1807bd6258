//! Peers that send without a pause: calls of tasks end in time all the same, connections can be closed, and other
//! tasks of the same thread have their turns.
#![cfg(feature = "tokio")]

mod service;

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpyc::{
    Args, AsyncConnection, AsyncServer, Config, Connection, Connector, Error, Exception, Method,
    Object, Reply, Value,
};
use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, Label, MessageKind};
use rpyc_proto::dispatch;
use rpyc_proto::message::{self, Dialect};
use rpyc_proto::wire::Writer;
use service::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// Long enough for anything but a wait without an end.
const LONG: Duration = Duration::from_secs(60);

/// What a peer sends again and again.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Answers to requests that were never made.
    Answers,
    /// The same, with an object that has to be given back.
    Objects,
    Requests,
    Releases,
    /// Signs of life, and nothing else.
    Empty,
}

const FLOODS: [Flood; 5] = [
    Flood::Answers,
    Flood::Objects,
    Flood::Requests,
    Flood::Releases,
    Flood::Empty,
];

impl Flood {
    /// One message, in its frame.
    fn frame(self) -> Vec<u8> {
        const SEQ: u64 = 1 << 40;
        let mut out = Writer::<Bytes>::new_frame();
        let put_id = |out: &mut Writer<Bytes>| {
            out.put_tuple(3);
            out.put_str("tests.Thing");
            out.put_int(1);
            out.put_int(2);
        };
        match self {
            Self::Answers => {
                message::put_numbered_head(&mut out, Dialect::V6, MessageKind::Reply, SEQ);
                dispatch::put_boxed_with(&mut out, |out| out.put_int(1));
            }
            Self::Objects => {
                message::put_numbered_head(&mut out, Dialect::V6, MessageKind::Reply, SEQ);
                boxing::put_label(&mut out, Label::RemoteRef);
                put_id(&mut out);
            }
            Self::Requests => {
                let handler = i64::from(Handler::Ping.number());
                dispatch::put_request(&mut out, Dialect::V6, SEQ, handler);
                dispatch::put_boxed_with(&mut out, |out| {
                    out.put_tuple(1);
                    out.put_int(1);
                });
            }
            Self::Releases => {
                let mut id = Writer::<Bytes>::new();
                put_id(&mut id);
                let id = id.into_payload().head;
                let handler = i64::from(Handler::Del.number());
                dispatch::put_request(&mut out, Dialect::V6, SEQ, handler);
                dispatch::put_target(&mut out, &id, 1);
                dispatch::put_boxed_with(&mut out, |out| out.put_int(1));
            }
            Self::Empty => {}
        }
        out.seal().unwrap().contiguous().unwrap().to_vec()
    }

    /// Sends until the other end has gone, and takes whatever comes.
    fn run(self, socket: &TcpStream) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 1 << 16];
                while (&*socket).read(&mut buffer).is_ok_and(|count| count > 0) {}
                // What is being written fails now.
                let _ = socket.shutdown(Shutdown::Both);
            });
            let chunk = self.frame().repeat(1000);
            while (&*socket).write_all(&chunk).is_ok() {}
            let _ = socket.shutdown(Shutdown::Both);
        });
    }

    /// A peer that floods who connects. It ends when that has hung up.
    fn serve(self) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let flooding = std::thread::spawn(move || self.run(&listener.accept().unwrap().0));
        (address, flooding)
    }

    /// A client that floods a server until that hangs up.
    fn connect(self, address: &str) -> JoinHandle<()> {
        let socket = TcpStream::connect(address).unwrap();
        std::thread::spawn(move || self.run(&socket))
    }
}

/// Runs a test on a runtime of one thread. A task that never lets go would keep its timers from ending it.
fn run(test: impl Future<Output = ()> + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(test);
        let _ = done.send(());
    });
    match is_done.recv_timeout(LONG) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the runtime hangs"),
        _ => thread.join().unwrap(),
    }
}

#[test]
fn a_flood_prolongs_no_call_and_no_close() {
    for flood in FLOODS {
        run(async move {
            let (address, flooding) = flood.serve();
            let config = Config::default().timeout(Duration::from_millis(100));
            let connector = Connector::new(&address).unwrap().config(config);
            let conn = connector.connect_async().await.unwrap();
            for _ in 0..2 {
                match conn.root_async().await {
                    Err(Error::TimedOut(_)) => {}
                    other => panic!("{flood:?}: {other:?}"),
                }
            }
            // A limit of the task's own.
            let limit = Duration::from_millis(50);
            let limited = tokio::time::timeout(limit, conn.ping_async()).await;
            assert!(limited.is_err(), "{flood:?}");
            let call = conn.ping_async();
            conn.close();
            assert!(
                matches!(call.await, Err(Error::ConnectionLost(_))),
                "{flood:?}"
            );
            conn.closed().await;
            tokio::task::spawn_blocking(|| flooding.join().unwrap())
                .await
                .unwrap();
        });
    }
}

#[test]
fn a_flood_keeps_no_other_connection_waiting() {
    run(async {
        let root = |_: &rpyc::PeerInfo| Arc::new(Counter::default());
        let server = AsyncServer::bind("127.0.0.1:0", root).await.unwrap();
        let serving = tokio::spawn(server.clone().serve());
        let address = server.address().to_string();
        let flooding: Vec<_> = FLOODS.map(|flood| flood.connect(&address)).into();
        let conn = AsyncConnection::connect(&address).await.unwrap();
        let root = conn.root_async().await.unwrap();
        for turn in 1..=100 {
            let counted = root.call_method_async("count", ()).await.unwrap();
            assert_eq!(counted, Value::Int(turn));
        }
        // Those who flood are never done, and are cut.
        assert_eq!(server.connections(), FLOODS.len() + 1);
        assert!(!server.drain(Duration::from_millis(100)).await);
        serving.await.unwrap().unwrap();
        conn.closed().await;
        tokio::task::spawn_blocking(|| {
            flooding.into_iter().for_each(|flood| flood.join().unwrap())
        })
        .await
        .unwrap();
    });
}

/// A root whose only method takes this long, and that counts its calls.
struct Slow {
    takes: Duration,
    calls: Arc<AtomicUsize>,
}

impl Object for Slow {
    fn class_name(&self) -> std::borrow::Cow<'static, str> {
        "tests.Slow".into()
    }

    fn methods(&self) -> Vec<Method> {
        vec![Method::new("work")]
    }

    fn call_method(&self, _: &Connection, name: &str, _: Args) -> Reply {
        if name != "work" {
            return Reply::raise(Exception::no_attribute("tests.Slow", name));
        }
        let started = Instant::now();
        while started.elapsed() < self.takes {
            std::hint::spin_loop();
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        Value::None.into()
    }
}

/// Connects from another thread, and has always many calls of `work` under way.
fn keep_busy(address: &str) -> JoinHandle<()> {
    let address = address.to_owned();
    std::thread::spawn(move || {
        let conn = rpyc::connect(&address).unwrap();
        let root = conn.root().unwrap();
        let mut calls: std::collections::VecDeque<_> = (0..500)
            .map(|_| root.call_method_async("work", ()))
            .collect();
        while let Some(call) = calls.pop_front() {
            if call.wait().is_err() {
                break;
            }
            calls.push_back(root.call_method_async("work", ()));
        }
    })
}

#[test]
fn slow_requests_keep_no_timer_waiting() {
    const TAKES: Duration = Duration::from_millis(5);
    const SLEEP: Duration = Duration::from_millis(50);
    // They can't be more, however slow the machine is: before the timer is due, and in the turn after that.
    const MOST: usize = 10 + 5;
    let calls = Arc::new(AtomicUsize::new(0));
    run(async move {
        let root = Arc::new(Slow {
            takes: TAKES,
            calls: Arc::clone(&calls),
        });
        let server = AsyncServer::bind("127.0.0.1:0", move |_| Arc::clone(&root)).await;
        let server = server.unwrap();
        let serving = tokio::spawn(server.clone().serve());
        let busy = keep_busy(&server.address().to_string());
        while calls.load(Ordering::SeqCst) == 0 {
            yield_now().await;
        }
        for _ in 0..3 {
            let before = calls.load(Ordering::SeqCst);
            tokio::time::sleep(SLEEP).await;
            let between = calls.load(Ordering::SeqCst) - before;
            assert!(between <= MOST, "{between} calls while a timer waited");
        }
        server.stop();
        serving.await.unwrap().unwrap();
        tokio::task::spawn_blocking(|| busy.join().unwrap())
            .await
            .unwrap();
    });
}

/// A stream that always has a frame to give, and nothing of the runtime's in it that would stop who reads.
struct Endless {
    frame: Vec<u8>,
    reads: Arc<AtomicUsize>,
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        buffer.put_slice(&self.frame);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_stream_that_always_has_something_lets_others_have_their_turns() {
    for flood in FLOODS {
        run(async move {
            let reads = Arc::new(AtomicUsize::new(0));
            let stream = Endless {
                frame: flood.frame(),
                reads: Arc::clone(&reads),
            };
            let root = Arc::new(Counter::default());
            let config = Config::default().timeout(Duration::from_millis(50));
            let conn = AsyncConnection::over(stream, "endless", config, root).unwrap();
            let mut before = 0;
            for _ in 0..100 {
                yield_now().await;
                let after = reads.load(Ordering::SeqCst);
                assert!(after - before <= 200, "{flood:?}: {} reads", after - before);
                before = after;
            }
            assert!(before > 0, "{flood:?}");
            let pinged = conn.ping_async().await;
            assert!(matches!(pinged, Err(Error::TimedOut(_))), "{flood:?}");
            conn.close();
            conn.closed().await;
        });
    }
}
