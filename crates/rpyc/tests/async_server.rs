//! How servers that a runtime drives end: at once, or gently.
#![cfg(feature = "tokio")]

use std::borrow::Cow;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rpyc::{
    Args, AsyncConnection, AsyncServer, Connection, Error, Exception, Method, Object, Reply,
    Server, TokenAuthenticator, Value,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Long enough for anything; tests that pass don't wait for it.
const LONG: Duration = Duration::from_secs(60);

/// More than sockets have room for.
const LARGE: usize = 32 << 20;

/// A root whose method `wait` is done when there is a permit.
struct Gated {
    entered: AtomicUsize,
    gate: Arc<Semaphore>,
}

impl Gated {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entered: AtomicUsize::new(0),
            gate: Arc::new(Semaphore::new(0)),
        })
    }

    async fn entered(&self, count: usize) {
        while self.entered.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Object for Gated {
    fn class_name(&self) -> Cow<'static, str> {
        "tests.Gated".into()
    }

    fn methods(&self) -> Vec<Method> {
        ["wait", "echo", "large", "apply"].map(Method::new).into()
    }

    fn call_method(&self, _: &Connection, name: &str, args: Args) -> Reply {
        let mut values = args.into_parts().0.into_iter();
        let value = values.next().unwrap_or_default();
        self.entered.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&self.gate);
        match name {
            "echo" => value.into(),
            "large" => Value::Bytes(vec![7; LARGE].into()).into(),
            "wait" => Reply::Later(Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                Ok(value)
            })),
            "apply" => Reply::Later(Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                value.call_async((20,))?.await.map_err(Exception::from)
            })),
            _ => Reply::raise(Exception::no_attribute("tests.Gated", name)),
        }
    }
}

type Serving = JoinHandle<std::io::Result<()>>;

async fn serve(root: &Arc<Gated>) -> (AsyncServer, Serving) {
    let root = Arc::clone(root);
    let server = AsyncServer::bind("127.0.0.1:0", move |_| Arc::clone(&root)).await;
    let server = server.unwrap();
    (server.clone(), tokio::spawn(server.serve()))
}

async fn connect(server: &AsyncServer) -> AsyncConnection {
    let conn = AsyncConnection::connect(&server.address().to_string()).await;
    conn.unwrap()
}

/// Another thread may find the listening socket closed before all of the stop is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_no_error_for_who_serves() {
    for _ in 0..50 {
        let (server, serving) = serve(&Gated::new()).await;
        let _conn = connect(&server).await;
        server.stop();
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_drain_answers_what_is_running() {
    let root = Gated::new();
    let (server, serving) = serve(&root).await;
    let (busy, idle) = (connect(&server).await, connect(&server).await);
    idle.ping_async().await.unwrap();
    let remote = busy.root_async().await.unwrap();
    let running = remote.call_method_async("wait", (7,));
    let double = rpyc::function(|x: i64| 2 * x);
    let calling_back = remote.call_method_async("apply", (double,));
    root.entered(2).await;
    let draining = tokio::spawn({
        let server = server.clone();
        async move { server.drain(LONG).await }
    });
    // Those that have nothing to do are closed, and the door is.
    idle.closed().await;
    assert!(matches!(
        idle.ping_async().await,
        Err(Error::ConnectionLost(_))
    ));
    let address = server.address().to_string();
    assert!(AsyncConnection::connect(&address).await.is_err());
    assert_eq!(server.connections(), 1);
    assert!(!draining.is_finished());
    root.gate.add_permits(1);
    assert_eq!(running.await.unwrap(), Value::Int(7));
    // One method goes on, and needs the connection.
    assert_eq!(server.connections(), 1);
    root.gate.add_permits(1);
    assert_eq!(calling_back.await.unwrap(), Value::Int(40));
    assert!(draining.await.unwrap());
    serving.await.unwrap().unwrap();
    busy.closed().await;
}

#[tokio::test]
async fn a_drain_answers_what_has_arrived() {
    let root = Gated::new();
    let (server, serving) = serve(&root).await;
    let address = server.address().to_string();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (sent, is_sent) = std::sync::mpsc::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || {
        let conn = rpyc::connect(&address).unwrap();
        let remote = conn.root().unwrap();
        ready.send(()).unwrap();
        goes_on.recv().unwrap();
        let calls: Vec<_> = (0..100)
            .map(|n| remote.call_method_async("echo", (n,)))
            .collect();
        // What is held back to leave together leaves now.
        conn.serve(Duration::from_millis(1)).ok();
        sent.send(()).unwrap();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.wait().unwrap().extract::<usize>().unwrap(), n);
        }
    });
    tokio::task::spawn_blocking(move || is_ready.recv().unwrap())
        .await
        .unwrap();
    // The runtime has one thread, and that sits here: the requests arrive, and nobody has seen them.
    go_on.send(()).unwrap();
    is_sent.recv().unwrap();
    assert_eq!(root.entered.load(Ordering::SeqCst), 0);
    assert!(server.drain(LONG).await);
    serving.await.unwrap().unwrap();
    client.join().unwrap();
    assert_eq!(root.entered.load(Ordering::SeqCst), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_until_answers_have_left() {
    let root = Gated::new();
    let (server, serving) = serve(&root).await;
    let address = server.address().to_string();
    let client = tokio::task::spawn_blocking(move || rpyc::connect(&address).unwrap());
    let client = client.await.unwrap();
    let other = client.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let remote = other.root().unwrap();
        remote.call_method_async("large", ())
    });
    let call = asked.await.unwrap();
    root.entered(1).await;
    // The peer reads nothing until it waits for the answer.
    let draining = tokio::spawn({
        let server = server.clone();
        async move { server.drain(LONG).await }
    });
    let address = server.address().to_string();
    while AsyncConnection::connect(&address).await.is_ok() {}
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(server.connections(), 1);
    }
    let answer = tokio::task::spawn_blocking(move || call.wait().unwrap());
    let answer = answer.await.unwrap().extract::<Bytes>().unwrap();
    assert!(answer.len() == LARGE && answer.iter().all(|byte| *byte == 7));
    assert!(draining.await.unwrap());
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_gives_up_in_time_and_says_whom_it_cuts() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    struct Logger;
    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            SAID.lock().push(record.args().to_string());
        }
        fn flush(&self) {}
    }
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let root = Gated::new();
    let (server, serving) = serve(&root).await;
    let (busy, idle) = (connect(&server).await, connect(&server).await);
    idle.ping_async().await.unwrap();
    let call = busy
        .root_async()
        .await
        .unwrap()
        .call_method_async("wait", ());
    root.entered(1).await;
    assert!(!server.drain(Duration::from_millis(50)).await);
    assert!(matches!(call.await, Err(Error::ConnectionLost(_))));
    serving.await.unwrap().unwrap();
    idle.closed().await;
    let beginning = format!(
        "{}: a drain has ended after 0.05 s; still busy and cut are 1: 127.0.0.1:",
        server.address()
    );
    let said = SAID.lock();
    assert!(
        said.iter().any(|text| text.starts_with(&beginning)),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_drain_does_not_wait_for_handshakes() {
    let server = Server::builder()
        .authenticator(TokenAuthenticator::new("correct horse battery staple").unwrap())
        .handshake_timeout(LONG)
        .bind_async("127.0.0.1:0");
    let server = server.await.unwrap();
    let serving = tokio::spawn(server.clone().serve());
    let mut silent = TcpStream::connect(server.address().to_string()).unwrap();
    while server.connections() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(server.drain(LONG).await);
    serving.await.unwrap().unwrap();
    silent.set_read_timeout(Some(LONG)).unwrap();
    let mut challenge = Vec::new();
    silent.read_to_end(&mut challenge).unwrap();
}

#[tokio::test]
async fn a_server_without_connections_drains_at_once_and_serves_once() {
    let root = Gated::new();
    let (server, serving) = serve(&root).await;
    assert!(server.drain(LONG).await);
    serving.await.unwrap().unwrap();
    // Again, and what was never served.
    assert!(server.drain(LONG).await);
    assert!(server.clone().serve().await.is_err());
    let server = AsyncServer::bind("127.0.0.1:0", |_| Gated::new()).await;
    let server = server.unwrap();
    server.stop();
    server.serve().await.unwrap();
}

#[tokio::test]
async fn a_stop_closes_the_door_and_all_connections() {
    let root = Gated::new();
    let (server, serving) = serve(&root).await;
    let conn = connect(&server).await;
    let remote = conn.root_async().await.unwrap();
    let call = remote.call_method_async("wait", ());
    root.entered(1).await;
    server.stop();
    assert!(matches!(call.await, Err(Error::ConnectionLost(_))));
    serving.await.unwrap().unwrap();
    assert_eq!(server.connections(), 0);
    let address = server.address().to_string();
    assert!(AsyncConnection::connect(&address).await.is_err());
}
