//! The crate `rpyc`: objects without a schema, blocking.

use std::borrow::Cow;
use std::io::BufRead;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rpyc::transport::Stream;
use rpyc::{Args, Config, Connection, Exception, IntoValue, Member, Method, Object, Reply, Value};

use crate::Outcome;
use crate::measure::{BULK, Measured, OUTSTANDING, Order, noise, repeat, require, say};

const VERSION: &str = "rpyc (Rust)";

/// What the clients call.
pub(crate) struct Bench;

impl Object for Bench {
    fn class_name(&self) -> Cow<'static, str> {
        "bench.Bench".into()
    }

    fn methods(&self) -> Vec<Method> {
        ["add", "push", "echo"].map(Method::new).into()
    }

    fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
        match name {
            "add" | "push" | "echo" => Ok(Member::Method),
            _ => Err(Exception::no_attribute("bench.Bench", name)),
        }
    }

    fn call_method(&self, _: &Connection, name: &str, args: Args) -> Reply {
        let outcome = match name {
            "add" => args
                .bind("add")
                .take_all(|args| Ok(args.required::<i64>("a")? + args.required::<i64>("b")?))
                .map(IntoValue::into_value),
            "push" => args
                .bind("push")
                .take_all(|args| args.required::<Bytes>("data"))
                .map(|data| (data.len() as i64).into_value()),
            _ => args
                .bind("echo")
                .take_all(|args| args.required::<Bytes>("data"))
                .map(Value::Bytes),
        };
        Reply::Now(outcome)
    }
}

/// Serves until the process ends, each connection in a thread.
pub(crate) fn serve() -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    crate::announce(&listener.local_addr()?, VERSION);
    let bench = Arc::new(Bench);
    loop {
        let (stream, from) = listener.accept()?;
        let config = Config::default();
        let stream = Stream::socket(stream, &config)?;
        let conn = Connection::over(stream, from.to_string(), config, bench.clone())?;
        // The end of a connection is the client's affair.
        conn.serve_in_thread()?;
    }
}

/// Connects, then measures what standard input asks for.
pub(crate) fn drive(address: &str) -> Outcome {
    let root = rpyc::connect(address)?.root()?;
    let calls = Calls {
        add: root.attr("add")?,
        push: root.attr("push")?,
        echo: root.attr("echo")?,
    };
    require(&calls.add.call((1, 2))?, &3.into_value())?;
    println!("{{\"version\": \"{VERSION}\"}}");
    let data = noise();
    let mut idle = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let order = Order::parse(&line?)?;
        match order.workload.as_str() {
            "idle" => {
                for _ in 0..order.amount as usize {
                    let root = rpyc::connect(address)?.root()?;
                    require(&root.call_method("add", (1, 2))?, &3.into_value())?;
                    idle.push(root);
                }
                say((idle.len(), Duration::ZERO));
            }
            _ => say(calls.measure(&order, &data)?),
        }
    }
    Ok(())
}

/// The remote functions, held.
struct Calls {
    add: Value,
    push: Value,
    echo: Value,
}

impl Calls {
    fn measure(&self, order: &Order, data: &Bytes) -> Outcome<Measured> {
        let (three, size) = (3.into_value(), (BULK as i64).into_value());
        repeat(order.span(), || match order.workload.as_str() {
            "sync" => require(&self.add.call((1, 2))?, &three).map(|()| 1),
            "outstanding" => {
                let results: Vec<_> = (0..OUTSTANDING)
                    .map(|_| self.add.call_async((1, 2)))
                    .collect::<Result<_, _>>()?;
                for result in results {
                    require(&result.wait()?, &three)?;
                }
                Ok(OUTSTANDING)
            }
            "push" => require(&self.push.call((data.clone(),))?, &size).map(|()| 1),
            _ => {
                let back: Bytes = self.echo.call((data.clone(),))?.extract()?;
                require(&back.len(), &BULK).map(|()| 1)
            }
        })
    }
}
