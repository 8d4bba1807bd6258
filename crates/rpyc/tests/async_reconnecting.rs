//! Clients of a runtime that connect again, and say when.
#![cfg(feature = "tokio")]

mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rpyc::{
    AsyncReconnectingClient, AsyncServer, BindError, ConnectError, Connector, Error,
    ReconnectError, ReconnectEvent, Server, TokenAuthenticator, Value,
};
use service::Counter;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

struct Serving {
    server: AsyncServer,
    task: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    async fn start(address: &str) -> Self {
        // Connections that are ending may hold the port for a moment.
        let server = loop {
            match AsyncServer::bind(address, |_| Arc::new(Counter::default())).await {
                Ok(server) => break server,
                Err(BindError::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let task = tokio::spawn(server.clone().serve());
        Self { server, task }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    async fn stop(self) {
        self.server.stop();
        self.task.await.unwrap().unwrap();
    }
}

/// An address where nobody listens.
async fn deserted() -> String {
    let serving = Serving::start("127.0.0.1:0").await;
    let address = serving.address();
    serving.stop().await;
    address
}

fn client(address: &str) -> AsyncReconnectingClient {
    AsyncReconnectingClient::new(Connector::new(address).unwrap())
        .delays(Duration::from_millis(1), Duration::from_millis(10))
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_old_objects_say_so() {
    let serving = Serving::start("127.0.0.1:0").await;
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
    let old = client.root().await.unwrap();
    let counted = old.call_method_async("count", ()).await;
    assert_eq!(counted.unwrap(), Value::Int(1));
    let first = client.connection().await.unwrap();
    serving.stop().await;
    let serving = Serving::start(&address).await;
    first.closed().await;
    let new = client.root().await.unwrap();
    let counted = new.call_method_async("count", ()).await;
    assert_eq!(counted.unwrap(), Value::Int(1));
    let error = old.call_method_async("count", ()).await.unwrap_err();
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
    assert!(client.connection().await.unwrap() == client.connection().await.unwrap());
    client.close();
    assert!(matches!(client.root().await, Err(ReconnectError::Closed)));
    serving.stop().await;
}

#[tokio::test]
async fn who_can_not_connect_gives_up_and_tries_again_when_used() {
    let address = deserted().await;
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
    // Those who wait meanwhile get the same.
    let (one, other) = tokio::join!(client.root(), client.root());
    for outcome in [one, other] {
        match outcome {
            Err(error @ ReconnectError::Unreachable { attempts: 3, .. }) => {
                let text = error.to_string();
                assert!(text.contains("attempts and time_limit"), "{text}");
                assert!(text.contains("nobody listens at"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failures.load(Ordering::SeqCst), 12);
    let serving = Serving::start(&address).await;
    client.root().await.unwrap();
    serving.stop().await;
}

#[tokio::test]
async fn what_can_not_get_better_is_not_tried_again() {
    let token = |text: &str| TokenAuthenticator::new(text).unwrap();
    let server = Server::builder().authenticator(token("correct horse battery staple"));
    let server = server.bind_async("127.0.0.1:0").await.unwrap();
    let serving = tokio::spawn(server.clone().serve());
    let connector = Connector::to(server.address().clone());
    let connector = connector.authenticator(token("another token, long enough"));
    let client = AsyncReconnectingClient::new(connector);
    match client.root().await {
        Err(ReconnectError::Unreachable {
            attempts: 1, last, ..
        }) => assert!(matches!(*last, ConnectError::Handshake { .. }), "{last}"),
        other => panic!("{other:?}"),
    }
    server.stop();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_connects_for_all() {
    let serving = Serving::start("127.0.0.1:0").await;
    let connected = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&connected);
    let client = client(&serving.address()).on_event(move |event| {
        if matches!(event, ReconnectEvent::Connected { .. }) {
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 1..=5 {
        let users: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let root = client.root().await.unwrap();
                    root.call_method_async("count", ()).await.unwrap();
                })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
        assert_eq!(connected.load(Ordering::SeqCst), round);
        client.connection().await.unwrap().close();
    }
    serving.stop().await;
}

#[tokio::test]
async fn who_loses_interest_leaves_it_to_the_next() {
    // A server with a token that says nothing yet: who connects waits for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let token = TokenAuthenticator::new("correct horse battery staple").unwrap();
    let connector = Connector::new(&address).unwrap();
    let client = AsyncReconnectingClient::new(connector.authenticator(token));
    let use_it = |client: &AsyncReconnectingClient| {
        let client = client.clone();
        tokio::spawn(async move { client.root().await })
    };
    let first = use_it(&client);
    let (stalled, _) = silent.accept().await.unwrap();
    let second = use_it(&client);
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // The second one, which waited for the first, has its turn.
    let (next, _) = silent.accept().await.unwrap();
    assert!(!second.is_finished());
    drop((stalled, next));
    assert!(matches!(
        second.await.unwrap(),
        Err(ReconnectError::Unreachable { attempts: 1, .. })
    ));
}

#[tokio::test]
async fn a_client_that_is_closed_stops_trying() {
    let address = deserted().await;
    let trying = Arc::new(Notify::new());
    let tries = Arc::clone(&trying);
    let client = client(&address)
        .delays(Duration::from_secs(60), Duration::from_secs(60))
        .on_event(move |_| tries.notify_one());
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.root().await });
    trying.notified().await;
    client.close();
    assert!(matches!(
        waiting.await.unwrap(),
        Err(ReconnectError::Closed)
    ));
}

#[tokio::test]
async fn a_listener_that_panics_costs_nothing() {
    let serving = Serving::start("127.0.0.1:0").await;
    let client = client(&serving.address()).on_event(|_| panic!("as asked"));
    client.root().await.unwrap();
    client.connection().await.unwrap().close();
    client.root().await.unwrap();
    client.close();
    serving.stop().await;
}
