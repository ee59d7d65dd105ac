//! What a run found.

use crate::histogram::Histogram;
use std::time::Duration;

#[derive(Clone)]
pub struct Report {
    pub operations: u64,
    pub bytes: u64,
    pub elapsed: Duration,
    pub errors: u64,
    /// The first error in words; empty without one.
    pub first_error: String,
    /// Bytes that a verifying read compared.
    pub verified_bytes: u64,
    /// User and system time of this process during the measured part: the services' time is not in it.
    pub cpu: Duration,
    pub latencies: Histogram,
}

impl Report {
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub fn operations_per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}
