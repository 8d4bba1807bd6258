//! Callbacks: a closure given to the server is called there and runs here, while the first call still
//! waits. Both ends are in this program, joined by a pipe of memory.
//!
//! ```sh
//! cargo run -p rpyc --example callbacks
//! ```
#![expect(clippy::print_stdout, reason = "an example says what happens")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rpyc::{Connection, Exception, Netref};

struct Work;

#[rpyc::service]
impl Work {
    /// Handles items until there are no more or `on_progress` says stop. Returns how many.
    ///
    /// The callback lives at the client: calling it goes back over the connection.
    #[rpyc(exposed)]
    fn process(&self, items: Vec<String>, on_progress: Netref) -> rpyc::Result<usize> {
        for (index, item) in items.iter().enumerate() {
            let answer = on_progress.call((index + 1, item.to_uppercase()))?;
            if !answer.extract::<bool>()? {
                return Ok(index + 1);
            }
        }
        Ok(items.len())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (conn, server) = Connection::pair(None, Some(Arc::new(Work)))?;
    let serving = server.serve_in_thread()?;
    let root = conn.root()?;
    let items = ["alpha", "beta", "gamma", "delta"];

    println!("all of them:");
    let seen = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&seen);
    let report = rpyc::function(move |count: u32, item: String| {
        counter.store(count, Ordering::Relaxed);
        println!("  {count}: {item}");
        true
    });
    let handled: usize = root.call_method("process", (items, report))?.extract()?;
    println!("handled {handled}, seen {}", seen.load(Ordering::Relaxed));

    println!("until the third:");
    let stop = rpyc::function(|count: u32, _: String| count < 3);
    let handled: usize = root.call_method("process", (items, stop))?.extract()?;
    println!("handled {handled}");

    // An error in the callback passes through the server and comes back as what it was.
    let fail = rpyc::function(|_: u32, item: String| {
        Err::<bool, _>(Exception::new(
            "LookupError",
            format!("no shelf for {item}"),
        ))
    });
    match root.call_method("process", (items, fail)) {
        Err(error) if error.is("LookupError") => println!("the callback failed: {error}"),
        other => println!("{other:?}, which is a surprise"),
    }
    conn.close();
    serving.join().expect("the server's thread panicked")?;
    Ok(())
}
