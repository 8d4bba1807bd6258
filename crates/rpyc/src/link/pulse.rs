//! Signs of life as a plan: when to show one, and what to make of the peer's. No clock, no IO: whoever
//! drives a connection tells the time and does what is due.

use std::time::{Duration, Instant};

use super::Signs;

/// Signs of life within the time that a silence may last; and looks for them.
const PARTS: u32 = 4;
/// Between two signs of life, at least: peers may ask for them as often as they like.
const SHORTEST: Duration = Duration::from_millis(50);
/// Between two signs of life, at most.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// With so many bytes unread nobody serves this side, and the peer may have no room for more signs.
const FULL: usize = 32 * 1024;

/// What a connection wants to hear of its peer, and what it has promised to show.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// How long the peer may be silent.
    limit: Option<Duration>,
    /// How often it has asked for signs of life.
    interval: Option<Duration>,
    signs: Option<Signs>,
    heard: Instant,
    asked: bool,
}

/// What has become of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It lives, or is not listened for.
    Fine,
    /// It is quiet: ask whether it is there.
    Ask,
    /// It has been silent for so long that it is given up.
    Silent(Duration),
}

impl Pulse {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            limit: None,
            interval: None,
            signs: None,
            heard: now,
            asked: false,
        }
    }

    /// From now on the peer may be silent for this long at most. Tells how often it is to be asked to
    /// show that it lives.
    pub(crate) fn listen(&mut self, limit: Duration, now: Instant) -> Duration {
        self.limit = Some(limit);
        self.heard = now;
        limit / PARTS
    }

    /// The peer wants a sign of life this often.
    pub(crate) fn beat(&mut self, interval: Duration) {
        self.interval = Some(interval.clamp(SHORTEST, LONGEST));
    }

    /// Whether signs of life are to be shown.
    pub(crate) const fn beats(&self) -> bool {
        self.interval.is_some()
    }

    /// How long nothing is due.
    pub(crate) fn pause(&self) -> Duration {
        let look = self.limit.map(|limit| limit / PARTS);
        let pause = look.into_iter().chain(self.interval).min();
        pause.unwrap_or(LONGEST).max(SHORTEST / 2)
    }

    /// Judges what has been seen of the peer.
    pub(crate) fn judge(&mut self, signs: Signs, now: Instant) -> Verdict {
        let Some(limit) = self.limit else {
            return Verdict::Fine;
        };
        if self.signs != Some(signs) || signs.unread >= FULL {
            self.signs = Some(signs);
            self.heard = now;
            self.asked = false;
        }
        let silent = now.saturating_duration_since(self.heard);
        if silent >= limit {
            return Verdict::Silent(limit);
        }
        if silent >= limit / 2 && !self.asked {
            self.asked = true;
            return Verdict::Ask;
        }
        Verdict::Fine
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    fn signs(heard: u64, unread: usize) -> Signs {
        Signs { heard, unread }
    }

    #[test]
    fn a_quiet_peer_is_asked_once_and_then_given_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.listen(LIMIT, start), Duration::from_secs(2));
        let verdicts = [1, 4, 5, 8, 9]
            .map(|second| pulse.judge(signs(3, 0), start + Duration::from_secs(second)));
        let silent = Verdict::Silent(LIMIT);
        // The first look is a sign: what is there was not seen before.
        assert_eq!(
            verdicts,
            [
                Verdict::Fine,
                Verdict::Fine,
                Verdict::Ask,
                Verdict::Fine,
                silent
            ]
        );
    }

    #[test]
    fn whatever_arrives_is_a_sign_of_life() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.listen(LIMIT, start);
        for (second, seen) in [(3, signs(1, 0)), (9, signs(2, 0)), (15, signs(2, 7))] {
            let now = start + Duration::from_secs(second);
            assert_eq!(pulse.judge(seen, now), Verdict::Fine);
        }
        // There is no room for more.
        for second in [30, 60, 90] {
            let now = start + Duration::from_secs(second);
            assert_eq!(pulse.judge(signs(2, FULL), now), Verdict::Fine);
        }
    }

    #[test]
    fn signs_are_shown_as_often_as_asked_within_reason() {
        let mut pulse = Pulse::new(Instant::now());
        assert!(!pulse.beats());
        assert_eq!(pulse.pause(), LONGEST);
        pulse.beat(Duration::ZERO);
        assert_eq!(pulse.pause(), SHORTEST);
        pulse.beat(Duration::MAX);
        assert_eq!(pulse.pause(), LONGEST);
        pulse.listen(LIMIT, Instant::now());
        assert_eq!(pulse.pause(), LIMIT / PARTS);
    }
}
