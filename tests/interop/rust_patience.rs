//! A Rust program that gives calls up, or whose calls are given up, and that listens for signs of life. Without
//! arguments it serves, until a line comes; `rust_patience HOST:PORT ours` plays the client of python_lab.py
//! and prints `done`. With `rival` the server is one that has never heard of such things.
#![expect(clippy::print_stdout, reason = "the test reads it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rpyc::{Config, Connector, Error, Server, Value};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct State {
    open: bool,
    ticks: i64,
    given_up: bool,
}

#[derive(Default)]
struct Patience {
    state: Mutex<State>,
    changed: Condvar,
}

/// As python_lab.py has them, for all clients together.
#[rpyc::service]
impl Patience {
    #[rpyc(exposed)]
    fn hold(&self) -> bool {
        self.wait(|state| state.open)
    }

    #[rpyc(exposed)]
    fn rest(&self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }

    #[rpyc(exposed)]
    fn open_gate(&self) {
        self.change(|state| state.open = true);
    }

    #[rpyc(exposed)]
    fn tick(&self) -> i64 {
        let mut state = self.state.lock();
        state.ticks += 1;
        state.ticks
    }

    #[rpyc(exposed)]
    fn work(&self) {
        let started = Instant::now();
        while !rpyc::is_cancelled() && started.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        if rpyc::is_cancelled() {
            self.change(|state| state.given_up = true);
        }
    }

    #[rpyc(exposed)]
    fn noticed(&self) -> bool {
        self.wait(|state| state.given_up)
    }
}

impl Patience {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    fn wait(&self, is_so: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        self.changed
            .wait_while_for(&mut state, |state| !is_so(state), LIMIT);
        is_so(&state)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [address, package] = &arguments[..] {
        return give_up(address, package == "ours");
    }
    let server = Server::builder().shared(Arc::new(Patience::default()));
    let server = server.bind("127.0.0.1:0")?;
    let serving = server.serve_in_thread()?;
    println!("serving at {}", server.address());
    std::io::stdin().read_line(&mut String::new())?;
    server.stop();
    serving.join().unwrap()?;
    Ok(())
}

fn give_up(address: &str, knows: bool) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::default().timeout(2 * LIMIT);
    let connector = Connector::new(address)?.config(config);
    let (conn, other) = (connector.connect()?, connector.connect()?);
    let (root, aside) = (conn.root()?, other.root()?);
    let held = root.call_method_async("hold", ());
    root.call_method_async("tick", ()).cancel();
    let in_vain = root.call_method_async("tick", ());
    let error = in_vain.wait_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    aside.call_method("open_gate", ())?;
    held.wait()?;
    // One who does not know what giving up is performs them, and all goes on.
    let ticks = if knows { 1 } else { 3 };
    assert_eq!(root.call_method("tick", ())?, Value::Int(ticks));
    if knows {
        let working = root.call_method_async("work", ());
        assert!(working.wait_timeout(Duration::from_millis(100)).is_err());
        assert_eq!(aside.call_method("noticed", ())?, Value::Bool(true));
    }
    conn.ping()?;
    listen(address, knows)?;
    println!("done");
    Ok(())
}

/// A server that lives is not taken for dead: one that knows how says so even during a call.
fn listen(address: &str, knows: bool) -> Result<(), Box<dyn std::error::Error>> {
    let silence = Duration::from_millis(400);
    let config = Config::default().heartbeat(silence);
    let conn = Connector::new(address)?.config(config).connect()?;
    let root = conn.root()?;
    std::thread::sleep(3 * silence);
    conn.ping()?;
    if knows {
        let rested = root.call_method("rest", (3.0 * silence.as_secs_f64(),))?;
        assert_eq!(rested, Value::None);
    }
    conn.ping()?;
    Ok(())
}
