//! A service for the tests of servers.
#![allow(dead_code, reason = "each test file uses a part")]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rpyc::{Args, Connection, Exception, Method, Object, Reply, Value};

/// Opens once.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let mut open = self.0.0.lock();
        while !*open {
            let waited = self.0.1.wait_for(&mut open, Duration::from_secs(60));
            assert!(!waited.timed_out(), "the gate stays closed");
        }
    }
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: never happened");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A root object with a count.
#[derive(Default)]
pub(crate) struct Counter {
    count: AtomicI64,
    refuses: bool,
    /// Opened in `wait`, and waited for in `wait`.
    gates: Option<(Gate, Gate)>,
    /// Opened when the connection ends.
    left: Option<Gate>,
    kept: Arc<Mutex<Option<Value>>>,
}

impl Counter {
    pub(crate) fn gated(entered: Gate, gate: Gate) -> Self {
        Self {
            gates: Some((entered, gate)),
            ..Self::default()
        }
    }

    pub(crate) fn telling(left: Gate) -> Self {
        Self {
            left: Some(left),
            ..Self::default()
        }
    }

    pub(crate) fn refusing() -> Self {
        Self {
            refuses: true,
            ..Self::default()
        }
    }
}

impl Object for Counter {
    fn class_name(&self) -> Cow<'static, str> {
        "tests.Counter".into()
    }

    fn methods(&self) -> Vec<Method> {
        let names = [
            "count",
            "wait",
            "apply",
            "bytes",
            "keep",
            "push_from_thread",
        ];
        names.into_iter().map(Method::new).collect()
    }

    fn call_method(&self, _: &Connection, name: &str, args: Args) -> Reply {
        match name {
            "count" => (self.count.fetch_add(1, Ordering::Relaxed) + 1).into(),
            "wait" => {
                if let Some((entered, gate)) = &self.gates {
                    entered.open();
                    gate.wait();
                }
                "done".into()
            }
            "apply" => args.positional()[0]
                .call((21,))
                .map_err(Exception::from)
                .into(),
            "bytes" => {
                let len: i64 = args.positional()[0].clone().extract().unwrap();
                Value::Bytes(vec![7; usize::try_from(len).unwrap()].into()).into()
            }
            "keep" => {
                *self.kept.lock() = Some(args.positional()[0].clone());
                Value::None.into()
            }
            "push_from_thread" => {
                let kept = self.kept.lock().clone().unwrap();
                let (args, _) = args.into_parts();
                std::thread::spawn(move || kept.call(args).unwrap());
                Value::None.into()
            }
            _ => Reply::raise(Exception::no_attribute("tests.Counter", name)),
        }
    }

    fn on_connect(&self, _: &Connection) -> Result<(), Exception> {
        if self.refuses {
            return Err(Exception::new("PermissionError", "not today"));
        }
        Ok(())
    }

    fn on_disconnect(&self, _: &Connection) {
        if let Some(left) = &self.left {
            left.open();
        }
    }
}
