//! The measuring client: writes requests, waits for all their replies, counts.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A server that says nothing for so long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of standard input.
struct Measurement {
    request: usize,
    reply: usize,
    outstanding: usize,
    span: Duration,
}

/// Connects over TCP, small writes leaving at once.
///
/// # Errors
/// Whatever the operating system says to connecting.
pub(crate) fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects to a Unix socket.
///
/// # Errors
/// Whatever the operating system says to connecting.
pub(crate) fn connect_unix(path: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Does what standard input asks, line by line, each on a connection of its own.
///
/// # Errors
/// A line that is no measurement, a server that is not there, hangs up, or is silent for a minute.
pub(crate) fn run<S: Read + Write>(connect: &dyn Fn() -> io::Result<S>) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let asked = parse(&line?)?;
        let (calls, elapsed) = measure(connect()?, &asked)?;
        println!(
            "{{\"calls\": {calls}, \"seconds\": {:.9}}}",
            elapsed.as_secs_f64()
        );
    }
    Ok(())
}

fn parse(line: &str) -> io::Result<Measurement> {
    let wrong = || {
        let text = format!("not 'REQUEST_BYTES REPLY_BYTES OUTSTANDING SECONDS': {line:?}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let [request, reply, outstanding, seconds] = words[..] else {
        return Err(wrong());
    };
    Ok(Measurement {
        request: request.parse().map_err(|_| wrong())?,
        reply: reply.parse().map_err(|_| wrong())?,
        outstanding: outstanding.parse().map_err(|_| wrong())?,
        span: seconds
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(wrong)?,
    })
}

/// Repeats batches for the span, after a tenth of it to warm up. Gives the number of calls and the time they took.
fn measure<S: Read + Write>(mut stream: S, asked: &Measurement) -> io::Result<(usize, Duration)> {
    for size in [asked.request, asked.reply] {
        stream.write_all(&(size as u64).to_be_bytes())?;
    }
    let request = vec![0_u8; asked.request];
    let mut replies = vec![0_u8; asked.reply * asked.outstanding];
    let mut batches = |span: Duration| -> io::Result<(usize, Duration)> {
        let start = Instant::now();
        let mut calls = 0;
        loop {
            // One write a request: an asynchronous call is on its way when the caller goes on.
            for _ in 0..asked.outstanding {
                stream.write_all(&request)?;
            }
            stream.read_exact(&mut replies)?;
            calls += asked.outstanding;
            let elapsed = start.elapsed();
            if elapsed >= span {
                return Ok((calls, elapsed));
            }
        }
    };
    batches(asked.span / 10)?;
    batches(asked.span)
}
