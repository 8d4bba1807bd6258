//! What the crate has to say, on standard error.

use std::io::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};

struct Logger;

/// Shows warnings; with `verbose` 1, also what is informative, with 2 everything.
pub(crate) fn install(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("rpyc")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "rpyc: {level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}
