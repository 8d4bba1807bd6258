//! Clients that connect again, and say when.

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rpyc::{
    ConnectError, Connector, Error, ReconnectError, ReconnectEvent, ReconnectingClient, Server,
    Value,
};
use service::{Counter, Gate, eventually};

struct Serving {
    server: Server,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    fn start(address: &str) -> Self {
        let builder = Server::builder().service(|_| Arc::new(Counter::default()));
        // Connections that are ending may hold the port for a moment.
        let server = loop {
            match builder.clone().bind(address) {
                Ok(server) => break server,
                Err(rpyc::BindError::InUse { .. }) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        let thread = server.serve_in_thread().unwrap();
        Self { server, thread }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    fn stop(self) {
        self.server.stop();
        self.thread.join().unwrap().unwrap();
    }
}

fn client(address: &str) -> ReconnectingClient {
    ReconnectingClient::new(Connector::new(address).unwrap())
        .delays(Duration::from_millis(1), Duration::from_millis(10))
}

#[test]
fn a_lost_connection_is_replaced_and_old_objects_say_so() {
    let serving = Serving::start("127.0.0.1:0");
    let address = serving.address();
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let client = client(&address).on_event(move |event| {
        told.lock().push(match event {
            ReconnectEvent::Connected { attempt, .. } => format!("connected {attempt}"),
            ReconnectEvent::Lost(lost) => format!("lost: {}", lost.cause.word()),
            other => format!("{other}"),
        });
    });
    let old = client.root().unwrap();
    assert_eq!(old.call_method("count", ()).unwrap(), Value::Int(1));
    serving.stop();
    let serving = Serving::start(&address);
    let new = client.root().unwrap();
    assert_eq!(new.call_method("count", ()).unwrap(), Value::Int(1));
    let error = old.call_method("count", ()).unwrap_err();
    assert!(
        matches!(&error, Error::ConnectionLost(lost) if lost.replaced),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("get it again from the client's root"),
        "{error}"
    );
    assert_eq!(
        *events.lock(),
        ["connected 1", "lost: peer closed", "connected 1"]
    );
    // While it lives it stays.
    assert!(client.connection().unwrap() == client.connection().unwrap());
    client.close();
    assert!(matches!(client.root(), Err(ReconnectError::Closed)));
    serving.stop();
}

#[test]
fn who_can_not_connect_gives_up_and_tries_again_when_used() {
    let serving = Serving::start("127.0.0.1:0");
    let address = serving.address();
    serving.stop();
    let failures = Arc::new(AtomicUsize::new(0));
    let failed = Arc::clone(&failures);
    let client = client(&address)
        .attempts(3)
        .on_event(move |event| match event {
            ReconnectEvent::Failed { delay, error, .. } => {
                assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
                assert!(*delay <= Duration::from_millis(10));
                failed.fetch_add(1, Ordering::SeqCst);
            }
            ReconnectEvent::GaveUp(_) => drop(failed.fetch_add(10, Ordering::SeqCst)),
            other => assert!(matches!(other, ReconnectEvent::Connected { .. }), "{other}"),
        });
    match client.root() {
        Err(error @ ReconnectError::Unreachable { attempts: 3, .. }) => {
            let text = error.to_string();
            assert!(text.contains("attempts and time_limit"), "{text}");
            assert!(text.contains("nobody listens at"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(failures.load(Ordering::SeqCst), 12);
    let serving = Serving::start(&address);
    client.root().unwrap();
    serving.stop();
}

#[test]
fn one_thread_connects_for_all() {
    let serving = Serving::start("127.0.0.1:0");
    let address = serving.address();
    let connected = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&connected);
    let client = client(&address).on_event(move |event| {
        if matches!(event, ReconnectEvent::Connected { .. }) {
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 1..=5 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| client.root().unwrap().call_method("count", ()).unwrap());
            }
        });
        assert_eq!(connected.load(Ordering::SeqCst), round);
        client.connection().unwrap().close();
    }
    serving.stop();
}

#[test]
fn a_client_that_is_closed_stops_trying() {
    let serving = Serving::start("127.0.0.1:0");
    let address = serving.address();
    serving.stop();
    let trying = Gate::new();
    let tries = trying.clone();
    let client = client(&address)
        .delays(Duration::from_secs(60), Duration::from_secs(60))
        .on_event(move |_| tries.open());
    let other = client.clone();
    let waiting = std::thread::spawn(move || other.root());
    trying.wait();
    client.close();
    assert!(matches!(
        waiting.join().unwrap(),
        Err(ReconnectError::Closed)
    ));
}

#[test]
fn a_listener_must_not_use_its_client() {
    let serving = Serving::start("127.0.0.1:0");
    let slot = Arc::new(Mutex::new(None::<ReconnectingClient>));
    let said = Arc::new(Mutex::new(None));
    let (itself, saying) = (Arc::clone(&slot), Arc::clone(&said));
    let client = client(&serving.address()).on_event(move |_| {
        let client = itself.lock().clone();
        *saying.lock() = client.map(|client| client.connection().is_err());
        panic!("and a panic of it costs nothing");
    });
    *slot.lock() = Some(client.clone());
    client.root().unwrap();
    eventually("it was told", || said.lock().is_some());
    assert_eq!(*said.lock(), Some(true));
    slot.lock().take();
    client.close();
    serving.stop();
}
