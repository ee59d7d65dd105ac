//! What is only restored (what a member that is synced gets, copies and updates, and a damaged chunk that is written
//! anew) takes room that nobody was promised, and nothing of the reserve, which is for the updates of members that
//! serve (P8). A member that has no room for its copy of the chain leaves the chain, which goes on without it, and
//! stays out until what it lacks fits.

use super::{Target, to_peers};
use crate::disk::room::Promise;
use crate::peers::Purpose;
use chunk_engine::BLOCK_BYTES;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::message::{SpaceRequest, TargetSpace};
use wire::{Code, Error, Result};

/// Before it is asked for the first time whether the copy fits, and doubled with each time that it did not although
/// it should have: others may use the disk.
const PAUSE: Duration = Duration::from_secs(1);

/// What is only restored leaves so much of the free room: the records behind what is stored, and those of cuts and
/// removals, take some that nobody counts, and would take it of the reserve.
const RECORDS_BYTES: u64 = 128 << 10;

/// At most 64 s.
const DOUBLINGS_MAX: u32 = 6;

/// A member that does not answer by then is asked again.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Shortage(Mutex<State>);

#[derive(Default)]
struct State {
    /// How often it has left the chain since it served last.
    times: u32,
    /// It is out of the chain, and nobody is asked before.
    waits: Option<Instant>,
    /// Of the copy or update that was refused last, with its records: it was to be written beside what is there.
    refused_bytes: u64,
    missing_bytes: u64,
}

impl Shortage {
    pub fn refused(&self, bytes: u64) {
        self.0.lock().refused_bytes = in_blocks(bytes) + RECORDS_BYTES;
    }

    /// The target is offline for want of room.
    pub fn begin(&self) {
        let mut state = self.0.lock();
        state.waits = Some(Instant::now() + PAUSE * (1 << state.times.min(DOUBLINGS_MAX)));
        state.times += 1;
        state.missing_bytes = state.refused_bytes.max(BLOCK_BYTES as u64);
    }

    /// It serves.
    pub fn end(&self) {
        *self.0.lock() = State::default();
    }

    fn stop_waiting(&self) {
        self.0.lock().waits = None;
    }

    /// While it waits, never 0.
    pub fn missing_bytes(&self) -> u64 {
        let state = self.0.lock();
        state.waits.map_or(0, |_| state.missing_bytes)
    }

    /// Of what a member that serves holds, and what there is here. A chunk is written beside its former self.
    fn learn(&self, there_bytes: u64, here_bytes: u64) {
        let mut state = self.0.lock();
        match (there_bytes + state.refused_bytes).saturating_sub(here_bytes) {
            0 => state.waits = None,
            missing => state.missing_bytes = missing,
        }
    }
}

fn in_blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES as u64)
}

impl Target {
    /// # Errors
    /// `NoSpace`, with what there is.
    pub(super) fn promise_for_copy(&self, bytes: usize) -> Result<Promise> {
        if bytes == 0 {
            return Ok(self.disk.room.promise(0));
        }
        self.promise_of_free(in_blocks(bytes as u64), || format!("a copy of {bytes} bytes"))
    }

    /// `if_room`: of a member that is synced.
    ///
    /// # Errors
    /// As `promise_for_copy`.
    pub(super) fn promise_for_update(&self, bytes: u64, if_room: bool) -> Result<Promise> {
        if !if_room {
            return Ok(self.disk.room.promise(bytes));
        }
        self.promise_of_free(bytes, || format!("an update of {bytes} bytes"))
            .inspect_err(|_| self.shortage.refused(bytes))
    }

    fn promise_of_free(&self, bytes: u64, what: impl FnOnce() -> String) -> Result<Promise> {
        self.disk.room.promise_of_free(&self.room_limit, bytes, RECORDS_BYTES).ok_or_else(|| {
            let (what, path) = (what(), self.disk.path.display());
            let left = self.disk.room.left(&self.room_limit);
            let detail = format!("{what}: {path} has {left} left, its reserve is for members that serve");
            Error::new(Code::NoSpace, detail)
        })
    }

    /// Whether it is out of its chain until there is room; asks how much that must be, if so. Without anybody who
    /// serves it may be needed, and an engine that failed is opened again, whatever it finds.
    pub(super) fn waits_for_room(self: &Arc<Self>) -> bool {
        let Some(not_before) = self.shortage.0.lock().waits else { return false };
        let last = {
            let state = self.state.lock();
            let view = state.replica.view();
            view.last_serving.and_then(|last| Some((last, to_peers::place(view, last)?.0)))
        };
        let Some((last, node)) = last.filter(|_| self.store.failure().is_none()) else {
            self.shortage.stop_waiting();
            return false;
        };
        if Instant::now() < not_before {
            return true;
        }
        let target = self.clone();
        let key = (node, Purpose::Control);
        self.shared.peers.call(key, SpaceRequest::default(), Vec::new(), ASK_TIMEOUT, move |result| {
            let Ok((reply, _)) = result else { return };
            if let Some(space) = reply.targets.iter().find(|space| space.target == last.0) {
                target.compare_room(space);
            }
        });
        true
    }

    fn compare_room(self: &Arc<Self>, there: &TargetSpace) {
        let here_bytes = self.space().used_bytes + self.disk.room.left(&self.room_limit);
        self.shortage.learn(there.used_bytes, here_bytes);
        if self.shortage.missing_bytes() == 0 {
            self.reopen_if_offline();
        }
    }
}
