//! Signs of life: a silent peer is found within the bound, and a busy or idle one is not taken for it.

#[cfg(all(feature = "tokio", feature = "tls"))]
mod certificates;
mod service;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpyc::link::EndCause;
use rpyc::{Config, Connection, Connector, Error, Server, ServerBuilder, Value};
use service::{Counter, Gate, eventually};

const SILENCE: Duration = Duration::from_millis(250);
/// Long enough to be taken for dead.
const LONG: Duration = Duration::from_millis(1000);

fn listening() -> Config {
    Config::default().heartbeat(SILENCE).timeout(None)
}

fn connect(address: &str, config: Config) -> Connection {
    Connector::new(address)
        .unwrap()
        .config(config)
        .connect()
        .unwrap()
}

fn kinds() -> [ServerBuilder; 2] {
    [Server::builder().threaded(), Server::builder().pool(2)]
}

/// Somebody who accepts, and never says a word.
fn dead_end() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_silent_server_is_found_by_who_waits() {
    let (_listener, address) = dead_end();
    let started = Instant::now();
    let conn = connect(&address, listening());
    match conn.root() {
        Err(Error::ConnectionLost(lost)) => {
            assert!(matches!(lost.cause, EndCause::Silent(SILENCE)), "{lost}");
            assert_eq!((lost.operation.as_str(), lost.peer), ("GETROOT", address));
        }
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() >= SILENCE);
}

#[test]
fn a_silent_server_is_found_though_nobody_waits() {
    let (_listener, address) = dead_end();
    let left = Gate::new();
    let root = Arc::new(Counter::telling(left.clone()));
    let connector = Connector::new(&address).unwrap().config(listening());
    let conn = connector.service(root).connect().unwrap();
    // The service is told as well.
    left.wait();
    assert_eq!(conn.end().unwrap().cause.word(), "silent");
}

#[test]
fn a_silent_client_is_found() {
    for builder in kinds() {
        let left = Gate::new();
        let telling = left.clone();
        let server = builder
            .config(listening())
            .service(move |_| Arc::new(Counter::telling(telling.clone())))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let mut silent = TcpStream::connect(server.address().to_string()).unwrap();
        left.wait();
        eventually("it is gone", || server.connections() == 0);
        // It was asked, and hung up on.
        let mut heard = Vec::new();
        silent.read_to_end(&mut heard).unwrap();
        assert!(!heard.is_empty());
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn who_runs_a_long_method_lives() {
    for builder in kinds() {
        let (entered, gate) = (Gate::new(), Gate::new());
        let gates = (entered.clone(), gate.clone());
        let server = builder
            .config(listening())
            .service(move |_| Arc::new(Counter::gated(gates.0.clone(), gates.1.clone())))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let conn = connect(&server.address().to_string(), listening());
        let root = conn.root().unwrap();
        // One waits for it, and later nobody does.
        let held = root.call_method_async("wait", ());
        entered.wait();
        assert!(matches!(held.wait_timeout(LONG), Err(Error::TimedOut(_))));
        std::thread::sleep(LONG);
        gate.open();
        assert_eq!(root.call_method("count", ()).unwrap(), Value::Int(1));
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn who_has_nothing_to_say_lives() {
    for builder in kinds() {
        let server = builder.config(listening()).bind("127.0.0.1:0").unwrap();
        let serving = server.serve_in_thread().unwrap();
        let address = server.address().to_string();
        // Asked for by the server only, and by both. The first one learns of it when it waits.
        let quiet = [
            connect(&address, Config::default()),
            connect(&address, listening()),
        ];
        quiet[0].ping().unwrap();
        std::thread::sleep(LONG);
        for conn in quiet {
            conn.ping().unwrap();
        }
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[cfg(feature = "tokio")]
mod under_tokio {
    use super::*;
    use rpyc::AsyncConnection;

    async fn connect_async(address: &str, config: Config) -> AsyncConnection {
        let connector = Connector::new(address).unwrap().config(config);
        connector.connect_async().await.unwrap()
    }

    #[tokio::test]
    async fn a_silent_server_is_found() {
        let (_listener, address) = dead_end();
        let conn = connect_async(&address, listening()).await;
        match conn.root_async().await {
            Err(Error::ConnectionLost(lost)) => assert_eq!(lost.cause.word(), "silent"),
            other => panic!("{other:?}"),
        }
        let idle = connect_async(&address, listening()).await;
        assert_eq!(idle.closed().await.cause.word(), "silent");
    }

    #[tokio::test]
    async fn a_server_finds_silent_clients_and_keeps_quiet_ones() {
        let left = Gate::new();
        let telling = left.clone();
        let server = Server::builder()
            .config(listening())
            .service(move |_| Arc::new(Counter::telling(telling.clone())))
            .bind_async("127.0.0.1:0")
            .await
            .unwrap();
        let address = server.address().to_string();
        tokio::spawn(server.serve());
        let silent = TcpStream::connect(&address).unwrap();
        let gone = tokio::task::spawn_blocking(move || left.wait());
        gone.await.unwrap();
        drop(silent);
        let task = connect_async(&address, Config::default()).await;
        let both = connect_async(&address, listening()).await;
        let blocking = tokio::task::spawn_blocking(move || {
            let conn = connect(&address, listening());
            std::thread::sleep(LONG);
            conn.ping()
        });
        blocking.await.unwrap().unwrap();
        task.ping_async().await.unwrap();
        both.ping_async().await.unwrap();
    }

    #[cfg(feature = "tls")]
    mod over_tls {
        use super::*;

        #[tokio::test]
        async fn signs_of_life_go_over_tls() {
            let files = certificates::Files::new();
            let server = Server::builder().config(listening()).tls(files.server());
            let server = server.bind_async("localhost:0").await.unwrap();
            let connector = Connector::to(server.address().clone())
                .tls(files.client())
                .config(listening());
            tokio::spawn(server.serve());
            let conn = connector.connect_async().await.unwrap();
            tokio::time::sleep(LONG).await;
            conn.ping_async().await.unwrap();
            // A thread that waits reads the question, too.
            let blocking = tokio::task::spawn_blocking(move || {
                let conn = connector.connect().unwrap();
                conn.serve(LONG).unwrap();
                conn.ping()
            });
            blocking.await.unwrap().unwrap();
        }
    }
}
