//! A Rust service for Python clients: methods, attributes, iterators, callbacks, context managers.
//!
//! ```sh
//! cargo run -p rpyc --example lab_service -- 127.0.0.1:18870
//! python examples/mixed/lab_client.py --port 18870  # with this package, or with PyPI's rpyc
//! ```
#![expect(clippy::print_stdout, reason = "an example says what happens")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rpyc::{Args, Connection, Iter, Netref, Value};

/// What the lab refuses.
#[derive(Debug, rpyc::Error)]
enum LabError {
    /// Python's own class: clients catch it as such.
    #[rpyc(class = "KeyError")]
    NoProbe(String),
    /// A class of the lab: clients see its dotted name, and the attribute.
    #[rpyc(class = "lab.Overheated")]
    Overheated {
        #[rpyc(attribute)]
        degrees: f64,
    },
    /// What a callback raised goes on as it is.
    #[rpyc(transparent)]
    Peer(rpyc::Error),
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProbe(name) => f.write_str(name),
            Self::Overheated { degrees } => write!(f, "{degrees} degrees are too many"),
            Self::Peer(error) => error.fmt(f),
        }
    }
}

impl From<rpyc::Error> for LabError {
    fn from(error: rpyc::Error) -> Self {
        Self::Peer(error)
    }
}

/// One for each connection.
struct Lab {
    temperature: Mutex<f64>,
    probes: Mutex<BTreeMap<String, f64>>,
    log: Arc<Mutex<Vec<String>>>,
}

/// A laboratory to control from afar.
///
/// It heats, measures, and keeps a log.
#[rpyc::service(name = "lab.Lab")]
impl Lab {
    /// The temperature in degrees.
    #[rpyc(property)]
    fn temperature(&self) -> f64 {
        *self.temperature.lock()
    }

    #[rpyc(setter)]
    fn set_temperature(&self, degrees: f64) -> Result<(), LabError> {
        if degrees > 1000.0 {
            return Err(LabError::Overheated { degrees });
        }
        *self.temperature.lock() = degrees;
        Ok(())
    }

    /// Adds a probe. Without a value it starts at the temperature of the lab.
    #[rpyc(exposed)]
    fn add_probe(&self, name: &str, value: Option<f64>, #[rpyc(default = 1)] factor: i64) -> f64 {
        let value = value.unwrap_or_else(|| self.temperature()) * factor as f64;
        self.probes.lock().insert(name.to_owned(), value);
        value
    }

    /// The value of a probe.
    #[rpyc(exposed)]
    fn measure(&self, name: String) -> Result<f64, LabError> {
        let found = self.probes.lock().get(&name).copied();
        found.ok_or(LabError::NoProbe(name))
    }

    /// Counts down; the client's `for` asks for one number after the other.
    #[rpyc(exposed)]
    fn countdown(&self, from: i64) -> Arc<Iter> {
        Iter::new((0..=from).rev())
    }

    /// Calls `on_step(step, value)` for each step, and returns what it returned.
    #[rpyc(exposed)]
    fn run(&self, steps: i64, on_step: &Netref) -> Result<Vec<Value>, LabError> {
        let call = |step| Ok(on_step.call((step, format!("step {step}")))?);
        (0..steps).map(call).collect()
    }

    /// Turns bytes around: large ones are not copied on their way.
    #[rpyc(exposed)]
    fn reverse(&self, data: Bytes) -> Bytes {
        data.iter().rev().copied().collect()
    }

    /// An experiment, to be used in a `with` statement.
    #[rpyc(exposed)]
    fn experiment(&self, name: String) -> Experiment {
        Experiment {
            name,
            log: Arc::clone(&self.log),
        }
    }

    /// What happened.
    #[rpyc(property)]
    fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// All that was given: `(args, kwargs)` in the words of Rust.
    #[rpyc(exposed)]
    fn describe(&self, first: Value, rest: Args) -> String {
        let keywords = rest
            .keywords()
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"));
        let all = [first].into_iter().chain(rest.positional().iter().cloned());
        let all = all.map(|value| format!("{value:?}")).chain(keywords);
        all.collect::<Vec<_>>().join(", ")
    }

    /// A function of the lab, to call later.
    #[rpyc(exposed)]
    fn scaler(&self, factor: i64) -> Value {
        rpyc::function(move |value: i64| factor * value)
    }

    /// How many objects of the lab this client holds.
    #[rpyc(exposed)]
    fn held(&self, conn: &Connection) -> usize {
        conn.exported()
    }

    /// A mistake in the service is an error at the client, and no more.
    #[rpyc(exposed)]
    fn explode(&self) {
        panic!("the lab exploded");
    }

    #[rpyc(exposed)]
    fn __len__(&self) -> usize {
        self.probes.lock().len()
    }

    #[rpyc(exposed)]
    fn __getitem__(&self, name: String) -> Result<f64, LabError> {
        self.measure(name)
    }

    #[rpyc(exposed)]
    fn __contains__(&self, name: String) -> bool {
        self.probes.lock().contains_key(&name)
    }

    #[rpyc(exposed)]
    fn __iter__(&self) -> Arc<Iter> {
        let names: Vec<_> = self.probes.lock().keys().cloned().collect();
        Iter::new(names)
    }

    #[rpyc(exposed)]
    fn __call__(&self, text: String) -> String {
        format!("the lab heard {text}")
    }
}

struct Experiment {
    name: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// An experiment that is logged.
#[rpyc::service(name = "lab.Experiment")]
impl Experiment {
    #[rpyc(exposed)]
    fn __enter__(self: Arc<Self>) -> Arc<Self> {
        self.log.lock().push(format!("{} begins", self.name));
        self
    }

    #[rpyc(exposed)]
    fn __exit__(&self, class: Value, _error: Value, _traceback: Value) {
        let how = if class.is_none() { "ends" } else { "fails" };
        self.log.lock().push(format!("{} {how}", self.name));
    }

    #[rpyc(property)]
    fn name(&self) -> &str {
        &self.name
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let server = rpyc::Server::builder()
        .service(|_| Lab {
            temperature: Mutex::new(20.0),
            probes: Mutex::default(),
            log: Arc::default(),
        })
        .bind(address.as_deref().unwrap_or("127.0.0.1:0"))?;
    println!(
        "serving at {}; a line on the standard input ends it",
        server.address()
    );

    let serving = server.serve_in_thread()?;
    std::io::stdin().read_line(&mut String::new())?;
    server.drain(Duration::from_secs(5));
    serving.join().expect("the server's thread panicked")?;
    Ok(())
}
