//! Delays at the places where threads meet, to find what only unlucky timing shows.
//!
//! Only with the feature `chaos`, for tests; without it a [`pause`] is nothing. The environment
//! variable `RPYC_CHAOS=SEED:MICROSECONDS` turns the delays on: at each hand-over of the read role,
//! each sleep and each wake-up the thread goes on at once, yields, or sleeps for up to that long.

/// Delays the calling thread, perhaps.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub(super) const fn pause() {}

#[cfg(feature = "chaos")]
pub(super) use on::pause;

#[cfg(feature = "chaos")]
mod on {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    /// Seed, and the longest delay in microseconds.
    static SETTING: OnceLock<(u64, u64)> = OnceLock::new();
    static THREADS: AtomicU64 = AtomicU64::new(1);

    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }

    pub(in crate::link) fn pause() {
        let &(seed, longest) = SETTING.get_or_init(setting);
        if longest == 0 {
            return;
        }
        // Gone at the very end of a thread: then nothing is left to disturb.
        let Ok(number) = STATE.try_with(|state| {
            let mut x = state.get();
            if x == 0 {
                let thread = THREADS.fetch_add(1, Ordering::Relaxed);
                x = (seed ^ thread.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
            }
            // xorshift64
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            x >> 11
        }) else {
            return;
        };
        match number % 8 {
            0..=3 => {}
            4..=5 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(number / 8 % longest)),
        }
    }

    fn setting() -> (u64, u64) {
        let text = std::env::var("RPYC_CHAOS").unwrap_or_default();
        text.split_once(':')
            .and_then(|(seed, longest)| Some((seed.parse().ok()?, longest.parse().ok()?)))
            .unwrap_or_default()
    }
}
