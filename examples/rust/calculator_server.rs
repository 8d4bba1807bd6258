//! A calculator to call from elsewhere: the smallest useful server.
//!
//! ```sh
//! cargo run -p rpyc --example calculator_server -- 127.0.0.1:18861
//! ```
//!
//! Then run `calculator_client`, or `examples/python/calculator_client.py --port 18861`: to its peers
//! it is no other than the server in `examples/python/calculator_server.py`.
#![expect(clippy::print_stdout, reason = "an example says what happens")]

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use rpyc::{Connection, Iter};

/// What can go wrong with a calculation; Python's peers get the class that they would expect.
#[derive(Debug, rpyc::Error)]
enum CalculatorError {
    #[rpyc(class = "ZeroDivisionError")]
    DivisionByZero,
}

impl fmt::Display for CalculatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DivisionByZero => f.write_str("division by zero"),
        }
    }
}

/// Each connection gets a calculator of its own, because the server is given a closure that makes one.
#[derive(Default)]
struct Calculator {
    history: Mutex<Vec<String>>,
}

/// Adds, divides, and remembers.
#[rpyc::service(name = "calculator.Calculator")]
impl Calculator {
    /// The sum.
    #[rpyc(exposed)]
    fn add(&self, a: f64, b: f64) -> f64 {
        self.history.lock().push(format!("{a} + {b}"));
        a + b
    }

    /// The quotient; its `ZeroDivisionError` reaches the client.
    #[rpyc(exposed)]
    fn divide(&self, a: f64, b: f64) -> Result<f64, CalculatorError> {
        self.history.lock().push(format!("{a} / {b}"));
        if b == 0.0 {
            return Err(CalculatorError::DivisionByZero);
        }
        Ok(a / b)
    }

    /// What was calculated, as a tuple.
    #[rpyc(exposed)]
    fn get_history(&self) -> Vec<String> {
        self.history.lock().clone()
    }

    /// The squares below a limit, one by one: the client's `for` asks for each.
    #[rpyc(exposed)]
    fn squares(&self, below: i64) -> std::sync::Arc<Iter> {
        Iter::new(
            (0..)
                .map(|n: i64| n * n)
                .take_while(move |square| *square < below),
        )
    }

    #[rpyc(on_connect)]
    fn connected(&self, conn: &Connection) {
        println!("client connected: {}", conn.peer_name());
    }

    #[rpyc(on_disconnect)]
    fn disconnected(&self) {
        let count = self.history.lock().len();
        println!("client disconnected after {count} calculations");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let server = rpyc::Server::builder()
        .service(|_| Calculator::default())
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
