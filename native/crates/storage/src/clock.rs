//! The boot clock, the only one that leases are counted on (P2, P29): it goes on while the machine is
//! suspended.

use chain::Time;
use rustix::time::{ClockId, clock_gettime};

pub fn now() -> Time {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("time since boot is not negative");
    let nanoseconds = u64::try_from(time.tv_nsec).expect("nanoseconds are not negative");
    Time(seconds * 1_000_000 + nanoseconds / 1000)
}
