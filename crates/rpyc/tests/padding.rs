//! Empty frames ahead of large values, between two ends of this crate.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use rpyc::{Server, Value};

const EMPTY: [u8; 6] = [0, 0, 0, 0, 0, b'\n'];

/// As many bytes as a value needs to be sent apart from its message, and some.
fn large() -> Bytes {
    (0..100_003_u32).map(|i| (i % 251) as u8 + 1).collect()
}

/// Passes one connection on to a server. Yields what each side has sent, the client first, once it has ended.
fn relay(server: &str) -> (String, JoinHandle<[Vec<u8>; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = TcpStream::connect(server).unwrap();
    let sent = thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let back = [server.try_clone().unwrap(), client.try_clone().unwrap()];
        let back = thread::spawn(move || {
            let [server, client] = back;
            pump(server, client)
        });
        [pump(client, server), back.join().unwrap()]
    });
    (address, sent)
}

fn pump(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    all
}

/// The empty frames in a row of frames, by how many there are just before each other one.
fn empty_frames(mut bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut empty = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if bytes.starts_with(&EMPTY) {
            empty += 1;
        } else {
            found.push((std::mem::take(&mut empty), length));
        }
        bytes = &rest[length + 1..];
    }
    found
}

/// Two messages with a large value went each way.
fn check(sent: [Vec<u8>; 2]) {
    for bytes in sent {
        let frames = empty_frames(&bytes);
        let is_large = |length: usize| length > large().len();
        assert_eq!(frames.iter().filter(|frame| is_large(frame.1)).count(), 2);
        for (empty, length) in &frames {
            assert_eq!(*empty > 0, is_large(*length), "{frames:?}");
        }
    }
}

#[test]
fn they_precede_large_values_only() {
    let server = Server::builder()
        .service(|_| rpyc::function(|value: Value| value))
        .bind("127.0.0.1:0")
        .unwrap();
    let serving = server.serve_in_thread().unwrap();
    let (address, sent) = relay(&server.address().to_string());
    let conn = rpyc::connect(&address).unwrap();
    // It asks for more than the root only once.
    for root in [conn.root().unwrap(), conn.root().unwrap()] {
        let back: Bytes = root.call((large(),)).unwrap().extract().unwrap();
        assert_eq!(back, large());
        assert_eq!(root.call((5,)).unwrap(), Value::Int(5));
    }
    conn.close();
    check(sent.join().unwrap());
    server.stop();
    serving.join().unwrap().unwrap();
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "multi_thread")]
async fn they_do_so_under_a_runtime() {
    let server = rpyc::AsyncServer::bind("127.0.0.1:0", |_| rpyc::function(|value: Value| value));
    let server = server.await.unwrap();
    let (address, sent) = relay(&server.address().to_string());
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve().await }
    });
    let conn = rpyc::AsyncConnection::connect(&address).await.unwrap();
    let root = conn.root_async().await.unwrap();
    for _ in 0..2 {
        let back = root.call_async((large(),)).await.unwrap();
        assert_eq!(back.extract::<Bytes>().unwrap(), large());
        let back = root.call_async((5,)).await.unwrap();
        assert_eq!(back, Value::Int(5));
    }
    drop((root, conn));
    check(sent.join().unwrap());
    server.stop();
    serving.await.unwrap().unwrap();
}
