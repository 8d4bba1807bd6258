//! Orders of the driver, and how a workload is repeated: for blocking and for asynchronous clients.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::Outcome;

/// Calls in flight at once.
pub(crate) const OUTSTANDING: usize = 1000;

/// Bytes of the large payload.
pub(crate) const BULK: usize = 16 << 20;

/// One line of standard input.
pub(crate) struct Order {
    pub(crate) workload: String,
    pub(crate) amount: f64,
}

impl Order {
    /// Reads `WORKLOAD AMOUNT`; the amount is seconds, or a number of connections.
    pub(crate) fn parse(line: &str) -> Outcome<Self> {
        let (workload, amount) = line
            .split_once(' ')
            .ok_or_else(|| format!("not 'WORKLOAD AMOUNT': {line:?}"))?;
        Ok(Self {
            workload: workload.to_owned(),
            amount: amount.trim().parse()?,
        })
    }

    /// The span to measure.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs_f64(self.amount)
    }
}

/// The number of calls made, and the time they took.
pub(crate) type Measured = (usize, Duration);

/// The answer to an order.
pub(crate) fn say((calls, elapsed): Measured) {
    let seconds = elapsed.as_secs_f64();
    println!("{{\"calls\": {calls}, \"seconds\": {seconds:.9}}}");
}

/// The answer to an order that can't be followed.
pub(crate) fn say_missing(workload: &str) {
    println!("{{\"missing\": \"it has no {workload}\"}}");
}

/// Bytes that don't repeat: a linear congruential generator's.
pub(crate) fn noise() -> Bytes {
    let mut state = 7_u64;
    (0..BULK)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// A fast wrong answer is worth nothing.
pub(crate) fn require<T: PartialEq + std::fmt::Debug>(answer: &T, expected: &T) -> Outcome {
    if answer == expected {
        return Ok(());
    }
    Err(format!("the peer answered {answer:?}, expected {expected:?}").into())
}

/// Repeats for a span, after a tenth of it to warm up. `once` tells how many calls it made.
pub(crate) fn repeat(
    span: Duration,
    mut once: impl FnMut() -> Outcome<usize>,
) -> Outcome<Measured> {
    let mut batches = |span: Duration| -> Outcome<Measured> {
        let start = Instant::now();
        let mut calls = 0;
        loop {
            calls += once()?;
            let elapsed = start.elapsed();
            if elapsed >= span {
                return Ok((calls, elapsed));
            }
        }
    };
    batches(span / 10)?;
    batches(span)
}

/// An asynchronous client of one of the measured crates.
pub(crate) trait Caller: Sized {
    /// The version of the crate.
    const VERSION: &'static str;

    /// Connects.
    async fn connect(address: &str) -> Outcome<Self>;
    /// The smallest useful call.
    async fn add(&self, a: i64, b: i64) -> Outcome<i64>;
    /// Many of them: all sent before the first answer is awaited.
    async fn add_many(&self, count: usize) -> Outcome<i64>;
    /// Sends bytes, gets their number.
    async fn push(&self, data: &Bytes) -> Outcome<u64>;
    /// Sends bytes, gets them back; gives their number.
    async fn echo(&self, data: &Bytes) -> Outcome<u64>;
}

/// Connects, then measures what standard input asks for.
pub(crate) async fn drive<C: Caller>(address: &str) -> Outcome {
    let client = C::connect(address).await?;
    require(&client.add(1, 2).await?, &3)?;
    println!("{{\"version\": \"{}\"}}", C::VERSION);
    let data = noise();
    let mut idle = Vec::new();
    // Read without blocking the runtime: its connections have to be looked after.
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let order = Order::parse(&line)?;
        match order.workload.as_str() {
            "idle" => {
                for _ in 0..order.amount as usize {
                    let client = C::connect(address).await?;
                    require(&client.add(1, 2).await?, &3)?;
                    idle.push(client);
                }
                say((idle.len(), Duration::ZERO));
            }
            "sync" | "outstanding" | "push" | "echo" => say(measure(&client, &order, &data).await?),
            other => say_missing(other),
        }
    }
    Ok(())
}

async fn measure<C: Caller>(client: &C, order: &Order, data: &Bytes) -> Outcome<Measured> {
    let mut measured = (0, Duration::ZERO);
    for span in [order.span() / 10, order.span()] {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < span {
            calls += once(client, &order.workload, data).await?;
        }
        measured = (calls, start.elapsed());
    }
    Ok(measured)
}

async fn once<C: Caller>(client: &C, workload: &str, data: &Bytes) -> Outcome<usize> {
    match workload {
        "sync" => require(&client.add(1, 2).await?, &3).map(|()| 1),
        "outstanding" => {
            let sum = client.add_many(OUTSTANDING).await?;
            require(&sum, &(3 * OUTSTANDING as i64)).map(|()| OUTSTANDING)
        }
        "push" => require(&client.push(data).await?, &(BULK as u64)).map(|()| 1),
        _ => require(&client.echo(data).await?, &(BULK as u64)).map(|()| 1),
    }
}
