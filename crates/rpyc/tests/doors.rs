//! Tokens, TLS and time limits: who gets in.

#[cfg(feature = "tls")]
mod certificates;
mod service;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rpyc::{Config, ConnectError, Connector, Server, ServerBuilder, TokenAuthenticator};
use service::{Counter, eventually};

const TOKEN: &str = "correct horse battery staple";

fn kinds() -> [(&'static str, ServerBuilder); 2] {
    [
        ("threaded", Server::builder().threaded()),
        ("pool", Server::builder().pool(2)),
    ]
}

fn refusal(connector: &Connector) -> String {
    match connector.connect() {
        Err(ConnectError::Handshake { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_sides_must_know_the_token() {
    for (kind, builder) in kinds() {
        let server = builder
            .authenticator(
                TokenAuthenticator::new(TOKEN)
                    .unwrap()
                    .client("lab", "the token of the lab")
                    .unwrap(),
            )
            .service(|peer| {
                assert!(["", "lab"].contains(&peer.identity().unwrap()));
                Arc::new(Counter::default())
            })
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let connector = Connector::to(server.address().clone());
        let with = |token: &str, name: &str| {
            let token = TokenAuthenticator::new(token).unwrap().name(name).unwrap();
            connector.clone().authenticator(token)
        };
        with(TOKEN, "").connect().unwrap().ping().unwrap();
        with("the token of the lab", "lab")
            .connect()
            .unwrap()
            .ping()
            .unwrap();
        for wrong in [
            with("another token, long enough", ""),
            with(TOKEN, "lab"),
            with(TOKEN, "nobody"),
        ] {
            assert_eq!(refusal(&wrong), "the server refuses the token", "{kind}");
        }
        // Who knows no token gets nowhere.
        assert!(connector.connect().unwrap().ping().is_err(), "{kind}");
        eventually(kind, || server.connections() == 0);
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_server_that_does_not_know_the_token_is_found_out() {
    // It lets everybody in, and makes its own proof up.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let impostor = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; 8 + 1 + 32]).unwrap();
        socket.write_all(b"RPYCTOK1").unwrap();
        socket.write_all(&[7; 32]).unwrap();
        socket.read_exact(&mut [0; 32]).unwrap();
        socket.write_all(&[1]).unwrap();
        socket.write_all(&[9; 32]).unwrap();
    });
    let connector = Connector::new(&address).unwrap();
    let reason = refusal(&connector.authenticator(TokenAuthenticator::new(TOKEN).unwrap()));
    assert_eq!(
        reason,
        "the server does not know the token: it is another one"
    );
    impostor.join().unwrap();
}

#[test]
fn tokens_are_shown_to_nobody() {
    let authenticator = TokenAuthenticator::new(TOKEN).unwrap();
    assert!(!format!("{authenticator:?}").contains("horse"));
    assert!(TokenAuthenticator::new("too short").is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "short\n").unwrap();
    let error = TokenAuthenticator::from_file(&path).unwrap_err();
    assert!(error.to_string().contains("token: a token of less than 16"));
    assert!(TokenAuthenticator::from_file(folder.path().join("none")).is_err());
}

#[test]
fn silent_peers_keep_nobody_waiting() {
    for (kind, builder) in kinds() {
        let server = builder
            .authenticator(TokenAuthenticator::new(TOKEN).unwrap())
            .handshake_timeout(Duration::from_millis(300))
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let address = server.address().to_string();
        let silent: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(&address).unwrap())
            .collect();
        let connector = Connector::new(&address).unwrap();
        let good = connector
            .authenticator(TokenAuthenticator::new(TOKEN).unwrap())
            .connect()
            .unwrap();
        good.ping().unwrap();
        eventually(kind, || server.connections() == 1);
        drop(silent);
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connector = Connector::new(&address)
        .unwrap()
        .config(Config::default().connect_timeout(Duration::from_millis(100)))
        .authenticator(TokenAuthenticator::new(TOKEN).unwrap());
    let error = connector.connect().unwrap_err();
    assert!(
        matches!(error, ConnectError::TimedOut { accepted: true, .. }),
        "{error}"
    );
}

#[test]
fn a_socket_file_whose_queue_is_full_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let connector = Connector::new(&format!("unix:{}", path.display()))
        .unwrap()
        .config(Config::default().connect_timeout(Duration::from_millis(100)));
    let mut accepted = Vec::new();
    let error = loop {
        match connector.connect() {
            Ok(conn) => accepted.push(conn),
            Err(error) => break error,
        }
        assert!(accepted.len() < 10);
    };
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                accepted: false,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_authenticator_that_panics_costs_one_connection() {
    struct Bomb;
    impl rpyc::Authenticator for Bomb {
        fn admit(&self, _: &mut rpyc::Opening, _: &mut rpyc::PeerInfo) -> std::io::Result<()> {
            panic!("not today")
        }
    }
    for (kind, builder) in kinds() {
        let server = builder.authenticator(Bomb).bind("127.0.0.1:0").unwrap();
        let serving = server.serve_in_thread().unwrap();
        let connector = Connector::to(server.address().clone());
        assert!(connector.connect().unwrap().ping().is_err(), "{kind}");
        eventually(kind, || server.connections() == 0);
        server.stop();
        serving.join().unwrap().unwrap();
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use crate::certificates::Files;
    use rpyc::{TlsClient, TlsServer, Value};

    #[test]
    fn calls_of_all_sizes_go_over_tls() {
        let files = Files::new();
        for (kind, builder) in kinds() {
            let server = builder
                .tls(files.server())
                .service(|_| Arc::new(Counter::default()))
                .bind("localhost:0")
                .unwrap();
            assert!(server.address().to_string().starts_with("ssl://"));
            let serving = server.serve_in_thread().unwrap();
            let connector = Connector::to(server.address().clone()).tls(files.client());
            let conn = connector.connect().unwrap();
            let root = conn.root().unwrap();
            let double = rpyc::function(|x: i64| 2 * x);
            assert_eq!(
                root.call_method("apply", (double,)).unwrap(),
                Value::Int(42)
            );
            // More than the buffers on the way hold, several at once.
            let results: Vec<_> = (0..4)
                .map(|_| root.call_method_async("bytes", (3 << 20,)))
                .collect();
            for result in results {
                let bytes = result.wait().unwrap();
                assert!(
                    matches!(bytes, Value::Bytes(bytes) if bytes.len() == 3 << 20),
                    "{kind}"
                );
            }
            // Threads that call at the same time: one sends while another one receives.
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            root.call_method("count", ()).unwrap();
                        }
                    });
                }
            });
            assert_eq!(root.call_method("count", ()).unwrap(), Value::Int(401));
            conn.close();
            eventually(kind, || server.connections() == 0);
            server.stop();
            serving.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_request_that_comes_with_the_end_of_the_handshake_is_served() {
        // It is in the session's memory by the time when the pool begins to watch the socket.
        let files = Files::new();
        let server = Server::builder()
            .pool(2)
            .tls(files.server())
            .bind("localhost:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let connector = Connector::to(server.address().clone())
            .config(Config::default().timeout(Duration::from_secs(20)))
            .tls(files.client());
        for _ in 0..40 {
            connector.connect().unwrap().root().unwrap();
        }
        server.stop();
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn a_server_must_be_who_it_says_it_is() {
        let files = Files::new();
        let server = Server::builder()
            .tls(files.server())
            .bind("localhost:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let connector = Connector::to(server.address().clone());
        let stranger = Files::new();
        let reason = refusal(&connector.clone().tls(stranger.client()));
        assert!(reason.contains("certificate"), "{reason}");
        let reason = refusal(
            &connector
                .clone()
                .tls(files.client().server_name("other.lab")),
        );
        assert!(reason.contains("other.lab"), "{reason}");
        let reason = refusal(&connector.clone().tls(TlsClient::new().ca_file("/nowhere")));
        assert!(reason.contains("/nowhere"), "{reason}");
        // Asked for by its name only.
        let insecure = TlsClient::new().insecure_accept_any_server();
        connector.tls(insecure).connect().unwrap().ping().unwrap();
        server.stop();
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn a_client_shows_its_certificate_and_its_token() {
        let files = Files::new();
        let server = Server::builder()
            .tls(files.server().client_ca_file(files.path("ca.pem")))
            .authenticator(TokenAuthenticator::new(TOKEN).unwrap())
            .service(|peer| {
                assert!(peer.certificate().is_some_and(|der| der.len() > 100));
                Arc::new(Counter::default())
            })
            .bind("ssl://localhost:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let token = TokenAuthenticator::new(TOKEN).unwrap();
        let connector = Connector::to(server.address().clone()).authenticator(token);
        let known = files
            .client()
            .certificate(files.path("client.pem"), files.path("client.key"));
        let conn = connector.clone().tls(known).connect().unwrap();
        conn.root().unwrap();
        assert!(connector.tls(files.client()).connect().is_err());
        server.stop();
        serving.join().unwrap().unwrap();
    }

    #[test]
    fn a_server_needs_its_files() {
        let files = Files::new();
        let error = Server::builder()
            .tls(TlsServer::new(
                files.path("none.pem"),
                files.path("server.key"),
            ))
            .bind("localhost:0")
            .unwrap_err();
        assert!(error.to_string().contains("none.pem"), "{error}");
        let error = Server::builder().bind("ssl://localhost:0").unwrap_err();
        assert!(error.to_string().contains("needs a certificate"), "{error}");
    }
}
