//! A bound on bytes in flight, all together and by chain: one chain that does not answer must not hold up what
//! is for the others (P25). Callers' threads wait here; completions only give back, so that waiting cannot
//! deadlock.

use crate::Cancel;
use crate::waiter::{Changing, wait_until};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use wire::{Code, Error, Result};

#[derive(Default)]
pub(crate) struct Used {
    all: usize,
    /// Chains with bytes in flight.
    by_chain: BTreeMap<u32, usize>,
}

pub(crate) struct Budget {
    bytes_max: usize,
    used: Mutex<Used>,
    changed: Condvar,
}

/// Bytes by chain, given back when it is dropped.
pub(crate) struct Held {
    budget: Arc<Budget>,
    shares: BTreeMap<u32, usize>,
}

impl Used {
    /// Each chain may have one request in flight whatever the others have, and half of all.
    fn has_room(&self, shares: &BTreeMap<u32, usize>, bytes_max: usize) -> bool {
        let all = self.all + shares.values().sum::<usize>();
        shares.iter().all(|(chain, bytes)| match self.by_chain.get(chain) {
            None => true,
            Some(used) => all <= bytes_max && used + bytes <= bytes_max / 2,
        })
    }
}

impl Budget {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Budget { bytes_max, used: Mutex::default(), changed: Condvar::new() })
    }

    /// Waits for room for these (chain, bytes).
    ///
    /// # Errors
    /// `TimedOut` at `deadline`, `Interrupted`.
    pub fn acquire(
        self: &Arc<Self>,
        parts: impl IntoIterator<Item = (u32, usize)>,
        deadline: Option<Instant>,
        cancel: Option<&Cancel>,
    ) -> Result<Held> {
        let mut shares = BTreeMap::new();
        for (chain, bytes) in parts {
            *shares.entry(chain).or_insert(0) += bytes;
        }
        let room = wait_until(self, deadline, cancel, |used| used.has_room(&shares, self.bytes_max));
        let mut used = room.map_err(|error| match error.code {
            Code::TimedOut => Error::new(Code::TimedOut, format!("{} bytes wait to be written", self.used())),
            _ => error,
        })?;
        for (&chain, bytes) in &shares {
            used.all += bytes;
            *used.by_chain.entry(chain).or_insert(0) += bytes;
        }
        Ok(Held { budget: self.clone(), shares })
    }

    pub fn used(&self) -> usize {
        self.used.lock().all
    }
}

impl Changing for Budget {
    type State = Used;

    fn state(&self) -> &Mutex<Used> {
        &self.used
    }

    fn changed(&self) -> &Condvar {
        &self.changed
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut used = self.budget.used.lock();
        for (chain, bytes) in &self.shares {
            used.all -= bytes;
            let left = used.by_chain.get_mut(chain).expect("it was taken");
            *left -= bytes;
            if *left == 0 {
                used.by_chain.remove(chain);
            }
        }
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(budget: &Arc<Budget>, chain: u32, bytes: usize) -> Result<Held> {
        budget.acquire([(chain, bytes)], Some(Instant::now()), None)
    }

    #[test]
    fn a_caller_waits_until_bytes_come_back() {
        let budget = Budget::new(100);
        let taken = acquire(&budget, 1, 1000).unwrap();
        assert_eq!(acquire(&budget, 1, 1).err().unwrap().code, Code::TimedOut);
        let other = budget.clone();
        let thread = std::thread::spawn(move || other.acquire([(1, 50)], None, None));
        drop(taken);
        let taken = thread.join().unwrap().unwrap();
        assert_eq!(budget.used(), 50);
        drop(taken);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_chain_takes_half_and_every_chain_may_have_one_request() {
        let budget = Budget::new(100);
        let sick: Vec<Held> = (0..5).map(|_| acquire(&budget, 1, 10).unwrap()).collect();
        assert!(acquire(&budget, 1, 10).is_err(), "more than half");
        let both = || budget.acquire([(2, 10), (1, 10)], Some(Instant::now()), None);
        assert!(both().is_err());
        let healthy: Vec<Held> = (0..5).map(|_| acquire(&budget, 2, 10).unwrap()).collect();
        assert!(acquire(&budget, 2, 1).is_err(), "all together");
        let first = acquire(&budget, 3, 1000).unwrap();
        assert!(acquire(&budget, 3, 1).is_err());
        drop((sick, first));
        assert_eq!(budget.used(), 50);
        assert!(both().is_err());
        drop(healthy);
        assert!(both().is_ok());
        assert_eq!((budget.used(), budget.used.lock().by_chain.len()), (0, 0));
    }

    #[test]
    fn a_cancelled_caller_waits_no_longer() {
        let budget = Budget::new(100);
        let _taken = acquire(&budget, 1, 100).unwrap();
        let cancel = Cancel::new();
        let (other, cancelled) = (budget.clone(), cancel.clone());
        let thread = std::thread::spawn(move || other.acquire([(1, 50)], None, Some(&cancelled)).err());
        cancel.cancel();
        assert_eq!(thread.join().unwrap().unwrap().code, Code::Interrupted);
        assert_eq!(budget.used(), 100);
    }
}
