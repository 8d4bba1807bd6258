//! Calls that are given up: not begun if they still wait, told to those that run, and nothing is left of them.

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rpyc::{Config, Connection, Connector, Error, Netref, Server, ServerBuilder, Value};
use service::{Gate, eventually};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Service {
    entered: Gate,
    gate: Gate,
    calls: AtomicI64,
    began: AtomicBool,
    gave_up: Arc<AtomicBool>,
}

#[rpyc::service]
impl Service {
    /// Waits for the gate.
    #[rpyc(exposed)]
    fn hold(&self) {
        self.entered.open();
        self.gate.wait();
    }

    /// Counts its calls.
    #[rpyc(exposed)]
    fn count(&self) -> i64 {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Takes an object; counts, too.
    #[rpyc(exposed)]
    fn take(&self, _callback: Value) -> i64 {
        self.count()
    }

    /// Gives an object, after a while.
    #[rpyc(exposed)]
    fn give(&self) -> Value {
        self.hold();
        rpyc::function(|| 1)
    }

    /// Works until nobody waits for it.
    #[rpyc(exposed)]
    fn work(&self) {
        self.entered.open();
        let started = Instant::now();
        while !rpyc::is_cancelled() && started.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.gave_up.store(rpyc::is_cancelled(), Ordering::SeqCst);
    }

    /// The same, and others are served meanwhile.
    #[rpyc(exposed)]
    async fn work_on(&self) {
        self.began.store(true, Ordering::SeqCst);
        let started = Instant::now();
        while !rpyc::is_cancelled() && started.elapsed() < LIMIT {
            tokio::task::yield_now().await;
        }
        self.gave_up.store(rpyc::is_cancelled(), Ordering::SeqCst);
    }

    /// Whether a call whose caller waits was given up.
    #[rpyc(exposed)]
    fn is_cancelled(&self) -> bool {
        rpyc::is_cancelled()
    }
}

/// Runs a test with each kind of server that has threads.
fn each(test: impl Fn(&Arc<Service>, &Connection, &Netref)) {
    let kinds: [fn() -> ServerBuilder; 2] = [
        || Server::builder().threaded(),
        || Server::builder().pool(2),
    ];
    for kind in kinds {
        let service = Arc::new(Service::default());
        let server = kind().shared(Arc::clone(&service) as _);
        let server = server.bind("127.0.0.1:0").unwrap();
        let serving = server.serve_in_thread().unwrap();
        let conn = rpyc::connect(&server.address().to_string()).unwrap();
        test(&service, &conn, &conn.root().unwrap());
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_call_that_was_given_up_is_not_begun() {
    each(|service, conn, root| {
        let held = root.call_method_async("hold", ());
        service.entered.wait();
        // Dropped, cancelled, and waited for in vain.
        drop(root.call_method_async("count", ()));
        root.call_method_async("count", ()).cancel();
        let result = root.call_method_async("count", ());
        match result.wait_timeout(Duration::from_millis(20)) {
            Err(Error::TimedOut(timed_out)) => assert!(timed_out.sent, "{timed_out}"),
            other => panic!("{other:?}"),
        }
        // What is left to itself is performed.
        root.call_method_async("count", ()).detach();
        // An object among the arguments is released.
        let callback = rpyc::function(|| ());
        drop(root.call_method_async("take", (callback,)));
        assert_eq!(conn.exported(), 1);
        service.gate.open();
        held.wait().unwrap();
        let count = root.call_method("count", ()).unwrap();
        assert_eq!(count, Value::Int(2));
        eventually("the callback is released", || {
            conn.ping().unwrap();
            conn.exported() == 0
        });
    });
}

#[test]
fn the_time_limit_of_the_configuration_gives_up() {
    let service = Arc::new(Service::default());
    let server = Server::builder().shared(Arc::clone(&service) as _);
    let server = server.bind("127.0.0.1:0").unwrap();
    let serving = server.serve_in_thread().unwrap();
    let config = Config::default().timeout(Duration::from_millis(100));
    let connector = Connector::to(server.address().clone()).config(config);
    let conn = connector.connect().unwrap();
    let root = conn.root().unwrap();
    for method in ["hold", "count", "count"] {
        let error = root.call_method(method, ()).unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
    }
    service.gate.open();
    eventually("it answers again", || root.call_method("count", ()).is_ok());
    // Some may have timed out while the answer was awaited; the first two never began.
    let attempts = service.calls.load(Ordering::SeqCst);
    assert_eq!(
        root.call_method("count", ()).unwrap(),
        Value::Int(attempts + 1)
    );
    assert_eq!(attempts, 1);
    server.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_thread_limits_all_that_it_asks_for() {
    each(|service, conn, root| {
        let started = Instant::now();
        let outer = Duration::from_millis(150);
        conn.within(outer, || {
            // The earlier one counts.
            let held = conn.within(LIMIT, || root.call_method("hold", ()));
            match held {
                Err(Error::TimedOut(timed_out)) => {
                    assert_eq!(timed_out.option, "Connection::within");
                    assert!(timed_out.waited >= outer && timed_out.sent, "{timed_out}");
                }
                other => panic!("{other:?}"),
            }
            // Nothing is begun after the time is over.
            let callback = rpyc::function(|| ());
            match root.call_method("take", (callback,)) {
                Err(Error::TimedOut(timed_out)) => assert!(!timed_out.sent, "{timed_out}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(conn.exported(), 0);
        });
        assert!(started.elapsed() >= outer);
        service.gate.open();
        // Other threads, and this one after it, have their own time.
        std::thread::scope(|scope| {
            conn.within(Duration::ZERO, || {
                let other = scope.spawn(|| root.call_method("count", ()));
                assert_eq!(other.join().unwrap().unwrap(), Value::Int(1));
                assert!(conn.ping().is_err());
            });
        });
        assert_eq!(root.call_method("count", ()).unwrap(), Value::Int(2));
        let error = root.call_method_async("work", ());
        let error = error.wait_timeout(Duration::from_millis(20)).unwrap_err();
        assert!(
            error.to_string().ends_with("(AsyncResult::wait_timeout)"),
            "{error}"
        );
    });
}

#[test]
fn a_method_can_ask_whether_its_caller_gave_up() {
    each(|service, _, root| {
        assert_eq!(
            root.call_method("is_cancelled", ()).unwrap(),
            Value::Bool(false)
        );
        let working = root.call_method_async("work", ());
        service.entered.wait();
        drop(working);
        eventually("it notices", || service.gave_up.load(Ordering::SeqCst));
        // The next one is another call.
        assert_eq!(
            root.call_method("is_cancelled", ()).unwrap(),
            Value::Bool(false)
        );
    });
    assert!(!rpyc::is_cancelled());
}

#[test]
fn a_method_whose_connection_ends_is_given_up() {
    each(|service, conn, root| {
        let working = root.call_method_async("work", ());
        service.entered.wait();
        conn.close();
        assert!(working.wait().is_err());
        eventually("it notices", || service.gave_up.load(Ordering::SeqCst));
    });
}

#[test]
fn late_answers_release_what_they_carry() {
    let service = Arc::new(Service::default());
    let (near, far) = Connection::pair(None, Some(Arc::clone(&service) as _)).unwrap();
    let serving = far.serve_in_thread().unwrap();
    let root = near.root().unwrap();
    let given = root.call_method_async("give", ());
    service.entered.wait();
    assert!(given.wait_timeout(Duration::from_millis(10)).is_err());
    service.gate.open();
    eventually("the object is released", || {
        near.ping().unwrap();
        far.exported() == 1
    });
    assert_eq!(near.proxied(), 1);
    near.close();
    serving.join().unwrap().unwrap();
}

#[cfg(feature = "tokio")]
mod under_tokio {
    use super::*;
    use rpyc::AsyncConnection;

    /// Two ends in this thread.
    fn pair(service: &Arc<Service>) -> (AsyncConnection, AsyncConnection) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let root = Arc::clone(service) as _;
        let far = AsyncConnection::over(far, "near", Config::default(), root).unwrap();
        let void = Arc::new(Service::default());
        let near = AsyncConnection::over(near, "far", Config::default(), void).unwrap();
        (near, far)
    }

    #[tokio::test]
    async fn a_call_that_was_dropped_is_not_begun() {
        let service = Arc::new(Service::default());
        let (near, _far) = pair(&service);
        let root = near.root_async().await.unwrap();
        // All leaves together: this thread drives both ends, and goes on only where it waits.
        drop(root.call_method_async("count", ()));
        drop(root.call_method_async("take", (rpyc::function(|| ()),)));
        let counted = root.call_method_async("count", ()).await.unwrap();
        assert_eq!(counted, Value::Int(1));
        while near.exported() > 0 {
            near.ping_async().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_method_that_goes_on_can_ask() {
        let service = Arc::new(Service::default());
        let (near, _far) = pair(&service);
        let root = near.root_async().await.unwrap();
        let working = root.call_method_async("work_on", ());
        while !service.began.load(Ordering::SeqCst) {
            near.ping_async().await.unwrap();
        }
        drop(working);
        while !service.gave_up.load(Ordering::SeqCst) {
            near.ping_async().await.unwrap();
        }
        let asked = root.call_method_async("is_cancelled", ()).await.unwrap();
        assert_eq!(asked, Value::Bool(false));
    }

    #[tokio::test]
    async fn a_server_with_threads_is_told_by_a_task() {
        let service = Arc::new(Service::default());
        let server = Server::builder().shared(Arc::clone(&service) as _);
        let server = server.bind("127.0.0.1:0").unwrap();
        let serving = server.serve_in_thread().unwrap();
        let conn = AsyncConnection::connect(&server.address().to_string()).await;
        let conn = conn.unwrap();
        let root = conn.root_async().await.unwrap();
        let working = root.call_method_async("work", ());
        let began = Arc::clone(&service);
        let began = tokio::task::spawn_blocking(move || began.entered.wait());
        began.await.unwrap();
        // A time limit drops the future.
        let patience = Duration::from_millis(20);
        assert!(tokio::time::timeout(patience, working).await.is_err());
        let gave_up = Arc::clone(&service.gave_up);
        let noticed = tokio::task::spawn_blocking(move || {
            eventually("it notices", || gave_up.load(Ordering::SeqCst));
        });
        noticed.await.unwrap();
        conn.close();
        server.stop();
        serving.join().unwrap().unwrap();
    }
}
