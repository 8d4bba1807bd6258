//! Bare blocking sockets. Large messages are received into memory made for them, since what a call receives is its
//! caller's to keep; the program in `benches/floor` receives into the same memory every time.

use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::Bytes;

use crate::Outcome;
use crate::measure::{
    BULK, Measured, OUTSTANDING, Order, noise, repeat, require, say, say_missing,
};

const VERSION: &str = "blocking sockets";

/// Bytes of a small request and of its reply, as RPyC frames a call.
const REQUEST: usize = 81;
const REPLY: usize = 16;

/// Serves until the process ends, each connection in a thread.
pub(crate) fn serve() -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    crate::announce(&listener.local_addr()?, VERSION);
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::spawn(move || answer(stream));
    }
}

/// Each request begins with its length and that of the reply: two 8-byte numbers.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut small = vec![0; 64 * REQUEST];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut small[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if filled < 16 {
            continue;
        }
        let (request, reply) = (number(&small[..8]), number(&small[8..16]));
        if request == REQUEST {
            let whole = filled / REQUEST;
            stream.write_all(&vec![0; whole * REPLY])?;
            small.copy_within(whole * REQUEST..filled, 0);
            filled -= whole * REQUEST;
        } else {
            let mut data = Vec::with_capacity(request);
            data.extend_from_slice(&small[..filled]);
            receive(&mut stream, &mut data, request)?;
            stream.write_all(if reply == request { &data } else { &[0; REPLY] })?;
            filled = 0;
        }
    }
}

/// Connects, then measures what standard input asks for.
pub(crate) fn drive(address: &str) -> Outcome {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    println!("{{\"version\": \"{VERSION}\"}}");
    let data = noise();
    for line in io::stdin().lock().lines() {
        let order = Order::parse(&line?)?;
        match order.workload.as_str() {
            "idle" => say_missing("objects"),
            _ => say(measure(&mut stream, &order, &data)?),
        }
    }
    Ok(())
}

fn measure(stream: &mut TcpStream, order: &Order, data: &Bytes) -> Outcome<Measured> {
    let small = message(&[0; REQUEST], REPLY);
    let push = message(data, REPLY);
    let echo = message(data, BULK);
    let mut replies = vec![0; REPLY * OUTSTANDING];
    repeat(order.span(), || match order.workload.as_str() {
        "sync" => {
            stream.write_all(&small)?;
            stream.read_exact(&mut replies[..REPLY])?;
            Ok(1)
        }
        "outstanding" => {
            for _ in 0..OUTSTANDING {
                stream.write_all(&small)?;
            }
            stream.read_exact(&mut replies)?;
            Ok(OUTSTANDING)
        }
        "push" => {
            stream.write_all(&push)?;
            stream.read_exact(&mut replies[..REPLY])?;
            Ok(1)
        }
        _ => {
            stream.write_all(&echo)?;
            let mut back = Vec::with_capacity(BULK);
            receive(stream, &mut back, BULK)?;
            require(&back.len(), &BULK).map(|()| 1)
        }
    })
}

/// The bytes, with both lengths put over the first of them.
fn message(data: &[u8], reply: usize) -> Vec<u8> {
    let mut message = data.to_vec();
    message[..8].copy_from_slice(&(data.len() as u64).to_be_bytes());
    message[8..16].copy_from_slice(&(reply as u64).to_be_bytes());
    message
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Receives until there are `size` bytes.
fn receive(stream: &mut TcpStream, data: &mut Vec<u8>, size: usize) -> io::Result<()> {
    let missing = size - data.len();
    let count = stream.take(missing as u64).read_to_end(data)?;
    if count < missing {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
