//! Busy-polling: whether a wait for bytes looks for them a little before it sleeps.
//!
//! # Theory of operation
//!
//! Waking a thread on another core costs more than all the rest of a short call. A thread that asks
//! the kernel again and again for a fraction of a millisecond, its *budget*, is awake when the bytes
//! come. That pays if they do come within the budget and if nobody else wants the core, so:
//!
//! * *Recent waits decide.* A wait polls only if the last few waits, polled or not, were about that
//!   short. A poll that used up its budget in vain lets the next waits sleep at once: 4 of them, 8
//!   after another miss, and so on up to 1024. So a peer that is quiet costs one budget, and an idle
//!   connection nothing.
//!   A new connection begins as if it had had such waits, if the last poll in the process was not in
//!   vain.
//! * *Contention ends it.* Before polling begins, and now and then, the kernel is asked for how long
//!   it has kept the thread waiting for a core: for little of the time. Besides, who polls reads the
//!   clock each time round. A gap between two readings means that the core was given to somebody else
//!   meanwhile, and two of them are contention. Then nothing is polled on this socket for 5 ms,
//!   twice as long each time it happens again, up to a second.
//! * *One core is given away* before each look: if the peer is on this machine it could not run
//!   otherwise. Handing the core over costs less than to sleep and to be woken, and whoever else wants
//!   it shows in the clock's gaps. The set of cores that the thread may use is looked up now and then,
//!   and a quota of the container counts.
//! * *Few poll:* of all threads of a process one fewer than there are cores, or the only one.
//!
//! The budget is long beside a short call, because that call is not all that a wait lasts. If both
//! sides sleep, a wait takes two wake-ups, and one takes up to 60 us in a virtual machine. A budget
//! below that would never bring anything, and both sides would go on sleeping for ever.
//!
//! All of it is about speed only. A poll is as good as a wait that brought nothing; signals and
//! shutdowns are seen at the latest when the budget is used up.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::cores::{Cores, allowed_cores, cores};

/// The longest budget: beyond it a sleep costs less than it delays.
const MAX_BUDGET: Duration = Duration::from_millis(1);
/// So many short waits in a row make the next one poll.
const WARM: u32 = 2;
/// A wait that slept is short if it took up to this many budgets: waking up is a part of it.
const SLEPT_BUDGETS: u32 = 2;
/// Waits that sleep after a first miss, and the most after many.
const SKIP: (u32, u32) = (4, 1024);
/// So many hits in a row make up for the misses before.
const FORGIVEN: u32 = 64;
/// The clock stands still for so long only if the core was given to somebody else.
const GAP: Duration = Duration::from_micros(200);
/// Two gaps within this time are contention.
const GAP_MEMORY: Duration = Duration::from_millis(100);
/// How long contention forbids polling: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// In a pause, only one of so many waits looks whether it is over.
const UNWATCHED: u32 = 64;
/// What calm for so long says about contention before: nothing of interest any more.
const CALM: Duration = Duration::from_millis(50);
/// After so many polls the state of the machine is looked up again: that takes some microseconds.
const LOOK_UP_EVERY: u32 = 256;
/// Whether the last poll of the process brought something.
static LAST_WAS_HIT: AtomicBool = AtomicBool::new(false);

/// Threads of this process that poll right now.
static POLLING: AtomicU32 = AtomicU32::new(0);

/// In the child of a fork: the threads that polled did not come along.
pub fn forget_polling_threads() {
    POLLING.store(0, Ordering::Relaxed);
}

/// What one socket knows about polling.
#[derive(Debug)]
pub(super) struct BusyPoll {
    budget: Duration,
    /// Locked for a few instructions, by the one thread that reads.
    history: Mutex<History>,
}

#[derive(Debug)]
struct History {
    /// Short waits in a row.
    short: u32,
    /// Hits in a row.
    hits: u32,
    /// Waits that are still to sleep at once.
    skip: u32,
    /// Waits that will sleep after the next miss.
    next_skip: u32,
    last_gap: Option<Instant>,
    /// When the last pause ends, or has ended.
    resumes: Option<Instant>,
    next_pause: Duration,
    /// Waits in a pause for which the clock is not even read.
    unwatched: u32,
    /// Polls until the state of the machine is looked up.
    unchecked: u32,
    /// There was one core when it was.
    shares: bool,
}

impl BusyPoll {
    /// Polling with this budget for each wait; zero: none.
    pub(super) fn new(budget: Duration) -> Self {
        let mut history = History::new();
        if LAST_WAS_HIT.load(Ordering::Relaxed) {
            history.short = WARM;
        }
        Self {
            budget: budget.min(MAX_BUDGET),
            history: Mutex::new(history),
        }
    }

    /// Begins a wait of at most `timeout`.
    pub(super) fn begin(&self, timeout: Option<Duration>) -> Wait<'_> {
        let budget = timeout.map_or(self.budget, |timeout| timeout.min(self.budget));
        if budget.is_zero() {
            return Wait {
                busy: self,
                started: None,
                polling: None,
            };
        }
        let mut history = self.history.lock();
        if history.unwatched > 0 {
            history.unwatched -= 1;
            return Wait {
                busy: self,
                started: None,
                polling: None,
            };
        }
        let now = Instant::now();
        let polls = history.may_poll(now, cores) && claim();
        let shares = history.shares;
        drop(history);
        Wait {
            busy: self,
            started: Some(now),
            polling: polls.then_some(Polling {
                last: now,
                end: now + budget,
                shares,
            }),
        }
    }
}

/// One wait for bytes: polled first, if that is worth it.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    busy: &'a BusyPoll,
    /// `None`: polling is off, or paused.
    started: Option<Instant>,
    polling: Option<Polling>,
}

#[derive(Debug)]
struct Polling {
    last: Instant,
    end: Instant,
    /// The core is given away before each look.
    shares: bool,
}

impl Wait<'_> {
    /// Whether to look once more without sleeping.
    pub(super) fn polls(&mut self) -> bool {
        let Some(polling) = &mut self.polling else {
            return false;
        };
        let now = Instant::now();
        let gap = now - polling.last > GAP;
        polling.last = now;
        let over = now >= polling.end;
        if gap {
            self.busy.history.lock().note_gap(now);
        }
        if over {
            self.busy.history.lock().note_miss();
            LAST_WAS_HIT.store(false, Ordering::Relaxed);
            self.stop();
        } else if polling.shares {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
        !over
    }

    /// The wait brought something.
    pub(super) fn succeeded(mut self) {
        let Some(started) = self.started else {
            return;
        };
        let now = Instant::now();
        let mut history = self.busy.history.lock();
        match &self.polling {
            Some(polling) => {
                if now - polling.last > GAP {
                    history.note_gap(now);
                }
                history.note_hit();
                LAST_WAS_HIT.store(true, Ordering::Relaxed);
            }
            None => history.note_sleep(now - started <= self.busy.budget * SLEPT_BUDGETS),
        }
        drop(history);
        self.stop();
    }

    /// The wait brought nothing.
    pub(super) fn failed(self) {
        if self.started.is_some() {
            self.busy.history.lock().note_sleep(false);
        }
    }

    fn stop(&mut self) {
        if self.polling.take().is_some() {
            POLLING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl History {
    const fn new() -> Self {
        Self {
            short: 0,
            hits: 0,
            skip: 0,
            next_skip: SKIP.0,
            last_gap: None,
            resumes: None,
            next_pause: PAUSE.0,
            unwatched: 0,
            unchecked: 0,
            shares: false,
        }
    }

    /// Whether a wait may poll. `cores` looks them up.
    fn may_poll(&mut self, now: Instant, cores: impl FnOnce() -> Cores) -> bool {
        if self.short < WARM {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.resumes.is_some_and(|resumes| now < resumes) {
            self.unwatched = UNWATCHED;
            return false;
        }
        if self.unchecked == 0 {
            let cores = cores();
            if cores == Cores::Wanted {
                self.pause(now);
                return false;
            }
            self.shares = cores == Cores::One;
            self.unchecked = LOOK_UP_EVERY;
        }
        self.unchecked -= 1;
        true
    }

    const fn note_hit(&mut self) {
        self.short = self.short.saturating_add(1);
        self.hits = self.hits.saturating_add(1);
        if self.hits >= FORGIVEN {
            self.next_skip = SKIP.0;
        }
    }

    const fn note_miss(&mut self) {
        self.hits = 0;
        self.skip = self.next_skip;
        if self.next_skip < SKIP.1 {
            self.next_skip *= 2;
        }
    }

    const fn note_sleep(&mut self, short: bool) {
        self.short = if short {
            self.short.saturating_add(1)
        } else {
            0
        };
    }

    fn note_gap(&mut self, now: Instant) {
        let again = self.last_gap.is_some_and(|last| now - last < GAP_MEMORY);
        self.last_gap = Some(now);
        if again {
            self.last_gap = None;
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        if self.resumes.is_none_or(|resumed| now > resumed + CALM) {
            self.next_pause = PAUSE.0;
        }
        self.resumes = Some(now + self.next_pause);
        self.next_pause = (self.next_pause * 2).min(PAUSE.1);
        self.unchecked = 0;
    }
}

/// Makes the thread one of those that poll, unless there are enough.
fn claim() -> bool {
    let most = allowed_cores().saturating_sub(1).max(1);
    POLLING
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |polling| {
            (polling < most).then_some(polling + 1)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history of short waits, so that the next one polls.
    fn warm() -> History {
        let mut history = History::new();
        for _ in 0..WARM {
            history.note_sleep(true);
        }
        history
    }

    #[test]
    fn waits_poll_after_short_ones_only() {
        let now = Instant::now();
        let mut history = History::new();
        assert!(!history.may_poll(now, || Cores::Free));
        for _ in 0..WARM {
            history.note_sleep(true);
        }
        assert!(history.may_poll(now, || Cores::Free));
        history.note_sleep(false);
        assert!(!history.may_poll(now, || Cores::Free));
    }

    #[test]
    fn misses_make_polls_rarer_and_hits_forgive_them() {
        let now = Instant::now();
        let mut history = warm();
        let sleeps_after_a_miss = |history: &mut History| {
            history.note_miss();
            history.note_sleep(true);
            let mut sleeps = 0;
            while !history.may_poll(now, || Cores::Free) {
                sleeps += 1;
            }
            sleeps
        };
        assert_eq!(sleeps_after_a_miss(&mut history), SKIP.0);
        assert_eq!(sleeps_after_a_miss(&mut history), SKIP.0 * 2);
        for _ in 0..20 {
            sleeps_after_a_miss(&mut history);
        }
        assert_eq!(sleeps_after_a_miss(&mut history), SKIP.1);
        for _ in 0..FORGIVEN {
            history.note_hit();
        }
        assert_eq!(sleeps_after_a_miss(&mut history), SKIP.0);
    }

    #[test]
    fn a_crowded_machine_pauses_polling_for_longer_each_time() {
        let start = Instant::now();
        let mut history = warm();
        assert!(!history.may_poll(start, || Cores::Wanted));
        // While it is paused, the machine is not even looked at.
        assert!(!history.may_poll(start + PAUSE.0 / 2, || Cores::Free));
        let resumed = start + PAUSE.0;
        assert!(!history.may_poll(resumed, || Cores::Wanted));
        assert!(!history.may_poll(resumed + PAUSE.0, || Cores::Free));
        assert!(history.may_poll(resumed + PAUSE.0 * 2, || Cores::Free));
    }

    #[test]
    fn one_core_is_polled_on_by_giving_it_away() {
        let mut history = warm();
        assert!(history.may_poll(Instant::now(), || Cores::One));
        assert!(history.shares);
        history.unchecked = 0;
        assert!(history.may_poll(Instant::now(), || Cores::Free));
        assert!(!history.shares);
    }

    #[test]
    fn two_gaps_in_short_order_are_contention() {
        let start = Instant::now();
        let mut history = warm();
        history.note_gap(start);
        assert!(history.may_poll(start, || Cores::Free));
        history.note_gap(start + GAP_MEMORY * 2);
        assert!(history.may_poll(start + GAP_MEMORY * 2, || Cores::Free));
        history.note_gap(start + GAP_MEMORY * 2 + GAP);
        assert!(!history.may_poll(start + GAP_MEMORY * 2 + GAP, || Cores::Free));
    }

    #[test]
    fn a_wait_without_budget_never_polls() {
        let busy = BusyPoll::new(Duration::ZERO);
        assert!(!busy.begin(None).polls());
        let busy = BusyPoll::new(MAX_BUDGET);
        *busy.history.lock() = warm();
        assert!(!busy.begin(Some(Duration::ZERO)).polls());
    }
}
