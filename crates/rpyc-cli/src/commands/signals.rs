//! Ctrl-C and SIGTERM.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Runs `stop` at the first signal to end; the second one ends the process at once.
pub(super) fn on_end(stop: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let failed = |error| Failure::local("signals", error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let work = move || {
        let mut stop = Some(stop);
        for signal in signals.forever() {
            match stop.take() {
                Some(stop) => drop(std::thread::spawn(stop)),
                None => std::process::exit(128 + signal),
            }
        }
    };
    std::thread::Builder::new()
        .name("rpyc-signals".to_owned())
        .spawn(work)
        .map(drop)
        .map_err(failed)
}
