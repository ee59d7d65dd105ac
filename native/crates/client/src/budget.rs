//! A bound on bytes in flight. Callers' threads wait here; completions only give back, so that waiting cannot
//! deadlock.

use parking_lot::{Condvar, Mutex};
use std::time::Instant;
use wire::{Code, Error, Result};

pub(crate) struct Budget {
    bytes_max: usize,
    used: Mutex<usize>,
    free: Condvar,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Self {
        Budget { bytes_max, used: Mutex::new(0), free: Condvar::new() }
    }

    /// Waits for room. One request larger than the whole budget passes alone. Returns what `release` must be
    /// told.
    ///
    /// # Errors
    /// `TimedOut` at `deadline`.
    pub fn acquire(&self, bytes: usize, deadline: Option<Instant>) -> Result<usize> {
        let bytes = bytes.min(self.bytes_max);
        let mut used = self.used.lock();
        while *used + bytes > self.bytes_max {
            match deadline {
                None => self.free.wait(&mut used),
                Some(deadline) => {
                    if self.free.wait_until(&mut used, deadline).timed_out() && *used + bytes > self.bytes_max
                    {
                        return Err(Error::new(
                            Code::TimedOut,
                            format!("{} bytes wait to be written", *used),
                        ));
                    }
                }
            }
        }
        *used += bytes;
        Ok(bytes)
    }

    pub fn release(&self, bytes: usize) {
        let mut used = self.used.lock();
        *used = used.checked_sub(bytes).expect("no more is given back than was taken");
        self.free.notify_all();
    }

    pub fn used(&self) -> usize {
        *self.used.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_caller_waits_until_bytes_come_back() {
        let budget = Arc::new(Budget::new(100));
        let taken = budget.acquire(1000, None).unwrap();
        assert_eq!(taken, 100);
        let past = Instant::now();
        assert_eq!(budget.acquire(1, Some(past)).unwrap_err().code, Code::TimedOut);
        let other = budget.clone();
        let thread = std::thread::spawn(move || other.acquire(60, None));
        budget.release(taken);
        assert_eq!(thread.join().unwrap(), Ok(60));
        assert_eq!(budget.used(), 60);
    }
}
