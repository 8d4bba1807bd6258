//! Connections that a tokio runtime drives.
#![cfg(feature = "tokio")]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rpyc::{
    Args, AsyncConnection, AsyncServer, BindError, Config, Connection, Connector, Error, Exception,
    Member, Method, Object, PeerInfo, Reply, Server, Value,
};
use tokio::sync::Notify;

/// What the tests call.
#[derive(Default)]
struct Service {
    gate: Arc<Notify>,
    running: AtomicUsize,
    left: Arc<AtomicUsize>,
}

impl Object for Service {
    fn class_name(&self) -> Cow<'static, str> {
        "test.Service".into()
    }

    fn methods(&self) -> Vec<Method> {
        [
            "add",
            "echo",
            "wait_for_gate",
            "open_gate",
            "running",
            "apply",
            "panic",
        ]
        .map(Method::new)
        .into()
    }

    fn call_method(&self, _: &Connection, name: &str, args: Args) -> Reply {
        let mut positional = args.into_parts().0.into_iter();
        let mut next = || positional.next().unwrap_or_default();
        match name {
            "add" => (next().extract::<i64>().unwrap() + next().extract::<i64>().unwrap()).into(),
            "echo" => next().into(),
            "wait_for_gate" => {
                self.running.fetch_add(1, Ordering::SeqCst);
                let gate = Arc::clone(&self.gate);
                Reply::Later(Box::pin(async move {
                    gate.notified().await;
                    Ok(Value::Str("opened".to_owned()))
                }))
            }
            "open_gate" => {
                self.gate.notify_waiters();
                ().into()
            }
            "running" => (self.running.load(Ordering::SeqCst)).into(),
            "apply" => {
                let callback = next();
                Reply::Later(Box::pin(async move {
                    callback.call_async((20,))?.await.map_err(Exception::from)
                }))
            }
            "panic" => panic!("as asked"),
            _ => Reply::raise(Exception::no_attribute("test.Service", name)),
        }
    }

    fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
        if self.methods().iter().any(|method| method.name == name) {
            Ok(Member::Method)
        } else {
            Err(Exception::no_attribute("test.Service", name))
        }
    }

    fn on_disconnect(&self, _: &Connection) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

/// A server of one service, and where it listens.
async fn serve(service: Arc<Service>) -> String {
    let server = AsyncServer::bind("127.0.0.1:0", move |_| Arc::clone(&service))
        .await
        .unwrap();
    let address = server.address().to_string();
    tokio::spawn(server.serve());
    address
}

#[tokio::test]
async fn calls_are_awaited() {
    let conn = AsyncConnection::connect(&serve(Arc::default()).await)
        .await
        .unwrap();
    conn.ping_async().await.unwrap();
    let root = conn.root_async().await.unwrap();
    let sum = root.call_method_async("add", (1, 2)).await.unwrap();
    assert_eq!(sum, Value::Int(3));
    let add = root.attr_async("add").await.unwrap();
    assert_eq!(
        add.call_async((3, 4)).unwrap().await.unwrap(),
        Value::Int(7)
    );
    let error = root.call_method_async("panic", ()).await.unwrap_err();
    assert!(error.is("RuntimeError"), "{error}");
    assert_eq!(
        error.to_string(),
        "RuntimeError: the method panicked: as asked"
    );
    // The connection lives on.
    conn.ping_async().await.unwrap();
}

#[tokio::test]
async fn an_asynchronous_method_does_not_hold_up_what_follows() {
    let conn = AsyncConnection::connect(&serve(Arc::default()).await)
        .await
        .unwrap();
    let root = conn.root_async().await.unwrap();
    let waiting: Vec<_> = (0..100)
        .map(|_| root.call_method_async("wait_for_gate", ()))
        .collect();
    let running = root.call_method_async("running", ()).await.unwrap();
    assert_eq!(running, Value::Int(100));
    root.call_method_async("open_gate", ()).await.unwrap();
    for result in waiting {
        assert_eq!(result.await.unwrap(), Value::Str("opened".to_owned()));
    }
}

#[tokio::test]
async fn methods_call_back_into_closures() {
    let conn = AsyncConnection::connect(&serve(Arc::default()).await)
        .await
        .unwrap();
    let root = conn.root_async().await.unwrap();
    let double = rpyc::function(|x: i64| 2 * x);
    let result = root.call_method_async("apply", (double,)).await.unwrap();
    assert_eq!(result, Value::Int(40));
}

#[tokio::test]
async fn a_dropped_future_gives_its_answer_up() {
    let conn = AsyncConnection::connect(&serve(Arc::default()).await)
        .await
        .unwrap();
    let root = conn.root_async().await.unwrap();
    let abandoned = root.call_method_async("wait_for_gate", ());
    while root.call_method_async("running", ()).await.unwrap() != Value::Int(1) {}
    drop(abandoned);
    // Its answer comes, and nobody minds.
    root.call_method_async("open_gate", ()).await.unwrap();
    conn.ping_async().await.unwrap();
}

#[tokio::test]
async fn a_wait_that_is_too_long_says_so() {
    let address = serve(Arc::default()).await;
    let config = Config::default().timeout(Duration::from_millis(50));
    let connector = Connector::new(&address).unwrap().config(config);
    let conn = connector.connect_async().await.unwrap();
    let root = conn.root_async().await.unwrap();
    match root.call_method_async("wait_for_gate", ()).await {
        Err(Error::TimedOut(timed_out)) => {
            assert_eq!(
                (timed_out.operation.as_str(), timed_out.peer),
                ("CALLATTR", address)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn large_values_go_both_ways() {
    let conn = AsyncConnection::connect(&serve(Arc::default()).await)
        .await
        .unwrap();
    let root = conn.root_async().await.unwrap();
    let data = Bytes::from((0..20_000_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let echoed = root
        .call_method_async("echo", (data.clone(),))
        .await
        .unwrap();
    assert_eq!(echoed.extract::<Bytes>().unwrap(), data);
}

#[tokio::test]
async fn both_ends_learn_of_the_end_once() {
    let service = Arc::<Service>::default();
    let left = Arc::clone(&service.left);
    let conn = AsyncConnection::connect(&serve(service).await)
        .await
        .unwrap();
    let root = conn.root_async().await.unwrap();
    let waiting = root.call_method_async("wait_for_gate", ());
    conn.close();
    match waiting.await {
        Err(Error::ConnectionLost(lost)) => assert_eq!(lost.operation, "CALLATTR"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        root.call_method_async("add", (1, 2)).await,
        Err(Error::ConnectionLost(_))
    ));
    conn.closed().await;
    while left.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(left.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_outside_of_the_runtime_may_block() {
    let conn = AsyncConnection::connect(&serve(Arc::default()).await)
        .await
        .unwrap();
    let root = conn.root_async().await.unwrap();
    assert!(matches!(
        root.call_method("add", (1, 2)),
        Err(Error::WouldBlockRuntime(_))
    ));
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let root = root.clone();
            std::thread::spawn(move || {
                for m in 0..200 {
                    assert_eq!(root.call_method("add", (n, m)).unwrap(), Value::Int(n + m));
                }
            })
        })
        .collect();
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap();
    }
}

#[test]
fn a_blocking_client_meets_an_asynchronous_server() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = runtime.block_on(serve(Arc::default()));
    let conn = rpyc::connect(&address).unwrap();
    let root = conn.root().unwrap();
    let double = rpyc::function(|x: i64| 2 * x);
    assert_eq!(
        root.call_method("apply", (double,)).unwrap(),
        Value::Int(40)
    );
    // 5,000 calls in flight, and both ends write.
    let data = Bytes::from(vec![7; 10_000]);
    let results: Vec<_> = (0..5_000)
        .map(|_| root.call_method_async("echo", (data.clone(),)))
        .collect();
    for result in results {
        assert_eq!(result.wait().unwrap().extract::<Bytes>().unwrap(), data);
    }
    conn.close();
}

#[tokio::test]
async fn objects_are_let_go_with_their_proxies() {
    let server = Arc::<Service>::default();
    let (near, far) = tokio::io::duplex(4096);
    let config = Config::default();
    let far = AsyncConnection::over(far, "near", config.clone(), server).unwrap();
    let near = AsyncConnection::over(near, "far", config, Arc::new(Service::default())).unwrap();
    let root = near.root_async().await.unwrap();
    for _ in 0..1000 {
        let object: Arc<dyn Object> = Arc::new(Service::default());
        root.call_method_async("echo", (object,)).await.unwrap();
    }
    near.ping_async().await.unwrap();
    far.ping_async().await.unwrap();
    assert_eq!((far.exported(), far.proxied(), near.exported()), (1, 0, 0));
}

#[tokio::test]
async fn a_server_that_stops_closes_its_connections() {
    let server = AsyncServer::bind("127.0.0.1:0", |_| Arc::new(Service::default()));
    let server = server.await.unwrap();
    let address = server.address().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(server.serve_until(async { stopped.await.unwrap() }));
    let conn = AsyncConnection::connect(&address).await.unwrap();
    conn.ping_async().await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    conn.closed().await;
    assert!(AsyncConnection::connect(&address).await.is_err());
}

#[tokio::test]
async fn hundreds_of_connections_share_one_thread() {
    let address = serve(Arc::default()).await;
    let mut connections = Vec::new();
    for _ in 0..400 {
        connections.push(AsyncConnection::connect(&address).await.unwrap());
    }
    let mut roots = Vec::new();
    for conn in &connections {
        roots.push(conn.root_async().await.unwrap());
    }
    let calls: Vec<_> = roots
        .iter()
        .map(|root| root.call_method_async("add", (1, 2)))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Value::Int(3));
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let server = Server::builder()
        .max_connections(2)
        .service(|_| Arc::new(Service::default()))
        .bind_async("127.0.0.1:0");
    let server = server.await.unwrap();
    let address = server.address().to_string();
    tokio::spawn(server.serve());
    let first = AsyncConnection::connect(&address).await.unwrap();
    let second = AsyncConnection::connect(&address).await.unwrap();
    first.ping_async().await.unwrap();
    second.ping_async().await.unwrap();
    let third = AsyncConnection::connect(&address).await.unwrap();
    assert!(matches!(
        third.ping_async().await,
        Err(Error::ConnectionLost(_))
    ));
    // There is room again once one of them has left.
    first.close();
    loop {
        let next = AsyncConnection::connect(&address).await.unwrap();
        if next.ping_async().await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn a_factory_that_fails_costs_one_connection() {
    let turn = AtomicUsize::new(0);
    let root = move |_: &PeerInfo| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => panic!("as asked"),
        1 => Value::Int(1),
        _ => Value::Object(Arc::new(Service::default())),
    };
    let server = AsyncServer::bind("127.0.0.1:0", root).await.unwrap();
    let address = server.address().to_string();
    tokio::spawn(server.serve());
    for _ in 0..2 {
        let conn = AsyncConnection::connect(&address).await.unwrap();
        assert!(matches!(
            conn.ping_async().await,
            Err(Error::ConnectionLost(_))
        ));
    }
    let conn = AsyncConnection::connect(&address).await.unwrap();
    conn.ping_async().await.unwrap();
}

#[tokio::test]
async fn a_socket_file_goes_with_its_server() {
    let folder = std::env::temp_dir().join(format!("rpyc-tokio-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let address = format!("unix:{}", path.display());
    let server = AsyncServer::bind(&address, |_| Arc::new(Service::default()));
    let server = server.await.unwrap();
    let again = AsyncServer::bind(&address, |_| Arc::new(Service::default())).await;
    assert!(matches!(again, Err(BindError::InUse { .. })));
    let serving = tokio::spawn(server.serve());
    let conn = AsyncConnection::connect(&address).await.unwrap();
    conn.ping_async().await.unwrap();
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    assert!(!path.exists());
    // The connection goes on without its server.
    conn.ping_async().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
