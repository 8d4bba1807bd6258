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
    /// How many came quickly: one more for each, half as many after each that did not. So a thread that
    /// lost its core for a moment finds the stream going on.
    quick: u32,
    /// How often frames left since the last pause.
    departures: u32,
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
        let mut slow = false;
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_duration_since(last);
            slow = gap >= QUICK * frames;
            self.quick = if slow {
                self.quick / 2
            } else {
                (self.quick + 1).min(MOST_QUICK)
            };
            if gap >= PAUSE {
                self.departures = 0;
            }
        }
        let held = now.saturating_duration_since(*self.since.get_or_insert(now));
        let hold = HOLD * (self.departures + 1).min(LONGEST_HOLD);
        if full || slow || self.quick < STREAK || held >= hold {
            self.departures = self.departures.saturating_add(1);
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
/// After so many quick ones, or near ones in a row, frames wait for the next one.
pub(super) const STREAK: u32 = 8;
/// More quick ones than these are not counted: a stream has ended after some slow ones.
const MOST_QUICK: u32 = 256;
/// So many quick frames at most are queued between two looks at the clock.
const UNCLOCKED: u32 = 7;
/// While more come quickly, frames are held back for so long at first, so that the peer can begin, then
/// up to so many times as long, so that it is not woken often; and up to so many bytes.
const HOLD: Duration = Duration::from_micros(60);
const LONGEST_HOLD: u32 = 4;
pub(super) const HOLD_BYTES: usize = 64 * 1024;
/// What comes after so long without a frame is held back as at first.
const PAUSE: Duration = Duration::from_micros(400);

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
        pace.departures = 0;
        for hold in [HOLD, HOLD * 2, HOLD * 3, HOLD * 4, HOLD * 4] {
            let start = now;
            while pace.due(false, now) != Due::Now {
                now += STEP;
                assert!(now - start <= hold);
            }
            assert_eq!(now - start, hold);
            pace.since = None;
        }
        assert!(
            HOLD * LONGEST_HOLD <= late::LATE,
            "the courier is for others"
        );
    }

    #[test]
    fn after_a_pause_the_first_ones_leave_early() {
        let (mut pace, mut now) = quick();
        pace.quick = MOST_QUICK;
        now += PAUSE;
        assert_eq!(pace.due(false, now), Due::Now);
        pace.since = None;
        let start = now + STEP;
        now = start;
        while pace.due(false, now) != Due::Now {
            now += STEP;
        }
        assert_eq!(now - start, HOLD * 2);
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
        assert_eq!(pace.due(false, now + HOLD * LONGEST_HOLD), Due::Now);
    }

    #[test]
    fn a_slow_one_leaves_at_once_and_some_of_them_end_the_stream() {
        let (mut pace, mut now) = quick();
        for _ in 0..MOST_QUICK {
            now += STEP;
            pace.due(false, now);
            pace.since = None;
        }
        now += QUICK;
        assert_eq!(pace.due(false, now), Due::Now);
        pace.since = None;
        now += STEP;
        assert_eq!(pace.due(false, now), Due::SoonIfWatched);
        while pace.quick > 0 {
            now += QUICK;
            assert_eq!(pace.due(false, now), Due::Now);
            pace.since = None;
        }
        now += STEP;
        assert_eq!(pace.due(false, now), Due::Now);
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
