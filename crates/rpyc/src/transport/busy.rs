//! Busy-polling: whether a wait for bytes looks for them a little before it sleeps.
//!
//! # Theory of operation
//!
//! Waking a thread on another core costs more than all the rest of a short call. A thread that asks
//! the kernel again and again for a fraction of a millisecond, its *budget*, is awake when the bytes
//! come. That pays if they do come within the budget and if nobody else wants the core, so:
//!
//! * *Recent waits decide.* A wait polls only if the last few waits, polled or not, were about that
//!   short. A poll in vain lets the next wait sleep at once, another one the next two, and so on up
//!   to 1024; half as many after every two polls that paid. In vain is a poll that used up its
//!   budget, and one whose bytes came late in it, as from a peer that takes its time. So a peer that
//!   is quiet costs one budget, and an idle connection nothing. A single poll in vain says little:
//!   where waking takes long, sleeping instead of the next one would bring the next delay.
//!   A new connection begins as if it had had short waits, if the last poll in the process paid.
//! * *The budget is long* beside a short call, because that call is not all that a wait lasts. If the
//!   peer sleeps, the wait takes its wake-up as well, and if both sleep, two; in a virtual machine one
//!   takes from 50 us to more than 200 us, by the minute. A budget below that would never bring
//!   anything, and both sides would go on sleeping for ever.
//! * *Contention ends it.* Before polling begins, and now and then, the kernel is asked for how long
//!   it has kept the thread waiting for a core: for little of the time. Besides, who polls reads the
//!   clock each time round. A gap between two readings means that somebody else had the core
//!   meanwhile: another thread, or another virtual machine. After two of them the kernel is asked
//!   which. Nobody needs to be asked if the core was given away and came back a time slice later. If
//!   other threads want the core, nothing is polled on this socket for 10 ms, twice as long each time
//!   it happens again before many polls paid, up to a second.
//! * *The core is given away* before the first look, and now and then: the peer may wait for this
//!   very core, as the scheduler likes to put two threads that wake each other together, and it could
//!   not run otherwise. Handing the core over costs less than to sleep and to be woken; and once two
//!   threads want one core, the scheduler puts them apart. A single core is given away before each
//!   look. The set of cores that the thread may use is looked up now and then, and a quota of the
//!   container counts.
//! * *Few poll:* of all threads of a process one fewer than there are cores, or the only one.
//!
//! All of it is about speed only. A poll is as good as a wait that brought nothing; signals and
//! shutdowns are seen at the latest when the budget is used up.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::cores::{Cores, allowed_cores, cores, lost_core};

/// The longest budget: beyond it a sleep costs less than it delays.
const MAX_BUDGET: Duration = Duration::from_millis(1);
/// So many short waits in a row make the next one poll.
const WARM: u32 = 2;
/// A wait that slept is short if it took up to this many budgets: waking up is a part of it.
const SLEPT_BUDGETS: u32 = 2;
/// A poll is in vain if it brought something after more than this part of the budget.
const LATE: u32 = 2;
/// Waits that sleep after a first poll in vain, and the most after many.
const SKIP: (u32, u32) = (1, 1024);
/// So many polls that paid make up for one in vain.
const FORGIVEN: u32 = 2;
/// The core is given away once in so many looks: that takes longer than to look.
const LOOKS: u32 = 8;
/// Giving the core away takes so long only if another thread computes on it.
const SLICE: Duration = Duration::from_millis(1);
/// The clock stands still for so long only if somebody else had the core.
const GAP: Duration = Duration::from_micros(200);
/// Two gaps within this time are contention.
const GAP_MEMORY: Duration = Duration::from_millis(100);
/// How long contention forbids polling: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// In a pause, only one of so many waits looks whether it is over.
const UNWATCHED: u32 = 64;
/// After so many polls that paid, contention before is of no interest any more.
const CALM: u32 = 256;
/// After so many polls the state of the machine is looked up again: that takes some microseconds.
const LOOK_UP_EVERY: u32 = 256;
/// Whether the last poll of the process paid.
static LAST_PAID: AtomicBool = AtomicBool::new(false);

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
    /// Locked by the one thread that reads, for a few instructions or a look at the machine.
    history: Mutex<History>,
}

#[derive(Debug)]
struct History {
    /// Short waits in a row.
    short: u32,
    /// Polls that paid since one was in vain, or since they made up for one.
    hits: u32,
    /// Polls that paid since the last pause.
    calm: u32,
    /// Waits that are still to sleep at once.
    skip: u32,
    /// Waits that will sleep after the next poll in vain.
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
        if LAST_PAID.load(Ordering::Relaxed) {
            history.short = WARM;
        }
        Self {
            budget: budget.min(MAX_BUDGET),
            history: Mutex::new(history),
        }
    }

    /// Begins a wait of at most `timeout`.
    pub(super) fn begin(&self, timeout: Option<Duration>) -> Wait<'_> {
        let mut wait = Wait {
            busy: self,
            started: None,
            polling: None,
        };
        let budget = timeout.map_or(self.budget, |timeout| timeout.min(self.budget));
        if budget.is_zero() {
            return wait;
        }
        let mut history = self.history.lock();
        if history.unwatched > 0 {
            history.unwatched -= 1;
            return wait;
        }
        let now = Instant::now();
        wait.started = Some(now);
        if history.may_poll(now, cores) && claim() {
            wait.polling = Some(Polling {
                last: now,
                end: now + budget,
                until_given: 0,
                between: history.looks_between(),
            });
        }
        wait
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
    /// Looks until the core is given away.
    until_given: u32,
    /// Looks between two times.
    between: u32,
}

impl Polling {
    /// Whether the core is given away before the next look.
    const fn gives_core(&mut self) -> bool {
        let now = self.until_given == 0;
        self.until_given = if now {
            self.between
        } else {
            self.until_given - 1
        };
        now
    }
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
            self.busy.history.lock().note_gap(now, lost_core);
        }
        if over {
            self.busy.history.lock().note_miss();
            LAST_PAID.store(false, Ordering::Relaxed);
            self.stop();
        } else if polling.gives_core() {
            std::thread::yield_now();
            polling.last = Instant::now();
            let away = polling.last - now;
            self.busy.history.lock().note_given(polling.last, away);
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
                    history.note_gap(now, lost_core);
                }
                let paid = now - started <= self.busy.budget / LATE;
                LAST_PAID.store(paid, Ordering::Relaxed);
                if paid {
                    history.note_hit();
                } else {
                    history.note_miss();
                }
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
            calm: 0,
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

    /// Looks after which the core is given away.
    const fn looks_between(&self) -> u32 {
        if self.shares { 0 } else { LOOKS - 1 }
    }

    const fn note_hit(&mut self) {
        self.short = self.short.saturating_add(1);
        self.calm = self.calm.saturating_add(1);
        self.hits += 1;
        if self.hits == FORGIVEN {
            self.hits = 0;
            if self.next_skip > SKIP.0 {
                self.next_skip /= 2;
            }
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

    /// The core was given away for so long.
    fn note_given(&mut self, now: Instant, away: Duration) {
        if away > SLICE {
            self.pause(now);
        }
    }

    /// The clock stood still. `lost_core` says whether another thread had the core.
    fn note_gap(&mut self, now: Instant, lost_core: impl FnOnce() -> bool) {
        let again = self.last_gap.is_some_and(|last| now - last < GAP_MEMORY);
        self.last_gap = Some(now);
        if again && lost_core() {
            self.last_gap = None;
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        if self.calm >= CALM {
            self.next_pause = PAUSE.0;
        }
        self.calm = 0;
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
    fn polls_in_vain_make_polls_rarer_and_those_that_pay_forgive_them() {
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
        assert_eq!(sleeps_after_a_miss(&mut history), SKIP.1 / 2);
        for _ in 0..FORGIVEN * SKIP.1 {
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
        // Polls that pay in between make the next pause a short one.
        for _ in 0..CALM {
            history.note_hit();
        }
        let again = resumed + PAUSE.1;
        history.pause(again);
        assert!(!history.may_poll(again + PAUSE.0 / 2, || Cores::Free));
        history.unwatched = 0;
        assert!(history.may_poll(again + PAUSE.0, || Cores::Free));
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
    fn the_core_is_given_away_before_the_first_look_and_now_and_then() {
        let now = Instant::now();
        let mut history = warm();
        let given = |history: &History| {
            let mut polling = Polling {
                last: now,
                end: now,
                until_given: 0,
                between: history.looks_between(),
            };
            (0..=LOOKS).filter(|_| polling.gives_core()).count()
        };
        assert!(history.may_poll(now, || Cores::Free));
        assert_eq!(given(&history), 2, "the first and the last of nine");
        history.unchecked = 0;
        assert!(history.may_poll(now, || Cores::One));
        assert_eq!(given(&history), LOOKS as usize + 1);
    }

    #[test]
    fn a_core_that_is_away_for_a_time_slice_is_contention() {
        let start = Instant::now();
        let mut history = warm();
        history.note_given(start, SLICE);
        assert!(history.may_poll(start, || Cores::Free));
        history.note_given(start, SLICE * 3);
        assert!(!history.may_poll(start + PAUSE.0 / 2, || Cores::Free));
    }

    #[test]
    fn two_gaps_in_short_order_are_contention() {
        let (by_a_thread, by_another_machine) = (|| true, || false);
        let start = Instant::now();
        let mut history = warm();
        history.note_gap(start, by_a_thread);
        assert!(history.may_poll(start, || Cores::Free));
        let later = start + GAP_MEMORY * 2;
        history.note_gap(later, by_a_thread);
        assert!(history.may_poll(later, || Cores::Free));
        history.note_gap(later + GAP, by_another_machine);
        assert!(history.may_poll(later + GAP, || Cores::Free));
        history.note_gap(later + GAP * 2, by_a_thread);
        assert!(!history.may_poll(later + GAP * 2, || Cores::Free));
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
