//! The cores that a thread may use, and whether others want them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A thread that is kept waiting for a core for more than this part of the time has too little of it.
const CROWDED: u32 = 10;
/// Not if each of its waits is shorter than this: others keep a core for milliseconds. To be woken on a
/// core that sleeps counts as waiting, too, and takes up to 200 us in a virtual machine.
const WAKING: Duration = Duration::from_micros(500);
/// How long a look-up counts: it takes as long as a short call.
const LOOK_MEMORY: Duration = Duration::from_millis(5);

/// The cores that a thread may use, as far as who polls on them cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cores {
    /// One: whoever polls takes it from the peer.
    One,
    /// Several, and nobody else wants them.
    Free,
    /// Several, and others want them.
    Wanted,
}

/// The cores of the calling thread now.
pub(super) fn cores() -> Cores {
    match usable_cores() {
        0 | 1 => Cores::One,
        _ if is_crowded(LOOK_MEMORY).unwrap_or(false) => Cores::Wanted,
        _ => Cores::Free,
    }
}

/// The cores that the calling thread may use now.
fn usable_cores() -> u32 {
    let own = rustix::thread::sched_getaffinity(None).map_or(1, |cores| cores.count());
    own.min(allowed_cores())
}

/// The cores that the process was allowed at its first wait, a quota included: reading it takes long.
pub(super) fn allowed_cores() -> u32 {
    static CORES: AtomicU32 = AtomicU32::new(0);
    once(&CORES, || {
        std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
    })
}

/// The number in `cell`, or `count`'s, which is put there. No `OnceLock`: the child of a fork that
/// came while another thread was counting would wait for that thread for ever.
fn once(cell: &AtomicU32, count: impl FnOnce() -> u32) -> u32 {
    match cell.load(Ordering::Relaxed) {
        0 => {
            let number = count();
            cell.store(number, Ordering::Relaxed);
            number
        }
        number => number,
    }
}

/// Whether other threads had the core that the calling thread wanted. Where the kernel does not tell:
/// yes.
pub(super) fn lost_core() -> bool {
    is_crowded(Duration::ZERO).unwrap_or(true)
}

/// Whether others wanted the core of the calling thread since it looked last, or what it found then, if
/// that was within `memory`. `None` if the kernel does not tell.
///
/// The number of threads that want to run would not do: the kernel counts some that went to sleep.
fn is_crowded(memory: Duration) -> Option<bool> {
    thread_local! {
        static LAST: Cell<Option<Look>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    let last = LAST.get();
    if let Some(last) = last
        && now.saturating_duration_since(last.at) < memory
    {
        return Some(last.crowded);
    }
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let waits = Waits::read(&text)?;
    let crowded = last.is_some_and(|last| {
        waits.are_long_since(last.waits, now.saturating_duration_since(last.at))
    });
    LAST.set(Some(Look {
        at: now,
        waits,
        crowded,
    }));
    Some(crowded)
}

/// What a thread found when it looked whether its core is wanted.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    waits: Waits,
    crowded: bool,
}

/// How long and how often a thread has waited for a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waits {
    time: Duration,
    count: u32,
}

impl Waits {
    /// Reads what schedstat says: nanoseconds on a core, nanoseconds of waiting, times on a core.
    fn read(schedstat: &str) -> Option<Self> {
        let mut numbers = schedstat.split_whitespace().skip(1).map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            time: Duration::from_nanos(next()?),
            // It may wrap, as differences count.
            count: next()? as u32,
        })
    }

    /// Whether those since `before`, in the time since then, show that others had the core.
    fn are_long_since(self, before: Self, elapsed: Duration) -> bool {
        let time = self.time.saturating_sub(before.time);
        let count = self.count.wrapping_sub(before.count);
        time * CROWDED > elapsed && time > WAKING.saturating_mul(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let waits = Waits {
            time: Duration::from_nanos(47_203),
            count: 12,
        };
        assert_eq!(Waits::read("496613093 47203 12\n"), Some(waits));
        assert_eq!(Waits::read("nonsense"), None);
    }

    #[test]
    fn long_waits_show_that_others_want_the_core_and_many_short_ones_do_not() {
        let waits = |micros, count| Waits {
            time: Duration::from_micros(micros),
            count,
        };
        let (before, elapsed) = (waits(1_000, 7), Duration::from_millis(5));
        assert!(waits(4_000, 8).are_long_since(before, elapsed));
        assert!(
            !waits(4_000, 47).are_long_since(before, elapsed),
            "wake-ups"
        );
        assert!(!waits(1_400, 8).are_long_since(before, elapsed), "seldom");
    }
}
