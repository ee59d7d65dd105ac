//! The clock that every lease is counted on (P29): it goes on while the machine is suspended, and nobody can
//! set it.

use napi_derive::napi;
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started, with a fraction.
#[napi]
pub fn boot_clock_ms() -> f64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}
