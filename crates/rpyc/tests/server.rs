//! Servers of every kind, over real sockets.

mod service;

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use rpyc::{
    BindError, Config, ConnectError, Connection, Error, Method, Object, Server, ServerBuilder,
    Value,
};
use service::{Counter, Gate, eventually};

/// Every kind, for what they have in common.
fn kinds() -> [(&'static str, ServerBuilder); 2] {
    [
        ("threaded", Server::builder().threaded()),
        ("pool", Server::builder().pool(3)),
    ]
}

fn connect(server: &Server) -> Connection {
    rpyc::connect(&server.address().to_string()).unwrap()
}

fn count(conn: &Connection) -> i64 {
    let counted = conn.root().unwrap().call_method("count", ()).unwrap();
    counted.extract().unwrap()
}

#[test]
fn each_connection_has_a_root_of_its_own() {
    for (kind, builder) in kinds() {
        let server = builder
            .service(|peer| {
                assert!(
                    peer.address()
                        .is_some_and(|address| address.ip().is_loopback())
                );
                Arc::new(Counter::default())
            })
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let (one, other) = (connect(&server), connect(&server));
        assert_eq!(
            [count(&one), count(&one), count(&other)],
            [1, 2, 1],
            "{kind}"
        );
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn all_connections_can_share_a_root() {
    let server = Server::builder()
        .shared(Arc::new(Counter::default()))
        .bind("127.0.0.1:0")
        .unwrap();
    let serving = server.serve_in_thread().unwrap();
    assert_eq!(count(&connect(&server)), 1);
    assert_eq!(count(&connect(&server)), 2);
    server.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_connection_that_ends_is_forgotten_and_its_root_is_told() {
    for (kind, builder) in kinds() {
        let gate = Gate::new();
        let left = gate.clone();
        let server = builder
            .service(move |_| Arc::new(Counter::telling(left.clone())))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let conn = connect(&server);
        assert_eq!(count(&conn), 1);
        assert_eq!(server.connections(), 1);
        conn.close();
        gate.wait();
        eventually(kind, || server.connections() == 0);
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_stop_closes_the_door_and_all_connections() {
    for (kind, builder) in kinds() {
        let server = builder.bind("127.0.0.1:0").unwrap();
        let address = server.address().to_string();
        let serving = server.serve_in_thread().unwrap();
        let conn = rpyc::connect(&address).unwrap();
        conn.ping().unwrap();
        server.stop();
        assert!(
            matches!(conn.ping(), Err(Error::ConnectionLost(_))),
            "{kind}"
        );
        assert!(
            matches!(rpyc::connect(&address), Err(ConnectError::Refused { .. })),
            "{kind}"
        );
        serving.join().unwrap().unwrap();
        assert!(server.serve().is_err(), "{kind}: served twice");
    }
}

#[test]
fn a_drain_answers_what_is_running() {
    for (kind, builder) in kinds() {
        let (entered, gate) = (Gate::new(), Gate::new());
        let root = Arc::new(Counter::gated(entered.clone(), gate.clone()));
        let server = builder.shared(root).bind("127.0.0.1:0").unwrap();
        let address = server.address().to_string();
        let serving = server.serve_in_thread().unwrap();
        let (busy, idle) = (connect(&server), connect(&server));
        idle.ping().unwrap();
        let result = busy.root().unwrap().call_method_async("wait", ());
        entered.wait();
        let draining = std::thread::spawn({
            let server = server.clone();
            move || server.drain(Duration::from_secs(30))
        });
        eventually(kind, || server.connections() == 1);
        assert!(idle.ping().is_err(), "{kind}");
        assert!(rpyc::connect(&address).is_err(), "{kind}");
        gate.open();
        assert_eq!(result.wait().unwrap(), Value::Str("done".into()), "{kind}");
        assert!(draining.join().unwrap(), "{kind}");
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_drain_gives_up_in_time() {
    let (entered, gate) = (Gate::new(), Gate::new());
    let root = Arc::new(Counter::gated(entered.clone(), gate.clone()));
    let server = Server::builder().shared(root).bind("127.0.0.1:0").unwrap();
    let serving = server.serve_in_thread().unwrap();
    let conn = connect(&server);
    let result = conn.root().unwrap().call_method_async("wait", ());
    entered.wait();
    assert!(!server.drain(Duration::from_millis(50)));
    assert!(matches!(result.wait(), Err(Error::ConnectionLost(_))));
    gate.open();
    serving.join().unwrap().unwrap();
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    for (kind, builder) in kinds() {
        let server = builder.max_connections(2).bind("127.0.0.1:0").unwrap();
        let serving = server.serve_in_thread().unwrap();
        let (one, two) = (connect(&server), connect(&server));
        one.ping().unwrap();
        two.ping().unwrap();
        assert!(connect(&server).ping().is_err(), "{kind}");
        two.close();
        eventually(kind, || server.connections() == 1);
        connect(&server).ping().unwrap();
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_few_threads_serve_many_connections() {
    let server = Server::builder()
        .pool(2)
        .service(|_| Arc::new(Counter::default()))
        .bind("127.0.0.1:0")
        .unwrap();
    let serving = server.serve_in_thread().unwrap();
    let conns: Vec<_> = (0..100).map(|_| connect(&server)).collect();
    for turn in 1..=3 {
        assert!(conns.iter().all(|conn| count(conn) == turn));
    }

    // Many at once, and each calls back.
    std::thread::scope(|scope| {
        for conn in conns.iter().take(20) {
            scope.spawn(|| {
                let double = rpyc::function(|x: i64| 2 * x);
                let called = conn.root().unwrap().call_method("apply", (double,));
                assert_eq!(called.unwrap(), Value::Int(42));
            });
        }
    });
    server.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_pool_serves_what_another_thread_received() {
    // A thread of the server waits for an answer of the client, and receives the client's requests
    // with it: they must not wait for more bytes to come.
    let server = Server::builder()
        .pool(1)
        .service(|_| Arc::new(Counter::default()))
        .bind("127.0.0.1:0")
        .unwrap();
    let serving = server.serve_in_thread().unwrap();
    let conn = connect(&server);
    let root = conn.root().unwrap();
    let echo = rpyc::function(|x: i64| x);
    root.call_method("keep", (echo,)).unwrap();
    for turn in 0..200 {
        let pushed = root.call_method_async("push_from_thread", (turn,));
        let counted = root.call_method("count", ()).unwrap();
        assert_eq!(counted, Value::Int(turn + 1));
        pushed.wait().unwrap();
    }
    server.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_one_shot_server_serves_once() {
    let server = Server::builder()
        .one_shot()
        .service(|_| Arc::new(Counter::default()))
        .bind("127.0.0.1:0")
        .unwrap();
    let serving = server.serve_in_thread().unwrap();
    let conn = connect(&server);
    assert_eq!(count(&conn), 1);
    assert!(rpyc::connect(&server.address().to_string()).is_err());
    assert_eq!(count(&conn), 2);
    conn.close();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_one_shot_server_can_be_stopped() {
    let server = Server::builder().one_shot().bind("127.0.0.1:0").unwrap();
    let serving = server.serve_in_thread().unwrap();
    server.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_socket_file_goes_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let address = format!("unix:{}", path.display());
    let server = Server::builder()
        .service(|_| Arc::new(Counter::default()))
        .bind(&address)
        .unwrap();
    let serving = server.serve_in_thread().unwrap();
    assert_eq!(count(&rpyc::connect(&address).unwrap()), 1);
    // Somebody listens.
    let second = Server::builder().bind(&address);
    assert!(matches!(second, Err(BindError::InUse { .. })));
    server.stop();
    serving.join().unwrap().unwrap();
    assert!(!path.exists());

    // Nobody listens any more.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Server::builder().bind(&address).unwrap());
    assert!(!path.exists());

    // No socket.
    std::fs::write(&path, "precious").unwrap();
    assert!(Server::builder().bind(&address).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn what_a_server_can_not_listen_at_is_told() {
    let server = Server::builder().bind("127.0.0.1:0").unwrap();
    let address = server.address().to_string();
    let error = Server::builder().bind(&address).unwrap_err().to_string();
    assert_eq!(error, format!("another server listens at {address}"));
    let error = Server::builder().bind("nowhere").unwrap_err().to_string();
    assert!(error.contains("expected host:port"), "{error}");
}

#[test]
fn a_root_that_refuses_costs_one_connection() {
    for (kind, builder) in kinds() {
        let server = builder
            .service(|_| Arc::new(Counter::refusing()))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        assert!(connect(&server).ping().is_err(), "{kind}");
        eventually(kind, || server.connections() == 0);
        server.stop();
        serving.join().unwrap().unwrap();

        let server = Server::builder()
            .service(|_| -> Value { panic!("no root today") })
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        assert!(connect(&server).ping().is_err(), "{kind}");
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_peer_that_does_not_read_holds_nobody_up() {
    for (kind, builder) in kinds() {
        let server = builder
            .config(Config::default())
            .service(|_| Arc::new(Counter::default()))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let greedy = connect(&server);
        let root = greedy.root().unwrap();
        let results: Vec<_> = (0..8)
            .map(|_| root.call_method_async("bytes", (4 << 20,)))
            .collect();
        assert_eq!(count(&connect(&server)), 1, "{kind}");
        for result in results {
            let bytes = result.wait().unwrap();
            assert!(
                matches!(bytes, Value::Bytes(bytes) if bytes.len() == 4 << 20),
                "{kind}"
            );
        }
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn garbage_ends_its_connection_only() {
    for (kind, builder) in kinds() {
        let server = builder
            .service(|_| Arc::new(Counter::default()))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let address = server.address().to_string();
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.write_all(b"\x00\x00\x00\x01\x00\xff\n").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // Closed, or reset since it had more to say.
        let end = socket.read(&mut [0; 16]);
        assert!(
            matches!(end, Ok(0))
                || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "{kind}"
        );
        assert_eq!(count(&connect(&server)), 1, "{kind}");
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

/// An object whose methods can't be told.
struct Broken;

impl Object for Broken {
    fn class_name(&self) -> Cow<'static, str> {
        "test.Broken".into()
    }

    fn methods(&self) -> Vec<Method> {
        panic!("no methods today")
    }
}

/// Asked for with an introduction, as Python does, and without.
#[test]
fn a_root_that_panics_when_it_is_asked_for_is_an_exception() {
    for ask in [
        &b"\x01\x11\x50\x11\x53\x11\x51\x14\x00"[..],
        &b"\x01\x11\x50\x11\x53\x11\x51\x02"[..],
    ] {
        let ping = b"\x01\x11\x51\x11\x51\x11\x51\x10\x52";
        for (kind, builder) in kinds() {
            let server = builder.service(|_| Arc::new(Broken)).bind("127.0.0.1:0");
            let server = server.unwrap();
            let serving = server.serve_in_thread().unwrap();
            let mut socket = TcpStream::connect(server.address().to_string()).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            let mut exchange = |payload: &[u8]| {
                let mut frame = vec![0, 0, 0, payload.len() as u8, 0];
                frame.extend_from_slice(payload);
                frame.push(b'\n');
                socket.write_all(&frame).unwrap();
                let mut head = [0; 5];
                socket.read_exact(&mut head).unwrap();
                let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                let mut body = vec![0; length as usize + 1];
                socket.read_exact(&mut body).unwrap();
                body
            };
            let refusal = exchange(ask);
            assert_eq!(refusal[0], 3, "{kind}: an exception");
            let text = String::from_utf8_lossy(&refusal);
            assert!(text.contains("no methods today"), "{kind}: {text}");
            assert_eq!(exchange(ping)[0], 2, "{kind}: the connection lives on");
            server.stop();
            serving.join().unwrap().unwrap();
        }
    }
}
