//! What a run of seeds adds up to.

use rustix::time::{ClockId, clock_gettime};
use sim::Outcome;

/// Of this thread. Other work does not count.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

pub struct Totals {
    pub first: u64,
    /// The next seed.
    pub last: u64,
    pub events: u64,
    pub faults: u64,
    pub operations: u64,
    /// Histories of chunks.
    pub undecided: u64,
    /// Worlds in which a chain waits for its administrator.
    frozen: u64,
    simulated_us: u64,
    /// Of the hashes of all histories, in the order of the seeds.
    pub hash: u64,
    started_cpu_seconds: f64,
}

impl Totals {
    pub fn new(first: u64) -> Totals {
        Totals {
            first,
            last: first,
            events: 0,
            faults: 0,
            operations: 0,
            undecided: 0,
            frozen: 0,
            simulated_us: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            started_cpu_seconds: cpu_seconds(),
        }
    }

    pub fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.last = seed + 1;
        self.events += outcome.events;
        self.faults += outcome.faults;
        self.operations += outcome.operations;
        self.undecided += outcome.undecided;
        self.frozen += u64::from(outcome.frozen);
        self.simulated_us += outcome.simulated_us;
        self.hash = (self.hash ^ outcome.hash).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub fn seconds(&self) -> f64 {
        cpu_seconds() - self.started_cpu_seconds
    }

    pub fn sentence(&self) -> String {
        let (seeds, seconds) = (self.last - self.first, self.seconds());
        format!(
            "{seeds} seeds: {} events ({:.2} M a CPU second), {} faults, {} operations, {:.1} simulated hours, \
             {seconds:.1} CPU seconds, trace hash {:016x}, 0 failures, {} undecided, {} frozen",
            self.events,
            self.events as f64 / seconds / 1e6,
            self.faults,
            self.operations,
            self.simulated_us as f64 / 3.6e9,
            self.hash,
            self.undecided,
            self.frozen,
        )
    }
}
