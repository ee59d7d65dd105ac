//! Counters of a session, by operation.

use crate::protocol::Opcode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Opcodes that have counters of their own; what is beyond shares the last.
const SLOTS: usize = 64;

#[derive(Default)]
struct Slot {
    arrived: AtomicU64,
    answered: AtomicU64,
    errors: AtomicU64,
    nanoseconds: AtomicU64,
}

pub struct Metrics {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationMetrics {
    pub operation: &'static str,
    pub requests: u64,
    pub in_flight: u64,
    pub errors: u64,
    /// Time between arrival and answer, summed.
    pub time: Duration,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Metrics { slots: std::array::from_fn(|_| Slot::default()) }
    }

    fn slot(&self, opcode: u32) -> &Slot {
        &self.slots[(opcode as usize).min(SLOTS - 1)]
    }

    pub(super) fn arrived(&self, opcode: u32) {
        self.slot(opcode).arrived.fetch_add(1, Relaxed);
    }

    pub(super) fn answered(&self, opcode: u32, error: bool, time: Duration) {
        let slot = self.slot(opcode);
        slot.answered.fetch_add(1, Relaxed);
        slot.nanoseconds.fetch_add(time.as_nanos() as u64, Relaxed);
        if error {
            slot.errors.fetch_add(1, Relaxed);
        }
    }

    /// Operations that were asked for at least once.
    pub fn operations(&self) -> Vec<OperationMetrics> {
        let row = |opcode: &Opcode| {
            let slot = self.slot(*opcode as u32);
            let answered = slot.answered.load(Relaxed);
            let requests = slot.arrived.load(Relaxed);
            (requests > 0).then(|| OperationMetrics {
                operation: opcode.name(),
                requests,
                in_flight: requests.saturating_sub(answered),
                errors: slot.errors.load(Relaxed),
                time: Duration::from_nanos(slot.nanoseconds.load(Relaxed)),
            })
        };
        Opcode::ALL.iter().filter_map(row).collect()
    }
}
