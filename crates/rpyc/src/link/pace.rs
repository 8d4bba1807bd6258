//! When frames that wait are to leave: how fast they follow each other.

use std::time::Duration;

use super::late;
use crate::sync::Instant;

/// When queued frames are to leave, as the thread that queued them goes on to do something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// There are none, or another thread sends them.
    Never,
    /// They are sent now.
    Now,
    /// They may wait, and the courier knows.
    Soon,
    /// They may wait if the courier can be told.
    SoonIfWatched,
}

/// How fast small frames follow each other, and how long they have waited.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the last one was queued, if nobody was sending then.
    pub(super) last: Option<Instant>,
    /// So many came quickly in a row.
    quick: u32,
    /// Since when frames are held back.
    pub(super) since: Option<Instant>,
    /// The generation of the courier that looks here.
    pub(super) watched: Option<usize>,
    /// Looks of the courier since something was held back.
    pub(super) quiet: u32,
    /// So many frames were queued without a look at the clock.
    unclocked: u32,
    /// When something was queued last that nobody waits for, and how often in a row that was near.
    last_unhurried: Option<Instant>,
    near: u32,
}

impl Pace {
    /// Whether one more frame may wait without a look at the clock, which would take a good part of the
    /// time that a small frame does. The courier, who looks there often enough, keeps the bound. If so:
    /// the moment of the last look. `full`: there are many.
    pub(super) fn pass(&mut self, full: bool) -> Option<Instant> {
        let last = self.last.filter(|_| self.since.is_some())?;
        let quick = self.quick >= STREAK && self.unclocked < UNCLOCKED && !full;
        if !quick || self.watched != Some(late::generation()) {
            return None;
        }
        self.unclocked += 1;
        self.quiet = 0;
        Some(last)
    }

    /// What to do with queued frames. `full`: there are many.
    pub(super) fn due(&mut self, full: bool, now: Instant) -> Due {
        let watched = self.watched == Some(late::generation());
        let frames = std::mem::take(&mut self.unclocked) + 1;
        if let Some(last) = self.last.replace(now) {
            let quick = now.saturating_duration_since(last) < QUICK * frames;
            self.quick = if quick { self.quick + 1 } else { 0 };
        }
        let since = *self.since.get_or_insert(now);
        if full || self.quick < STREAK || now.saturating_duration_since(since) >= HOLD {
            Due::Now
        } else if watched {
            self.quiet = 0;
            Due::Soon
        } else {
            Due::SoonIfWatched
        }
    }

    /// What to do with queued frames for which nobody waits.
    pub(super) fn due_unhurried(&mut self, now: Instant) -> Due {
        self.since.get_or_insert(now);
        let last = self.last_unhurried.replace(now);
        let near = last.is_some_and(|last| now.saturating_duration_since(last) < NEAR);
        self.near = if near { self.near + 1 } else { 0 };
        if self.near < STREAK {
            Due::Now
        } else if self.watched == Some(late::generation()) {
            self.quiet = 0;
            Due::Soon
        } else {
            Due::SoonIfWatched
        }
    }
}

/// A frame that is queued within this time of the one before is quick.
const QUICK: Duration = Duration::from_micros(50);
/// A frame for which nobody waits is near to the one before if it is queued within this time.
const NEAR: Duration = Duration::from_millis(10);
/// After so many quick ones in a row, or near ones, frames wait for the next one.
pub(super) const STREAK: u32 = 8;
/// So many quick frames at most are queued between two looks at the clock.
const UNCLOCKED: u32 = 7;
/// Frames are held back for so long while more come quickly, and up to so many bytes.
const HOLD: Duration = Duration::from_micros(100);
pub(super) const HOLD_BYTES: usize = 64 * 1024;

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(5);

    /// The pace after as many quick frames as it takes, and the moment.
    pub(in super::super) fn quick() -> (Pace, Instant) {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for _ in 0..STREAK {
            assert_eq!(pace.due(false, now), Due::Now);
            pace.since = None;
            now += STEP;
        }
        (pace, now)
    }

    #[test]
    fn frames_wait_for_the_next_after_quick_ones() {
        let (mut pace, now) = quick();
        assert_eq!(pace.due(false, now), Due::SoonIfWatched);
        pace.watched = Some(late::generation());
        assert_eq!(pace.due(false, now + STEP), Due::Soon);
        assert_eq!(pace.due(true, now + STEP * 2), Due::Now);
    }

    #[test]
    fn frames_are_not_held_back_for_long() {
        let (mut pace, mut now) = quick();
        let start = now;
        while pace.due(false, now) != Due::Now {
            now += STEP;
            assert!(now - start <= HOLD);
        }
        assert_eq!(now - start, HOLD);
    }

    #[test]
    fn the_clock_is_looked_at_for_some_of_many_quick_ones() {
        let (mut pace, now) = quick();
        assert_eq!(pace.due(false, now), Due::SoonIfWatched);
        pace.watched = Some(late::generation());
        for _ in 0..UNCLOCKED {
            assert!(pace.pass(false).is_some());
        }
        assert_eq!(pace.due(false, now + QUICK), Due::Soon);
        for _ in 0..UNCLOCKED {
            assert!(pace.pass(false).is_some());
        }
        assert_eq!(pace.due(false, now + HOLD), Due::Now);
    }

    #[test]
    fn a_slow_one_ends_the_holding_back() {
        let (mut pace, now) = quick();
        assert_eq!(pace.due(false, now + QUICK), Due::Now);
        pace.since = None;
        assert_eq!(pace.due(false, now + QUICK + STEP), Due::Now);
    }

    #[test]
    fn what_nobody_waits_for_waits_once_it_comes_often() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..STREAK {
            assert_eq!(pace.due_unhurried(now), Due::Now);
            now += NEAR / 2;
        }
        assert_eq!(pace.due_unhurried(now), Due::SoonIfWatched);
        pace.watched = Some(late::generation());
        assert_eq!(pace.due_unhurried(now), Due::Soon);
        assert_eq!(pace.due_unhurried(now + NEAR), Due::Now);
    }

    #[test]
    fn a_fork_leaves_no_courier() {
        let (mut pace, now) = quick();
        pace.watched = Some(late::generation() + 1);
        assert_eq!(pace.due(false, now), Due::SoonIfWatched);
    }
}
