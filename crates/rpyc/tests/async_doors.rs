//! Tokens, TLS and time limits of servers and clients that a runtime drives.
#![cfg(feature = "tokio")]

#[cfg(feature = "tls")]
mod certificates;
mod service;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rpyc::{
    AsyncServer, BindError, Config, ConnectError, Connector, Error, Opening, PeerInfo,
    RegistryClient, RegistryServer, Server, ServerBuilder, TokenAuthenticator, Value,
};
use service::Counter;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TOKEN: &str = "correct horse battery staple";

fn token() -> TokenAuthenticator {
    TokenAuthenticator::new(TOKEN).unwrap()
}

/// A server that serves, until told to stop.
struct Serving {
    address: rpyc::Address,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    async fn start(builder: ServerBuilder, address: &str) -> Self {
        let server = builder.bind_async(address).await.unwrap();
        let address = server.address().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve_until(async { drop(stopped.await) }));
        Self {
            address,
            stop,
            task,
        }
    }

    fn connector(&self) -> Connector {
        Connector::to(self.address.clone())
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn counting() -> ServerBuilder {
    Server::builder().service(|_| Arc::new(Counter::default()))
}

async fn refusal(connector: &Connector) -> String {
    match connector.connect_async().await {
        Err(ConnectError::Handshake { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_sides_must_know_the_token() {
    let tokens = token().client("lab", "the token of the lab").unwrap();
    let builder = Server::builder().authenticator(tokens).service(|peer| {
        assert!(["", "lab"].contains(&peer.identity().unwrap()));
        Arc::new(Counter::default())
    });
    let serving = Serving::start(builder, "127.0.0.1:0").await;
    let with = |token: &str, name: &str| {
        let token = TokenAuthenticator::new(token).unwrap().name(name).unwrap();
        serving.connector().authenticator(token)
    };
    for right in [with(TOKEN, ""), with("the token of the lab", "lab")] {
        right
            .connect_async()
            .await
            .unwrap()
            .ping_async()
            .await
            .unwrap();
    }
    for wrong in [
        with("another token, long enough", ""),
        with(TOKEN, "lab"),
        with(TOKEN, "nobody"),
    ] {
        assert_eq!(refusal(&wrong).await, "the server refuses the token");
    }
    // Who knows no token gets nowhere.
    let ignorant = serving.connector().connect_async().await.unwrap();
    assert!(matches!(
        ignorant.ping_async().await,
        Err(Error::ConnectionLost(_))
    ));
    // Blocking clients say the same.
    let blocking = with(TOKEN, "");
    let pinged = tokio::task::spawn_blocking(move || blocking.connect().unwrap().ping());
    pinged.await.unwrap().unwrap();
    serving.stop().await;
}

#[tokio::test]
async fn silent_peers_keep_nobody_waiting() {
    let builder = counting()
        .authenticator(token())
        .handshake_timeout(Duration::from_millis(300))
        .max_connections(101);
    let serving = Serving::start(builder, "127.0.0.1:0").await;
    let address = serving.address.to_string();
    let silent: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let connector = serving.connector().authenticator(token());
    let good = connector.connect_async().await.unwrap();
    good.ping_async().await.unwrap();
    // They count as connections, until their time is over.
    let mut turned_away = connector.connect_async().await;
    assert!(turned_away.is_err());
    while turned_away.is_err() {
        turned_away = connector.connect_async().await;
    }
    tokio::task::spawn_blocking(move || {
        for mut socket in silent {
            assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        }
    })
    .await
    .unwrap();
    serving.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_handshakes() {
    let serving = Serving::start(counting().authenticator(token()), "127.0.0.1:0").await;
    let mut silent = TcpStream::connect(serving.address.to_string()).unwrap();
    silent.write_all(b"RPYC").unwrap();
    // It is accepted by the time when another one is through.
    let connector = serving.connector().authenticator(token());
    connector.connect_async().await.unwrap();
    serving.stop().await;
    let ended = tokio::task::spawn_blocking(move || silent.read(&mut [0]));
    assert!(matches!(ended.await.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connector = Connector::new(&listener.local_addr().unwrap().to_string())
        .unwrap()
        .config(Config::default().connect_timeout(Duration::from_millis(100)))
        .authenticator(token());
    let error = connector.connect_async().await.unwrap_err();
    assert!(
        matches!(error, ConnectError::TimedOut { accepted: true, .. }),
        "{error}"
    );
}

/// Admits those that say a word, and panics at others.
struct Word(&'static [u8]);

impl rpyc::Authenticator for Word {
    fn admit(&self, opening: &mut Opening, peer: &mut PeerInfo) -> std::io::Result<()> {
        let mut said = vec![0; self.0.len()];
        opening.read_exact(&mut said)?;
        assert_eq!(said, self.0);
        opening.write_all(b"!")?;
        opening.flush()?;
        peer.set_identity("friend");
        Ok(())
    }
}

impl rpyc::ClientAuthenticator for Word {
    fn introduce(&self, opening: &mut Opening) -> std::io::Result<()> {
        opening.write_all(self.0)?;
        opening.flush()?;
        opening.read_exact(&mut [0])
    }
}

#[tokio::test]
async fn authenticators_of_programs_have_threads() {
    let builder = Server::builder()
        .authenticator(Word(b"mellon"))
        .handshake_timeout(Duration::from_millis(500))
        .service(|peer| {
            rpyc::function({
                let identity = peer.identity().unwrap().to_owned();
                move || identity.clone()
            })
        });
    let serving = Serving::start(builder, "127.0.0.1:0").await;
    let silent = TcpStream::connect(serving.address.to_string()).unwrap();
    let conn = serving.connector().authenticator(Word(b"mellon"));
    let conn = conn.connect_async().await.unwrap();
    let root = conn.root_async().await.unwrap();
    let identity = root.call_async(()).await.unwrap();
    assert_eq!(identity, Value::Str("friend".to_owned()));
    // A panic costs its connection only, and so does silence.
    let wrong = serving.connector().authenticator(Word(b"friend"));
    let reason = refusal(&wrong).await;
    assert_eq!(reason, "the server hung up during the handshake");
    let ended = tokio::task::spawn_blocking(move || (&silent).read(&mut [0]));
    assert_eq!(ended.await.unwrap().unwrap(), 0);
    conn.ping_async().await.unwrap();
    serving.stop().await;
}

#[tokio::test]
async fn a_server_is_registered_while_it_serves() {
    let registry = RegistryServer::udp("127.0.0.1:0").unwrap();
    let client = RegistryClient::udp(&registry.address().to_string()).unwrap();
    let registering = std::thread::spawn({
        let registry = registry.clone();
        move || registry.serve()
    });
    let serving =
        Serving::start(counting().register(client.clone(), ["sums"]), "127.0.0.1:0").await;
    let (address, asked) = (serving.address.clone(), client.clone());
    let found = tokio::task::spawn_blocking(move || {
        loop {
            if let Ok(found) = asked.discover("sums")
                && !found.is_empty()
            {
                return found;
            }
        }
    });
    assert_eq!(found.await.unwrap(), [address]);
    serving.stop().await;
    let left = tokio::task::spawn_blocking(move || client.discover("sums")).await;
    assert!(left.unwrap().is_ok_and(|found| found.is_empty()));
    registry.stop();
    registering.join().unwrap().unwrap();
}

#[tokio::test]
async fn ways_to_get_threads_are_for_servers_with_threads() {
    for builder in [counting().pool(2), counting().one_shot()] {
        let error = builder.bind_async("127.0.0.1:0").await.unwrap_err();
        assert!(matches!(error, BindError::Address { .. }), "{error}");
    }
    let error = AsyncServer::bind("ssl://127.0.0.1:0", |_| ()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("needs a certificate"), "{error}");
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use crate::certificates::Files;
    use bytes::Bytes;
    use rpyc::TlsClient;

    #[tokio::test]
    async fn calls_of_all_sizes_go_over_tls() {
        let files = Files::new();
        let serving = Serving::start(counting().tls(files.server()), "localhost:0").await;
        assert!(serving.address.to_string().starts_with("ssl://"));
        let connector = serving.connector().tls(files.client());
        let conn = connector.connect_async().await.unwrap();
        let root = conn.root_async().await.unwrap();
        // More than the buffers on the way hold, several at once.
        let results: Vec<_> = (0..4)
            .map(|_| root.call_method_async("bytes", (3 << 20,)))
            .collect();
        for result in results {
            let bytes: Bytes = result.await.unwrap().extract().unwrap();
            assert_eq!(bytes.len(), 3 << 20);
        }
        let calls: Vec<_> = (0..1000)
            .map(|_| root.call_method_async("count", ()))
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            let counted: usize = call.await.unwrap().extract().unwrap();
            assert_eq!(counted, number + 1);
        }
        // A blocking client is as welcome.
        let blocking = tokio::task::spawn_blocking(move || {
            let conn = connector.connect()?;
            conn.ping().unwrap();
            conn.close();
            Ok::<_, ConnectError>(())
        });
        blocking.await.unwrap().unwrap();
        conn.close();
        assert_eq!(conn.closed().await.cause.word(), "closed");
        serving.stop().await;
    }

    #[tokio::test]
    async fn an_asynchronous_client_meets_a_server_with_threads() {
        let files = Files::new();
        let server = Server::builder()
            .tls(files.server())
            .authenticator(token())
            .service(|_| Arc::new(Counter::default()))
            .bind("localhost:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        let connector = Connector::to(server.address().clone())
            .tls(files.client())
            .authenticator(token());
        let conn = connector.connect_async().await.unwrap();
        let root = conn.root_async().await.unwrap();
        let bytes = root.call_method_async("bytes", (1 << 20,)).await.unwrap();
        assert_eq!(bytes.extract::<Bytes>().unwrap().len(), 1 << 20);
        server.stop();
        // It ends in an orderly way.
        assert_eq!(conn.closed().await.cause.word(), "peer closed");
        serving.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn both_sides_must_be_who_they_say_they_are() {
        let files = Files::new();
        let builder = Server::builder()
            .tls(files.server().client_ca_file(files.path("ca.pem")))
            .authenticator(token())
            .service(|peer| {
                assert!(peer.certificate().is_some_and(|der| der.len() > 100));
                Arc::new(Counter::default())
            });
        let serving = Serving::start(builder, "ssl://localhost:0").await;
        let connector = serving.connector().authenticator(token());
        let known = files
            .client()
            .certificate(files.path("client.pem"), files.path("client.key"));
        let conn = connector.clone().tls(known.clone()).connect_async().await;
        conn.unwrap().root_async().await.unwrap();
        // Without a certificate there is nothing to be said, token or not.
        assert!(
            connector
                .clone()
                .tls(files.client())
                .connect_async()
                .await
                .is_err()
        );
        // With one, the token is asked for all the same.
        let other = TokenAuthenticator::new("another token, long enough").unwrap();
        let reason = refusal(&serving.connector().tls(known).authenticator(other)).await;
        assert_eq!(reason, "the server refuses the token");
        let reason = refusal(&connector.clone().tls(Files::new().client())).await;
        assert!(reason.contains("certificate"), "{reason}");
        let named = files.client().server_name("other.lab");
        let reason = refusal(&connector.clone().tls(named)).await;
        assert!(reason.contains("other.lab"), "{reason}");
        let reason = refusal(&connector.tls(TlsClient::new().ca_file("/nowhere"))).await;
        assert!(reason.contains("/nowhere"), "{reason}");
        serving.stop().await;
    }

    #[tokio::test]
    async fn silence_in_the_handshake_is_given_up_by_both_sides() {
        let files = Files::new();
        let builder = counting()
            .tls(files.server())
            .handshake_timeout(Duration::from_millis(200));
        let serving = Serving::start(builder, "localhost:0").await;
        let rpyc::Address::Ssl { host, port } = &serving.address else {
            panic!("{}", serving.address)
        };
        let silent = TcpStream::connect((host.as_str(), *port)).unwrap();
        let connector = serving.connector().tls(files.client());
        let good = connector.connect_async().await.unwrap();
        good.ping_async().await.unwrap();
        let ended = tokio::task::spawn_blocking(move || (&silent).read(&mut [0]));
        assert!(matches!(ended.await.unwrap(), Ok(0) | Err(_)));
        serving.stop().await;
        let listener = std::net::TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connector = Connector::new(&format!("ssl://localhost:{port}")).unwrap();
        let config = Config::default().connect_timeout(Duration::from_millis(100));
        let connector = connector.config(config).tls(files.client());
        let error = connector.connect_async().await.unwrap_err();
        assert!(
            matches!(error, ConnectError::TimedOut { accepted: true, .. }),
            "{error}"
        );
    }
}
