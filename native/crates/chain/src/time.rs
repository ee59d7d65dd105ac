//! A point on the boot clock (P2, P29), handed in by the executor. This crate never asks for the time.

/// Microseconds on one machine's boot clock. Never compared between machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    pub const ZERO: Time = Time(0);

    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0 + ms * 1000)
    }

    /// Whole milliseconds since `earlier`; 0 if that lies ahead.
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}
