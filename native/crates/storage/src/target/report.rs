//! What heartbeats say of a target, and its space. Answered from what the last step left, without the target's
//! lock: whoever asks must not wait for a disk.

use super::store::Space;
use super::{Replica, Target};
use bytes::Bytes;
use std::sync::Arc;
use wire::message::{Chain, LocalState, TargetReport, TargetSpace};

/// Below these shares of free space, in percent: a disk takes no new targets and files (placement alone looks
/// at it, P8) ...
const NO_ALLOCATE_PERCENT: u64 = 2;

/// ... an operator should make room ...
const LOW_SPACE_PERCENT: u64 = 4;

/// ... and what was removed is given back at once instead of with the next periodic flush.
const RECLAIM_PERCENT: u64 = 5;

/// What the manager must hear at once if it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: LocalState,
    pub chain_version: u64,
    pub fences_held: u64,
    /// Of the last member of a chain that is reordering.
    pub at_rest: bool,
}

/// As of the last step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    standing: Standing,
    /// Under that version the chain told it to stop.
    stops: bool,
    /// Of this member and those after it.
    chain_allocatable_bytes: u64,
    space: Space,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            standing: Standing {
                state: LocalState::LocalOnline,
                chain_version: 0,
                fences_held: 0,
                at_rest: false,
            },
            stops: false,
            chain_allocatable_bytes: 0,
            space: Space::default(),
        }
    }
}

impl Known {
    pub fn chain_version(&self) -> wire::ChainVersion {
        wire::ChainVersion(self.standing.chain_version)
    }
}

fn below(space: &Space, allocatable_bytes: u64, percent: u64) -> bool {
    allocatable_bytes <= space.capacity_bytes / 100 * percent
}

impl Target {
    pub(super) fn known(&self) -> Known {
        *self.known.lock()
    }

    /// After a step, under the replica's lock.
    pub(super) fn learn(&self, replica: &Replica<Bytes>) {
        let chain_allocatable_bytes = replica.allocatable_bytes(&self.chunks());
        let (state, chain_version) = replica.report();
        let mut known = self.known.lock();
        known.stops = replica.view().stops;
        known.standing = Standing {
            state,
            chain_version,
            fences_held: replica.fences_held(),
            at_rest: replica.is_at_rest(),
        };
        known.chain_allocatable_bytes = chain_allocatable_bytes;
    }

    fn allocatable_bytes(&self) -> u64 {
        self.disk.room.left(&self.room_limit)
    }

    pub fn report(&self) -> TargetReport {
        let known = self.known();
        let known_chain = self.known_chain();
        let Standing { state, chain_version, fences_held, at_rest } = known.standing;
        let (failed, offline) = (self.store.failure().is_some(), state == LocalState::LocalOffline);
        let space = known.space;
        let missing_bytes = self.shortage.missing_bytes();
        // What the replica goes by, so that both say the same.
        let allocatable_bytes = self.allocatable_bytes();
        // Before the damage that is left: a pass that is over has repaired what could be.
        let scrub = self.scrub.progress();
        TargetReport {
            target: self.id.0,
            chain: self.chain,
            chain_version,
            state: state as i32,
            complete: self.marks.complete() && !failed && !offline,
            fresh: self.marks.unused(),
            disk_error: failed || (offline && missing_bytes == 0),
            capacity_bytes: space.capacity_bytes,
            used_bytes: space.used_bytes,
            no_allocate: below(&space, allocatable_bytes, NO_ALLOCATE_PERCENT),
            low_space: below(&space, allocatable_bytes, LOW_SPACE_PERCENT),
            damaged_chunks: self.repairs.lock().count() as u64,
            scrub: Some(scrub),
            fences_held,
            stopped: known.stops,
            begun_by: self.marks.begun_by(),
            at_rest,
            known_version: known_chain.version,
            known_term: known_chain.term,
            missing_bytes,
        }
    }

    /// The newest version of its chain that it believes or, since it was told, will believe in a moment: what a
    /// manager hears must not be older than what the target acts on later (P3).
    pub fn known_chain(&self) -> Chain {
        let known = &self.disk.known;
        let routing = self.shared.routing.lock();
        let told = routing.chain(self.chain).filter(|told| known.believes(told));
        let told = told.filter(|told| told.members.iter().any(|member| member.target == self.id.0));
        told.cloned().or_else(|| known.get(self.chain).map(|known| Chain::clone(&known))).unwrap_or_default()
    }

    pub fn space(&self) -> TargetSpace {
        let known = self.known();
        TargetSpace {
            target: self.id.0,
            capacity_bytes: known.space.capacity_bytes,
            used_bytes: known.space.used_bytes,
            chunks: known.space.chunks,
            allocatable: known.chain_allocatable_bytes,
            chain_version: known.chain_version().0,
        }
    }

    pub fn standing(&self) -> Standing {
        self.known().standing
    }

    /// The replica looks at the disk's free space with every update; asking the file system each time would
    /// cost a call.
    pub(super) fn refresh_space(&self) {
        // What does not answer has an error to report, and not "full": a head that heard that would refuse writes.
        let free = |space: &Space| space.allocatable_bytes;
        let space = self.disk.room.refresh(&self.room_limit, || self.store.space(), free);
        self.known.lock().space = space.unwrap_or_default();
    }

    /// A flush gives the blocks of removed chunks back (P12).
    pub(super) fn reclaim_space(self: &Arc<Self>) {
        if below(&self.known().space, self.allocatable_bytes(), RECLAIM_PERCENT) {
            self.flush_by_itself();
        }
    }
}
