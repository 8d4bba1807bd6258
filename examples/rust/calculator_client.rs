//! A typed client of `calculator_server`, in Rust or in Python.
//!
//! ```sh
//! cargo run -p rpyc --example calculator_client -- 127.0.0.1:18861
//! ```
#![expect(clippy::print_stdout, reason = "an example says what happens")]

/// What the client knows of the remote object. The macro makes `CalculatorProxy` of it.
#[rpyc::proxy]
trait Calculator {
    fn add(&self, a: f64, b: f64) -> rpyc::Result<f64>;
    fn divide(&self, a: f64, b: f64) -> rpyc::Result<f64>;
    fn get_history(&self) -> rpyc::Result<Vec<String>>;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: calculator_client HOST:PORT")?;
    let conn = rpyc::connect(&address)?;
    let calculator: CalculatorProxy = conn.root_as()?;
    println!("2 + 3 = {}", calculator.add(2.0, 3.0)?);
    println!("7 / 2 = {}", calculator.divide(7.0, 2.0)?);
    match calculator.divide(1.0, 0.0) {
        Err(error) if error.is("ZeroDivisionError") => println!("1 / 0 : {error}"),
        other => println!("1 / 0 : {other:?}, which is a surprise"),
    }
    println!("history: {}", calculator.get_history()?.join(", "));

    // The same object without a type: whatever it has can be called.
    let root = conn.root()?;
    let sum: f64 = root.call_method("add", (1, 2))?.extract()?;
    println!("1 + 2 = {sum}");
    conn.close();
    Ok(())
}
