//! `rpyc serve-demo`: something to try things out with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rpyc::{Exception, Netref, Server, TlsServer, TokenAuthenticator, Value};
use serde_json::json;

use super::{list, signals};
use crate::arguments::ServeDemo;
use crate::failure::Failure;
use crate::output;

/// How long requests may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);
/// The longest time that a client can make the server sleep, in seconds.
const LONGEST: f64 = 3600.0;
/// The most bytes that a client can ask for at once.
const MAX_BYTES: usize = 64 << 20;

pub(crate) fn run(serve: &ServeDemo, as_json: bool) -> Result<(), Failure> {
    let mut builder = Server::builder()
        .max_connections(serve.max_connections)
        .service(|_| Arc::new(Demo::default()));
    if let Some(threads) = serve.pool {
        builder = builder.pool(threads);
    }
    if serve.one_shot {
        builder = builder.one_shot();
    }
    if let Some(path) = &serve.token_file {
        let token = TokenAuthenticator::from_file(path);
        builder = builder.authenticator(token.map_err(|e| Failure::local("the token", e))?);
    }
    if let (Some(certificate), Some(key)) = (&serve.cert, &serve.key) {
        let mut tls = TlsServer::new(certificate, key);
        if let Some(path) = &serve.client_ca {
            tls = tls.client_ca_file(path);
        }
        builder = builder.tls(tls);
    }
    if let Some(registry) = &serve.register {
        builder = builder.register(list::client(registry)?, ["DEMO"]);
    }
    let server = builder
        .bind_to(&serve.address)
        .map_err(|error| Failure::Local(error.to_string()))?;
    let stopped = server.clone();
    signals::on_end(move || {
        if !stopped.drain(GRACE) {
            log::warn!("requests were still running after {GRACE:?}");
        }
    })?;
    let address = server.address().to_string();
    if as_json {
        output::json(&json!({ "address": address }))?;
    } else {
        output::line(&format!("serving at {address}"))?;
    }
    server
        .serve()
        .map_err(|error| Failure::local(&address, error))
}

/// Things to try out. Each connection has its own.
#[derive(Debug, Default)]
struct Demo {
    count: AtomicI64,
}

#[rpyc::service(name = "rpyc.Demo")]
impl Demo {
    /// The sum of two numbers.
    #[rpyc(exposed)]
    fn add(&self, a: f64, b: f64) -> Value {
        let sum = a + b;
        // Whole numbers stay such.
        if sum.fract() == 0.0 && sum.abs() < 9e15 {
            return Value::Int(sum as i64);
        }
        Value::Float(sum)
    }

    /// The quotient of two numbers; dividing by zero raises.
    #[rpyc(exposed)]
    fn divide(&self, a: f64, b: f64) -> Result<f64, Exception> {
        if b == 0.0 {
            return Err(Exception::new("ZeroDivisionError", "division by zero"));
        }
        Ok(a / b)
    }

    /// What it is given.
    #[rpyc(exposed)]
    fn echo(&self, value: Value) -> Value {
        value
    }

    /// A greeting.
    #[rpyc(exposed)]
    fn greet(&self, #[rpyc(default = "world")] name: &str) -> String {
        format!("Hello, {name}!")
    }

    /// Counts, and tells how far it got.
    #[rpyc(exposed)]
    fn count(&self) -> i64 {
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How far the count is.
    #[rpyc(property)]
    fn counted(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }

    /// An iterator over the squares of 0 .. n-1.
    #[rpyc(exposed)]
    fn squares(&self, n: i64) -> Arc<rpyc::Iter> {
        rpyc::Iter::new((0..n).map(|i| i.wrapping_mul(i)))
    }

    /// Calls a function with each number below n, and tells what it returned.
    #[rpyc(exposed)]
    fn apply(&self, function: &Netref, n: i64) -> Result<Vec<Value>, rpyc::Error> {
        (0..n).map(|i| function.call((i,))).collect()
    }

    /// So many bytes, at most 64 MiB.
    #[rpyc(exposed)]
    fn zeros(&self, count: usize) -> Result<Value, Exception> {
        if count > MAX_BYTES {
            let text = format!("at most {MAX_BYTES} bytes at once");
            return Err(Exception::new("ValueError", text));
        }
        Ok(Value::Bytes(vec![0; count].into()))
    }

    /// Waits, for an hour at most.
    #[rpyc(exposed)]
    fn sleep(&self, seconds: f64) {
        let seconds = if seconds > 0.0 {
            seconds.min(LONGEST)
        } else {
            0.0
        };
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
}
