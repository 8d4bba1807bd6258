//! `rpyc bench`: how quickly a server answers.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rpyc::{Args, AsyncResult, Connection, Netref};
use serde_json::json;

use super::call::positional;
use crate::arguments::Bench;
use crate::expression::{Expression, Scope};
use crate::failure::Failure;
use crate::output;

/// What is told of the latencies.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

pub(crate) fn run(bench: &Bench, as_json: bool) -> Result<(), Failure> {
    let function = bench
        .function
        .as_deref()
        .map(Expression::parse)
        .transpose()?;
    let args = positional(&bench.args, false);
    let time = Duration::from_secs_f64(bench.seconds);
    // All are connected before any begins, or leaves for want of a connection.
    let connector = bench.target.connector()?;
    let conns = (0..bench.connections).map(|_| connector.connect());
    let conns = conns.collect::<Result<Vec<_>, _>>()?;
    let start = Barrier::new(conns.len());
    let histograms: Result<Vec<_>, Failure> = std::thread::scope(|scope| {
        let threads: Vec<_> = conns
            .iter()
            .map(|conn| {
                let subject = Subject::new(conn, function.as_ref(), &args);
                let (start, outstanding) = (&start, bench.outstanding);
                scope.spawn(move || {
                    start.wait();
                    measure(&subject?, outstanding, time)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| {
                result.unwrap_or_else(|_| Err(Failure::Local("a thread panicked".to_owned())))
            })
            .collect()
    });
    let mut all = histogram()?;
    for histogram in histograms? {
        all.add(histogram)
            .map_err(|e| Failure::local("the histogram", e))?;
    }
    conns.iter().for_each(Connection::close);
    report(bench, &all, as_json)
}

/// What is called again and again.
enum Subject<'a> {
    Ping(&'a Connection),
    Method(Netref, String, &'a Args),
    Function(Netref, &'a Args),
}

impl<'a> Subject<'a> {
    fn new(
        conn: &'a Connection,
        function: Option<&Expression>,
        args: &'a Args,
    ) -> Result<Self, Failure> {
        let scope = Scope::new(conn);
        Ok(match function {
            None => Self::Ping(conn),
            Some(Expression::Attribute(object, name)) => {
                Self::Method(scope.object(object)?, name.clone(), args)
            }
            Some(other) => Self::Function(scope.object(other)?, args),
        })
    }

    fn call(&self) -> Result<(), Failure> {
        match self {
            Self::Ping(conn) => conn.ping()?,
            Self::Method(object, name, args) => {
                object.call_method(name, Args::clone(args))?;
            }
            Self::Function(function, args) => {
                function.call(Args::clone(args))?;
            }
        }
        Ok(())
    }

    /// Without waiting; pings are always waited for.
    fn begin(&self) -> Option<AsyncResult> {
        match self {
            Self::Ping(_) => None,
            Self::Method(object, name, args) => {
                Some(object.call_method_async(name, Args::clone(args)))
            }
            Self::Function(function, args) => Some(function.call_async(Args::clone(args))),
        }
    }
}

fn measure(
    subject: &Subject<'_>,
    outstanding: u32,
    time: Duration,
) -> Result<Histogram<u64>, Failure> {
    let mut histogram = histogram()?;
    let end = Instant::now() + time;
    let mut under_way = VecDeque::new();
    let mut note = |started: Instant| {
        let taken = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        histogram.saturating_record(taken);
    };
    loop {
        let started = Instant::now();
        if started >= end {
            break;
        }
        if outstanding == 1 {
            subject.call()?;
            note(started);
            continue;
        }
        while under_way.len() < outstanding as usize {
            let Some(result) = subject.begin() else {
                return Err(Failure::Usage(
                    "--outstanding is for calls: name a function, such as root.count".to_owned(),
                ));
            };
            under_way.push_back((Instant::now(), result));
        }
        if let Some((started, result)) = under_way.pop_front() {
            result.wait()?;
            note(started);
        }
    }
    for (started, result) in under_way {
        result.wait()?;
        note(started);
    }
    Ok(histogram)
}

/// Nanoseconds up to a minute, to three digits.
fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .map_err(|error| Failure::local("the histogram", error))
}

fn report(bench: &Bench, all: &Histogram<u64>, as_json: bool) -> Result<(), Failure> {
    let rate = all.len() as f64 / bench.seconds;
    let subject = bench.function.as_deref().unwrap_or("ping");
    if as_json {
        let latencies: serde_json::Map<_, _> = QUANTILES
            .iter()
            .map(|(name, quantile)| {
                let seconds = all.value_at_quantile(*quantile) as f64 / 1e9;
                ((*name).to_owned(), json!(seconds))
            })
            .collect();
        return output::json(&json!({
            "address": bench.target.address.to_string(),
            "subject": subject,
            "connections": bench.connections,
            "outstanding": bench.outstanding,
            "calls": all.len(),
            "seconds": bench.seconds,
            "rate": rate,
            "latency": latencies,
        }));
    }
    output::line(&format!(
        "{subject}: {} calls in {} s, {rate:.0} per second ({} connections, {} outstanding)",
        all.len(),
        bench.seconds,
        bench.connections,
        bench.outstanding
    ))?;
    for (name, quantile) in QUANTILES {
        let value = Duration::from_nanos(all.value_at_quantile(quantile));
        output::line(&format!("{name:>6}  {value:>10.1?}"))?;
    }
    histogram_lines(all)
        .iter()
        .try_for_each(|line| output::line(line))
}

/// A bar for each doubling of the latency.
fn histogram_lines(all: &Histogram<u64>) -> Vec<String> {
    const WIDTH: f64 = 50.0;
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    for value in all.iter_recorded() {
        let bound = value.value_iterated_to().next_power_of_two();
        match buckets.last_mut() {
            Some((last, count)) if *last == bound => *count += value.count_at_value(),
            _ => buckets.push((bound, value.count_at_value())),
        }
    }
    let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let bar = |(bound, count): &(u64, u64)| {
        let width = (*count as f64 / most as f64 * WIDTH).ceil() as usize;
        let below = Duration::from_nanos(*bound);
        format!("< {below:>10.1?} {count:>9} {}", "#".repeat(width))
    };
    buckets.iter().map(bar).collect()
}
