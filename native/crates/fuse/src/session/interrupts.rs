//! When an INTERRUPT is honoured. The kernel sends one for any signal, and only one per request. Honouring
//! each would make file calls of programs that use signals (timers, Go's preemption) fail with EINTR;
//! ignoring the harmless ones would leave a later Ctrl-C without effect. So: at once if the caller is dying,
//! else when it still waits after a grace time.

use super::pending::Pending;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a harmless signal is ignored.
const GRACE: Duration = Duration::from_secs(1);
/// How often waiting requests are looked at: what a killed process may additionally wait.
const PERIOD: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Waiting {
    /// At most the requests in the air: the kernel interrupts each once.
    requests: Vec<(Instant, Arc<Pending>)>,
    stopped: bool,
}

#[derive(Default)]
pub struct Interrupts {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Interrupts {
    pub fn arrived(&self, pending: Arc<Pending>) {
        if is_dying(pending.pid) {
            pending.interrupt();
        } else {
            self.waiting.lock().requests.push((Instant::now(), pending));
            self.changed.notify_one();
        }
    }

    /// The body of the thread that watches interrupted requests.
    pub fn watch(&self) {
        let mut waiting = self.waiting.lock();
        while !waiting.stopped {
            if waiting.requests.is_empty() {
                self.changed.wait(&mut waiting);
                continue;
            }
            self.changed.wait_for(&mut waiting, PERIOD);
            let requests = std::mem::take(&mut waiting.requests);
            drop(waiting);
            let rest: Vec<_> =
                requests.into_iter().filter(|(since, pending)| still_waits(*since, pending)).collect();
            waiting = self.waiting.lock();
            waiting.requests.extend(rest);
        }
    }

    pub fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.changed.notify_all();
    }
}

fn still_waits(since: Instant, pending: &Pending) -> bool {
    if pending.is_answered() {
        return false;
    }
    if since.elapsed() < GRACE && !is_dying(pending.pid) {
        return true;
    }
    pending.interrupt();
    false
}

/// Whether SIGKILL is pending for this thread, which is also how the kernel delivers every deadly signal to a
/// process.
fn is_dying(tid: u32) -> bool {
    const SIGKILL_BIT: u64 = 1 << 8;
    let Ok(status) = std::fs::read_to_string(format!("/proc/{tid}/status")) else { return tid != 0 };
    status.lines().any(|line| {
        let mask = line.strip_prefix("SigPnd:\t").or_else(|| line.strip_prefix("ShdPnd:\t"));
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & SIGKILL_BIT != 0)
    })
}
