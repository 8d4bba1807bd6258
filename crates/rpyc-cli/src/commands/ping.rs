//! `rpyc ping`: signs of life.

use std::time::Instant;

use serde_json::json;

use crate::arguments::Ping;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(ping: &Ping, as_json: bool) -> Result<(), Failure> {
    let conn = ping.target.connect()?;
    for _ in 0..ping.count {
        let started = Instant::now();
        conn.ping()?;
        let taken = started.elapsed();
        if as_json {
            let address = ping.target.address.to_string();
            output::json(&json!({ "address": address, "seconds": taken.as_secs_f64() }))?;
        } else {
            output::line(&format!("{} is alive: {taken:.1?}", ping.target.address))?;
        }
    }
    conn.close();
    Ok(())
}
