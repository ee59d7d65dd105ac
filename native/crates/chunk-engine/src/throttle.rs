//! Updates wait for the checkpoint: a little while one is behind, so that all of them become slower
//! together, and wholly only where the journal's bound is reached. Without the small waits every update
//! would run at full speed until that bound and then stand for as long as the checkpoint takes.

use crate::engine::Core;
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use wire::Result;

/// Time between two updates when the journal is half way between its limit and its bound; it grows towards
/// the bound as x / (1 - x). 100 µs: 10,000 updates a second, about what one disk's checkpoint keeps up
/// with.
const GAP_HALF_WAY: Duration = Duration::from_micros(100);

/// The longest time between two updates: a checkpoint that takes longer than the journal lasts at this pace
/// is waited for.
const GAP_MAX: Duration = Duration::from_millis(10);

/// Shorter waits are saved up: a sleep costs more than it would last.
const WAIT_MIN: Duration = Duration::from_micros(200);

/// When the next update may begin.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

/// How long after one update the next one may begin, when the journal has `bytes` of the `limit` that
/// starts a checkpoint; nothing at the limit and `GAP_MAX` at twice of it.
fn gap(bytes: u64, limit: u64) -> Duration {
    let over = bytes.saturating_sub(limit) as f64;
    let left = (2 * limit).saturating_sub(bytes) as f64;
    if over >= left * (GAP_MAX.as_secs_f64() / GAP_HALF_WAY.as_secs_f64()) {
        return GAP_MAX;
    }
    GAP_HALF_WAY.mul_f64(over / left)
}

impl Pace {
    /// Takes the next turn; how long to wait for it. Turns that nobody took are not made up for.
    fn turn(&self, now: Instant, gap: Duration) -> Duration {
        let mut next = self.0.lock();
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + gap);
        turn - now
    }
}

impl Core {
    /// Whether the journal or the changed chunks reached the limit that starts a checkpoint.
    fn is_checkpoint_due(&self) -> bool {
        self.journal.bytes() >= self.options.journal_bytes_max
            || self.index.dirty_chunks() >= self.options.dirty_chunks_max
    }

    /// Before an update, with no lock held: starts a checkpoint that is due, waits for one that is behind.
    pub fn throttle(&self) -> Result<()> {
        if !self.is_checkpoint_due() {
            return Ok(());
        }
        if !self.options.background {
            return self.checkpoint(false);
        }
        self.want_checkpoint();
        let gap = gap(self.journal.bytes(), self.options.journal_bytes_max);
        let wait = self.pace.turn(Instant::now(), gap);
        if wait >= WAIT_MIN {
            std::thread::sleep(wait);
        }
        self.wait_while_overdue();
        self.volume.check()
    }

    fn want_checkpoint(&self) {
        let mut state = self.checkpoint_signal.state.lock();
        if !state.wanted {
            state.wanted = true;
            self.checkpoint_signal.changed.notify_all();
        }
    }

    /// At the bound nothing goes on before a checkpoint is done.
    fn wait_while_overdue(&self) {
        let overdue = || self.journal.bytes() >= 2 * self.options.journal_bytes_max;
        if !overdue() {
            return;
        }
        let mut state = self.checkpoint_signal.state.lock();
        let round = state.rounds;
        while overdue() && state.rounds == round && !state.stop {
            self.checkpoint_signal.changed.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_grows_towards_the_bound() {
        let mib = |count: u64| count << 20;
        assert_eq!(gap(mib(10), mib(32)), Duration::ZERO);
        assert_eq!(gap(mib(32), mib(32)), Duration::ZERO);
        assert_eq!(gap(mib(48), mib(32)), GAP_HALF_WAY);
        assert_eq!(gap(mib(64), mib(32)), GAP_MAX);
        assert_eq!(gap(mib(100), mib(32)), GAP_MAX);
        let gaps: Vec<Duration> = (32..=64).map(|at| gap(mib(at), mib(32))).collect();
        assert!(gaps.is_sorted());
    }

    #[test]
    fn turns_are_one_gap_apart_and_none_is_saved_up() {
        let (pace, start, gap) = (Pace::default(), Instant::now(), Duration::from_millis(1));
        assert_eq!(pace.turn(start, gap), Duration::ZERO);
        assert_eq!(pace.turn(start, gap), gap);
        assert_eq!(pace.turn(start + gap, gap), gap);
        let later = start + 100 * gap;
        assert_eq!(pace.turn(later, gap), Duration::ZERO);
        assert_eq!(pace.turn(later, gap), gap);
    }
}
