//! A Rust program drives numpy in a classic Python server, which calls back into Rust closures.
//!
//! ```sh
//! python -m rpyc.cli.rpyc_classic --port 18812      # this package's server, or PyPI's
//! cargo run -p rpyc --example numpy_from_rust -- 127.0.0.1:18812
//! ```
#![expect(clippy::print_stdout, reason = "an example says what happens")]

use bytes::Bytes;
use rpyc::{Args, Operator};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: numpy_from_rust HOST:PORT")?;
    let conn = rpyc::connect(&address)?;
    let numpy = conn.modules().import("numpy")?;

    // The array stays in Python; operators and methods are requests.
    let grid = numpy.call_method("arange", (12,))?;
    let grid = grid.call_method("reshape", (3, 4))?;
    let grid = grid.as_netref()?;
    println!(
        "shape {:?}",
        grid.attr("shape")?.extract::<(usize, usize)>()?
    );
    println!(
        "column 1: {}",
        grid.item((rpyc::Slice::default(), 1))?.as_netref()?.str()?
    );
    let doubled = grid.operate(Operator::Mul, 2)?;
    let sums = doubled.call_method("sum", Args::default().keyword("axis", 0))?;
    println!(
        "doubled, summed: {:?}",
        sums.call_method("tolist", ())?.extract::<Vec<i64>>()?
    );

    // Bulk data goes by value, as bytes, in one message each way.
    let samples: Vec<u8> = (0..100_000)
        .flat_map(|n| f64::from(n).sqrt().to_ne_bytes())
        .collect();
    let array = numpy.call_method("frombuffer", (Bytes::from(samples),))?;
    let mean: f64 = numpy
        .call_method("mean", (&array,))?
        .call_method("item", ())?
        .extract()?;
    println!("mean of {} samples: {mean:.3}", array.as_netref()?.len()?);
    let bytes: Bytes = array.call_method("tobytes", ())?.extract()?;
    println!("fetched {} bytes", bytes.len());

    // numpy calls a closure of this program for each row.
    let span = rpyc::function(|row: rpyc::Netref| -> rpyc::Result<i64> {
        let row: Vec<i64> = row.call_method("tolist", ())?.extract()?;
        Ok(row.iter().max().unwrap_or(&0) - row.iter().min().unwrap_or(&0))
    });
    let spans = numpy.call_method("apply_along_axis", (span, 1, grid))?;
    println!("span of each row: {}", spans.as_netref()?.str()?);

    // What fails there is an error here, with its class and its traceback.
    let error = grid.call_method("reshape", (5, 5)).unwrap_err();
    println!("{error}, a ValueError: {}", error.is("ValueError"));

    // The server's interpreter itself.
    conn.execute("def squares(n): return [i * i for i in range(n)]")?;
    let squares: Vec<i64> = conn.eval("squares(5)")?.extract()?;
    println!("squares: {squares:?}");
    conn.close();
    Ok(())
}
