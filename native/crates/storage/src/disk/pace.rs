//! A bound on what background work reads from one disk, that yields to clients.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// While clients use the disk, background work takes this part of its rate.
const BUSY_SHARE: u32 = 4;

/// Unused time is not saved up beyond this: a burst would be what the pace is there to prevent.
const CREDIT: Duration = Duration::from_millis(100);

pub struct Pace {
    bytes_per_second: u64,
    /// Requests of clients that the disk has seen.
    traffic: Arc<AtomicU64>,
    state: Mutex<State>,
    lifted: AtomicBool,
}

struct State {
    /// When what was granted so far is paid for.
    paid_at: Instant,
    traffic_seen: u64,
}

impl Pace {
    pub fn new(bytes_per_second: u64, traffic: Arc<AtomicU64>) -> Pace {
        let state = Mutex::new(State { paid_at: Instant::now(), traffic_seen: 0 });
        Pace { bytes_per_second: bytes_per_second.max(1), traffic, state, lifted: AtomicBool::new(false) }
    }

    /// How long to wait before these bytes may be moved.
    pub fn grant(&self, bytes: u64) -> Duration {
        self.grant_from(bytes).saturating_duration_since(Instant::now())
    }

    /// When these bytes may be moved.
    pub fn grant_from(&self, bytes: u64) -> Instant {
        let now = Instant::now();
        let mut state = self.state.lock();
        let traffic = self.traffic.load(Ordering::Relaxed);
        let busy = traffic != std::mem::replace(&mut state.traffic_seen, traffic);
        let begins = state.paid_at.max(now.checked_sub(CREDIT).unwrap_or(now));
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        state.paid_at = begins + if busy { cost * BUSY_SHARE } else { cost };
        begins
    }

    /// The process ends: nobody waits any more.
    pub fn lift(&self) {
        self.lifted.store(true, Ordering::Relaxed);
    }

    pub fn is_lifted(&self) -> bool {
        self.lifted.load(Ordering::Relaxed)
    }

    /// Bytes that must not wait: they only make later ones wait longer.
    pub fn charge(&self, bytes: u64) {
        self.grant_from(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_and_cost_more_while_clients_are_there() {
        let traffic = Arc::new(AtomicU64::new(0));
        let pace = Pace::new(1_000_000, traffic.clone());
        let near = |waits: Duration, expected_ms: u64| {
            let expected = Duration::from_millis(expected_ms);
            // Time went by, at most a minute of it.
            assert!(waits <= expected && waits + Duration::from_secs(60) > expected, "{waits:?}");
            waits
        };
        pace.charge(10_000_000);
        let idle = near(pace.grant(10_000_000), 10_000);
        let after = near(pace.grant(0), 20_000);
        assert!(after > idle);
        traffic.fetch_add(1, Ordering::Relaxed);
        pace.charge(10_000_000);
        let busy = pace.grant(0);
        assert!(busy > after + Duration::from_secs(39), "{busy:?} after {after:?}");
        assert!(pace.grant(0) <= busy, "no traffic since");
    }
}
