//! What heartbeats say of a target, and its space.

use super::Target;
use std::sync::atomic::Ordering;
use wire::message::{LocalState, TargetReport, TargetSpace};

/// Below this share of free space a disk takes no new targets and files (placement alone looks at it, P8).
const NO_ALLOCATE_DIVISOR: u64 = 50;

impl Target {
    pub fn report(&self) -> TargetReport {
        let ((state, chain_version), fences_held, stopped) = {
            let replica = &self.state.lock().replica;
            (replica.report(), replica.fences_held(), replica.view().stops)
        };
        let failed = self.store.failure().is_some();
        let (complete, fresh) = {
            let record = self.record.lock();
            (record.is_complete() && !failed, record.is_unused())
        };
        let space = self.store.space();
        TargetReport {
            target: self.id.0,
            chain: self.chain,
            chain_version,
            state: state as i32,
            complete,
            fresh,
            disk_error: failed || state == LocalState::LocalOffline,
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            // What the replica goes by, so that both say the same.
            no_allocate: self.allocatable_bytes.load(Ordering::Relaxed)
                <= space.capacity_bytes / NO_ALLOCATE_DIVISOR,
            fences_held,
            stopped,
            created: self.created,
        }
    }

    pub fn space(&self) -> TargetSpace {
        let space = self.store.space();
        TargetSpace {
            target: self.id.0,
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            chunks: space.chunks,
            allocatable: self.state.lock().replica.allocatable_bytes(&self.look()),
        }
    }

    /// State, chain version and fences that hold: if one changes the manager must hear at once.
    pub fn standing(&self) -> (LocalState, u64, u64) {
        let state = self.state.lock();
        let (local, chain_version) = state.replica.report();
        (local, chain_version, state.replica.fences_held())
    }

    /// The replica looks at the disk's free space with every update; asking the file system each time would
    /// cost a call.
    pub fn refresh_space(&self) {
        self.allocatable_bytes.store(self.store.space().allocatable_bytes, Ordering::Relaxed);
    }
}
