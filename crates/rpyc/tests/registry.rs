//! Registries and those who ask them, over real sockets.

mod service;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use rpyc::{Address, RegistryClient, RegistryError, RegistryServer, Server};
use service::eventually;

/// A registry that serves, and the ways to it.
fn each(test: impl Fn(&RegistryServer, &RegistryClient)) {
    let udp = RegistryServer::udp("127.0.0.1:0").unwrap();
    let tcp = RegistryServer::tcp("127.0.0.1:0").unwrap();
    for (registry, ask) in [
        (udp, RegistryClient::udp as fn(&str) -> _),
        (tcp, RegistryClient::tcp),
    ] {
        let serving = std::thread::spawn({
            let registry = registry.clone();
            move || registry.serve()
        });
        test(&registry, &ask(&registry.address().to_string()).unwrap());
        registry.stop();
        serving.join().unwrap().unwrap();
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn tcp(port: u16) -> Address {
    Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

#[test]
fn what_is_registered_is_found() {
    each(|_, client| {
        client.register(&names(&["calc", "Math"]), &tcp(1)).unwrap();
        client.register(&names(&["calc"]), &tcp(2)).unwrap();
        client
            .register(&names(&["local"]), &Address::Unix("/run/s".into()))
            .unwrap();
        assert_eq!(client.discover("CALC").unwrap(), [tcp(1), tcp(2)]);
        assert_eq!(
            client.discover("local").unwrap(),
            [Address::Unix("/run/s".into())]
        );
        assert_eq!(client.discover("nothing").unwrap(), []);
        assert_eq!(client.list(None).unwrap(), ["CALC", "LOCAL", "MATH"]);
        assert_eq!(client.list(Some("10.9.8.7")).unwrap(), names(&[]));
        client.unregister(&tcp(1)).unwrap();
        assert_eq!(client.discover("calc").unwrap(), [tcp(2)]);
        assert_eq!(client.list(Some("127.0.0.1")).unwrap(), ["CALC", "LOCAL"]);
    });
}

#[test]
fn a_registry_can_keep_its_list_to_itself() {
    each(|registry, client| {
        let _ = registry.clone().allow_listing(false);
        assert!(matches!(
            client.list(None),
            Err(RegistryError::Forbidden { .. })
        ));
    });
}

#[test]
fn nonsense_is_not_answered_and_ends_nothing() {
    each(|registry, client| {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        for nonsense in [&b""[..], b"\xff", &[b'x'; 4000], b"\x17\x00"] {
            let _ = datagrams.send_to(nonsense, registry.address());
            if let Ok(mut stream) = TcpStream::connect(registry.address()) {
                stream.write_all(nonsense).unwrap();
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let mut reply = Vec::new();
                // An end, or a reset since it had more to say.
                let _ = stream.read_to_end(&mut reply);
                assert!(reply.is_empty());
            }
        }
        // Who says nothing keeps nobody waiting.
        let silent: Vec<_> = (0..140)
            .map_while(|_| TcpStream::connect(registry.address()).ok())
            .collect();
        client.register(&names(&["a"]), &tcp(1)).unwrap();
        drop(silent);
    });
}

#[test]
fn a_registry_that_is_not_there_is_told() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let client = RegistryClient::udp(&address)
        .unwrap()
        .timeout(Duration::from_millis(50));
    let error = client.discover("calc").unwrap_err();
    assert!(matches!(error, RegistryError::NoAnswer { .. }), "{error}");
    let error = RegistryClient::tcp(&address)
        .unwrap()
        .list(None)
        .unwrap_err();
    assert!(matches!(error, RegistryError::Io { .. }), "{error}");
    assert!(RegistryClient::udp("nowhere").is_err());
}

#[test]
fn a_server_is_registered_while_it_serves() {
    each(|_, client| {
        let server = Server::builder()
            .register(client.clone(), ["calc"])
            .bind("127.0.0.1:0")
            .unwrap();
        let serving = server.serve_in_thread().unwrap();
        eventually("registered", || {
            client.discover("calc").unwrap() == [server.address().clone()]
        });
        server.stop();
        serving.join().unwrap().unwrap();
        assert_eq!(client.discover("calc").unwrap(), []);
    });
}
