//! The machine's boot clock: one for all processes, and it goes on in suspend.

use rustix::time::{ClockId, clock_gettime};

pub fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
